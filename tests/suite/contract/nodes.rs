//! Nodes: how they register, and who may change what of them.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::skip;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::core::ObjectList;
use serde_json::json;

#[tokio::test]
async fn a_node_registers() {
    let test = Test::new("node_registers").await;
    let _host = test.start(&test.mock(json!({ "capacity": { "pods": "77" } })));
    let node = test.node_ready(&test.node()).await;

    let labels = node.metadata.labels.unwrap();
    assert_eq!(labels["type"], "virtual-kubelet");
    assert_eq!(labels["kubernetes.io/hostname"], test.node());
    assert!(labels.contains_key("kubernetes.io/os") && labels.contains_key("kubernetes.io/arch"));
    assert!(labels.contains_key("node.kubernetes.io/exclude-from-external-load-balancers"));

    let spec = node.spec.unwrap();
    let taints = spec.taints.unwrap();
    let own = taints
        .iter()
        .find(|taint| taint.key == "virtual-kubelet.io/provider")
        .unwrap();
    assert_eq!(
        (own.value.as_deref(), own.effect.as_str()),
        (Some("mock"), "NoSchedule")
    );
    assert_eq!(spec.provider_id, Some(format!("outrigger://mock/{}", test.node())));

    let status = node.status.unwrap();
    assert_eq!(status.capacity.unwrap()["pods"].0, "77");
    let addresses = status.addresses.unwrap();
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP").unwrap();
    assert_eq!(internal.address, test.cluster.host_address.to_string());
    let port = status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port;
    assert!(port > 0, "port 0 must be replaced by the port that was opened");

    // The claim comes before the node, which becomes its owner as soon as it is known.
    let leases = test.leases();
    let (name, uid) = (test.node(), node.metadata.uid.unwrap());
    let lease = eventually(SOON, "the lease belongs to the node", || async {
        let lease = leases.get(&name).await.map_err(|error| error.to_string())?;
        let owners = lease.metadata.owner_references.as_deref().unwrap_or_default();
        if owners.iter().any(|owner| owner.kind == "Node" && owner.uid == uid) {
            Ok(lease)
        } else {
            Err(format!("its owners are {owners:?}"))
        }
    })
    .await;
    let spec = lease.spec.unwrap();
    assert_eq!(spec.lease_duration_seconds, Some(40));
    assert!(!spec.holder_identity.unwrap().is_empty());
}

#[tokio::test]
pub(super) async fn a_deleted_node_comes_back_vk_886() {
    let test = Test::new("node_comes_back").await;
    let _host = test.start(&test.mock(json!({})));
    let first = test.node_ready(&test.node()).await.metadata.uid;
    test.nodes()
        .delete(&test.node(), &DeleteParams::default())
        .await
        .unwrap();
    let again = test
        .node_until(&test.node(), "it is there again, and Ready", |node| {
            node.metadata.uid != first && condition(node, "Ready").as_deref() == Some("True")
        })
        .await;
    let (leases, node) = (test.leases(), test.node());
    eventually(SOON, "the lease belongs to the new node", || async {
        let lease = leases.get(&node).await.map_err(|error| error.to_string())?;
        let owners = lease.metadata.owner_references.unwrap_or_default();
        let owner = owners.first().map(|owner| owner.uid.clone());
        if owner == again.metadata.uid {
            Ok(())
        } else {
            Err(format!("its owner is {owner:?}"))
        }
    })
    .await;
}

#[tokio::test]
pub(super) async fn own_keys_are_repaired_and_those_of_others_left_alone() {
    let test = Test::new("node_drift").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let nodes = test.nodes();
    let foreign = json!({
        "metadata": { "labels": { "type": "something-else", "example.com/foreign": "yes" } },
        "spec": { "taints": [{ "key": "example.com/foreign", "effect": "NoSchedule" }], "unschedulable": true },
    });
    nodes
        .patch(&test.node(), &PatchParams::default(), &Patch::Merge(foreign))
        .await
        .unwrap();
    let node = test
        .node_until(&test.node(), "its own label and taint are back", |node| {
            let labels = node.metadata.labels.clone().unwrap_or_default();
            let taints = node.spec.clone().and_then(|spec| spec.taints).unwrap_or_default();
            labels.get("type").is_some_and(|value| value == "virtual-kubelet")
                && taints.iter().any(|taint| taint.key == "virtual-kubelet.io/provider")
        })
        .await;
    let spec = node.spec.unwrap();
    assert_eq!(node.metadata.labels.unwrap()["example.com/foreign"], "yes");
    assert!(
        spec.taints
            .unwrap()
            .iter()
            .any(|taint| taint.key == "example.com/foreign")
    );
    assert_eq!(spec.unschedulable, Some(true), "a cordon is the administrator's");
}

#[tokio::test]
pub(super) async fn one_host_runs_many_nodes_of_many_providers_vk_145_251_565() {
    let test = Test::new("node_many").await;
    let name = |suffix: &str| format!("{}-{suffix}", test.id);
    let config = test
        .config()
        .mock("small", json!({ "capacity": { "cpu": "2" } }))
        .mock("big", json!({ "capacity": { "cpu": "64" } }))
        .node(&name("s"), "small", json!({ "count": 2 }))
        .node(&name("b"), "big", json!({ "labels": { "size": "big" } }));
    let _host = test.start(&config);
    let mut ports = Vec::new();
    for (node, cpu) in [("s-0", "2"), ("s-1", "2"), ("b", "64")] {
        let status = test.node_ready(&name(node)).await.status.unwrap();
        assert_eq!(status.capacity.unwrap()["cpu"].0, cpu, "{node}");
        ports.push(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port);
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3, "each node has a port of its own");
}

#[tokio::test]
async fn a_nodes_own_endpoints_are_reached_through_its_proxy() {
    let test = Test::new("node_proxy").await;
    if let Some(reason) = &test.cluster.no_node_proxy {
        return skip("node_proxy", reason);
    }
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    let get = async |path: &str| {
        let path = format!("/api/v1/nodes/{}/proxy/{path}", test.node());
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        test.client.request_text(request).await.unwrap()
    };
    assert_eq!(get("healthz").await, "ok");
    let list: ObjectList<Pod> = serde_json::from_str(&get("pods").await).unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("web"));
    assert!(is_running(&list.items[0]), "it is shown with its status");
}

#[tokio::test]
async fn a_node_shows_the_images_of_its_provider() {
    let test = Test::new("node_images").await;
    let intervals = json!({ "intervals": { "statusReport": "100ms" } });
    let _host = test.start(&test.mock(json!({})).with(intervals));
    test.node_ready(&test.node()).await;
    let names = |node: &Node| {
        let images = node.status.as_ref().and_then(|status| status.images.clone());
        let names = images
            .into_iter()
            .flatten()
            .flat_map(|image| image.names.unwrap_or_default());
        names.collect::<Vec<_>>()
    };
    let name = "registry.example/app:1".to_owned();
    test.create(test.pod("web", json!({}))).await;
    let node = test
        .node_until(&test.node(), "it has the pod's image", |node| {
            names(node).contains(&name)
        })
        .await;
    assert_eq!(names(&node).len(), 2, "by digest and by tag");
    test.delete("web", Some(0)).await;
    test.node_until(&test.node(), "it has no image", |node| names(node).is_empty())
        .await;
}
