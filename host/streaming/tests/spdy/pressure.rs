//! Slow readers, full queues and peers that flood: nothing is lost and nothing grows.

use crate::peer::{Peer, Seen, soon};
use outrigger_streaming::spdy::{Config, Headers, client, server};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

const MOMENT: Duration = Duration::from_millis(100);

/// Says data on stream 1 until the connection takes no more, and returns how much it took.
async fn flood(peer: &mut Peer) -> usize {
    let mut frame = vec![0, 0, 0, 1, 0, 0, 4, 0];
    frame.extend((0..1024).map(|i| u8::try_from(i % 251).unwrap()));
    let mut said = 0;
    while timeout(MOMENT, peer.io.write_all(&frame)).await.is_ok() {
        said += 1024;
    }
    said
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_back_the_peer() {
    let limits = Config {
        receive: 64 << 10,
        ..Config::default()
    };
    let (mut peer, connection, mut stream) = Peer::with_stream(limits).await;
    let said = flood(&mut peer).await;
    // The transport holds a MiB; the rest is the queue, and what was read last.
    assert!(said < (1 << 20) + (64 << 10) + (64 << 10), "{said}");
    // The last frame was cut by the deadline: the rest of the transport is unknown, what is before it is not.
    for i in 0..said {
        assert_eq!(
            soon(stream.read_u8()).await.unwrap(),
            u8::try_from(i % 1024 % 251).unwrap()
        );
    }
    assert!(connection.error().is_none());
}

#[tokio::test(start_paused = true)]
async fn all_streams_together_hold_back_the_peer() {
    let limits = Config {
        receive: 64 << 10,
        receive_total: 100 << 10,
        ..Config::default()
    };
    let (mut peer, mut connection) = Peer::client(limits);
    let mut streams = Vec::new();
    for id in (1..40).step_by(2) {
        peer.syn(id, 0, &[]).await;
        streams.push(soon(connection.accept()).await.unwrap().accept(Headers::new()));
    }
    let mut said = Vec::new();
    'flood: loop {
        for id in (1..40u8).step_by(2) {
            let frame = [&[0, 0, 0, id, 0, 0, 0, 250][..], &[id; 250]].concat();
            if timeout(MOMENT, peer.io.write_all(&frame)).await.is_err() {
                break 'flood;
            }
            said.push(id);
        }
    }
    let waiting = said.len() * 250 - (1 << 20);
    assert!(waiting < (100 << 10) + (64 << 10), "{waiting}");
    for id in said {
        let mut bytes = [0; 250];
        soon(streams[usize::from(id / 2)].read_exact(&mut bytes)).await.unwrap();
        assert_eq!(bytes, [id; 250]);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stalled_stream_lets_the_others_go_on() {
    let limits = Config {
        receive: 1000,
        ..Config::default()
    };
    let (mut peer, mut connection, stream) = Peer::with_stream(limits).await;
    peer.data(1, 0, &[0; 5000]).await;
    peer.syn(3, 0, &[]).await;
    peer.data(3, 0, b"x").await;
    // Behind the full one, nothing is seen.
    assert!(timeout(MOMENT, connection.accept()).await.is_err());
    drop(stream);
    let mut other = soon(connection.accept()).await.unwrap().accept(Headers::new());
    assert_eq!(soon(other.read_u8()).await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_room() {
    let limits = Config {
        send: 50_000,
        ..Config::default()
    };
    let (mut peer, _connection, mut stream) = Peer::with_stream(limits).await;
    let mut written = 0;
    while let Ok(count) = timeout(MOMENT, stream.write(&[7; 3000])).await {
        written += count.unwrap();
    }
    // The transport's MiB and the queue.
    assert!(written < (1 << 20) + 50_000, "{written}");
    let mut seen = 0;
    while seen < written {
        match peer.see().await {
            Seen::Data { bytes, .. } => {
                assert!(bytes.iter().all(|byte| *byte == 7));
                seen += bytes.len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, written);
}

#[tokio::test(start_paused = true)]
async fn streams_take_turns() {
    let (near, far) = duplex(1000);
    let large = Config {
        send: 1 << 20,
        ..Config::default()
    };
    let (client, mut server) = (client(near, Config::default()), server(far, large));
    let mut pairs = Vec::new();
    for _ in 0..5 {
        let accept = async { server.accept().await.unwrap().accept(Headers::new()) };
        let (near, far) = soon(async { tokio::join!(client.open(Headers::new(), false), accept) }).await;
        pairs.push((near.unwrap(), far));
    }
    let mut readers = Vec::new();
    for (mut near, mut far) in pairs {
        tokio::spawn(async move {
            far.write_all(&vec![1; 1 << 20]).await?;
            far.flush().await
        });
        readers.push(tokio::spawn(async move {
            let mut bytes = vec![0; 512 << 10];
            near.read_exact(&mut bytes).await.unwrap();
            near
        }));
    }
    // Each gets half of its bytes, though each could fill the connection alone, and the other half stalls it.
    let mut stalled = Vec::new();
    for reader in readers {
        stalled.push(soon(reader).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_and_never_listens_is_not_read() {
    let limits = Config {
        control_backlog: 12_000,
        ..Config::default()
    };
    let (mut peer, connection, _stream) = Peer::with_stream(limits).await;
    let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
    let mut asked = 0;
    while timeout(MOMENT, peer.io.write_all(&ping)).await.is_ok() {
        asked += 1;
    }
    // A MiB in each direction, and the backlog, and what was read last.
    let most = ((2 << 20) + 12_000 + (64 << 10)) / ping.len();
    assert!(asked < most + 2, "{asked} of {most}");
    assert!(connection.error().is_none());
    // All are answered as soon as it listens.
    for _ in 0..asked {
        assert_eq!(peer.see().await, Seen::Ping(1));
    }
}

// Behind a full stream, the end of the transport is not seen. What is sent is.
#[tokio::test(start_paused = true)]
async fn a_stalled_connection_notices_that_its_peer_is_gone() {
    let limits = Config {
        receive: 1000,
        ..Config::default()
    };
    let (mut peer, mut connection, _stream) = Peer::with_stream(limits).await;
    peer.data(1, 0, &[0; 5000]).await;
    assert!(timeout(Duration::from_secs(20), connection.accept()).await.is_err());
    // It is asked for signs of life meanwhile.
    assert!(timeout(Duration::from_secs(20), peer.frame()).await.unwrap() == Seen::Ping(2));
    drop(peer);
    assert!(
        timeout(Duration::from_secs(40), connection.accept())
            .await
            .unwrap()
            .is_none()
    );
    assert!(connection.error().unwrap().is_gone());
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_comes_in_pieces() {
    let (mut peer, _connection, mut stream) = Peer::with_stream(Config::default()).await;
    let length = (16 << 20) - 1u32;
    let mut head = vec![0, 0, 0, 1];
    head.extend((1 << 24 | length).to_be_bytes());
    let say = tokio::spawn(async move {
        peer.io.write_all(&head).await.unwrap();
        let bytes: Vec<u8> = (0..length).map(|i| u8::try_from(i % 253).unwrap()).collect();
        peer.io.write_all(&bytes).await.unwrap();
        peer
    });
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes.len(), usize::try_from(length).unwrap());
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(i, byte)| *byte == u8::try_from(i % 253).unwrap())
    );
    say.await.unwrap();
}
