//! Container logs: bytes through a socket, the end by completion.

use crate::fixture::*;
use outrigger::plugin::Provider;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::LogRequest;
use serde_json::json;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

fn log_of(uid: &str) -> LogRequest {
    serde_json::from_value(json!({ "identity": pod(uid), "container": "main" })).unwrap()
}

async fn with_pod(name: &str, config: serde_json::Value) -> Arc<Provider> {
    let (provider, _) = launch(&provider(name, "slow", config)).await.unwrap();
    provider.create_pod(request("u1"), LONG).await.unwrap();
    provider
}

#[tokio::test]
async fn a_log_arrives_whole_and_says_so() {
    let provider = with_pod("log", json!({ "logBytes": 3_000_000 })).await;
    let mut log = provider.read_logs(&log_of("u1"), LONG).await.unwrap();
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes).await.unwrap();
    log.finish().await.unwrap();
    assert_eq!(bytes.len(), 3_000_000);
    assert!(bytes.starts_with(b"2026-01-01T00:00:00.000000000Z main\n"));
}

#[tokio::test]
async fn an_end_of_stream_alone_is_no_success() {
    let provider = with_pod("broken", json!({ "logBytes": 100, "logBreaks": true })).await;
    let mut log = provider.read_logs(&log_of("u1"), LONG).await.unwrap();
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), 100);
    let error = log.finish().await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Unavailable, "the log broke off")
    );

    let mut log = provider.read_logs(&log_of("nobody"), LONG).await.unwrap();
    assert_eq!(log.read_to_end(&mut bytes).await.unwrap(), 0);
    assert_eq!(log.finish().await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_reader_that_goes_ends_the_call() {
    let provider = with_pod("reader", json!({ "logBytes": 1 << 30 })).await;
    let mut log = provider.read_logs(&log_of("u1"), Duration::MAX).await.unwrap();
    log.read_exact(&mut [0; 1000]).await.unwrap();
    assert_eq!(provider.in_flight(), 1);
    drop(log);
    assert_eq!(provider.in_flight(), 0);
    eventually("the call completes", || provider.stray_completions() == 1).await;
}

#[tokio::test]
async fn a_log_that_outlasts_its_limit_is_cut() {
    let provider = with_pod("cut", json!({ "logBytes": 1 << 30 })).await;
    let mut log = provider
        .read_logs(&log_of("u1"), Duration::from_millis(200))
        .await
        .unwrap();
    let error = loop {
        // A reader that is slower than the writer: the socket is never empty for long, the limit must hold all the same.
        match log.read(&mut [0; 1 << 16]).await {
            Ok(0) => panic!("the log ended"),
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(log.finish().await.unwrap_err().code, ErrorCode::Timeout);
}

#[tokio::test]
async fn a_log_ends_with_its_call_though_its_stream_stays_open() {
    let (provider, _) = launch(&provider("held", "streams", json!({}))).await.unwrap();
    let line = "2026-01-01T00:00:00.000000000Z line\n";
    let open = async |container: &str| {
        let request = json!({ "identity": pod("u1"), "container": container });
        let request: LogRequest = serde_json::from_value(request).unwrap();
        provider.read_logs(&request, Duration::MAX).await.unwrap()
    };
    let mut text = String::new();
    let mut log = open("leak").await;
    log.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, line);
    log.finish().await.unwrap();

    // A thread of the plugin has it for good; only the host can say that it is over.
    let mut log = open("block").await;
    let mut first = vec![0; line.len()];
    log.read_exact(&mut first).await.unwrap();
    let _ = provider.shutdown(Duration::from_millis(50)).await;
    assert_eq!(log.read(&mut first).await.unwrap(), 0);
    assert_eq!(log.finish().await.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_provider_without_logs_says_unsupported() {
    let (provider, _) = launch(&provider("none", "panic", json!({ "at": "drop" })))
        .await
        .unwrap();
    let error = provider.read_logs(&log_of("u1"), LONG).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::Unsupported);
    assert_eq!(
        provider.stats("n", LONG).await.unwrap_err().code,
        ErrorCode::Unsupported
    );
}
