//! All kinds of workloads at once, on nodes of two providers.

use super::LONG;
use super::create;
use super::delete;
use super::plain;
use super::roll;
use super::selected;
use super::template;
use super::until;
use crate::harness::MockBackend;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::skip;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use kube::api::ListParams;
use serde_json::json;
use std::collections::BTreeMap;

const REPLICAS: i64 = 60;
const ORDERED: i64 = 4;
const COMPLETIONS: i64 = 12;

#[tokio::test]
async fn workloads_become_ready_roll_over_complete_and_go() {
    let test = Test::new("workload").await;
    let (small, big) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = MockBackend::start(small.path()).await;
    let other = MockBackend::start(big.path()).await;
    let name = |suffix: &str| format!("{}-{suffix}", test.id);
    let config = test
        .config()
        .mock("one", one.config())
        .mock("other", other.config())
        .node(&name("a"), "one", json!({ "count": 2 }))
        .node(&name("b"), "other", json!({}));
    let _host = test.start(&config);
    let nodes = [name("a-0"), name("a-1"), name("b")];
    for node in &nodes {
        test.node_ready(node).await;
    }

    create::<Deployment>(
        &test,
        selected("web", json!({ "replicas": REPLICAS }), plain(&test, "web")),
    )
    .await;
    let all = test.cluster.has_all_controllers();
    if !all {
        skip(
            "workload (StatefulSet, DaemonSet)",
            "this cluster has no controllers for them",
        );
    }
    if all {
        let spec = json!({ "replicas": ORDERED, "serviceName": "db" });
        create::<StatefulSet>(&test, selected("db", spec, plain(&test, "db"))).await;
        create::<DaemonSet>(&test, selected("agent", json!({}), plain(&test, "agent"))).await;
    }
    let short = json!({ "mock.outrigger.dev/runTime": "300ms" });
    let job = template(&test, "sum", short, json!({ "restartPolicy": "Never" }));
    let spec = json!({ "completions": COMPLETIONS, "parallelism": 4, "template": job });
    create::<Job>(&test, json!({ "metadata": { "name": "sum" }, "spec": spec })).await;

    until::<Deployment>(
        &test,
        "web",
        json!({ "readyReplicas": REPLICAS, "availableReplicas": REPLICAS }),
    )
    .await;
    if all {
        until::<StatefulSet>(&test, "db", json!({ "readyReplicas": ORDERED })).await;
        until::<DaemonSet>(&test, "agent", json!({ "numberReady": 3, "desiredNumberScheduled": 3 })).await;
    }
    until::<Job>(&test, "sum", json!({ "succeeded": COMPLETIONS })).await;
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    for pod in test
        .pods()
        .list(&ListParams::default().labels("app=web"))
        .await
        .unwrap()
    {
        *by_node.entry(pod.spec.unwrap().node_name.unwrap()).or_default() += 1;
    }
    assert_eq!(
        by_node.keys().cloned().collect::<Vec<_>>(),
        nodes,
        "the scheduler used every node"
    );

    roll::<Deployment>(&test, "web").await;
    if all {
        roll::<StatefulSet>(&test, "db").await;
        roll::<DaemonSet>(&test, "agent").await;
    }
    let rolled = json!({ "replicas": REPLICAS, "updatedReplicas": REPLICAS, "availableReplicas": REPLICAS });
    until::<Deployment>(&test, "web", rolled).await;
    if all {
        let rolled = json!({ "updatedReplicas": ORDERED, "readyReplicas": ORDERED });
        until::<StatefulSet>(&test, "db", rolled).await;
        until::<DaemonSet>(
            &test,
            "agent",
            json!({ "updatedNumberScheduled": 3, "numberAvailable": 3 }),
        )
        .await;
    }

    delete::<Deployment>(&test, "web").await;
    if all {
        delete::<StatefulSet>(&test, "db").await;
        delete::<DaemonSet>(&test, "agent").await;
    }
    delete::<Job>(&test, "sum").await;
    let pods = test.pods();
    eventually(LONG, "every pod is gone", || async {
        let left = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?
            .items
            .len();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    for backend in [&one, &other] {
        eventually(LONG, "the backends are empty", || async {
            let left = backend.counts().await.present.len();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} are left"))
            }
        })
        .await;
        backend.counts().await.assert_made_once();
    }
}
