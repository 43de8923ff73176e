//! Calls: answers, time limits, cancellation, and what is pushed.

use crate::fixture::*;
use outrigger_plugin::ErrorCode;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn every_operation_reaches_the_plugin_and_returns() {
    let (provider, sink) = launch(&provider("ops", "slow", json!({}))).await.unwrap();
    let created = provider.create_pod(request("u1"), LONG).await.unwrap();
    assert_eq!(created.identity, pod("u1"));
    assert_eq!(provider.sync(vec![pod("other")], LONG).await.unwrap().len(), 1);
    assert_eq!(provider.get_pod(&pod("u1"), LONG).await.unwrap().identity, pod("u1"));
    assert_eq!(provider.list_pods(LONG).await.unwrap().len(), 1);
    let stopped = provider.stop_pod(&pod("u1"), Duration::ZERO, LONG).await.unwrap();
    assert!(stopped.sequence > created.sequence);
    provider.remove_pod(&pod("u1"), LONG).await.unwrap();
    let node = provider.describe_node("vk-1", LONG).await.unwrap();
    assert_eq!(node.container_runtime, "slow://vk-1");
    provider.ping(LONG).await.unwrap();
    assert_eq!(provider.stats("vk-1", LONG).await.unwrap().node.cpu_nanocores, Some(0));
    assert!(provider.has("outrigger.logs") && !provider.has("outrigger.exec"));

    let gone = provider.get_pod(&pod("u1"), LONG).await.unwrap_err();
    assert_eq!((gone.code, gone.message.as_str()), (ErrorCode::NotFound, "no such pod"));
    let update = provider.update_pod(request("u1"), LONG).await.unwrap_err();
    assert_eq!(update.code, ErrorCode::Unsupported);
    let bad = provider.create_pod(b"no json".to_vec(), LONG).await.unwrap_err();
    assert_eq!(bad.code, ErrorCode::Invalid);

    let statuses = sink.statuses.lock().unwrap().clone();
    assert_eq!(statuses, [("ops".to_owned(), "u1".to_owned(), created.sequence)]);
    assert_eq!(*sink.nodes.lock().unwrap(), [("ops".to_owned(), "vk-1".to_owned())]);
    let events = sink.events.lock().unwrap().clone();
    assert_eq!((events[0].0.as_str(), events[0].1.reason.as_str()), ("ops", "Created"));
    assert_eq!(sink.metrics.lock().unwrap()[0].1.name, "creates_total");

    provider.shutdown(LONG).await.unwrap();
    let after = provider.ping(LONG).await.unwrap_err();
    assert_eq!(after.code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn two_providers_of_one_plugin_are_apart() {
    let (one, one_sink) = launch(&provider("one", "slow", json!({}))).await.unwrap();
    let (two, two_sink) = launch(&provider("two", "slow", json!({ "callMs": 1 }))).await.unwrap();
    one.create_pod(request("u1"), LONG).await.unwrap();
    two.create_pod(request("u2"), LONG).await.unwrap();
    assert_eq!(one.list_pods(LONG).await.unwrap()[0].identity, pod("u1"));
    assert_eq!(two.list_pods(LONG).await.unwrap()[0].identity, pod("u2"));
    assert_eq!(one_sink.statuses.lock().unwrap()[0].0, "one");
    assert_eq!(two_sink.statuses.lock().unwrap()[0].0, "two");
    assert_eq!(one_sink.statuses.lock().unwrap().len(), 1);
    drop(one);
    two.ping(LONG).await.unwrap();
}

#[tokio::test]
async fn a_call_that_takes_too_long_fails_and_is_cancelled() {
    let (provider, _) = launch(&provider("limit", "slow", json!({ "callMs": 600_000 })))
        .await
        .unwrap();
    let late = provider
        .get_pod(&pod("u1"), Duration::from_millis(30))
        .await
        .unwrap_err();
    assert_eq!(late.code, ErrorCode::Timeout);
    assert_eq!(late.message, "the provider did not answer within 30ms");
    assert_eq!(provider.in_flight(), 0);
    // Its completion says "cancelled" and finds nobody: that it comes at all shows that the plugin's task has ended.
    eventually("the cancelled call completes", || provider.stray_completions() == 1).await;
}

#[tokio::test]
async fn a_call_whose_caller_goes_is_cancelled() {
    let (provider, _) = launch(&provider("gone", "slow", json!({ "callMs": 600_000 })))
        .await
        .unwrap();
    let caller = tokio::spawn({
        let provider = provider.clone();
        async move { provider.get_pod(&pod("u1"), Duration::MAX).await }
    });
    eventually("the call is under way", || provider.in_flight() == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    assert_eq!(provider.in_flight(), 0);
    eventually("the cancelled call completes", || provider.stray_completions() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_at_once_all_return() {
    let (provider, sink) = launch(&provider("many", "slow", json!({ "callMs": 1 }))).await.unwrap();
    let calls: Vec<_> = (0..2_000)
        .map(|number| {
            let provider = provider.clone();
            tokio::spawn(async move { provider.create_pod(request(&number.to_string()), LONG).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(provider.list_pods(LONG).await.unwrap().len(), 2_000);
    assert_eq!((provider.in_flight(), provider.stray_completions()), (0, 0));
    assert_eq!(sink.statuses.lock().unwrap().len(), 2_000);
}
