use std::time::Duration;

use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::spdy::{self, Headers};
use crate::testing::{dribbling, pattern};

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
const PLAIN: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TTY: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};
const SOON: Duration = Duration::from_secs(20);

fn half_closes(protocol: Protocol) -> bool {
    protocol.is_spdy() || protocol == Protocol::WebSocketV5
}

async fn both<A, B>(a: A, b: B, protocol: Protocol, wanted: Wanted) -> (Session, ClientSession)
where
    A: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (server, client) = tokio::join!(
        serve(a, protocol, wanted, Limits::default()),
        connect(b, protocol, wanted)
    );
    (server.unwrap(), client.unwrap())
}

/// Stands for a command: copies `expect` bytes, or all where stdin can end, to stdout and says so on stderr.
async fn command(mut session: Session, expect: Option<usize>, outcome: Outcome) -> Result<(), Error> {
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    let copied = match expect {
        Some(length) => tokio::io::copy(&mut (&mut stdin).take(length as u64), &mut stdout).await,
        None => tokio::io::copy(&mut stdin, &mut stdout).await,
    };
    if let Some(mut stderr) = session.stderr.take() {
        let text = format!("copied {}", copied.unwrap());
        stderr.write_all(text.as_bytes()).await.unwrap();
    }
    drop((stdin, stdout));
    session.end.finish(outcome).await
}

async fn whole_session<A, B>(a: A, b: B, protocol: Protocol, length: usize, outcome: Outcome) -> Outcome
where
    A: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (server, mut client) = both(a, b, protocol, PLAIN).await;
    let expect = (!half_closes(protocol)).then_some(length);
    let running = tokio::spawn(command(server, expect, outcome));
    let sent = pattern(length);
    let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut stderr = client.stderr.take().unwrap();
    let write = async {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let (mut out, mut err) = (Vec::new(), String::new());
    let (_, out_read, err_read, outcome) = tokio::join!(
        write,
        stdout.read_to_end(&mut out),
        stderr.read_to_string(&mut err),
        client.end.outcome()
    );
    assert!(out == sent, "{protocol:?}: {} of {length} bytes, or others", out.len());
    assert_eq!((out_read.unwrap(), err_read.unwrap()), (length, err.len()));
    assert_eq!(err, format!("copied {length}"));
    client.end.close().await.unwrap();
    running.await.unwrap().unwrap();
    outcome.unwrap()
}

#[tokio::test]
async fn a_session_of_each_protocol() {
    for protocol in ALL {
        let (a, b) = duplex(4 << 10);
        let outcome = whole_session(a, b, protocol, 500_000, Outcome::Success).await;
        assert_eq!(outcome, Outcome::Success, "{protocol:?}");
        let (a, b) = duplex(4 << 10);
        let outcome = whole_session(a, b, protocol, 10, Outcome::Exit(137)).await;
        match outcome {
            Outcome::Exit(137) => assert!(protocol.has_status()),
            Outcome::Failed { message } => {
                assert!(!protocol.has_status());
                assert_eq!(message, "command terminated with non-zero exit code: 137");
            }
            other => panic!("{protocol:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_terminal_of_each_protocol() {
    for protocol in ALL {
        let (a, b) = duplex(4 << 10);
        // What a caller wants wrongly is put right.
        let wanted = Wanted { stderr: true, ..TTY };
        let (mut server, mut client) = both(a, b, protocol, wanted).await;
        assert!(server.stderr.is_none() && client.stderr.is_none());
        if protocol.is_spdy() {
            assert_eq!(
                (server.resize.is_some(), client.resize.is_some()),
                (protocol.has_sizes(), protocol.has_sizes())
            );
        }
        if let (Some(sizes), Some(resizer)) = (&mut server.resize, &mut client.resize) {
            for size in [(80, 24), (65535, 1)] {
                resizer.send(size.0, size.1).await.unwrap();
                assert_eq!(sizes.next().await, Some(size), "{protocol:?}");
            }
        }
        let finished = tokio::spawn(server.end.finish(Outcome::Success));
        let mut rest = Vec::new();
        client.stdout.unwrap().read_to_end(&mut rest).await.unwrap();
        assert_eq!(client.end.outcome().await.unwrap(), Outcome::Success);
        client.end.close().await.unwrap();
        finished.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_stream_is_enough() {
    for protocol in [Protocol::SpdyV4, Protocol::WebSocketV5] {
        for wanted in [
            Wanted {
                stdin: true,
                ..Wanted::default()
            },
            Wanted {
                stdout: true,
                ..Wanted::default()
            },
            Wanted {
                stderr: true,
                ..Wanted::default()
            },
        ] {
            let (a, b) = duplex(4 << 10);
            let (server, mut client) = both(a, b, protocol, wanted).await;
            assert_eq!(
                (server.stdin.is_some(), server.stdout.is_some()),
                (wanted.stdin, wanted.stdout)
            );
            assert_eq!(
                (server.stderr.is_some(), server.resize.is_some()),
                (wanted.stderr, false)
            );
            let finished = tokio::spawn(server.end.finish(Outcome::Exit(1)));
            assert_eq!(client.end.outcome().await.unwrap(), Outcome::Exit(1));
            client.end.close().await.unwrap();
            finished.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn the_end_of_stdin_leaves_the_rest_open() {
    for protocol in ALL.into_iter().filter(|p| half_closes(*p)) {
        let (a, b) = duplex(4 << 10);
        let (mut server, mut client) = both(a, b, protocol, PLAIN).await;
        client.stdin.as_mut().unwrap().shutdown().await.unwrap();
        let mut none = Vec::new();
        server.stdin.as_mut().unwrap().read_to_end(&mut none).await.unwrap();
        assert!(none.is_empty());
        server.stdout.as_mut().unwrap().write_all(b"still here").await.unwrap();
        let mut got = [0; 10];
        client.stdout.as_mut().unwrap().read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still here");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    for protocol in ALL {
        let (a, b) = duplex(4 << 10);
        let (mut server, client) = both(a, b, protocol, PLAIN).await;
        assert!(
            timeout(Duration::from_millis(20), server.end.gone()).await.is_err(),
            "it is there"
        );
        drop(client);
        timeout(SOON, server.end.gone()).await.unwrap();
        // Once more, as loops do.
        timeout(SOON, server.end.gone()).await.unwrap();
        let mut stdout = server.stdout.take().unwrap();
        let write = async { while stdout.write_all(&[0; 1 << 16]).await.is_ok() {} };
        timeout(SOON, write).await.unwrap();
        let _ = server.stdin.take().unwrap().read(&mut [0]).await;
        let _ = timeout(SOON, server.end.finish(Outcome::Success)).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_leaves_is_no_success() {
    for protocol in ALL.into_iter().filter(|p| p.has_status()) {
        let (a, b) = duplex(4 << 10);
        let (server, mut client) = both(a, b, protocol, PLAIN).await;
        drop(server);
        let outcome = timeout(SOON, client.end.outcome()).await.unwrap();
        assert!(outcome.is_err(), "{protocol:?}: {outcome:?}");
    }
}

/// As the kubelet and container runtimes in Go do: the outcome, resets, GOAWAY, and the end of TCP.
#[tokio::test]
async fn a_server_that_resets_its_streams_at_the_end_is_understood() {
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(async move {
        let mut server = spdy::server(a, spdy::Config::default());
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(server.accept().await.unwrap().accept(Headers::new()));
        }
        streams[2].write_all(b"output").await.unwrap();
        let text = Outcome::Exit(3).encode(Protocol::SpdyV4);
        streams[0].write_all(&text).await.unwrap();
        for mut stream in streams {
            stream.flush().await.unwrap();
            stream.reset(spdy::Status::Cancel);
        }
        server.close().await.unwrap();
    });
    let mut client = connect(b, Protocol::SpdyV4, PLAIN).await.unwrap();
    let mut text = String::new();
    client.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "output");
    client.stderr.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "output");
    assert_eq!(client.end.outcome().await.unwrap(), Outcome::Exit(3));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    for protocol in ALL {
        let (a, b) = duplex(500);
        let (mut server, mut client) = both(a, b, protocol, PLAIN).await;
        let sent = pattern(2 << 20);
        let expected = sent.clone();
        let running = tokio::spawn(async move {
            let (mut out, mut err) = (server.stdout.take().unwrap(), server.stderr.take().unwrap());
            // Both at a time, and neither shut down: finishing does.
            let (a, b) = tokio::join!(out.write_all(&sent), err.write_all(&sent));
            a.and(b).unwrap();
            server.end.finish(Outcome::Exit(255)).await
        });
        let (out, err) = (client.stdout.take().unwrap(), client.stderr.take().unwrap());
        let slowly = |from: Input| async move {
            let (mut from, mut got, mut piece) = (from, Vec::new(), vec![0; 3000]);
            loop {
                tokio::task::yield_now().await;
                match from.read(&mut piece).await.unwrap() {
                    0 => return got,
                    read => got.extend_from_slice(&piece[..read]),
                }
            }
        };
        let (got_out, got_err, outcome) = tokio::join!(slowly(out), slowly(err), client.end.outcome());
        assert!(got_out == expected && got_err == expected, "{protocol:?}");
        assert_eq!(matches!(outcome.unwrap(), Outcome::Exit(255)), protocol.has_status());
        client.end.close().await.unwrap();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_the_command_does_not_read_is_dropped_when_it_says_so() {
    for protocol in ALL {
        let (a, b) = duplex(4 << 10);
        let (mut server, mut client) = both(a, b, protocol, PLAIN).await;
        drop(server.stdin.take());
        let mut stdin = client.stdin.take().unwrap();
        let flood = tokio::spawn(async move {
            // Far more than any queue holds. An error is fine: the server has said that it reads no more.
            for _ in 0..64 {
                if stdin.write_all(&[0; 64 << 10]).await.is_err() {
                    break;
                }
            }
        });
        timeout(SOON, flood).await.unwrap().unwrap();
        drop(client);
        timeout(SOON, server.end.gone()).await.unwrap();
    }
}

#[tokio::test]
async fn output_that_nobody_wants_to_be_sent_back_does_not_stop_the_session() {
    // A client that writes to its stdout stream is wrong, and only its own bytes are lost.
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(serve(
        a,
        Protocol::SpdyV4,
        Wanted { stdin: false, ..PLAIN },
        Limits::default(),
    ));
    let client = spdy::client(b, spdy::Config::default());
    let mut streams = Vec::new();
    for kind in ["error", "stdout", "stderr"] {
        streams.push(
            client
                .open(Headers::new().with("streamType", kind), false)
                .await
                .unwrap(),
        );
    }
    let mut server = serving.await.unwrap().unwrap();
    for stream in &mut streams {
        timeout(SOON, stream.write_all(&[0; 1 << 20])).await.unwrap().unwrap();
    }
    drop((client, streams));
    timeout(SOON, server.end.gone()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_over_spdy_before_the_client_has() {
    let (a, mut b) = duplex(4 << 10);
    let serving = tokio::spawn(serve(a, Protocol::SpdyV4, PLAIN, Limits::default()));
    assert!(timeout(Duration::from_millis(50), b.read(&mut [0])).await.is_err());
    drop(b);
    assert!(matches!(serving.await.unwrap(), Err(Error::Left)));
}

#[tokio::test]
async fn the_first_message_over_websocket_is_empty() {
    for (wanted, first) in [
        (PLAIN, &[1][..]),
        (Wanted { stdout: false, ..PLAIN }, &[2]),
        (
            Wanted {
                stdin: true,
                ..Wanted::default()
            },
            &[3],
        ),
    ] {
        let (a, b) = duplex(4 << 10);
        let _server = serve(a, Protocol::WebSocketV4, wanted, Limits::default())
            .await
            .unwrap();
        let mut client = WebSocketStream::from_raw_socket(b, Role::Client, None).await;
        assert_eq!(&client.next().await.unwrap().unwrap().into_data()[..], first);
    }
}

#[tokio::test]
async fn a_websocket_session_byte_by_byte() {
    let (a, b) = duplex(4 << 10);
    let mut server = serve(a, Protocol::WebSocketV4Base64, TTY, Limits::default())
        .await
        .unwrap();
    let mut client = WebSocketStream::from_raw_socket(b, Role::Client, None).await;
    client.send(Message::Text("0Zm9v".into())).await.unwrap();
    client
        .send(Message::Text("4eyJXaWR0aCI6MSwiSGVpZ2h0IjoyfQ==".into()))
        .await
        .unwrap();
    let mut got = [0; 3];
    server.stdin.as_mut().unwrap().read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"foo");
    assert_eq!(server.resize.as_mut().unwrap().next().await, Some((1, 2)));
    server.stdout.as_mut().unwrap().write_all(b"bar").await.unwrap();
    let finishing = tokio::spawn(server.end.finish(Outcome::Success));
    let mut seen = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        seen.push(match message {
            Message::Close(frame) => format!("close {}", u16::from(frame.unwrap().code)),
            Message::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        });
    }
    // {"metadata":{},"status":"Success"}
    assert_eq!(
        seen,
        [
            "1",
            "1YmFy",
            "3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MifQ==",
            "close 1000"
        ]
    );
    finishing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_has_30_s_for_its_streams_and_is_told() {
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(serve(a, Protocol::SpdyV4, PLAIN, Limits::default()));
    let start = Instant::now();
    let client = spdy::client(b, spdy::Config::default());
    let mut error = client
        .open(Headers::new().with("streamType", "error"), false)
        .await
        .unwrap();
    let _stdin = client
        .open(Headers::new().with("streamType", "stdin"), false)
        .await
        .unwrap();
    let mut text = Vec::new();
    error.read_to_end(&mut text).await.unwrap();
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_secs(31),
        "{waited:?}"
    );
    let outcome = Outcome::decode(Protocol::SpdyV4, &text).unwrap();
    let Outcome::Failed { message } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        message.contains("timed out") && message.contains("stdout, stderr"),
        "{message}"
    );
    client.close().await.unwrap();
    let error = serving.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Streams { missing, .. } if missing == "stdout, stderr"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_any_stream_is_not_waited_for() {
    let (a, b) = duplex(4 << 10);
    let start = Instant::now();
    let error = serve(a, Protocol::SpdyV4, PLAIN, Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::Streams { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(31));
    drop(b);
}

#[tokio::test]
async fn streams_of_other_kinds_are_ignored_and_doubles_refused() {
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(serve(a, Protocol::SpdyV4, TTY, Limits::default()));
    let client = spdy::client(b, spdy::Config::default());
    let open = async |kind: &str| client.open(Headers::new().with("streamType", kind), false).await;
    let mut streams = vec![open("error").await.unwrap(), open("stdin").await.unwrap()];
    let mut unknown = open("stdoot").await.unwrap();
    // With a terminal there is no stderr; old clients may ask for one.
    let mut stderr = open("stderr").await.unwrap();
    let doubled = open("stdin").await.unwrap_err();
    assert!(matches!(doubled, spdy::Error::Reset(_)), "{doubled}");
    streams.push(open("stdout").await.unwrap());
    assert!(!serving.is_finished(), "it waits for sizes");
    for ignored in [&mut unknown, &mut stderr] {
        assert_eq!(ignored.read(&mut [0]).await.unwrap(), 0);
        timeout(SOON, ignored.write_all(&[0; 2 << 20])).await.unwrap().unwrap();
    }
    streams.push(open("resize").await.unwrap());
    let mut server = serving.await.unwrap().unwrap();
    // Whoever comes later is refused as soon as somebody looks.
    let late = tokio::join!(open("stdin"), timeout(Duration::from_millis(200), server.end.gone()));
    assert!(late.0.is_err() && late.1.is_err());
}

#[tokio::test]
async fn the_first_protocol_ends_stdin_from_our_side_at_once() {
    for (protocol, ends) in [(Protocol::SpdyV1, true), (Protocol::SpdyV2, false)] {
        let (a, b) = duplex(4 << 10);
        let serving = tokio::spawn(serve(a, protocol, Wanted { stderr: false, ..PLAIN }, Limits::default()));
        let client = spdy::client(b, spdy::Config::default());
        let open = async |kind: &str| {
            client
                .open(Headers::new().with("streamType", kind), false)
                .await
                .unwrap()
        };
        let mut streams = [open("error").await, open("stdin").await, open("stdout").await];
        let mut server = serving.await.unwrap().unwrap();
        let read = timeout(Duration::from_millis(100), streams[1].read(&mut [0])).await;
        assert_eq!(read.is_ok(), ends, "{protocol:?}");
        // The client's own half works.
        streams[1].write_all(b"typed").await.unwrap();
        let mut got = [0; 5];
        server.stdin.as_mut().unwrap().read_exact(&mut got).await.unwrap();
    }
}

#[tokio::test]
async fn bad_sizes_end_sizes_and_nothing_else() {
    for protocol in [Protocol::SpdyV4, Protocol::WebSocketV4] {
        let (a, b) = duplex(4 << 10);
        let (mut server, mut client) = both(a, b, protocol, TTY).await;
        let mut sizes = server.resize.take().unwrap();
        let resizer = client.resize.as_mut().unwrap();
        resizer.send(1, 2).await.unwrap();
        resizer.raw(b"{\"Width\":\"wide\"}").await;
        assert_eq!(sizes.next().await, Some((1, 2)));
        assert_eq!(sizes.next().await, None);
        assert_eq!(sizes.next().await, None);
        client.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
        let mut got = [0];
        server.stdin.as_mut().unwrap().read_exact(&mut got).await.unwrap();
    }
}

/// Kubernetes' clients ping; without that, 4 h of silence are the end. The client is more patient, so that it isn't the one that
/// leaves.
#[tokio::test(start_paused = true)]
async fn four_hours_of_silence_end_it() {
    let wanted = Wanted {
        stdin: true,
        ..Wanted::default()
    };
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let lived = |start: Instant| {
        let lived = start.elapsed();
        assert!(
            lived >= hours(7) && lived < hours(7) + Duration::from_secs(120),
            "{lived:?}"
        );
    };

    let (a, b) = duplex(4 << 10);
    let start = Instant::now();
    let serving = tokio::spawn(serve(a, Protocol::SpdyV4, wanted, Limits::default()));
    let config = spdy::Config {
        idle: hours(100),
        ..spdy::Config::default()
    };
    let client = spdy::client(b, config);
    let _error = client
        .open(Headers::new().with("streamType", "error"), false)
        .await
        .unwrap();
    let mut stdin = client
        .open(Headers::new().with("streamType", "stdin"), false)
        .await
        .unwrap();
    let mut server = serving.await.unwrap().unwrap();
    assert!(timeout(hours(3), server.end.gone()).await.is_err());
    stdin.write_all(b"awake").await.unwrap();
    server.end.gone().await;
    lived(start);

    let (a, b) = duplex(4 << 10);
    let start = Instant::now();
    let mut server = serve(a, Protocol::WebSocketV5, wanted, Limits::default())
        .await
        .unwrap();
    let mut client = WebSocketStream::from_raw_socket(b, Role::Client, None).await;
    assert!(timeout(hours(3), server.end.gone()).await.is_err());
    client.send(Message::Ping(Vec::new().into())).await.unwrap();
    server.end.gone().await;
    lived(start);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn cuts_don_t_matter(
        room in 1usize..300,
        sizes in prop::collection::vec(1usize..40, 1..6),
        length in 0usize..5000,
        code in 0i32..256,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for protocol in ALL {
                let (a, b) = dribbling(room, &sizes);
                let outcome = whole_session(a, b, protocol, length, Outcome::Exit(code)).await;
                match outcome {
                    Outcome::Success => assert_eq!(code, 0),
                    Outcome::Exit(read) => assert_eq!(read, code),
                    Outcome::Failed { message } => assert!(message.ends_with(&code.to_string())),
                }
            }
        });
    }
}
