//! What streams do between the two sides of this crate.

use crate::peer::soon;
use outrigger_streaming::spdy::{Config, Connection, Error, Headers, Status, Stream, client, server};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// The error inside of what a reader or writer got.
pub fn inner(error: &std::io::Error) -> &Error {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("an error of this crate")
}

fn pair() -> (Connection, Connection) {
    let (near, far) = duplex(64 << 10);
    (client(near, Config::default()), server(far, Config::default()))
}

/// A stream and its other end.
async fn stream(client: &Connection, server: &mut Connection) -> (Stream, Stream) {
    let accept = async { server.accept().await.unwrap().accept(Headers::new()) };
    let (near, far) = soon(async { tokio::join!(client.open(Headers::new(), false), accept) }).await;
    (near.unwrap(), far)
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_each_half_ends_alone() {
    let (client, mut server) = pair();
    let (mut near, mut far) = stream(&client, &mut server).await;
    near.write_all(b"question").await.unwrap();
    soon(near.shutdown()).await.unwrap();
    let mut text = String::new();
    soon(far.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "question");

    // The other half is as open as before.
    far.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    soon(near.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    assert_eq!(near.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    soon(far.shutdown()).await.unwrap();
    assert_eq!(soon(near.read(&mut answer)).await.unwrap(), 0);
    assert_eq!(soon(near.read(&mut answer)).await.unwrap(), 0);
    assert!(client.error().is_none() && server.error().is_none());
}

#[tokio::test(start_paused = true)]
async fn headers_arrive_and_ids_rise() {
    let (client, mut server) = pair();
    for (i, id) in [1, 3, 5].into_iter().enumerate() {
        let headers = Headers::new().with("streamType", "data").with("port", i.to_string());
        let accept = async {
            let incoming = server.accept().await.unwrap();
            assert_eq!(incoming.headers, headers);
            assert_eq!(incoming.id(), id);
            incoming.accept(Headers::new().with("some", "answer"))
        };
        let (near, far) = soon(async { tokio::join!(client.open(headers.clone(), false), accept) }).await;
        assert_eq!((near.unwrap().id(), far.id()), (id, id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_opens_streams_too() {
    let (mut client, server) = pair();
    let handle = server.handle();
    // It waits for the client's first.
    let opened = tokio::spawn(async move { handle.open(Headers::new().with("who", "server"), true).await });
    let serving = tokio::spawn(async move {
        let mut server = server;
        let first = server.accept().await.unwrap().accept(Headers::new());
        (server, first)
    });
    let _first = soon(client.open(Headers::new(), false)).await.unwrap();
    let incoming = soon(client.accept()).await.unwrap();
    assert_eq!((incoming.id(), incoming.headers.get("who")), (2, Some("server")));
    let mut far = incoming.accept(Headers::new());
    let mut near = soon(opened).await.unwrap().unwrap();
    // It was opened with its end.
    assert_eq!(soon(far.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    far.write_all(b"hello").await.unwrap();
    drop(far.shutdown().await);
    let mut text = String::new();
    soon(near.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "hello");
    drop(serving.await);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_of_open() {
    let (client, mut server) = pair();
    let refuse = async {
        server.accept().await.unwrap().reject(Status::RefusedStream);
        drop(server.accept().await.unwrap());
        server.accept().await.unwrap().reject(Status::InternalError);
    };
    let open = async {
        for expected in [Status::RefusedStream, Status::RefusedStream, Status::InternalError] {
            match client.open(Headers::new(), false).await {
                Err(Error::Reset(status)) => assert_eq!(status, expected),
                other => panic!("{other:?}"),
            }
        }
    };
    soon(async { tokio::join!(refuse, open) }).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_that_nobody_waits_for_resets_its_stream() {
    let (client, mut server) = pair();
    let mut open = Box::pin(client.open(Headers::new(), false));
    let incoming = tokio::select! {
        incoming = server.accept() => incoming.unwrap(),
        _ = &mut open => panic!("nobody has accepted it"),
    };
    drop(open);
    let mut far = incoming.accept(Headers::new());
    let error = soon(far.read(&mut [0])).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Reset(Status::Cancel)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_comes_after_what_was_received() {
    let (client, mut server) = pair();
    let (mut near, mut far) = stream(&client, &mut server).await;
    far.write_all(b"the last words").await.unwrap();
    soon(far.flush()).await.unwrap();
    far.reset(Status::InternalError);
    let mut text = Vec::new();
    let error = soon(near.read_to_end(&mut text)).await.unwrap_err();
    assert_eq!(text, b"the last words");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(matches!(inner(&error), Error::Reset(Status::InternalError)), "{error}");
    let error = soon(near.write_all(b"x")).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Reset(Status::InternalError)), "{error}");
    // And here.
    let error = soon(far.read(&mut [0])).await.unwrap_err();
    assert!(
        matches!(inner(&error), Error::ResetHere(Status::InternalError)),
        "{error}"
    );
    // The streams beside it go on.
    let (mut near, mut far) = stream(&client, &mut server).await;
    near.write_all(b"x").await.unwrap();
    assert_eq!(soon(far.read_u8()).await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn dropping_an_open_stream_cancels_it() {
    let (client, mut server) = pair();
    let (near, mut far) = stream(&client, &mut server).await;
    drop(near);
    let error = soon(far.read(&mut [0])).await.unwrap_err();
    assert!(matches!(inner(&error), Error::Reset(Status::Cancel)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropping_a_stream_after_its_end_loses_nothing() {
    let (client, mut server) = pair();
    let (mut near, mut far) = stream(&client, &mut server).await;
    let bytes: Vec<u8> = (0..100_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    near.write_all(&bytes).await.unwrap();
    // Begun, and not waited for.
    assert!(futures::poll!(Box::pin(near.shutdown())).is_pending());
    drop(near);
    let mut got = Vec::new();
    soon(far.read_to_end(&mut got)).await.unwrap();
    assert!(got == bytes);
    // What comes for nobody harms nobody.
    far.write_all(&bytes).await.unwrap();
    soon(far.shutdown()).await.unwrap();
    let (mut near, mut far) = stream(&client, &mut server).await;
    far.write_all(b"x").await.unwrap();
    assert_eq!(soon(near.read_u8()).await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn flush_waits_for_the_transport() {
    let (near, far) = duplex(1000);
    let (client, mut server) = (
        client(near, Config::default()),
        server(
            far,
            Config {
                receive: 1,
                ..Config::default()
            },
        ),
    );
    let (mut near, mut far) = stream(&client, &mut server).await;
    near.write_all(&[7; 90_000]).await.unwrap();
    assert!(futures::poll!(Box::pin(near.flush())).is_pending());
    let read = async {
        let mut got = vec![0; 90_000];
        far.read_exact(&mut got).await.unwrap();
    };
    let (flushed, ()) = soon(async { tokio::join!(near.flush(), read) }).await;
    flushed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_split_stream_works_from_two_tasks() {
    let (client, mut server) = pair();
    let (near, far) = stream(&client, &mut server).await;
    let (mut near_read, mut near_write) = tokio::io::split(near);
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(far);
        let copied = tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
        copied
    });
    let bytes = vec![42; 3 << 20];
    let write = async {
        near_write.write_all(&bytes).await.unwrap();
        near_write.shutdown().await.unwrap();
    };
    let mut got = Vec::new();
    let (read, ()) = soon(async { tokio::join!(near_read.read_to_end(&mut got), write) }).await;
    read.unwrap();
    assert!(got == bytes);
    assert_eq!(soon(echo).await.unwrap(), 3 << 20);
}

#[tokio::test(start_paused = true)]
async fn both_sides_have_a_limit_of_streams() {
    let (near, far) = duplex(64 << 10);
    let few = Config {
        streams: 3,
        ..Config::default()
    };
    let (client, mut server) = (
        client(
            near,
            Config {
                streams: 4,
                ..Config::default()
            },
        ),
        server(far, few),
    );
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(stream(&client, &mut server).await);
    }
    // The fourth is too many there, and as it is over, there is room here.
    for _ in 0..3 {
        let error = soon(client.open(Headers::new(), false)).await.unwrap_err();
        assert!(matches!(error, Error::Reset(Status::RefusedStream)), "{error}");
    }
    // One that ended and is held counts: it holds memory.
    let (mut near, mut far) = held.pop().unwrap();
    soon(async { tokio::join!(near.shutdown(), far.shutdown()) })
        .await
        .0
        .unwrap();
    assert!(soon(client.open(Headers::new(), false)).await.is_err());
    drop((near, far));
    held.push(stream(&client, &mut server).await);

    let mut waiting = Box::pin(client.open(Headers::new(), false));
    assert!(futures::poll!(&mut waiting).is_pending());
    let error = soon(client.open(Headers::new(), false)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyStreams(4)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn headers_that_no_peer_takes_are_an_error_here() {
    let (client, mut server) = pair();
    let error = soon(client.open(Headers::new().with("large", "x".repeat(70_000)), false))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Headers(_)), "{error}");
    // The connection does not suffer.
    let (_near, _far) = stream(&client, &mut server).await;
    let accept = async {
        let mut far = server
            .accept()
            .await
            .unwrap()
            .accept(Headers::new().with("large", "x".repeat(70_000)));
        far.read(&mut [0]).await.unwrap_err()
    };
    let (near, far) = soon(async { tokio::join!(client.open(Headers::new(), false), accept) }).await;
    assert!(matches!(near.unwrap_err(), Error::Reset(Status::InternalError)));
    assert!(matches!(inner(&far), Error::Headers(_)), "{far}");
}
