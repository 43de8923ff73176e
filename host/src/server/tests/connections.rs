//! Many, slow and rude connections, and the end of them.

use super::fake::Log;
use super::*;
use std::sync::atomic::Ordering;

const ENDLESS: &[u8] = b"GET /containerLogs/default/web/app HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start(Fake::new(Log::Text(""))).await;
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nok") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn the_provider_waits_for_the_caller() {
    let backend = Fake::new(Log::Endless);
    let (read, open) = (Arc::clone(&backend.read), Arc::clone(&backend.open));
    let server = start(backend).await;
    let mut stream = server.connect().await;
    stream.write_all(ENDLESS).await.unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    // The socket's buffers fill up, and then the log stands still.
    let (mut last, mut still) = (0, 0);
    eventually("the log goes on without a reader", || {
        let now = read.load(Ordering::SeqCst);
        still = if std::mem::replace(&mut last, now) == now {
            still + 1
        } else {
            0
        };
        still == 20
    })
    .await;
    assert!(read.load(Ordering::SeqCst) < 64 << 20);
    assert_eq!(open.load(Ordering::SeqCst), 1);
    drop(stream);
    eventually("the log stays open after its reader left", || {
        open.load(Ordering::SeqCst) == 0
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_cut_off() {
    let backend = Fake::new(Log::Endless);
    let open = Arc::clone(&backend.open);
    let limits = Limits {
        stalled: Duration::from_millis(1),
        watched: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    let mut stream = server.connect().await;
    stream.write_all(ENDLESS).await.unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    eventually("the log stays open", || open.load(Ordering::SeqCst) == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let limits = Limits {
        served: 1,
        refused: 1,
        ..Limits::default()
    };
    let server = start_with(Fake::new(Log::Text("")), limits).await;
    let first = server.connect().await;
    let second = server.get("/healthz").await;
    assert_eq!((second.status, second.body.as_str()), (503, "too many connections\n"));
    drop(first);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get("/healthz").await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the place is never free again");
    }
    server.stop().await;
}

#[tokio::test]
async fn slow_and_huge_heads_end_the_connection() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start_with(Fake::new(Log::Text("")), limits).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HT").await.unwrap();
    let end = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "half a head keeps a connection");
    server.stop().await;

    let server = start(Fake::new(Log::Text(""))).await;
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    for (query, header, status) in [(0, 64 << 10, 200), (60_000, 60_000, 200), (64 << 10, 0, 414)] {
        let (query, header) = ("x".repeat(query), "x".repeat(header));
        let request = format!("GET /healthz?{query} HTTP/1.1\r\nHost: x\r\nX: {header}\r\nConnection: close\r\n\r\n");
        assert_eq!(ask(server.address, Some(&caller), &request).await.status, status);
    }
    let mut huge = server.connect().await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat((128 << 10) + 1));
    // The answer may come, and the connection end, before all of it was sent.
    let _ = huge.write_all(head.as_bytes()).await;
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, huge.read_to_end(&mut reply))
        .await
        .unwrap();
    assert!(
        reply.is_empty() || reply.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&reply)
    );
    assert_eq!(server.get("/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_handshake_ends() {
    let limits = Limits {
        handshake: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start_with(Fake::new(Log::Text("")), limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "a caller that says nothing keeps its connection");
    server.stop().await;
}

#[tokio::test]
async fn the_end_waits_for_answers_but_not_for_ever() {
    let backend = Fake::new(Log::Stuck(fake::LOG));
    let open = Arc::clone(&backend.open);
    let limits = Limits {
        farewell: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    let address = server.address;
    let idle = server.connect().await;
    let mut reading = server.connect().await;
    reading.write_all(ENDLESS).await.unwrap();
    reading.read_exact(&mut [0; 64]).await.unwrap();
    let started = tokio::time::Instant::now();
    server.stop().await;
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "the answer under way got no time"
    );
    assert_eq!(open.load(Ordering::SeqCst), 0);
    assert!(TcpStream::connect(address).await.is_err(), "the port is still open");
    drop((idle, reading));
}
