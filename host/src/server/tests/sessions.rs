//! exec, attach and run: through TLS and each protocol, to processes made up.

use super::fake::Log;
use super::processes;
use super::upgrades::*;
use super::*;
use outrigger_plugin::ProviderError;
use outrigger_streaming::remotecommand;
use outrigger_streaming::remotecommand::Outcome;
use outrigger_streaming::remotecommand::Protocol;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Over SPDY and over WebSocket.
const BOTH: [Protocol; 2] = [Protocol::SpdyV4, Protocol::WebSocketV5];

const ALL: [Protocol; 9] = [
    Protocol::SpdyV1,
    Protocol::SpdyV2,
    Protocol::SpdyV3,
    Protocol::SpdyV4,
    Protocol::WebSocketV1,
    Protocol::WebSocketV1Base64,
    Protocol::WebSocketV4,
    Protocol::WebSocketV4Base64,
    Protocol::WebSocketV5,
];

async fn none_left(sessions: &AtomicU64, what: &str) {
    let left = || sessions.load(Ordering::SeqCst) == 0;
    eventually(what, left).await;
}

#[tokio::test]
async fn every_protocol_brings_output_and_outcome() {
    let server = start(Fake::new(Log::Text(""))).await;
    for protocol in ALL {
        let (stdout, stderr, outcome) = finish(exec(&server, protocol, OUTPUT, "both").await).await;
        assert_eq!(
            (stdout.as_slice(), stderr.as_slice()),
            (&b"out"[..], &b"err"[..]),
            "{protocol:?}"
        );
        let text = "command terminated with non-zero exit code: 3".to_owned();
        let expected = match protocol.has_status() {
            true => Outcome::Exit(3),
            false => Outcome::Failed { message: text },
        };
        assert_eq!(outcome, expected, "{protocol:?}");
        let (_, _, outcome) = finish(exec(&server, protocol, OUTPUT, "exit 0").await).await;
        assert_eq!(outcome, Outcome::Success, "{protocol:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn exit_codes_arrive() {
    let server = start(Fake::new(Log::Text(""))).await;
    for protocol in [Protocol::SpdyV4, Protocol::WebSocketV4, Protocol::WebSocketV5] {
        for code in [1, 2, 126, 137, 255] {
            let (_, _, outcome) = finish(exec(&server, protocol, OUTPUT, &format!("exit {code}")).await).await;
            assert_eq!(outcome, Outcome::Exit(code), "{protocol:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn input_goes_in_with_its_end() {
    let backend = Fake::new(Log::Text(""));
    let commands = Arc::clone(&backend.commands);
    let server = start(backend).await;
    for protocol in BOTH {
        let mut session = exec(&server, protocol, INPUT, "cat").await;
        let mut stdin = session.stdin.take().unwrap();
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let sent = text.clone();
        let sending = tokio::spawn(async move {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
            stdin
        });
        let (stdout, _, outcome) = finish(session).await;
        sending.await.unwrap();
        assert!(stdout == text, "{protocol:?}");
        assert_eq!(outcome, Outcome::Success);
    }
    let commands = commands.lock().unwrap().clone();
    assert_eq!(commands, vec![(vec!["cat".to_owned()], [true, true, true, false]); 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_terminal_has_one_output_and_a_size() {
    let server = start(Fake::new(Log::Text(""))).await;
    for protocol in BOTH {
        let mut session = exec(&server, protocol, TERMINAL, "size").await;
        let mut resizer = session.resize.take().unwrap();
        // Some terminals do not know theirs at first.
        for (columns, rows) in [(0, 0), (80, 0), (0, 24), (132, 43)] {
            resizer.send(columns, rows).await.unwrap();
        }
        let (stdout, _, outcome) = finish(session).await;
        assert_eq!((stdout.as_slice(), outcome), (&b"132x43"[..], Outcome::Success));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    const SIZE: usize = 8 << 20;
    let server = start(Fake::new(Log::Text(""))).await;
    for protocol in BOTH {
        let mut session = exec(&server, protocol, OUTPUT, &format!("zeros {SIZE}")).await;
        let mut stdout = session.stdout.take().unwrap();
        let (mut read, mut buffer) = (0, vec![0; 256 << 10]);
        loop {
            // Long after the process has ended.
            tokio::time::sleep(Duration::from_millis(5)).await;
            match stdout.read(&mut buffer).await.unwrap() {
                0 => break,
                some => read += some,
            }
        }
        assert_eq!(read, SIZE, "{protocol:?}");
        assert_eq!(finish(session).await.2, Outcome::Success);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_process_does_not_read_holds_nobody_up() {
    let server = start(Fake::new(Log::Text(""))).await;
    for protocol in BOTH {
        let mut session = exec(&server, protocol, TERMINAL, "first-line").await;
        let (mut stdin, mut resizer) = (session.stdin.take().unwrap(), session.resize.take().unwrap());
        let whole = async {
            stdin.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
            // On the same connection, behind all of that.
            resizer.send(80, 24).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, whole).await.unwrap();
        let (stdout, _, outcome) = finish(session).await;
        assert_eq!(
            (stdout.as_slice(), outcome),
            (&b"x"[..], Outcome::Success),
            "{protocol:?}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_process_at_once() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend).await;
    for protocol in BOTH {
        let idle = exec(&server, protocol, INPUT, "hang").await;
        let mut busy = exec(&server, protocol, INPUT, "hang").await;
        let mut stdin = busy.stdin.take().unwrap();
        eventually("both run", || sessions.load(Ordering::SeqCst) == 2).await;
        // More than the process and the server take, so that the server reads no more of the connection, and less than
        // what the kernel holds in addition: behind what does not fit there, no end of a connection is ever seen.
        stdin
            .write_all(&vec![0; processes::HELD + ((256 + 32 + 16) << 10)])
            .await
            .unwrap();
        stdin.flush().await.unwrap();
        drop((idle, busy, stdin));
        none_left(&sessions, "a process goes on without its client").await;
    }
    let metrics = server.get("/metrics").await.body;
    assert!(
        metrics.contains("outrigger_kubelet_sessions{kind=\"exec\"} 0\n"),
        "{metrics}"
    );
    server.stop().await;
}

/// Of protocols without a half-close: nothing else can end the input of a `tar xf -`.
#[tokio::test]
async fn a_client_that_closes_in_order_has_ended_its_input() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend).await;
    let directory = tempfile::tempdir().unwrap();
    let sent: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    for protocol in [
        Protocol::WebSocketV4,
        Protocol::WebSocketV4Base64,
        Protocol::WebSocketV1,
    ] {
        for size in [5, sent.len()] {
            let path = directory.path().join(format!("{protocol:?}-{size}"));
            let command = format!("into {}", path.display());
            let session = exec(&server, protocol, INPUT, &command).await;
            let remotecommand::ClientSession { stdin, end, .. } = session;
            stdin.unwrap().write_all(&sent[..size]).await.unwrap();
            // Whether the server has time for its own word of farewell or not.
            drop(tokio::time::timeout(PATIENCE, end.close()).await.unwrap());
            none_left(&sessions, "the process does not end with its input").await;
            assert!(std::fs::read(&path).unwrap() == sent[..size], "{protocol:?}, {size}");
        }
    }
    // One that left without a word ends its process.
    let session = exec(&server, Protocol::WebSocketV4, INPUT, "hang").await;
    eventually("it runs", || sessions.load(Ordering::SeqCst) == 1).await;
    drop(session);
    none_left(&sessions, "a process goes on without its client").await;
    server.stop().await;
}

#[tokio::test]
async fn failures_are_told_without_details() {
    let mut backend = Fake::new(Log::Text(""));
    let server = start(backend.clone()).await;
    for protocol in BOTH {
        let (stdout, _, outcome) = finish(exec(&server, protocol, OUTPUT, "break").await).await;
        assert_eq!(stdout, b"some");
        let Outcome::Failed { message } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            message.ends_with("error executing command in container: the backend went away"),
            "{message}"
        );
    }
    server.stop().await;

    backend.refusal = Some(ProviderError::unavailable("the provider is starting"));
    let server = start(backend).await;
    for (path, what) in [("exec", "error executing command in"), ("attach", "error attaching to")] {
        let path = format!("/{path}/default/web/app?command=cat");
        let (_, _, outcome) = finish(session(&server, &path, Protocol::SpdyV4, OUTPUT).await).await;
        let Outcome::Failed { message } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(
            message.ends_with(&format!("{what} container: the provider is starting")),
            "{message}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn attaching_ends_with_the_client_or_the_container() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend).await;
    for path in ["/attach/default/web/app?", "/attach/default/web/uid-web/app?"] {
        let mut attached = session(&server, path, Protocol::SpdyV4, INPUT).await;
        let mut stdin = attached.stdin.take().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        stdin.shutdown().await.unwrap();
        let (stdout, _, outcome) = finish(attached).await;
        assert_eq!((stdout.as_slice(), outcome), (&b"hello"[..], Outcome::Success));
    }
    let attached = session(&server, "/attach/default/web/app?", Protocol::WebSocketV4, INPUT).await;
    eventually("it is attached", || sessions.load(Ordering::SeqCst) == 1).await;
    drop(attached);
    none_left(&sessions, "it stays attached").await;
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_begin_is_an_http_answer() {
    let mut backend = Fake::new(Log::Text(""));
    let server = start(backend.clone()).await;
    let spdy = remotecommand::ask(&[Protocol::SpdyV4]).headers;
    let none = http::HeaderMap::new();
    let mut other = spdy.clone();
    other.insert("x-stream-protocol-version", "v9.channel.k8s.io".parse().unwrap());
    for (path, headers, status) in [
        ("/exec/default/web/app?output=1&command=cat", &none, 400),
        ("/exec/default/web/app?output=1&command=cat", &other, 403),
        ("/exec/default/web/app?command=cat", &spdy, 400),
        ("/exec/default/web/app?output=1", &spdy, 400),
        ("/exec/default/web/app?output=1&command=", &spdy, 400),
        ("/exec/default/other/app?output=1&command=cat", &spdy, 404),
        ("/exec/default/web/another-uid/app?output=1&command=cat", &spdy, 404),
        ("/exec/default/web/other?output=1&command=cat", &spdy, 500),
        ("/exec/default/web/slow?output=1&command=cat", &spdy, 500),
        ("/exec/default/web/init?output=1&command=cat", &spdy, 500),
        ("/exec/default/web?output=1&command=cat", &spdy, 404),
        ("/attach/default/web/app", &spdy, 400),
        ("/attach/default/web/slow?output=1", &spdy, 500),
        ("/portForward/default/other", &spdy, 404),
        ("/portForward/default/web/another-uid", &spdy, 404),
        ("/portForward/default", &spdy, 404),
    ] {
        let (response, _) = ask_upgrade(&server, "POST", path, headers).await;
        assert_eq!(response.status(), status, "{path}");
    }
    let (response, _) = ask_upgrade(&server, "PUT", "/exec/default/web/app?output=1&command=cat", &spdy).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    let path = "/exec/default/web/app?output=1&command=cat";
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 3\r\n\r\nabc"
    );
    let mut stream = connect(server.address, Some(&caller)).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
    server.stop().await;

    backend.lacks = vec![Feature::Exec, Feature::Attach, Feature::PortForward];
    let server = start(backend).await;
    for path in [
        "/exec/default/web/app?output=1&command=cat",
        "/attach/default/web/app?output=1",
        "/portForward/default/web",
    ] {
        let (response, _) = ask_upgrade(&server, "POST", path, &spdy).await;
        assert_eq!(response.status(), 501, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn newer_protocols_are_for_nodes_that_declare_them() {
    let server = start_as(Fake::new(Log::Text("")), Limits::default(), false).await;
    let asked = remotecommand::ask(&[Protocol::WebSocketV5, Protocol::WebSocketV4]);
    let path = "/exec/default/web/app?output=1&command=say&command=hello";
    let (response, _) = ask_upgrade(&server, "GET", path, &asked.headers).await;
    assert_eq!(asked.answered(&response).unwrap(), Protocol::WebSocketV4);
    let asked = remotecommand::ask(&[Protocol::WebSocketV5]);
    let (response, _) = ask_upgrade(&server, "GET", path, &asked.headers).await;
    assert_eq!(response.status(), 403);
    server.stop().await;
}

#[tokio::test]
async fn a_session_keeps_the_place_of_its_connection() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let limits = Limits {
        served: 1,
        refused: 1,
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    let running = exec(&server, Protocol::SpdyV4, INPUT, "hang").await;
    eventually("it runs", || sessions.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.get("/healthz").await.status, 503);
    drop(running);
    none_left(&sessions, "it goes on").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get("/healthz").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the place is never free again");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_servers_end_is_told_to_those_who_do_not_end_by_themselves() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let limits = Limits {
        farewell: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    let hanging = exec(&server, Protocol::SpdyV4, INPUT, "hang").await;
    let ending = exec(&server, Protocol::WebSocketV5, OUTPUT, "slow 300").await;
    eventually("both run", || sessions.load(Ordering::SeqCst) == 2).await;
    server.shutdown.cancel();
    let (ending, hanging) = tokio::join!(finish(ending), finish(hanging));
    assert_eq!(ending.2, Outcome::Success);
    let Outcome::Failed { message } = hanging.2 else {
        panic!("{:?}", hanging.2)
    };
    assert!(message.ends_with("the node's host is shutting down"), "{message}");
    none_left(&sessions, "a process outlives its server").await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_ignores_the_servers_end_is_cut_off() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let limits = Limits {
        farewell: Duration::from_millis(400),
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    // It never reads, so it never learns.
    let stubborn = exec(&server, Protocol::SpdyV4, OUTPUT, "zeros 100000000").await;
    eventually("it runs", || sessions.load(Ordering::SeqCst) == 1).await;
    server.stop().await;
    assert_eq!(sessions.load(Ordering::SeqCst), 0);
    drop(stubborn);
}

#[tokio::test]
async fn a_command_runs_without_streams() {
    let mut backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend.clone()).await;
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    let post = async |server: &Running, path: &str| {
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        ask(server.address, Some(&caller), &request).await
    };
    for path in ["/run/default/web/app", "/run/default/web/uid-web/app"] {
        let reply = post(&server, &format!("{path}?cmd=say+hello+there")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello there"));
        assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    }
    let reply = post(&server, "/run/default/web/app?cmd=both").await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.body.starts_with("command terminated with non-zero exit code 3: "),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains("out") && reply.body.contains("err"),
        "{}",
        reply.body
    );
    assert_eq!(post(&server, "/run/default/web/app").await.status, 400);
    assert_eq!(post(&server, "/run/default/other/app?cmd=say").await.status, 404);
    assert_eq!(server.get("/run/default/web/app?cmd=say").await.status, 405);

    let mut stream = server.connect().await;
    let request = b"POST /run/default/web/app?cmd=hang HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    eventually("it runs", || sessions.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    none_left(&sessions, "a command goes on without its caller").await;
    server.stop().await;

    backend.refusal = Some(ProviderError::retry_after(Duration::from_secs(3), "busy"));
    let server = start(backend).await;
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    let request =
        "POST /run/default/web/app?cmd=cat HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let reply = ask(server.address, Some(&caller), request).await;
    assert_eq!((reply.status, reply.body.as_str()), (429, "busy"));
    assert!(reply.head.contains("retry-after: 3"), "{}", reply.head);
    server.stop().await;
}
