use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::testing::{dribbling, pattern};

const V5: Codec = Codec::Raw { half_close: true };
const V4: Codec = Codec::Raw { half_close: false };

fn settings(role: Role, codec: Codec, channels: &[Use]) -> Settings {
    Settings {
        role,
        codec,
        channels: channels.to_vec(),
        message: MAX_MESSAGE,
        receive: 64 << 10,
        send: 64 << 10,
        timing: Timing {
            idle: Duration::from_secs(4 * 60 * 60),
            patience: Duration::from_secs(60),
            cap: Duration::from_secs(15 * 60),
        },
    }
}

async fn server(io: DuplexStream, codec: Codec) -> Control {
    let channels = [Use::Read, Use::Write];
    open(io, settings(Role::Server, codec, &channels)).await.unwrap()
}

/// A client that sees each message.
async fn raw(io: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(io, Role::Client, None).await
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

async fn close_code(client: &mut WebSocketStream<DuplexStream>) -> u16 {
    loop {
        match client.next().await.unwrap().unwrap() {
            Message::Close(Some(frame)) => return frame.code.into(),
            Message::Close(None) => return 1005,
            _ => {}
        }
    }
}

#[tokio::test]
async fn channels_go_both_ways_and_end() {
    for codec in [V5, V4, Codec::Base64] {
        let (a, b) = duplex(1 << 10);
        let server = open(a, settings(Role::Server, codec, &[Use::Read, Use::Write]))
            .await
            .unwrap();
        let client = open(b, settings(Role::Client, codec, &[Use::Write, Use::Read]))
            .await
            .unwrap();
        let sent = pattern(300_000);
        let (mut stdin, mut stdout) = (client.writer(0), client.reader(1));
        let (mut from, mut to) = (server.reader(0), server.writer(1));
        let echo = tokio::spawn(async move {
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            server.close().await
        });
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            stdin.write_all(&expected).await.unwrap();
            stdin.shutdown().await.unwrap();
        });
        let mut got = vec![0; sent.len()];
        stdout.read_exact(&mut got).await.unwrap();
        assert!(got == sent, "{codec:?}: bytes differ");
        writing.await.unwrap();
        if codec == V5 {
            assert_eq!(
                stdout.read(&mut got).await.unwrap(),
                0,
                "the server closed: the end of the file"
            );
            client.close().await.unwrap();
        } else {
            // No words for the end of one channel: closing is the end of all.
            client.close().await.unwrap();
        }
        echo.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_message_in_parts_is_one() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let (a, b) = duplex(1 << 10);
    let server = server(a, V5).await;
    let mut client = raw(b).await;
    for (data, code, last) in [
        ("\0he", Data::Binary, false),
        ("", Data::Continue, false),
        ("llo", Data::Continue, true),
    ] {
        let frame = Frame::message(Bytes::from(data), OpCode::Data(code), last);
        client.send(Message::Frame(frame)).await.unwrap();
    }
    client.send(binary(&[255, 0])).await.unwrap();
    let mut text = String::new();
    server.reader(0).read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn other_channels_and_empty_messages_are_passed_over() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V5).await;
    let mut client = raw(b).await;
    for message in [&[][..], &[7, 1, 2], &[1, 9], &[0], b"\0yes", &[255, 1], &[255, 0]] {
        client.send(binary(message)).await.unwrap();
    }
    let mut text = String::new();
    server.reader(0).read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "yes");
}

#[tokio::test]
async fn nonsense_ends_the_connection_with_a_reason() {
    for (codec, message) in [
        (V5, binary(&[255])),
        (V5, binary(&[255, 0, 0])),
        (V5, binary(&[255, 9])),
        (Codec::Base64, Message::Text("0!".into())),
    ] {
        let (a, b) = duplex(1 << 10);
        let mut server = server(a, codec).await;
        let (mut reader, mut writer) = (server.reader(0), server.writer(1));
        let mut client = raw(b).await;
        client.send(codec.encode(0, b"before")).await.unwrap();
        client.send(message.clone()).await.unwrap();
        server.gone().await;
        let mut got = [0; 6];
        reader.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"before", "what came before counts");
        assert_eq!(
            reader.read(&mut got).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(writer.write(b"x").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(close_code(&mut client).await, 1002, "{message:?}");
        drop(client);
        assert!(server.close().await.is_err());
    }
}

#[tokio::test]
async fn what_follows_nonsense_is_not_kept() {
    let (a, b) = duplex(1 << 10);
    let mut server = server(a, V5).await;
    let mut reader = server.reader(0);
    let mut client = raw(b).await;
    client.send(binary(b"\0before")).await.unwrap();
    client.send(binary(&[255])).await.unwrap();
    // Far more than a queue holds; nobody reads it, and nobody is held up.
    for _ in 0..100 {
        timeout(Duration::from_secs(10), client.send(binary(&[0; 10_000])))
            .await
            .unwrap()
            .unwrap();
    }
    server.gone().await;
    let mut all = Vec::new();
    assert!(reader.read_to_end(&mut all).await.is_err());
    assert_eq!(all, b"before");
}

#[tokio::test]
async fn too_long_a_message_is_refused_before_it_comes() {
    let (a, mut b) = duplex(1 << 10);
    let mut server = server(a, V5).await;
    // Masked, binary, with a length of 64 bits.
    let mut head = vec![0x82, 0xff];
    head.extend_from_slice(&(MAX_MESSAGE as u64 + 1).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    b.write_all(&head).await.unwrap();
    server.gone().await;
    let mut answer = [0; 4];
    b.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[0], 0x88, "a close frame");
    assert_eq!(u16::from_be_bytes([answer[2], answer[3]]), u16::from(CloseCode::Size));
}

#[tokio::test]
async fn unmasked_frames_of_a_client_are_refused() {
    let (a, mut b) = duplex(1 << 10);
    let mut server = server(a, V5).await;
    b.write_all(&[0x82, 2, 0, b'x']).await.unwrap();
    server.gone().await;
    let error = server.reader(0).read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn pings_are_answered_with_nobody_reading() {
    let (a, b) = duplex(1 << 10);
    let _server = server(a, V4).await;
    let mut client = raw(b).await;
    for _ in 0..3 {
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        let answer = timeout(Duration::from_secs(10), client.next()).await.unwrap();
        assert_eq!(answer.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    }
}

#[tokio::test]
async fn pings_are_answered_while_output_flows() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let mut writer = server.writer(1);
    let flood = tokio::spawn(async move { while writer.write_all(&[0; 4096]).await.is_ok() {} });
    let mut client = raw(b).await;
    client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    let mut messages = 0;
    while !matches!(client.next().await.unwrap().unwrap(), Message::Pong(_)) {
        messages += 1;
        assert!(messages < 1000);
    }
    drop((client, server));
    flood.await.unwrap();
}

/// Sends pings and reads nothing.
async fn flood(client: &mut WebSocketStream<DuplexStream>) {
    let ping = Message::Ping(vec![b'?'; 125].into());
    for _ in 0..20_000 {
        let sent = timeout(Duration::from_secs(10), client.send(ping.clone())).await;
        sent.expect("a ping is not read").unwrap();
    }
}

/// Pongs wait in a buffer that has a bound, and what is written goes out behind them.
async fn pongs_and_then(client: &mut WebSocketStream<DuplexStream>, expected: &[u8]) {
    let (mut pongs, mut got) = (0, Vec::new());
    while got.len() < expected.len() {
        let message = timeout(Duration::from_secs(10), client.next()).await.unwrap();
        match message.unwrap().unwrap() {
            Message::Pong(data) => pongs += data.len(),
            Message::Binary(data) => got.extend_from_slice(&data),
            other => panic!("{other:?}"),
        }
    }
    assert!(got == expected);
    assert!(pongs > 0 && pongs < MAX_WRITE_BUFFER + (2 << 10), "{pongs}");
}

#[tokio::test]
async fn pings_of_a_client_that_does_not_read_are_not_kept() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let mut client = raw(b).await;
    flood(&mut client).await;
    let mut writer = server.writer(1);
    writer.write_all(&[7; 30_000]).await.unwrap();
    let expected = [&[1], &[7; 30_000][..]].concat();
    pongs_and_then(&mut client, &expected).await;
}

#[tokio::test]
async fn leaving_is_noticed_at_once() {
    for polite in [true, false] {
        let (a, b) = duplex(1 << 10);
        let mut server = server(a, V4).await;
        let (mut reader, mut writer) = (server.reader(0), server.writer(1));
        let mut client = raw(b).await;
        client.send(binary(b"\0last words")).await.unwrap();
        if polite {
            client.close(None).await.unwrap();
        } else {
            drop(client);
        }
        timeout(Duration::from_secs(10), server.gone()).await.unwrap();
        let mut got = [0; 10];
        reader.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"last words");
        let end = reader.read(&mut got).await;
        assert_eq!(end.is_ok(), polite, "the end, or an error: {end:?}");
        assert!(writer.write(b"x").await.is_err());
    }
}

#[tokio::test]
async fn dropping_the_control_ends_everything() {
    let (a, mut b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let (mut reader, mut writer) = (server.reader(0), server.writer(1));
    drop(server);
    assert_eq!(b.read(&mut [0; 16]).await.unwrap(), 0, "the socket is closed");
    assert!(reader.read(&mut [0]).await.is_err());
    assert!(writer.write(b"x").await.is_err());
}

#[tokio::test]
async fn closing_sends_all_that_was_written_to_a_slow_reader() {
    let (a, b) = duplex(100);
    let server = server(a, V4).await;
    let sent = pattern(200_000);
    let mut client = raw(b).await;
    let expected = sent.clone();
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        loop {
            tokio::task::yield_now().await;
            match client.next().await.unwrap().unwrap() {
                Message::Binary(data) if data[0] == 1 => got.extend_from_slice(&data[1..]),
                Message::Close(frame) => break assert_eq!(frame.unwrap().code, CloseCode::Normal),
                other => panic!("{other:?}"),
            }
        }
        assert!(got == expected);
        // The answer to the close frame.
        assert!(client.next().await.is_none());
    });
    let mut writer = server.writer(1);
    writer.write_all(&sent).await.unwrap();
    server.close().await.unwrap();
    assert!(writer.write(b"late").await.is_err());
    reading.await.unwrap();
}

/// kubectl complains about messages that only clients may send.
#[tokio::test]
async fn a_server_never_ends_a_channel_by_a_message() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V5).await;
    let mut client = raw(b).await;
    let mut writer = server.writer(1);
    writer.write_all(b"all").await.unwrap();
    writer.shutdown().await.unwrap();
    drop((writer, server.writer(1)));
    let closing = tokio::spawn(server.close());
    assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x01all"));
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
    assert!(client.next().await.is_none());
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_writer_waits_for_room() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let mut writer = server.writer(1);
    let bound = (64 << 10) + WRITE_BUFFER + 2 * PIECE;
    let mut written = 0;
    while let Ok(more) = timeout(Duration::from_millis(100), writer.write(&[0; 1000])).await {
        written += more.unwrap();
        assert!(written < bound, "the queue has no bound");
    }
    assert!(written > 60_000, "{written}");
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_behind_stops_the_socket() {
    let (a, b) = duplex(1 << 10);
    let mut server = server(a, V4).await;
    let mut client = raw(b).await;
    let mut sent = 0;
    // The time is simulated: it goes on when nothing else does.
    while timeout(Duration::from_secs(1), client.send(binary(&[0; 1001])))
        .await
        .is_ok()
    {
        sent += 1000;
        assert!(sent < 200_000, "the queue has no bound");
    }
    // Meanwhile the client hears that the server is alive, and doesn't time out.
    let heard = timeout(HEARD, client.next()).await.unwrap();
    assert_eq!(heard.unwrap().unwrap(), Message::Pong(Bytes::new()));
    // And its leaving is noticed although nothing is read.
    drop(client);
    timeout(HEARD, server.gone()).await.unwrap();
}

/// Clients from Kubernetes hear nothing for this long and hang up.
const HEARD: Duration = Duration::from_secs(61);

#[tokio::test]
async fn tiny_messages_count_as_well() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let mut client = raw(b).await;
    let mut sent = 0;
    while timeout(Duration::from_millis(100), client.send(binary(&[0, 1])))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 3_000, "the queue has no bound");
    }
    drop(server);
}

#[tokio::test]
async fn a_channel_that_nobody_reads_holds_up_no_other() {
    let (a, b) = duplex(1 << 10);
    let channels = [Use::Read, Use::Write, Use::Read, Use::Ignore];
    let server = open(a, settings(Role::Server, V5, &channels)).await.unwrap();
    let dropped = server.reader(0);
    let mut other = server.reader(2);
    let mut client = raw(b).await;
    client.send(binary(&[0; 100_000])).await.unwrap();
    drop(dropped);
    for _ in 0..50 {
        client.send(binary(&[0; 10_000])).await.unwrap();
        client.send(binary(&[3; 10_000])).await.unwrap();
    }
    client.send(binary(b"\x02through")).await.unwrap();
    client.send(binary(&[255, 2])).await.unwrap();
    let mut text = String::new();
    other.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "through");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_it_after_the_idle_time_and_a_ping_puts_it_off() {
    let hours = |n: u64| Duration::from_secs(n * 60 * 60);
    let (a, b) = duplex(1 << 10);
    let mut server = server(a, V4).await;
    let mut client = raw(b).await;
    let start = Instant::now();
    assert!(timeout(hours(3), server.gone()).await.is_err());
    client.send(Message::Ping(Bytes::new())).await.unwrap();
    server.gone().await;
    let lived = start.elapsed();
    assert!(lived >= hours(7) && lived < hours(7) + HEARD, "{lived:?}");
    assert!(matches!(client.next().await, Some(Ok(Message::Pong(_)))));
    assert_eq!(close_code(&mut client).await, u16::from(CloseCode::Away));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_as_long_as_the_peer_goes_on() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    server.writer(1).write_all(&[7; 30_000]).await.unwrap();
    let client = tokio::spawn(async move {
        let mut client = raw(b).await;
        let mut got = 0;
        loop {
            // Slow, but never as slow as the patience.
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.send(Message::Ping(Bytes::new())).await.unwrap();
            match client.next().await.unwrap().unwrap() {
                Message::Binary(data) => got += data.len() - 1,
                Message::Close(_) => return got,
                _ => {}
            }
        }
    });
    server.close().await.unwrap();
    assert_eq!(client.await.unwrap(), 30_000);
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_on_a_peer_that_takes_nothing() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    server.writer(1).write_all(&[7; 30_000]).await.unwrap();
    let start = Instant::now();
    let error = server.close().await.unwrap_err();
    assert!(matches!(*error, Error::Stalled), "{error:?}");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(60) && waited < Duration::from_secs(70),
        "{waited:?}"
    );
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn closing_has_a_cap() {
    let (a, b) = duplex(1 << 10);
    let server = server(a, V4).await;
    let start = Instant::now();
    let client = tokio::spawn(async move {
        // Pings for ever, and never closes.
        let mut client = raw(b).await;
        while client.send(Message::Ping(Bytes::new())).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let _ = server.close().await;
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(900) && waited < Duration::from_secs(910),
        "{waited:?}"
    );
    client.await.unwrap();
}

#[tokio::test]
async fn a_tunnel_carries_bytes_and_its_end() {
    let (a, b) = duplex(1 << 10);
    let mut server = Tunnel::new(a, Role::Server).await;
    let mut client = Tunnel::new(b, Role::Client).await;
    let sent = pattern(200_000);
    let (expected, back) = (
        sent.clone(),
        tokio::spawn(async move {
            let mut got = vec![0; 200_000];
            server.read_exact(&mut got).await.unwrap();
            server.write_all(&got).await.unwrap();
            server.flush().await.unwrap();
            assert_eq!(server.read(&mut got).await.unwrap(), 0);
        }),
    );
    let (mut read, mut write) = tokio::io::split(&mut client);
    let mut got = vec![0; sent.len()];
    let writing = async {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
    };
    let (_, read) = tokio::join!(writing, read.read_exact(&mut got));
    read.unwrap();
    assert!(got == expected);
    client.shutdown().await.unwrap();
    back.await.unwrap();
}

#[tokio::test]
async fn pings_through_a_tunnel_are_not_kept_either() {
    let (a, b) = duplex(1 << 10);
    let (mut read, mut write) = tokio::io::split(Tunnel::new(a, Role::Server).await);
    let reading = tokio::spawn(async move { read.read(&mut [0; 4]).await });
    let mut client = raw(b).await;
    flood(&mut client).await;
    let writing = tokio::spawn(async move {
        write.write_all(&[7; 30_000]).await.unwrap();
        write.shutdown().await.unwrap();
    });
    pongs_and_then(&mut client, &[7; 30_000]).await;
    assert_eq!(close_code(&mut client).await, 1000);
    // Its answer to the close frame.
    assert!(client.next().await.is_none());
    writing.await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_tunnel_takes_no_text_and_knows_a_bad_end() {
    let (a, b) = duplex(1 << 10);
    let mut tunnel = Tunnel::new(a, Role::Server).await;
    let mut client = raw(b).await;
    client.send(binary(b"")).await.unwrap();
    client.send(Message::Ping(Bytes::new())).await.unwrap();
    client.send(binary(b"x")).await.unwrap();
    client.send(Message::Text("text".into())).await.unwrap();
    let mut got = [0; 4];
    assert_eq!(tunnel.read(&mut got).await.unwrap(), 1);
    assert_eq!(
        tunnel.read(&mut got).await.unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );

    let (a, b) = duplex(1 << 10);
    let mut tunnel = Tunnel::new(a, Role::Server).await;
    drop(raw(b).await);
    assert_eq!(
        tunnel.read(&mut got).await.unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However the network cuts the bytes, and however much fits into it, channels are as they were written.
    #[test]
    fn cuts_don_t_matter(
        room in 1usize..200,
        sizes in prop::collection::vec(1usize..50, 1..6),
        lengths in prop::collection::vec(0usize..2000, 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for codec in [V5, Codec::Base64] {
                let (a, b) = dribbling(room, &sizes);
                let server = open(a, settings(Role::Server, codec, &[Use::Read, Use::Write])).await.unwrap();
                let mut client = open(b, settings(Role::Client, codec, &[Use::Write, Use::Read])).await.unwrap();
                let (mut stdin, mut stdout) = (client.writer(0), client.reader(1));
                let (mut from, mut to) = (server.reader(0), server.writer(1));
                let total: usize = lengths.iter().sum();
                let sent = pattern(total);
                let echo = async move {
                    let mut left = total;
                    let mut bytes = [0; 100];
                    while left > 0 {
                        let read = from.read(&mut bytes).await.unwrap();
                        to.write_all(&bytes[..read]).await.unwrap();
                        left -= read;
                    }
                    server.close().await.unwrap();
                };
                let write = async {
                    let mut rest = &sent[..];
                    for length in &lengths {
                        let (piece, more) = rest.split_at(*length);
                        stdin.write_all(piece).await.unwrap();
                        rest = more;
                    }
                };
                let read = async {
                    let mut got = Vec::new();
                    stdout.read_to_end(&mut got).await.unwrap();
                    got
                };
                let ((), (), got, ()) = tokio::join!(echo, write, read, client.gone());
                assert_eq!(got, sent);
            }
        });
    }

    /// No bytes of a client make the server panic or stop listening for the end.
    #[test]
    fn any_bytes_end_somehow(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for codec in [V5, V4, Codec::Base64] {
                let (a, mut b) = duplex(1 << 10);
                let mut server = server(a, codec).await;
                b.write_all(&bytes).await.unwrap();
                drop(b);
                timeout(Duration::from_secs(10), server.gone()).await.unwrap();
            }
        });
    }
}
