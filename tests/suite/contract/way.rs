//! Single answers of the API server that are wrong, or late, on the way to the host.

use crate::harness::MockBackend;
use crate::harness::Recording;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::Trouble;
use crate::harness::TroubledWay;
use crate::harness::eventually;
use crate::harness::uid;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

async fn on_a_way(name: &str, more: Value) -> (Test, TroubledWay, MockBackend, crate::harness::HostConfig) {
    let test = Test::new(name).await;
    let way = TroubledWay::start(&test.cluster.host_kubeconfig, test.directory()).await;
    let backend = test.backend().await;
    let config = test
        .mock(backend.config())
        .with(json!({ "cluster": { "kubeconfig": way.kubeconfig() } }))
        .with(more);
    (test, way, backend, config)
}

/// An API server that has lost its newest objects, or a proxy that leads elsewhere for a moment: the watch, which says what
/// there is, does not say that the pod is gone.
#[tokio::test]
async fn a_status_write_that_finds_no_pod_ends_none_that_nobody_deleted() {
    let (test, way, backend, config) = on_a_way("way_amnesia", json!({})).await;
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    way.set(Trouble::Amnesia);
    let made = test.create(test.pod("missing", json!({}))).await;
    eventually(SOON, "its status is written to nowhere", || async {
        (way.met(Trouble::Amnesia) > 0).then_some(()).ok_or("it is not")
    })
    .await;
    way.set(Trouble::None);
    let pod = test.running("missing").await;
    assert_eq!(uid(&pod), uid(&made));
    let count = backend.counts().await.pods[&uid(&made)];
    assert_eq!((count.creates, count.stops, count.removes), (1, 0, 0));
    test.delete("missing", None).await;
    test.gone("missing", &uid(&made)).await;
}

/// Where many come at once each token takes long, and one write more for each pod would make all of them later.
#[tokio::test]
async fn a_pod_that_awaits_its_token_costs_no_write_of_its_own() {
    let (test, way, _backend, config) = on_a_way("way_tokens", json!({})).await;
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    way.set(Trouble::SlowTokens(Duration::from_secs(3)));
    let recording = Recording::start(&test).await;
    test.create(test.pod("waits", json!({}))).await;
    test.running("waits").await;
    eventually(SOON, "the recording has it", || async {
        recording.ready("waits").ok_or("it has not")
    })
    .await;
    assert_eq!(recording.states("waits"), 2, "as it was created, and Ready");
}

/// The host is told to end when the Node is there already, and it does not know yet.
#[tokio::test]
async fn a_node_that_is_being_registered_is_left_as_configured() {
    let (test, way, _backend, config) = on_a_way("way_nodes", json!({ "onShutdown": "deregister" })).await;
    way.set(Trouble::SlowNodes(Duration::from_secs(3)));
    let mut host = test.start(&config);
    eventually(SOON, "the node is there", || async {
        let node = test.nodes().get_opt(&test.node()).await;
        node.ok().flatten().ok_or("it is not")
    })
    .await;
    host.term();
    host.ends_with(0).await;
    assert!(test.nodes().get_opt(&test.node()).await.unwrap().is_none());
}
