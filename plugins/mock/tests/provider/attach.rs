use crate::{PATIENCE, identity, pod_of, start};
use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    Attach, AttachRequest, ErrorCode, Provider,
    testing::{self, Client, Streams, call},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    task::JoinHandle,
    time::timeout,
};

const STREAMS: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

fn request(tty: bool) -> AttachRequest {
    let request = json!({"identity": identity("web"), "container": "app", "tty": tty, "stdin": true, "stdout": true});
    serde_json::from_value(request).unwrap()
}

async fn mock(annotations: &[(&str, &str)], container: Value) -> Arc<Mock> {
    let (mock, _) = start(json!({})).await;
    let manifest = json!({"restartPolicy": "Never", "containers": [container]});
    mock.create(call(), pod_of("web", annotations, manifest)).await.unwrap();
    Arc::new(mock)
}

fn attach(mock: &Arc<Mock>, streams: Streams) -> (JoinHandle<outrigger_plugin::Result<()>>, Client) {
    let (session, client) = testing::session(streams).unwrap();
    let mock = mock.clone();
    let attached = tokio::spawn(async move { mock.attach(call(), request(streams.tty), session).await });
    (attached, client)
}

#[tokio::test]
async fn output_comes_until_the_container_ends() {
    let mock = mock(&[("logRate", "100"), ("runTime", "300ms")], json!({"name": "app"})).await;
    let (attached, mut client) = attach(&mock, STREAMS);
    let mut text = String::new();
    timeout(PATIENCE, client.stdout.as_mut().unwrap().read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    attached.await.unwrap().unwrap();
    let numbers: Vec<u64> = text
        .lines()
        .map(|line| {
            let rest = line.strip_prefix("line ").unwrap();
            rest.strip_suffix(" of app, run 0").unwrap().parse().unwrap()
        })
        .collect();
    // What was written before is in the log, and nothing after it is missing.
    assert_eq!(*numbers.last().unwrap(), 30);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn input_is_echoed_where_the_container_has_one() {
    let silent = [("logRate", "0")];
    for (container, echo) in [
        (json!({"name": "app", "stdin": true}), "typed"),
        (json!({"name": "app"}), ""),
    ] {
        let mock = mock(&silent, container).await;
        let (attached, mut client) = attach(&mock, STREAMS);
        let mut stdin = client.stdin.take().unwrap();
        stdin.write_all(b"typed").await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut stdout = client.stdout.take().unwrap();
        let mut first = vec![0; echo.len()];
        timeout(PATIENCE, stdout.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(first, echo.as_bytes());
        // The end of the input is not the end of the container.
        assert!(timeout(Duration::from_millis(20), stdout.read_u8()).await.is_err());
        mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, stdout.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        attached.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn lines_for_a_terminal_end_as_it_needs_them() {
    let mock = mock(&[("logRate", "100")], json!({"name": "app"})).await;
    let (attached, mut client) = attach(&mock, Streams { tty: true, ..STREAMS });
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    timeout(PATIENCE, lines.read_line(&mut line)).await.unwrap().unwrap();
    assert!(line.ends_with("of app, run 0\r\n"), "{line:?}");
    // A client that goes is seen by the write that fails, or the host cancels the call.
    drop(lines);
    assert!(timeout(PATIENCE, attached).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn a_run_is_attached_to_and_not_the_next_one() {
    let (mock, _) = start(json!({})).await;
    let crashing = [("logRate", "1000"), ("runTime", "200ms"), ("exitCode", "1")];
    let manifest = json!({"restartPolicy": "Always", "containers": [{"name": "app"}]});
    mock.create(call(), pod_of("web", &crashing, manifest)).await.unwrap();
    let (attached, mut client) = attach(&Arc::new(mock), STREAMS);
    let mut text = String::new();
    timeout(PATIENCE, client.stdout.as_mut().unwrap().read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    attached.await.unwrap().unwrap();
    assert!(text.lines().all(|line| line.ends_with(", run 0")), "{text}");
    // The first restart comes at once: the last lines of the run are not lost over it.
    assert!(text.ends_with("line 200 of app, run 0\n"), "{text}");
}

#[tokio::test]
async fn what_does_not_run_is_not_attached_to() {
    let mock = mock(&[("startDelay", "never")], json!({"name": "app"})).await;
    let (attached, _client) = attach(&mock, STREAMS);
    assert_eq!(attached.await.unwrap().unwrap_err().code, ErrorCode::Invalid);
}
