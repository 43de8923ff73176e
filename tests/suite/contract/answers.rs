//! Answers of a provider that come twice, late, to calls that nobody made, or not in time though the work is done.

use crate::harness::Host;
use crate::harness::MockBackend;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::plugin;
use crate::harness::skip;
use crate::harness::uid;
use serde_json::json;

const PODS: usize = 20;

/// A host whose provider is a mock behind a relay that spoils its answers in this way.
async fn spoiled(test: &Test, how: &str, backend: &MockBackend) -> Host {
    let relay = json!({
        "name": "relay", "plugin": "relay", "path": plugin("fixture_relay"), "config": backend.config(),
    });
    let config = test.config().provider(relay).node(&test.node(), "relay", json!({}));
    let environment = vec![
        ("OUTRIGGER_FIXTURE_RELAY", how.into()),
        ("OUTRIGGER_FIXTURE_RELAY_TO", plugin("mock")),
    ];
    let host = test.start_under(&config, environment);
    test.node_ready(&test.node()).await;
    host
}

fn name(number: usize) -> String {
    format!("web-{number}")
}

/// Pods come and go, each made and removed once; returns what the backend was asked at the end.
async fn come_and_go(test: &Test, backend: &MockBackend) {
    let mut uids = Vec::new();
    for number in 0..PODS {
        uids.push(uid(&test.create(test.pod(&name(number), json!({}))).await));
    }
    for number in 0..PODS {
        test.running(&name(number)).await;
    }
    for number in 0..PODS {
        test.delete(&name(number), None).await;
    }
    for (number, uid) in uids.iter().enumerate() {
        test.gone(&name(number), uid).await;
    }
    let counts = backend.counts().await;
    for uid in &uids {
        let count = counts.pods[uid];
        assert_eq!((count.creates, count.removes), (1, 1), "{uid}: {count:?}");
    }
    assert!(counts.present.is_empty(), "{:?}", counts.present);
}

/// The host says that nobody waited for so many answers, or more.
async fn counted(test: &Test, least: usize) {
    if let Some(reason) = &test.cluster.no_node_proxy {
        return skip(&test.id, reason);
    }
    let text = test.node_text(&test.node(), "metrics").await.unwrap();
    let sample = r#"outrigger_plugin_dropped_total{reason="nobody_waits"} "#;
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    let count: f64 = line.expect("the host counts them").parse().unwrap();
    assert!(count >= least as f64, "{count}");
}

#[tokio::test]
async fn answers_that_come_twice_or_to_nobody_count_once() {
    let test = Test::new("answers_twice").await;
    let backend = test.backend().await;
    let mut host = spoiled(&test, "twice", &backend).await;
    come_and_go(&test, &backend).await;
    let warnings: Vec<_> = test
        .events()
        .await
        .into_iter()
        .filter(|event| event.type_.as_deref() == Some("Warning"))
        .map(|event| event.message)
        .collect();
    assert_eq!(warnings, Vec::<Option<String>>::new());
    // Two for each create, stop and remove.
    counted(&test, PODS * 6).await;
    assert!(host.is_running());
}

#[tokio::test]
async fn work_that_was_done_without_an_answer_in_time_is_found() {
    let test = Test::new("answers_doubt").await;
    let backend = test.backend().await;
    let mut host = spoiled(&test, "doubt", &backend).await;
    come_and_go(&test, &backend).await;
    eventually(SOON, "an event tells of an answer that did not come", || async {
        let told = test.events().await.into_iter().any(|event| {
            let message = event.message.unwrap_or_default();
            message == "unable to create pod: Timeout: the backend did not answer in time"
        });
        told.then_some(()).ok_or("there is none")
    })
    .await;
    counted(&test, PODS * 2).await;
    assert!(host.is_running());
}
