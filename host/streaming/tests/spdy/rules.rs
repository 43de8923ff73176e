//! What a side does with frames that a good peer sends, and with those that only a bad one does.

use crate::peer::{
    CANCEL, FIN, INVALID_STREAM, PROTOCOL_ERROR, Peer, REFUSED_STREAM, STREAM_ALREADY_CLOSED, STREAM_IN_USE, Seen,
    UNIDIRECTIONAL, data, reply, reset, soon,
};
use crate::streams::inner;
use outrigger_streaming::spdy::{Config, Error, Headers, Status};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn config() -> Config {
    Config::default()
}

/// The server says GOAWAY with a protocol error, and closes.
async fn ends(mut peer: Peer, mut connection: outrigger_streaming::spdy::Connection, last: u32, why: &str) {
    assert_eq!(peer.see().await, Seen::GoAway { last, status: 1 });
    assert_eq!(peer.see().await, Seen::End);
    assert!(soon(connection.accept()).await.is_none());
    let error = connection.error().unwrap();
    assert!(
        matches!(error, Error::Protocol(_)) && error.to_string().contains(why),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_is_silent_until_a_stream_is_opened() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.ping(1).await;
    peer.control(4, 0, &[0; 4]).await;
    peer.data(1, 0, b"too early").await;
    assert!(
        timeout(Duration::from_secs(3600), peer.frame()).await.is_err(),
        "it spoke first"
    );
    peer.syn(1, 0, &[("StreamType", "error")]).await;
    let incoming = soon(connection.accept()).await.unwrap();
    assert_eq!(incoming.headers.get("streamtype"), Some("error"));
    assert_eq!(peer.see().await, Seen::Ping(1));
    assert_eq!(peer.see().await, reset(1, INVALID_STREAM));
    drop(incoming);
    assert_eq!(peer.see().await, reset(1, REFUSED_STREAM));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_opens_a_stream_costs_no_memory() {
    let (mut peer, mut connection) = Peer::client(Config {
        control_backlog: 1200,
        ..config()
    });
    for i in 0..100 {
        peer.ping(2 * i + 1).await;
    }
    // It is not spoken to, even now.
    assert_eq!(peer.see().await, Seen::End);
    assert!(soon(connection.accept()).await.is_none());
    assert!(matches!(connection.error().unwrap(), Error::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn pings_of_the_peer_are_echoed_and_echoes_are_not() {
    let (mut peer, _connection, _stream) = Peer::with_stream(config()).await;
    peer.ping(2).await;
    peer.ping(4).await;
    peer.see_echo(1).await;
    peer.see_echo(0xffff_ffff).await;
}

#[tokio::test(start_paused = true)]
async fn pings_overtake_data() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(Config {
        send: 8 << 20,
        ..config()
    })
    .await;
    // More than the transport takes, so that there is always a queue.
    stream.write_all(&vec![0; 4 << 20]).await.unwrap();
    assert!(matches!(peer.see().await, Seen::Data { .. }));
    peer.ping(7).await;
    let mut before = 0;
    while peer.see().await != Seen::Ping(7) {
        before += 1;
    }
    // What the transport of a MiB holds, and the frames that were under way.
    assert!(before <= 32 + 2, "{before} frames came before the echo");
}

#[tokio::test(start_paused = true)]
async fn data_frames_are_small_and_end_with_fin() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(config()).await;
    let bytes = vec![9; (32 << 10) + 5];
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(peer.see().await, data(1, false, &bytes[..32 << 10]));
    assert_eq!(peer.see().await, data(1, true, &bytes[32 << 10..]));
    peer.data(1, FIN, b"").await;
    peer.see_echo(1).await;
}

#[tokio::test(start_paused = true)]
async fn fin_comes_with_opening_or_headers_or_data() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.syn(1, FIN, &[]).await;
    peer.syn(3, 0, &[]).await;
    peer.syn(5, 0, &[]).await;
    let headers = [&3u32.to_be_bytes()[..], &peer.block(&[("more", "headers")])].concat();
    peer.control(8, FIN, &headers).await;
    peer.data(5, FIN, b"bytes").await;
    for expected in ["", "", "bytes"] {
        let mut stream = soon(connection.accept()).await.unwrap().accept(Headers::new());
        let mut text = String::new();
        soon(stream.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, expected);
        stream.shutdown().await.unwrap();
    }
    for id in [1, 3, 5] {
        assert_eq!(peer.see().await, reply(id));
        assert_eq!(peer.see().await, data(id, true, b""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_unidirectional_stream_is_read_and_not_answered() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.syn(1, UNIDIRECTIONAL, &[]).await;
    peer.data(1, FIN, b"bytes").await;
    peer.syn(3, UNIDIRECTIONAL | FIN, &[]).await;
    peer.syn(5, UNIDIRECTIONAL, &[]).await;
    for expected in ["bytes", ""] {
        let mut stream = soon(connection.accept()).await.unwrap().accept(Headers::new());
        let mut text = String::new();
        soon(stream.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, expected);
        let error = stream.write(b"x").await.unwrap_err();
        assert!(matches!(inner(&error), Error::HalfClosed), "{error}");
    }
    let mut open = soon(connection.accept()).await.unwrap().accept(Headers::new());
    peer.see_echo(1).await;
    peer.data(5, 0, b"x").await;
    assert_eq!(soon(open.read_u8()).await.unwrap(), b'x');
    drop(open);
    peer.see_echo(3).await;
}

#[tokio::test(start_paused = true)]
async fn ids_are_odd_and_rise() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.syn(5, 0, &[]).await;
    let mut stream = soon(connection.accept()).await.unwrap().accept(Headers::new());
    assert_eq!(peer.see().await, reply(5));
    for id in [2, 3, 1] {
        peer.syn(id, 0, &[]).await;
        assert_eq!(peer.see().await, reset(id, PROTOCOL_ERROR));
    }
    // One that is open is over by that: nobody knows what belongs to which.
    peer.data(5, 0, b"first").await;
    peer.syn(5, 0, &[]).await;
    assert_eq!(peer.see().await, reset(5, PROTOCOL_ERROR));
    let mut text = Vec::new();
    let error = soon(stream.read_to_end(&mut text)).await.unwrap_err();
    assert_eq!(text, b"first");
    assert!(matches!(inner(&error), Error::Protocol(_)), "{error}");
    peer.syn(7, 0, &[]).await;
    assert_eq!(soon(connection.accept()).await.unwrap().id(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_never_answered() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(config()).await;
    for id in [0, 1, 1, 2, 3, 99] {
        peer.reset(id, CANCEL).await;
    }
    peer.see_echo(1).await;
    let error = soon(stream.read(&mut [0])).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Reset(Status::Cancel)), "{error}");
    // Nor is what this side does with the stream afterwards told.
    stream.reset(Status::InternalError);
    assert!(stream.shutdown().await.is_err());
    drop(stream);
    peer.see_echo(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_taken_back_is_not_offered() {
    let (mut peer, mut connection) = Peer::client(Config { streams: 2, ..config() });
    // Over and over, as CVE-2023-44487 has it: nothing adds up.
    for id in (1..1001).step_by(2) {
        peer.syn(id, 0, &[]).await;
        peer.reset(id, CANCEL).await;
    }
    peer.syn(1001, 0, &[]).await;
    let incoming = loop {
        let incoming = soon(connection.accept()).await.unwrap();
        if incoming.id() == 1001 {
            break incoming;
        }
        // Taken before it was taken back.
        drop(incoming);
    };
    let _stream = incoming.accept(Headers::new());
    assert_eq!(peer.see().await, reply(1001));
}

#[tokio::test(start_paused = true)]
async fn data_for_nobody_is_told_once_and_only_when_it_never_was() {
    let (mut peer, _connection, stream) = Peer::with_stream(config()).await;
    stream.reset(Status::Cancel);
    assert_eq!(peer.see().await, reset(1, CANCEL));
    // On its way when the reset was sent.
    peer.data(1, 0, b"late").await;
    peer.data(1, FIN, b"").await;
    peer.see_echo(1).await;
    // Even in pieces.
    let mut long = vec![0, 0, 0, 9, 0, 0, 0, 10];
    for byte in 0..10 {
        peer.say(&long).await;
        long = vec![byte];
        tokio::task::yield_now().await;
    }
    peer.say(&long).await;
    assert_eq!(peer.see().await, reset(9, INVALID_STREAM));
    peer.data(2, 0, b"x").await;
    assert_eq!(peer.see().await, reset(2, INVALID_STREAM));
    peer.see_echo(3).await;
}

#[tokio::test(start_paused = true)]
async fn data_after_the_end_is_an_error_of_the_stream() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(config()).await;
    peer.data(1, FIN, b"all").await;
    peer.data(1, 0, b"and more").await;
    assert_eq!(peer.see().await, reset(1, STREAM_ALREADY_CLOSED));
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "all");
    let error = stream.write(b"x").await.unwrap_err();
    assert!(matches!(inner(&error), Error::Protocol(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn unknown_frames_are_passed_over() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(config()).await;
    for kind in [0, 5, 10, 11, 0xffff] {
        peer.control(kind, 0xff, b"whatever").await;
    }
    peer.control(9, 0, &[0, 0, 0, 1, 0, 0, 0, 1]).await;
    peer.control(9, 0, &[0; 8]).await;
    peer.control(4, 1, &[&[0, 0, 0, 2][..], &[1; 16]].concat()).await;
    peer.data(1, 0, b"x").await;
    assert_eq!(soon(stream.read_u8()).await.unwrap(), b'x');
    peer.see_echo(1).await;
}

// The state of zlib is shared by all blocks: one that is not inflated spoils all that follow.
#[tokio::test(start_paused = true)]
async fn blocks_that_nobody_reads_are_inflated() {
    let (mut peer, mut connection) = Peer::client(Config { streams: 1, ..config() });
    let same = [
        ("streamtype", "stdin"),
        ("a-long-name", "a value that comes again and again"),
    ];
    let block = peer.block(&same);
    peer.control(8, 0, &[&77u32.to_be_bytes()[..], &block].concat()).await;
    let block = peer.block(&same);
    peer.control(2, 0, &[&88u32.to_be_bytes()[..], &block].concat()).await;
    peer.syn(2, 0, &same).await;
    peer.syn(1, 0, &same).await;
    peer.syn(3, 0, &same).await;
    let first = soon(connection.accept()).await.unwrap();
    assert_eq!(first.headers.get("a-long-name"), Some(same[1].1));
    assert_eq!(peer.see().await, reset(88, INVALID_STREAM));
    assert_eq!(peer.see().await, reset(2, PROTOCOL_ERROR));
    assert_eq!(peer.see().await, reset(3, REFUSED_STREAM));
    drop(first);
    assert_eq!(peer.see().await, reset(1, REFUSED_STREAM));
    peer.syn(5, 0, &same).await;
    assert_eq!(
        soon(connection.accept()).await.unwrap().headers.get("streamtype"),
        Some("stdin")
    );
}

#[tokio::test(start_paused = true)]
async fn bad_headers_refuse_the_stream_alone() {
    let (mut peer, mut connection) = Peer::client(Config {
        header_count: 2,
        header_field: 10,
        ..config()
    });
    peer.syn(1, 0, &[("a", ""), ("b", ""), ("c", "")]).await;
    assert_eq!(peer.see().await, reset(1, PROTOCOL_ERROR));
    peer.syn(3, 0, &[("a", "12345678901")]).await;
    assert_eq!(peer.see().await, reset(3, PROTOCOL_ERROR));
    peer.syn(5, 0, &[("a", ""), ("A", "")]).await;
    assert_eq!(peer.see().await, reset(5, PROTOCOL_ERROR));
    peer.syn(7, 0, &[("a", "1234567890"), ("b", "")]).await;
    assert_eq!(soon(connection.accept()).await.unwrap().id(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_grows_too_large_ends_the_connection() {
    let (mut peer, connection, _stream) = Peer::with_stream(config()).await;
    let bomb = peer.compress(&vec![0; (64 << 10) + 1]);
    peer.control(8, 0, &[&1u32.to_be_bytes()[..], &bomb].concat()).await;
    ends(peer, connection, 1, "larger than 65536 bytes").await;
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_no_zlib_ends_the_connection() {
    let (mut peer, connection, _stream) = Peer::with_stream(config()).await;
    peer.control(1, 0, &[&[0, 0, 0, 3, 0, 0, 0, 0, 0, 0][..], &[0xff; 20]].concat())
        .await;
    ends(peer, connection, 1, "not compressed").await;
}

#[tokio::test(start_paused = true)]
async fn malformed_frames_end_the_connection() {
    let word = |number: u32| number.to_be_bytes();
    let settings = [&word(65)[..], &[0; 65 * 8]].concat();
    for (kind, payload, why) in [
        (1, &[0, 0, 0, 3, 0, 0, 0, 0, 0][..], "too short"),
        (1, &[0; 10], "stream 0"),
        (2, &[0, 0, 0], "too short"),
        (3, &[0; 7], "too short"),
        (3, &[0; 9], "too long"),
        (4, &[0, 0], "too short"),
        (4, &[0, 0, 0, 1], "don't fit"),
        (4, &[0, 0, 0, 0, 1], "don't fit"),
        (4, &[0xff, 0xff, 0xff, 0xff], "more than 64"),
        (4, &settings, "more than 64"),
        (6, &[0; 3], "too short"),
        (6, &[0; 5], "too long"),
        (7, &[0; 4], "too short"),
        (8, &[0; 4], "stream 0"),
        (9, &[0; 4], "too short"),
    ] {
        let (mut peer, connection, _stream) = Peer::with_stream(config()).await;
        peer.control(kind, 0, payload).await;
        ends(peer, connection, 1, why).await;
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_other_versions_streams_and_sizes_end_the_connection() {
    for (frame, why) in [
        (&[0x80, 2, 0, 6, 0, 0, 0, 4][..], "version 2"),
        (&[0xff, 0xff, 0, 6, 0, 0, 0, 4], "version 32767"),
        // Before any of its bytes is there.
        (&[0x80, 3, 0, 99, 0, 1, 0, 1], "65537 bytes"),
        (&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], "16777215 bytes"),
        (&[0, 0, 0, 0, 0, 0, 0, 1], "stream 0"),
        (b"GET / HTTP/1.1\r\n", ""),
    ] {
        let (mut peer, connection, mut stream) = Peer::with_stream(config()).await;
        peer.say(frame).await;
        if why.is_empty() {
            // Which is a DATA frame of 2 MiB for a stream that never was: it is passed over.
            peer.say(&vec![0; 0x20_4854 - 8]).await;
            assert_eq!(peer.see().await, reset(0x4745_5420, INVALID_STREAM));
            continue;
        }
        ends(peer, connection, 1, why).await;
        let error = soon(stream.read(&mut [0])).await.unwrap_err();
        assert!(matches!(inner(&error), Error::Protocol(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_before_the_first_stream_is_not_answered() {
    let (mut peer, mut connection) = Peer::client(config());
    peer.say(&[0x80, 2, 0, 1, 0, 0, 0, 0]).await;
    assert_eq!(peer.see().await, Seen::End);
    assert!(soon(connection.accept()).await.is_none());
    assert!(matches!(connection.error().unwrap(), Error::Protocol(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_opens_writes_and_takes_what_comes() {
    let (mut peer, mut connection) = Peer::server(config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new().with("StreamType", "data"), false).await });
    let headers = vec![("streamtype".to_owned(), "data".to_owned())];
    assert_eq!(
        peer.see().await,
        Seen::SynStream {
            id: 1,
            fin: false,
            headers
        }
    );
    // Before the answer, as some do.
    peer.data(1, 0, b"early").await;
    peer.syn_reply(1, 0).await;
    let mut stream = soon(opening).await.unwrap().unwrap();
    stream.write_all(b"bytes").await.unwrap();
    assert_eq!(peer.see().await, data(1, false, b"bytes"));
    let mut text = [0; 5];
    soon(stream.read_exact(&mut text)).await.unwrap();
    assert_eq!(&text, b"early");
    // Servers count in even numbers, also in their pings.
    peer.see_echo(2).await;
    peer.ping(1).await;
    peer.syn(3, 0, &[]).await;
    assert_eq!(peer.see().await, reset(3, PROTOCOL_ERROR));
    peer.syn(2, 0, &[]).await;
    assert_eq!(soon(connection.accept()).await.unwrap().id(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_answer_ends_the_stream() {
    let (mut peer, connection) = Peer::server(config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new(), true).await });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 1, fin: true, .. }));
    peer.syn_reply(1, 0).await;
    let mut stream = soon(opening).await.unwrap().unwrap();
    peer.syn_reply(1, 0).await;
    assert_eq!(peer.see().await, reset(1, STREAM_IN_USE));
    assert!(soon(stream.read(&mut [0])).await.is_err());
    // One for a stream that is gone is not worth a word.
    peer.syn_reply(1, 0).await;
    peer.see_echo(2).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_the_end_at_once() {
    let (mut peer, connection) = Peer::server(config());
    let handle = connection.handle();
    let opening = tokio::spawn(async move { handle.open(Headers::new(), false).await });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 1, .. }));
    peer.syn_reply(1, FIN).await;
    let mut stream = soon(opening).await.unwrap().unwrap();
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
    stream.write_all(b"x").await.unwrap();
    assert_eq!(peer.see().await, data(1, false, b"x"));
}

#[tokio::test(start_paused = true)]
async fn goaway_refuses_what_the_peer_has_not_taken() {
    let (mut peer, mut connection) = Peer::server(config());
    let handle = connection.handle();
    let first = tokio::spawn({
        let handle = handle.clone();
        async move { handle.open(Headers::new(), false).await }
    });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 1, .. }));
    peer.syn_reply(1, 0).await;
    let mut first = soon(first).await.unwrap().unwrap();
    let second = tokio::spawn({
        let handle = handle.clone();
        async move { handle.open(Headers::new(), false).await }
    });
    assert!(matches!(peer.see().await, Seen::SynStream { id: 3, .. }));
    peer.go_away(1).await;
    assert!(matches!(soon(second).await.unwrap().unwrap_err(), Error::GoAway));
    assert!(matches!(
        soon(handle.open(Headers::new(), false)).await.unwrap_err(),
        Error::GoAway
    ));
    assert!(soon(connection.accept()).await.is_none());
    // What it has taken goes on.
    assert!(connection.error().is_none());
    first.write_all(b"still").await.unwrap();
    assert_eq!(peer.see().await, data(1, false, b"still"));
    peer.data(1, FIN, b"here").await;
    let mut text = String::new();
    soon(first.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "here");
}
