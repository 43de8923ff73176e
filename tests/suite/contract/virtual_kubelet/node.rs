//! Nodes: taken over whole, and shared with whoever else writes on them.

use crate::harness::Test;
use crate::harness::condition;
use crate::harness::object;
use k8s_openapi::api::core::v1::Node;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::json;

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    taints.into_iter().map(|taint| taint.key).collect()
}

#[tokio::test]
async fn a_node_that_was_there_is_taken_over_with_labels_and_taints() {
    let test = Test::new("vk_adopt").await;
    let old = json!({
        "metadata": { "name": test.node(), "labels": { "type": "old", "example.com/rack": "7" } },
        "spec": { "taints": [{ "key": "example.com/foreign", "effect": "NoSchedule" }] },
    });
    let node: Node = object(old);
    let created = test.nodes().create(&PostParams::default(), &node).await.unwrap();
    let _host = test.start(&test.mock(json!({})));
    let node = test.node_ready(&test.node()).await;
    assert_eq!(node.metadata.uid, created.metadata.uid);
    assert_eq!(
        (label(&node, "type"), label(&node, "example.com/rack")),
        (Some("virtual-kubelet"), Some("7"))
    );
    let taints = taints(&node);
    for key in ["virtual-kubelet.io/provider", "example.com/foreign"] {
        assert!(taints.iter().any(|taint| taint == key), "{key} is not among {taints:?}");
    }
    assert!(node.spec.unwrap().provider_id.is_some());
}

#[tokio::test]
async fn conditions_and_annotations_of_others_stay_and_no_copy_is_kept_on_the_node() {
    let test = Test::new("vk_foreign").await;
    let often = json!({ "intervals": { "statusReport": "200ms" } });
    let change = json!({ "capacityChange": { "after": "4s", "capacity": { "pods": "77" } } });
    let _host = test.start(&test.mock(change).with(often));
    test.node_ready(&test.node()).await;
    let (nodes, params) = (test.nodes(), PatchParams::default());
    let note = Patch::Merge(json!({ "metadata": { "annotations": { "example.com/note": "mine" } } }));
    nodes.patch(&test.node(), &params, &note).await.unwrap();
    let foreign = json!({ "status": { "conditions": [{ "type": "example.com/Disk", "status": "True" }] } });
    nodes
        .patch_status(&test.node(), &params, &Patch::Strategic(foreign))
        .await
        .unwrap();
    // What the provider says later makes the host write all that it owns.
    let node = test
        .node_until(&test.node(), "its new capacity is shown", |node| {
            let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
            capacity.is_some_and(|capacity| capacity["pods"].0 == "77")
        })
        .await;
    assert_eq!(condition(&node, "example.com/Disk").as_deref(), Some("True"));
    assert_eq!(condition(&node, "Ready").as_deref(), Some("True"));
    assert_eq!(label(&node, "type"), Some("virtual-kubelet"));
    let annotations = node.metadata.annotations.unwrap();
    assert_eq!(annotations["example.com/note"], "mine");
    assert!(
        !annotations.keys().any(|key| key.contains("last-applied")),
        "{annotations:?}"
    );
}

#[tokio::test]
async fn a_host_starts_while_its_provider_is_away() {
    let test = Test::new("vk_away").await;
    let backend = test.backend().await;
    backend.freeze();
    let often = json!({ "intervals": { "ping": "500ms", "pingTimeout": "500ms", "statusReport": "500ms" } });
    let config = test.mock(backend.config()).mock("other", json!({})).with(often);
    let other = format!("{}-other", test.id);
    let mut host = test.start(&config.node(&other, "other", json!({})));
    test.node_ready(&other).await;
    assert!(host.is_running());
    let node = test.nodes().get_opt(&test.node()).await.unwrap();
    assert_ne!(node.and_then(|node| condition(&node, "Ready")).as_deref(), Some("True"));
    backend.thaw();
    test.node_ready(&test.node()).await;
}

#[tokio::test]
async fn a_pod_that_was_bound_before_there_was_a_node_runs() {
    let test = Test::new("vk_early").await;
    test.create(test.pod("web", json!({}))).await;
    let _host = test.start(&test.mock(json!({})));
    test.running("web").await;
}
