//! Commands, attaching and connections: several byte streams, one end by completion.

use crate::fixture::*;
use outrigger::plugin::Provider;
use outrigger::plugin::Session;
use outrigger::plugin::State;
use outrigger::plugin::Stream;
use outrigger_plugin::AttachRequest;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::PortForwardRequest;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

async fn streams(name: &str) -> (Arc<Provider>, Arc<Recorder>) {
    launch(&provider(name, "streams", json!({}))).await.unwrap()
}

/// A command with the streams that are named.
fn exec_of(command: &str, streams: &[&str]) -> ExecRequest {
    let command: Vec<_> = command.split(' ').collect();
    let mut request = json!({ "identity": pod("u1"), "container": "main", "command": command });
    for stream in streams {
        request[stream] = Value::Bool(true);
    }
    serde_json::from_value(request).unwrap()
}

fn exec(provider: &Provider, command: &str, streams: &[&str]) -> Session<ExitStatus> {
    provider.exec(&exec_of(command, streams)).unwrap()
}

async fn read(stream: &mut Option<Stream>) -> String {
    let mut text = String::new();
    let stream = stream.as_mut().expect("the stream is there");
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

fn exit(exit_code: u8) -> ExitStatus {
    ExitStatus { exit_code }
}

#[tokio::test]
async fn a_session_has_the_streams_that_were_asked_for() {
    let (provider, _) = streams("which").await;
    for (asked, there) in [
        (&["stdout"][..], "stdout"),
        (&["stdin", "stdout", "stderr"], "stdin stdout stderr"),
        (&["stdin", "stdout", "stderr", "tty"], "stdin stdout resize"),
    ] {
        let mut session = exec(&provider, "streams", asked);
        assert_eq!(read(&mut session.stdout).await, there);
        assert_eq!(session.outcome.await.unwrap(), exit(0));
        assert_eq!(session.stderr.is_some(), there.contains("stderr"));
        assert_eq!(session.resize.is_some(), there.contains("resize"));
    }
}

#[tokio::test]
async fn the_end_of_input_is_not_the_end_of_output() {
    let (provider, _) = streams("half-close").await;
    let mut session = exec(&provider, "echo", &["stdin", "stdout"]);
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello ").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(read(&mut session.stdout).await, "hello bye");
    assert_eq!(session.outcome.await.unwrap(), exit(0));
    drop(stdin);

    // And the other way: the output ends, the input goes on.
    let mut session = exec(&provider, "count", &["stdin", "stdout", "stderr"]);
    assert_eq!(read(&mut session.stdout).await, "");
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(&[7; 500_000]).await.unwrap();
    drop(stdin);
    assert_eq!(read(&mut session.stderr).await, "500000");
    assert_eq!(session.outcome.await.unwrap(), exit(0));
}

#[tokio::test]
async fn exit_codes_and_errors_come_by_completion() {
    let (provider, _) = streams("ends").await;
    for code in [0, 1, 137, 255] {
        let mut session = exec(&provider, &format!("exit {code}"), &["stdout"]);
        assert_eq!(read(&mut session.stdout).await, "");
        assert_eq!(session.outcome.await.unwrap(), exit(code));
    }
    let mut session = exec(&provider, "fail", &["stdout"]);
    assert_eq!(read(&mut session.stdout).await, "half of it");
    let error = session.outcome.await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Unavailable, "the command broke off")
    );
    let error = exec(&provider, "nonsense", &[]).outcome.await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
}

#[tokio::test]
async fn sizes_of_the_terminal_arrive_in_order() {
    let (provider, _) = streams("sizes").await;
    let mut session = exec(&provider, "sizes 3", &["stdout", "tty"]);
    let resize = session.resize.as_mut().unwrap();
    for (columns, rows) in [(80, 24), (132, 43), (65_535, 1)] {
        resize.send(columns, rows).await.unwrap();
    }
    assert_eq!(read(&mut session.stdout).await, "80x24\n132x43\n65535x1\n");
    assert_eq!(session.outcome.await.unwrap(), exit(0));
    // Nobody reads them any more, which the host learns and survives.
    session.resize.as_mut().unwrap().send(1, 1).await.unwrap_err();
}

#[tokio::test]
async fn what_was_written_stays_readable_after_the_end() {
    let (provider, _) = streams("late").await;
    let mut session = exec(&provider, "produce 100000", &["stdout"]);
    assert_eq!((&mut session.outcome).await.unwrap(), exit(0));
    assert_eq!(read(&mut session.stdout).await.len(), 100_000);
}

#[tokio::test]
async fn an_output_that_is_left_open_ends_with_the_session() {
    let (provider, _) = streams("leak").await;
    let mut session = exec(&provider, "leak", &["stdout"]);
    assert_eq!((&mut session.outcome).await.unwrap(), exit(0));
    assert_eq!(read(&mut session.stdout).await, "all of it");
}

#[tokio::test]
async fn a_slow_reader_holds_the_plugin_back() {
    let (provider, sink) = streams("slow-reader").await;
    let mut session = exec(&provider, "produce 67108864", &["stdout"]);
    let held_back = || {
        let metrics = sink.metrics.lock().unwrap();
        let told = metrics.iter().find(|(_, sample)| sample.name == "held_back_bytes");
        told.map(|(_, sample)| sample.value)
    };
    eventually("the plugin is held back", || held_back().is_some()).await;
    assert!(held_back().unwrap() < 1e6, "{:?} bytes were taken unread", held_back());
    assert_eq!(read(&mut session.stdout).await.len(), 64 << 20);
    assert_eq!(session.outcome.await.unwrap(), exit(0));
}

#[tokio::test]
async fn a_session_that_is_dropped_is_cancelled() {
    let (provider, sink) = streams("dropped").await;
    let dropped = || {
        let metrics = sink.metrics.lock().unwrap();
        metrics
            .iter()
            .filter(|(_, sample)| sample.name == "dropped_total")
            .count()
    };
    let mut session = exec(&provider, "hang", &["stdin", "stdout", "stderr"]);
    // It is under way, and not only accepted.
    let mut attached = attach(&provider, &["stdin", "stdout"]);
    let mut first = [0; 1];
    attached.stdout.as_mut().unwrap().read_exact(&mut first).await.unwrap();
    assert_eq!(provider.in_flight(), 2);
    assert!(timeout(Duration::ZERO, &mut session.outcome).await.is_err());
    drop(session);
    assert_eq!(provider.in_flight(), 1);
    drop(attached);
    assert_eq!(provider.in_flight(), 0);
    eventually("the attached one was dropped in the plugin", || dropped() >= 1).await;
    eventually("both complete", || provider.stray_completions() == 2).await;
    provider.ping(LONG).await.unwrap();
}

fn attach(provider: &Provider, streams: &[&str]) -> Session<()> {
    let mut request = json!({ "identity": pod("u1"), "container": "main" });
    for stream in streams {
        request[stream] = Value::Bool(true);
    }
    let request: AttachRequest = serde_json::from_value(request).unwrap();
    provider.attach(&request).unwrap()
}

#[tokio::test]
async fn attaching_moves_bytes_until_either_side_ends() {
    let (provider, _) = streams("attach").await;
    let mut session = attach(&provider, &["stdin", "stdout"]);
    session.stdin.take().unwrap().write_all(b"typed").await.unwrap();
    assert_eq!(read(&mut session.stdout).await, "main of pod-u1\ntyped");
    session.outcome.await.unwrap();
}

fn port(port: u16) -> PortForwardRequest {
    PortForwardRequest {
        identity: pod("u1"),
        port,
    }
}

#[tokio::test]
async fn a_connection_is_half_closed_each_way_and_may_be_refused() {
    let (provider, _) = streams("port").await;
    let mut forward = provider.port_forward(&port(80)).unwrap();
    forward.stream.write_all(b"there and back, ").await.unwrap();
    forward.stream.shutdown().await.unwrap();
    let mut text = String::new();
    forward.stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "there and back, bye");
    forward.outcome.await.unwrap();

    let refused = provider.port_forward(&port(1)).unwrap().outcome.await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (ErrorCode::Invalid, "connection refused")
    );
}

#[tokio::test]
async fn a_hundred_connections_at_once_are_apart() {
    let (provider, _) = streams("many").await;
    let connections: Vec<_> = (0..100_u32)
        .map(|number| {
            let mut forward = provider.port_forward(&port(80)).unwrap();
            tokio::spawn(async move {
                let sent = number.to_le_bytes().repeat(10_000);
                let (mut reader, mut writer) = tokio::io::split(forward.stream);
                let mut got = Vec::new();
                let (wrote, read) = tokio::join!(
                    async {
                        writer.write_all(&sent).await?;
                        writer.shutdown().await
                    },
                    reader.read_to_end(&mut got)
                );
                wrote.unwrap();
                read.unwrap();
                assert_eq!(got.strip_suffix(b"bye").unwrap(), sent);
                (&mut forward.outcome).await.unwrap();
            })
        })
        .collect();
    for connection in connections {
        connection.await.unwrap();
    }
    assert_eq!(provider.in_flight(), 0);
}

#[tokio::test]
async fn a_panic_in_a_session_ends_it_and_all_others_of_the_instance() {
    let (provider, _) = streams("panics").await;
    let (bystander, _) = streams("bystander").await;
    let mut other = exec(&provider, "hang", &["stdin", "stdout"]);
    let mut untouched = attach(&bystander, &["stdin", "stdout"]);
    let mut session = exec(&provider, "panic", &["stdout"]);
    assert_eq!(read(&mut session.stdout).await, "half of it");
    let error = session.outcome.await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Panicked, "exec of the fixture")
    );
    let error = (&mut other.outcome).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.message.contains("exec of the fixture"), "{}", error.message);
    assert_eq!(read(&mut other.stdout).await, "");

    reaches(&provider, |state| *state == State::Ready { epoch: 2 }).await;
    let again = exec(&provider, "exit 3", &[]);
    assert_eq!(again.outcome.await.unwrap(), exit(3));

    let mut forward = provider.port_forward(&port(2)).unwrap();
    forward.stream.write_all(b"x").await.unwrap();
    assert_eq!(forward.outcome.await.unwrap_err().code, ErrorCode::Panicked);

    untouched.stdin.take().unwrap().write_all(b"alive").await.unwrap();
    assert_eq!(read(&mut untouched.stdout).await, "main of pod-u1\nalive");
    untouched.outcome.await.unwrap();
}

#[tokio::test]
async fn an_input_whose_instance_is_given_up_does_not_pass_for_a_whole_one() {
    const SESSIONS: usize = 20;
    let (provider, _) = streams("half").await;
    let directory = tempfile::tempdir().unwrap();
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        let command = format!("input {}", directory.path().join(number.to_string()).display());
        let Session {
            outcome, stdin, stdout, ..
        } = exec(&provider, &command, &["stdin", "stdout"]);
        let (mut stdin, mut stdout) = (stdin.unwrap(), stdout.unwrap());
        stdin.write_all(b"half of it").await.unwrap();
        stdout.read_exact(&mut [0; 5]).await.unwrap();
        // As whoever serves a client does.
        clients.push(tokio::spawn(async move {
            let ended = outcome.await;
            drop((stdin, stdout));
            ended.unwrap_err().code
        }));
    }
    let neighbour = exec(&provider, "panic", &["stdout"]);
    assert_eq!(neighbour.outcome.await.unwrap_err().code, ErrorCode::Panicked);
    for client in clients {
        assert_eq!(client.await.unwrap(), ErrorCode::Unavailable);
    }
    let ends = || {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let mut ends: Vec<_> = files
            .map(|file| file.unwrap().path().extension().unwrap().to_owned())
            .collect();
        ends.sort();
        ends
    };
    eventually("each says how it ended", || ends().len() == SESSIONS).await;
    assert_eq!(ends(), ["dropped"; SESSIONS]);
}

#[tokio::test]
async fn a_provider_that_is_given_up_while_it_hangs_ends_its_sessions() {
    for how in ["shut down", "dropped"] {
        let (provider, _) = streams("given-up").await;
        // Its only streams are held by a thread that never comes back.
        let mut session = exec(&provider, "block", &["stdin", "stdout"]);
        if how == "dropped" {
            drop(provider);
        } else {
            // The thread answers nothing, not even this.
            let _ = provider.shutdown(Duration::from_millis(50)).await;
            let error = provider.exec(&exec_of("exit 0", &[])).err().unwrap();
            assert_eq!(error.code, ErrorCode::Unavailable);
        }
        let error = timeout(LONG, &mut session.outcome).await.unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains(how), "{}", error.message);
        assert_eq!(read(&mut session.stdout).await, "");
    }
}

#[tokio::test]
async fn images_are_told_by_node() {
    let (provider, _) = streams("images").await;
    let images = provider.images("vk-1", LONG).await.unwrap();
    assert_eq!(images.len(), 2);
    assert_eq!((images[1].names[0].as_str(), images[1].size_bytes), ("vk-1/two", 2));
}

#[tokio::test]
async fn a_capability_that_is_not_there_is_unsupported() {
    let (provider, _) = launch(&provider("bare", "slow", json!({}))).await.unwrap();
    let attach: AttachRequest = serde_json::from_value(json!({ "identity": pod("u1"), "container": "c" })).unwrap();
    let codes = [
        provider.exec(&exec_of("exit 0", &["stdout"])).err().unwrap().code,
        provider.attach(&attach).err().unwrap().code,
        provider.port_forward(&port(80)).err().unwrap().code,
        provider.images("n", LONG).await.unwrap_err().code,
    ];
    assert_eq!(codes, [ErrorCode::Unsupported; 4]);
    assert_eq!(provider.in_flight(), 0);
}
