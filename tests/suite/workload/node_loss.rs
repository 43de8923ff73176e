//! A host that stops without a word, and comes back.

use super::Field;
use super::LONG;
use super::is_going;
use super::scheduled;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::pod_condition;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

async fn node_until(test: &Test, name: &str, what: &str, wanted: impl Fn(&Node) -> bool) {
    let nodes = test.nodes();
    eventually(LONG, &format!("node {name}: {what}"), || async {
        let node = nodes.get(name).await.map_err(|error| error.to_string())?;
        if wanted(&node) {
            Ok(())
        } else {
            Err(serde_json::to_string(&node.status).unwrap())
        }
    })
    .await;
}

async fn pod_until(test: &Test, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
    let pods = test.pods();
    eventually(LONG, &format!("pod {name}: {what}"), || async {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        if wanted(&pod) {
            Ok(pod)
        } else {
            Err(serde_json::to_string(&pod).unwrap())
        }
    })
    .await
}

fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.is_some_and(|taints| taints.iter().any(|taint| taint.key == key))
}

#[tokio::test]
async fn a_host_that_was_away_finds_its_node_and_pods_again() {
    const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    let test = Test::new("wl_loss").await;
    if !test.cluster.has_all_controllers() {
        return skip(
            "wl_loss",
            "this cluster has no such controllers; use the real control plane",
        );
    }
    let backend = test.backend().await;
    // Where all nodes, or most of a zone's, are unready at once, the node controller takes that for a fault of its own and
    // evicts nobody. So this node has a zone to itself, and another one that stays.
    let zone = |name: &str| json!({ "count": 1, "labels": { "topology.kubernetes.io/zone": name } });
    let config = test
        .config()
        .mock("mock", backend.config())
        .node(&test.node(), "mock", zone("lost"));
    let bystander = test
        .config()
        .mock("mock", json!({}))
        .node(&format!("{}-other", test.id), "mock", zone("kept"));
    let _bystander = test.start(&bystander);
    test.node_ready(&format!("{}-other-0", test.id)).await;
    let mut field = Field::start(test, &config, 1).await;
    let node = field.node(0);
    let impatient = json!({ "key": UNREACHABLE, "effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 0 });
    let there = json!({ "nodeSelector": { "kubernetes.io/hostname": node } });
    let mut leaves = scheduled(&field.test, "leaves", json!({}), there.clone());
    leaves["spec"]["tolerations"].as_array_mut().unwrap().push(impatient);
    field.test.create(leaves).await;
    field
        .test
        .create(scheduled(&field.test, "stays", json!({}), there))
        .await;
    let stays = uid(&field.test.running("stays").await);
    let leaves = uid(&field.test.running("leaves").await);

    field.host.kill9().await;
    node_until(&field.test, &node, "it is given up", |node| {
        condition(node, "Ready").as_deref() == Some("Unknown") && has_taint(node, UNREACHABLE)
    })
    .await;
    pod_until(&field.test, "stays", "it is taken for unready", |pod| {
        pod_condition(pod, "Ready").as_deref() == Some("False")
    })
    .await;
    pod_until(&field.test, "leaves", "it is told to go", is_going).await;
    assert_eq!(backend.counts().await.present.len(), 2, "the pods run on");

    field.host.start_again();
    node_until(&field.test, &node, "it is back", |node| {
        condition(node, "Ready").as_deref() == Some("True") && !has_taint(node, UNREACHABLE)
    })
    .await;
    field.test.gone("leaves", &leaves).await;
    let back = pod_until(&field.test, "stays", "it is Ready again", is_running).await;
    assert_eq!(uid(&back), stays);
    assert_eq!(back.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.present.into_keys().collect::<Vec<_>>(), [stays]);
}
