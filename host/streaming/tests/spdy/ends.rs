//! How connections end: in order, too early, and never.

use crate::peer::{CANCEL, FIN, Peer, REFUSED_STREAM, Seen, data, reply, reset, soon};
use crate::streams::inner;
use outrigger_streaming::spdy::{Config, Error, Headers, client, server};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::{Instant, advance, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const CAP: Duration = Duration::from_secs(15 * 60);

fn config() -> Config {
    Config::default()
}

#[tokio::test(start_paused = true)]
async fn finish_writes_all_ends_all_and_waits_for_the_peer() {
    let (mut peer, connection, mut stream) = Peer::with_stream(config()).await;
    stream.write_all(b"output").await.unwrap();
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    assert_eq!(peer.see().await, data(1, false, b"output"));
    assert_eq!(peer.see().await, data(1, true, b""));
    // A slow client that pings, for long: it is answered, and nothing is closed.
    for i in 0..100 {
        sleep(Duration::from_secs(5)).await;
        peer.ping(2 * i + 1).await;
        loop {
            match peer.see().await {
                Seen::Ping(id) if id % 2 == 0 => peer.ping(id).await,
                seen => break assert_eq!(seen, Seen::Ping(2 * i + 1)),
            }
        }
    }
    assert!(!finish.is_finished());
    peer.syn(3, 0, &[]).await;
    assert_eq!(peer.see().await, reset(3, REFUSED_STREAM));
    assert!(stream.write(b"late").await.is_err());
    // The peer's half is open until it leaves.
    peer.data(1, 0, b"input").await;
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'i');
    peer.go_away(0).await;
    soon(finish).await.unwrap().unwrap();
    assert_eq!(peer.see().await, Seen::GoAway { last: 1, status: 0 });
    assert_eq!(peer.see().await, Seen::End);
    let mut rest = Vec::new();
    let error = soon(stream.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(rest, b"nput");
    assert!(matches!(inner(&error), Error::Closed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn finish_ends_when_the_transport_does() {
    let (peer, connection, _stream) = Peer::with_stream(config()).await;
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    sleep(Duration::from_secs(1)).await;
    assert!(!finish.is_finished());
    drop(peer);
    soon(finish).await.unwrap().unwrap();
}

/// A transport that says nothing of the peer's end, and fails when something is written after it.
struct Mute(DuplexStream, Arc<AtomicBool>);

impl AsyncRead for Mute {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => Poll::Pending,
            other => other,
        }
    }
}

impl AsyncWrite for Mute {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.1.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

// The question whether it lives may be what finds out that it does not.
#[tokio::test(start_paused = true)]
async fn finish_is_content_with_a_peer_that_left_without_a_word() {
    for left in [false, true] {
        let (near, far) = duplex(1000);
        let reset = Arc::new(AtomicBool::new(false));
        let (client, mut server) = (client(near, config()), server(Mute(far, reset.clone()), config()));
        let accept = async { server.accept().await.unwrap().accept(Headers::new()) };
        let (near, mut far) = soon(async { tokio::join!(client.open(Headers::new(), false), accept) }).await;
        let mut near = near.unwrap();
        soon(far.write_all(b"all of it")).await.unwrap();
        if left {
            soon(near.read_exact(&mut [0; 9])).await.unwrap();
        }
        let finish = tokio::spawn(server.finish(PATIENCE, CAP));
        if left {
            soon(near.read_to_end(&mut Vec::new())).await.unwrap();
        }
        reset.store(true, Ordering::Relaxed);
        let result = timeout(PATIENCE, finish).await.unwrap().unwrap();
        // The end of the stream was on its way, or it was not.
        assert_eq!(result.is_ok(), left, "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn finish_gives_up_a_peer_that_is_dead() {
    let (mut peer, connection, _stream) = Peer::with_stream(config()).await;
    let begun = Instant::now();
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    let error = timeout(CAP, finish).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Stuck(PATIENCE)), "{error}");
    // It was asked for signs of life, which count as activity only when they are answered.
    assert!(
        begun.elapsed() >= PATIENCE && begun.elapsed() < 2 * PATIENCE,
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(peer.see().await, data(1, true, b""));
    let mut pings = 0;
    loop {
        match peer.see().await {
            Seen::Ping(id) => assert_eq!(id % 2, 0),
            seen => break assert_eq!(seen, Seen::GoAway { last: 1, status: 0 }),
        }
        pings += 1;
    }
    assert!(pings > 0);
    assert_eq!(peer.see().await, Seen::End);
}

#[tokio::test(start_paused = true)]
async fn finish_gives_up_a_peer_that_never_leaves() {
    let (mut peer, connection, _stream) = Peer::with_stream(config()).await;
    let begun = Instant::now();
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    let pinging = tokio::spawn(async move {
        loop {
            if let Seen::End = timeout(PATIENCE, peer.frame()).await.unwrap() {
                break;
            }
            sleep(Duration::from_secs(5)).await;
            peer.io.write_all(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]).await.ok();
        }
    });
    let error = timeout(2 * CAP, finish).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Stuck(CAP)), "{error}");
    assert!(
        begun.elapsed() >= CAP && begun.elapsed() < CAP + PATIENCE,
        "{:?}",
        begun.elapsed()
    );
    pinging.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn finish_delivers_everything_to_a_slow_reader() {
    let (near, far) = duplex(4096);
    let (client, mut server) = (client(near, config()), server(far, config()));
    let serving = tokio::spawn(async move {
        let mut stdout = server.accept().await.unwrap().accept(Headers::new());
        let mut status = server.accept().await.unwrap().accept(Headers::new());
        let output: Vec<u8> = (0..2_000_000u32).flat_map(|i| i.to_le_bytes()).collect();
        stdout.write_all(&output).await.unwrap();
        status.write_all(b"success").await.unwrap();
        // Neither is ended or waited for.
        server.finish(PATIENCE, CAP).await
    });
    let mut stdout = soon(client.open(Headers::new(), true)).await.unwrap();
    let mut status = soon(client.open(Headers::new(), true)).await.unwrap();
    let (mut expected, mut buffer) = (0u32, [0; 40_000]);
    while expected < 2_000_000 {
        // Longer than the server's patience, all in all.
        sleep(Duration::from_secs(1)).await;
        timeout(PATIENCE, stdout.read_exact(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        for word in buffer.chunks_exact(4) {
            assert_eq!(u32::from_le_bytes(word.try_into().unwrap()), expected);
            expected += 1;
        }
    }
    assert_eq!(soon(stdout.read(&mut buffer)).await.unwrap(), 0);
    let mut text = String::new();
    soon(status.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "success");
    assert!(!serving.is_finished());
    soon(client.close()).await.unwrap();
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn finish_refuses_what_nobody_has_accepted() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.syn(1, 0, &[]).await;
    peer.syn(3, 0, &[]).await;
    let undecided = soon(connection.accept()).await.unwrap();
    // The other has arrived, too.
    peer.see_echo(1).await;
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    let mut seen = [peer.see().await, peer.see().await];
    seen.sort_by_key(|seen| matches!(seen, Seen::Reset { id: 3, .. }));
    assert_eq!(seen, [reset(1, REFUSED_STREAM), reset(3, REFUSED_STREAM)]);
    let mut stream = undecided.accept(Headers::new());
    assert!(matches!(
        inner(&stream.read(&mut [0]).await.unwrap_err()),
        Error::Closed
    ));
    peer.see_echo(3).await;
    drop(peer);
    soon(finish).await.unwrap().unwrap();
}

// A reader that is gone must not keep the end of the peer from being seen.
#[tokio::test(start_paused = true)]
async fn finish_does_not_wait_for_readers() {
    let (mut peer, connection, mut stream) = Peer::with_stream(Config {
        receive: 1000,
        ..config()
    })
    .await;
    peer.data(1, 0, &[1; 1000]).await;
    peer.data(1, 0, &[2; 100_000]).await;
    peer.go_away(0).await;
    sleep(Duration::from_secs(1)).await;
    soon(connection.finish(PATIENCE, CAP)).await.unwrap();
    let mut got = Vec::new();
    assert!(soon(stream.read_to_end(&mut got)).await.is_err());
    assert!(got.len() >= 1000 && got[..1000].iter().all(|byte| *byte == 1));
}

#[tokio::test(start_paused = true)]
async fn finish_says_when_the_peer_left_too_early() {
    let (near, far) = duplex(1000);
    let (client, mut server) = (client(near, config()), server(far, config()));
    let accept = async { server.accept().await.unwrap().accept(Headers::new()) };
    let (near, mut far) = soon(async { tokio::join!(client.open(Headers::new(), false), accept) }).await;
    let _near = near.unwrap();
    // As much as may wait there and here and in between, and more.
    let mut written = 0;
    while let Ok(count) = timeout(Duration::from_secs(1), far.write(&[0; 10_000])).await {
        written += count.unwrap();
    }
    assert!(written > config().receive, "{written}");
    let finish = tokio::spawn(server.finish(PATIENCE, CAP));
    sleep(Duration::from_secs(1)).await;
    drop(client);
    let error = soon(finish).await.unwrap().unwrap_err();
    assert!(error.is_gone(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn close_writes_all_and_says_goodbye() {
    let (mut peer, connection) = Peer::server(config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new(), false).await });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 1, .. }));
    peer.syn_reply(1, 0).await;
    let mut stream = soon(opening).await.unwrap().unwrap();
    stream.write_all(b"input").await.unwrap();
    soon(connection.close()).await.unwrap();
    assert_eq!(peer.see().await, data(1, true, b"input"));
    assert_eq!(peer.see().await, Seen::GoAway { last: 0, status: 0 });
    assert_eq!(peer.see().await, Seen::End);
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_a_transport_that_takes_nothing() {
    let (near, far) = duplex(100);
    let connection = client(near, config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new().with("long", "x".repeat(1000)), false).await });
    sleep(Duration::from_secs(1)).await;
    let error = timeout(Duration::from_secs(30), connection.close())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, Error::Stuck(_)), "{error}");
    assert!(soon(opening).await.unwrap().is_err());
    drop(far);
}

// As long as it takes something, however little.
#[tokio::test(start_paused = true)]
async fn close_waits_for_a_transport_that_is_slow() {
    let (near, mut far) = duplex(1000);
    let connection = client(near, config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new().with("long", "x".repeat(8000)), false).await });
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let closing = tokio::spawn(connection.close());
    let mut got = 0;
    loop {
        sleep(config().linger / 2).await;
        match far.read(&mut [0; 1000]).await.unwrap() {
            0 => break,
            some => got += some,
        }
    }
    assert!(
        begun.elapsed() > 2 * config().linger && got > 8000,
        "{got} bytes in {:?}",
        begun.elapsed()
    );
    soon(closing).await.unwrap().unwrap();
    assert!(soon(opening).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_half_that_has_ended_in_order_stays_so() {
    let (mut peer, connection, mut stream) = Peer::with_stream(config()).await;
    stream.write_all(b"all").await.unwrap();
    soon(stream.shutdown()).await.unwrap();
    peer.data(1, 0, b"too little").await;
    drop(connection);
    let mut text = Vec::new();
    let error = soon(stream.read_to_end(&mut text)).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Closed), "{error}");
    soon(stream.flush()).await.unwrap();
    soon(stream.shutdown()).await.unwrap();
    let error = soon(stream.write(b"x")).await.unwrap_err();
    assert!(matches!(inner(&error), Error::HalfClosed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_connection_closes_the_transport_and_fails_its_streams() {
    let (mut peer, connection, mut stream) = Peer::with_stream(config()).await;
    let handle = connection.handle();
    drop(connection);
    assert_eq!(peer.see().await, Seen::End);
    let error = soon(stream.read(&mut [0])).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Closed), "{error}");
    assert!(matches!(
        soon(handle.open(Headers::new(), false)).await.unwrap_err(),
        Error::Closed
    ));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_fails_everything_after_what_it_sent() {
    let (mut peer, mut connection, mut stream) = Peer::with_stream(config()).await;
    let opening = tokio::spawn({
        let handle = connection.handle();
        async move { handle.open(Headers::new(), false).await }
    });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 2, .. }));
    peer.data(1, 0, b"last words").await;
    // In the middle of a frame.
    peer.say(&[0x80, 3, 0]).await;
    drop(peer);
    assert!(soon(connection.accept()).await.is_none());
    assert!(matches!(connection.error(), Some(Error::Gone)));
    assert!(matches!(soon(opening).await.unwrap().unwrap_err(), Error::Gone));
    let mut text = Vec::new();
    let error = soon(stream.read_to_end(&mut text)).await.unwrap_err();
    assert_eq!(text, b"last words");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(soon(connection.finish(PATIENCE, CAP)).await.unwrap_err().is_gone());
}

#[tokio::test(start_paused = true)]
async fn four_hours_without_a_frame_are_too_long() {
    let (mut peer, mut connection, mut stream) = Peer::with_stream(config()).await;
    let begun = Instant::now();
    assert!(
        timeout(Duration::from_secs(5 * 3600), connection.accept())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(begun.elapsed().as_secs(), 4 * 3600);
    assert!(matches!(connection.error(), Some(Error::Idle(_))));
    assert_eq!(peer.see().await, Seen::GoAway { last: 1, status: 0 });
    assert_eq!(peer.see().await, Seen::End);
    assert_eq!(
        soon(stream.read(&mut [0])).await.unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
}

#[tokio::test(start_paused = true)]
async fn a_ping_now_and_then_keeps_a_connection_for_days() {
    let (mut peer, connection, mut stream) = Peer::with_stream(config()).await;
    for i in 0..10 {
        advance(Duration::from_secs(4 * 3600 - 1)).await;
        peer.see_echo(2 * i + 1).await;
    }
    assert!(connection.error().is_none());
    // What this side sends counts as well.
    for _ in 0..3 {
        sleep(Duration::from_secs(3 * 3600)).await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(peer.see().await, data(1, false, b"x"));
    }
    assert!(connection.error().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_runtime_ends_the_streams() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (near, far) = duplex(1000);
    let (client, mut server) = {
        let _inside = runtime.enter();
        (client(near, config()), server(far, config()))
    };
    let accept = async { server.accept().await.unwrap().accept(Headers::new()) };
    let (near, _far) = tokio::join!(client.open(Headers::new(), false), accept);
    let mut near = near.unwrap();
    runtime.shutdown_background();
    let error = near.read(&mut [0]).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Closed | Error::Gone), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_session_does_at_its_end() {
    // An exec as kubectl sees it: four streams, output, status, and the client leaves after the last FIN.
    let (mut peer, mut connection) = Peer::client(config());
    let mut streams = Vec::new();
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        peer.syn(id, 0, &[("streamtype", kind)]).await;
        streams.push(soon(connection.accept()).await.unwrap().accept(Headers::new()));
        assert_eq!(peer.see().await, reply(id));
    }
    peer.data(3, FIN, b"input").await;
    let mut text = String::new();
    soon(streams[1].read_to_string(&mut text)).await.unwrap();
    streams[2].write_all(text.as_bytes()).await.unwrap();
    streams[2].shutdown().await.unwrap();
    streams[3].shutdown().await.unwrap();
    streams[0].write_all(b"{}").await.unwrap();
    let finish = tokio::spawn(connection.finish(PATIENCE, CAP));
    assert_eq!(peer.see().await, data(5, true, b"input"));
    assert_eq!(peer.see().await, data(7, true, b""));
    assert_eq!(peer.see().await, data(1, false, b"{}"));
    let mut ends = [peer.see().await, peer.see().await];
    ends.sort_by_key(|seen| matches!(seen, Seen::Data { id: 3, .. }));
    assert_eq!(ends, [data(1, true, b""), data(3, true, b"")]);
    peer.reset(1, CANCEL).await;
    peer.go_away(0).await;
    drop(peer);
    soon(finish).await.unwrap().unwrap();
}
