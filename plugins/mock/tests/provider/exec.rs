//! Commands that only say what they were.

use crate::{PATIENCE, exec_of, identity, pod_of, start};
use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    ErrorCode, Exec, ExitStatus, Provider,
    testing::{self, Streams, call},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const IN_AND_OUT: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: false,
};

async fn mock() -> Arc<Mock> {
    let (mock, _) = start(json!({})).await;
    let manifest = json!({"containers": [{"name": "app"}], "initContainers": [{"name": "prepare"}]});
    mock.create(call(), pod_of("web", &[], manifest)).await.unwrap();
    Arc::new(mock)
}

#[tokio::test]
async fn a_command_is_echoed_and_then_its_input() {
    let mock = mock().await;
    let (session, mut client) = testing::session(IN_AND_OUT).unwrap();
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let large = vec![b'z'; 1 << 20];
    let (ended, _, output) = tokio::join!(
        mock.exec(call(), exec_of("web", &["cat", "a file"]), session),
        async {
            stdin.write_all(b"in\n").await.unwrap();
            stdin.write_all(&large).await.unwrap();
            stdin.shutdown().await.unwrap();
        },
        async {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).await.unwrap();
            output
        },
    );
    assert_eq!(ended.unwrap(), ExitStatus { exit_code: 0 });
    let text = output.strip_suffix(&large[..]).expect("all of the input came back");
    assert_eq!(text, b"cat a file\nin\n");
}

#[tokio::test]
async fn without_an_input_it_ends_at_once() {
    let mock = mock().await;
    let (session, mut client) = testing::session(Streams {
        stdin: false,
        ..IN_AND_OUT
    })
    .unwrap();
    let ended = mock.exec(call(), exec_of("web", &["ls"]), session).await.unwrap();
    assert_eq!(ended, ExitStatus { exit_code: 0 });
    let mut text = String::new();
    client.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "ls\n");
}

#[tokio::test]
async fn a_terminal_ends_its_input_by_a_key() {
    let mock = mock().await;
    let (session, mut client) = testing::session(Streams {
        tty: true,
        ..IN_AND_OUT
    })
    .unwrap();
    let mut request = exec_of("web", &["sh"]);
    request.tty = true;
    client
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"exit\x04never")
        .await
        .unwrap();
    client.resize(80, 24).await.unwrap();
    let ended = timeout(PATIENCE, mock.exec(call(), request, session))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended, ExitStatus { exit_code: 0 });
    let mut text = String::new();
    client.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "sh\r\nexit");
}

#[tokio::test]
async fn it_ends_with_its_container() {
    let mock = mock().await;
    let (session, client) = testing::session(IN_AND_OUT).unwrap();
    let running = {
        let mock = mock.clone();
        tokio::spawn(async move { mock.exec(call(), exec_of("web", &["sh"]), session).await })
    };
    let mut stdout = client.stdout.unwrap();
    let mut line = [0; 3];
    stdout.read_exact(&mut line).await.unwrap();
    mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, ExitStatus { exit_code: 137 });
    drop(client.stdin);
}

#[tokio::test]
async fn what_does_not_run_is_not_entered() {
    let mock = mock().await;
    let code = async |pod: &str, container: &str| {
        let (session, _client) = testing::session(IN_AND_OUT).unwrap();
        let mut request = exec_of(pod, &["ls"]);
        request.container = container.to_owned();
        mock.exec(call(), request, session).await.unwrap_err().code
    };
    assert_eq!(code("stranger", "app").await, ErrorCode::NotFound);
    assert_eq!(code("web", "ghost").await, ErrorCode::NotFound);
    assert_eq!(code("web", "prepare").await, ErrorCode::Invalid);
}
