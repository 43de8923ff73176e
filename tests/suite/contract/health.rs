//! What a provider's trouble means for its nodes and pods.

use crate::harness::MockBackend;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::uid;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

fn intervals() -> Value {
    json!({ "intervals": { "ping": "500ms", "pingTimeout": "500ms", "statusReport": "500ms" } })
}

async fn unhealthy(test: &Test, backend: &MockBackend) {
    backend.freeze();
    test.node_until(&test.node(), "its provider is not healthy", |node| {
        condition(node, "ProviderHealthy").as_deref() == Some("False")
    })
    .await;
}

async fn healthy(test: &Test, backend: &MockBackend) {
    backend.thaw();
    test.node_until(&test.node(), "it is well again", |node| {
        ["ProviderHealthy", "Ready"].map(|kind| condition(node, kind)) == [Some("True".into()), Some("True".into())]
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_hangs_makes_its_node_not_ready_in_time_liqo_1017() {
    let test = Test::new("health_ready").await;
    let backend = test.backend().await;
    let config = test
        .config()
        .with(intervals())
        .mock("mock", backend.config())
        .mock("other", json!({}))
        .node(&test.node(), "mock", json!({ "notReadyAfter": "1s" }))
        .node(&format!("{}-other", test.id), "other", json!({}));
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let before = uid(&test.running("web").await);

    unhealthy(&test, &backend).await;
    test.node_until(&test.node(), "it is not Ready", |node| {
        condition(node, "Ready").as_deref() == Some("False")
    })
    .await;
    test.node_ready(&format!("{}-other", test.id)).await;
    healthy(&test, &backend).await;
    let after = test.running("web").await;
    assert_eq!(uid(&after), before);
    assert_eq!(after.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.present.len(), 1);
}

/// How long the backend is away; a whole outage is 10 minutes long.
fn outage() -> Duration {
    let seconds = std::env::var("OUTRIGGER_SUITE_OUTAGE_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn an_outage_loses_no_pod_of_a_node_that_stays_ready() {
    const PODS: usize = 10;
    let test = Test::new("health_outage").await;
    let backend = test.backend().await;
    let config = test.config().with(intervals()).mock("mock", backend.config()).node(
        &test.node(),
        "mock",
        json!({ "notReadyAfter": "never" }),
    );
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    let name = |number| format!("web-{number}");
    let mut uids = Vec::new();
    for number in 0..PODS {
        uids.push(uid(&test.create(test.pod(&name(number), json!({}))).await));
    }
    for number in 0..PODS {
        test.running(&name(number)).await;
    }
    unhealthy(&test, &backend).await;
    // What is asked for meanwhile is done afterwards.
    test.create(test.pod("meanwhile", json!({}))).await;
    test.delete(&name(0), None).await;
    let end = Instant::now() + outage();
    while Instant::now() < end {
        let node = test.nodes().get(&test.node()).await.unwrap();
        assert_eq!(condition(&node, "Ready").as_deref(), Some("True"));
        for (number, uid_before) in uids.iter().enumerate().skip(1) {
            let pod = test.pods().get(&name(number)).await.unwrap();
            assert!(is_running(&pod) && uid(&pod) == *uid_before, "{:?}", pod.status);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    healthy(&test, &backend).await;
    test.gone(&name(0), &uids[0]).await;
    test.running("meanwhile").await;
    eventually(SOON, "the backend has every pod but the deleted one", || async {
        let counts = backend.counts().await;
        let all = counts.present.len() == PODS && uids[1..].iter().all(|uid| counts.present.contains_key(uid));
        if all { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    backend.counts().await.assert_made_once();
}
