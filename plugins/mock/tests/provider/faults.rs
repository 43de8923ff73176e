use crate::{identity, pod, start, until};
use outrigger_plugin::{ErrorCode, Provider, testing::call};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

#[tokio::test]
async fn the_first_calls_fail_and_then_no_more() {
    let (mock, _pushed) = start(json!({})).await;
    let failing = [
        ("create.failures", "2"),
        ("create.error", "retryAfter"),
        ("create.retryAfter", "1500ms"),
        ("stop.failures", "1"),
        ("stop.error", "internal"),
    ];
    for _ in 0..2 {
        let error = mock.create(call(), pod("web", &failing)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::RetryAfter(Duration::from_millis(1_500)));
        assert!(
            mock.list(call()).await.unwrap().is_empty(),
            "a failed call has no effect"
        );
    }
    mock.create(call(), pod("web", &failing)).await.unwrap();
    let error = mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn what_was_counted_for_a_pod_goes_when_the_host_has_it_no_more() {
    let (mock, _pushed) = start(json!({})).await;
    let failing = || pod("web", &[("create.failures", "1")]);
    mock.create(call(), failing()).await.unwrap_err();
    for _ in 0..2 {
        mock.sync(call(), vec![identity("web")]).await.unwrap();
    }
    // One look alone may have overtaken the create.
    mock.sync(call(), vec![]).await.unwrap();
    mock.create(call(), failing()).await.unwrap();
    mock.remove(call(), identity("web")).await.unwrap();

    mock.create(call(), failing()).await.unwrap_err();
    for _ in 0..2 {
        mock.sync(call(), vec![]).await.unwrap();
    }
    mock.create(call(), failing()).await.unwrap_err();
}

/// Which of many gets fail.
async fn failing_gets(seed: u64, others: bool) -> Vec<usize> {
    let (mock, _pushed) = start(json!({"seed": seed, "pods": {"get": {"failureRate": 0.3}}})).await;
    mock.create(call(), pod("web", &[])).await.unwrap();
    mock.create(call(), pod("other", &[])).await.unwrap();
    let mut failed = Vec::new();
    for number in 0..200 {
        if others {
            // What becomes of the calls for another pod is nobody else's business.
            let _ = mock.get(call(), identity("other")).await;
        }
        if mock.get(call(), identity("web")).await.is_err() {
            failed.push(number);
        }
    }
    failed
}

#[tokio::test]
async fn chance_is_the_seeds() {
    let failed = failing_gets(1, false).await;
    assert!((30..90).contains(&failed.len()), "{} of 200 failed", failed.len());
    assert_eq!(failed, failing_gets(1, false).await);
    assert_eq!(failed, failing_gets(1, true).await);
    assert_ne!(failed, failing_gets(2, false).await);
}

#[tokio::test]
async fn every_call_can_fail() {
    let always = json!({"failureRate": 1, "error": "timeout"});
    let pods: Value = ["create", "update", "stop", "remove", "get"]
        .map(|call| (call.to_owned(), always.clone()))
        .into_iter()
        .collect();
    let (mock, _pushed) = start(json!({"pods": pods, "list": always, "ping": always})).await;
    let id = || identity("web");
    let codes = [
        mock.create(call(), pod("web", &[])).await.unwrap_err().code,
        mock.update(call(), pod("web", &[])).await.unwrap_err().code,
        mock.stop(call(), id(), Duration::ZERO).await.unwrap_err().code,
        mock.remove(call(), id()).await.unwrap_err().code,
        mock.get(call(), id()).await.unwrap_err().code,
        mock.list(call()).await.unwrap_err().code,
        mock.sync(call(), vec![]).await.unwrap_err().code,
        mock.ping(call()).await.unwrap_err().code,
    ];
    assert_eq!(codes, [ErrorCode::Timeout; 8]);
}

#[tokio::test]
async fn latency_lies_on_both_sides_of_the_effect() {
    let (mock, _pushed) = start(json!({})).await;
    let mock = Arc::new(mock);
    let slow = [("create.latency", "2s")];
    // Given up in the first half: nothing was made.
    let hasty = timeout(Duration::from_millis(20), mock.create(call(), pod("early", &slow))).await;
    assert!(hasty.is_err());
    assert!(mock.list(call()).await.unwrap().is_empty());
    // Given up in the second: the pod is there all the same.
    let creating = mock.clone();
    let create = tokio::spawn(async move { creating.create(call(), pod("late", &slow)).await });
    until("the pod is there", async || {
        (mock.list(call()).await.unwrap().len() == 1).then_some(())
    })
    .await;
    assert!(!create.is_finished());
    create.abort();
    assert_eq!(mock.list(call()).await.unwrap()[0].identity, identity("late"));
}

#[tokio::test]
async fn latency_takes_its_time() {
    let (mock, _pushed) = start(json!({"list": {"latency": "60ms"}})).await;
    let begin = Instant::now();
    mock.list(call()).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_call_can_hang_until_it_is_given_up() {
    let (mock, _pushed) = start(json!({"ping": {"latency": "never"}})).await;
    let hung = timeout(
        Duration::from_millis(50),
        mock.create(call(), pod("web", &[("create.latency", "never")])),
    )
    .await;
    assert!(hung.is_err());
    assert!(mock.list(call()).await.unwrap().is_empty());
    assert!(timeout(Duration::from_millis(50), mock.ping(call())).await.is_err());
}
