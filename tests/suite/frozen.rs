//! Connections on which nothing comes through any more though somebody acknowledges what is sent: a load balancer whose backend
//! has vanished. Nobody is told, and the host has to find out.

use crate::harness::ControlPlane;
use crate::harness::Test;
use crate::harness::TroubledWay;
use crate::harness::is_running;
use crate::harness::skip;
use crate::harness::uid;
use serde_json::json;
use std::time::Duration;

/// Bookmarks come once a minute, and watches are given up that have none for 90 s.
const FOUND_OUT: Duration = Duration::from_secs(110);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_connections_are_found_out() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip("frozen", "it takes two minutes; run `make test-cluster`");
    }
    let plane = ControlPlane::start("frozen").await;
    let test = Test::on(plane.cluster, "frozen").await;
    let way = TroubledWay::start(&plane.cluster.host_kubeconfig, test.directory()).await;
    let config = test
        .mock(json!({}))
        .with(json!({ "cluster": { "kubeconfig": way.kubeconfig() } }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("before", json!({}))).await;
    let before = test.running("before").await;

    way.freeze();
    let renewed = async || test.leases().get(&test.node()).await.unwrap().spec.unwrap().renew_time;
    let last = renewed().await;
    test.create(test.pod("behind", json!({}))).await;
    test.pod_until_within(FOUND_OUT, "behind", "it runs", is_running).await;
    assert!(renewed().await > last, "the lease goes on");
    test.delete("before", None).await;
    test.gone("before", &uid(&before)).await;
    assert!(host.is_running());
}
