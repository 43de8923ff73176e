//! The mock as the host meets it: what its own tests call directly, through the boundary and on its one thread.

use crate::fixture::*;
use outrigger::plugin::Provider;
use outrigger::plugin::Session;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::PortForwardRequest;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// A mock that runs commands, with a pod `u1`. The folder goes with it.
async fn with_pod(name: &str) -> (Arc<Provider>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({ "exec": "local-process", "scratch": folder.path().join("scratch") });
    let (provider, _) = launch(&mock(name, config)).await.unwrap();
    let manifest = json!({
        "metadata": { "name": "web" },
        "spec": { "containers": [{ "name": "main", "image": "web:1", "ports": [{ "containerPort": 80 }] }] },
    });
    let request = json!({ "identity": pod("u1"), "pod": manifest });
    let body = serde_json::to_vec(&request).unwrap();
    provider.create_pod(body, LONG).await.unwrap();
    (provider, folder)
}

fn sh(provider: &Provider, script: &str, tty: bool) -> Session<ExitStatus> {
    let request: Value = json!({
        "identity": pod("u1"), "container": "main", "command": ["sh", "-c", script],
        "tty": tty, "stdin": true, "stdout": true, "stderr": true,
    });
    let request: ExecRequest = serde_json::from_value(request).unwrap();
    provider.exec(&request).unwrap()
}

#[tokio::test]
async fn a_command_runs_for_real() {
    let (provider, _folder) = with_pod("real").await;
    let mut session = sh(&provider, "cat; echo done >&2; kill -KILL $$", false);
    let mut stdin = session.stdin.take().unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut stdout, mut stderr) = (Vec::new(), String::new());
    let all = async {
        tokio::join!(
            async {
                stdin.write_all(&sent).await.unwrap();
                stdin.shutdown().await.unwrap();
            },
            session.stdout.as_mut().unwrap().read_to_end(&mut stdout),
            session.stderr.as_mut().unwrap().read_to_string(&mut stderr),
            session.outcome
        )
    };
    let (.., ended) = timeout(LONG, all).await.unwrap();
    assert_eq!(ended.unwrap(), ExitStatus { exit_code: 137 });
    assert!(stdout == sent, "{} bytes of {} came back", stdout.len(), sent.len());
    assert_eq!(stderr, "done\n");
}

#[tokio::test]
async fn a_terminal_follows_its_client() {
    let (provider, _folder) = with_pod("terminal").await;
    let script = "trap 'stty size' WINCH; echo ready; until [ \"$key\" = q ]; do read key; done";
    let mut session = sh(&provider, script, true);
    let mut seen = Vec::new();
    let mut stdout = session.stdout.take().unwrap();
    let mut until = async |text: &str| {
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut more = [0; 1024];
            let read = timeout(LONG, stdout.read(&mut more)).await.unwrap().unwrap();
            assert!(read > 0, "no {text:?} in {:?}", String::from_utf8_lossy(&seen));
            seen.extend(&more[..read]);
        }
    };
    until("ready\r\n").await;
    session.resize.as_mut().unwrap().send(132, 43).await.unwrap();
    until("43 132\r\n").await;
    session.stdin.as_mut().unwrap().write_all(b"q\r").await.unwrap();
    assert_eq!(
        timeout(LONG, session.outcome).await.unwrap().unwrap(),
        ExitStatus { exit_code: 0 }
    );
}

#[tokio::test]
async fn a_client_that_goes_takes_its_processes_with_it() {
    let (provider, _folder) = with_pod("gone").await;
    for how in ["its session is dropped", "the provider is shut down"] {
        let mut session = sh(&provider, "echo $$; sleep 1000", false);
        let mut line = String::new();
        while !line.ends_with('\n') {
            line.push(session.stdout.as_mut().unwrap().read_u8().await.unwrap().into());
        }
        let process = Path::new("/proc").join(line.trim());
        assert!(process.exists());
        if how.ends_with("dropped") {
            drop(session);
        } else {
            provider.shutdown(LONG).await.unwrap();
            let error = session.outcome.await.unwrap_err();
            assert_eq!(error.code, ErrorCode::Unavailable);
        }
        eventually(how, || !process.exists()).await;
    }
}

#[tokio::test]
async fn ports_and_images_are_those_of_its_pods() {
    let (provider, _folder) = with_pod("ports").await;
    let connect = |port| {
        let identity = pod("u1");
        provider.port_forward(&PortForwardRequest { identity, port }).unwrap()
    };
    let mut forward = connect(80);
    forward.stream.write_all(b"there and back").await.unwrap();
    forward.stream.shutdown().await.unwrap();
    let mut text = String::new();
    timeout(LONG, forward.stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text, "there and back");
    forward.outcome.await.unwrap();
    let refused = connect(81).outcome.await.unwrap_err();
    assert!(refused.message.contains("connection refused"), "{}", refused.message);

    let images = provider.images("n", Duration::from_secs(5)).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].names[1], "web:1");
}
