//! HTTP/2, for callers that offer nothing else.

use super::fake::LOG;
use super::fake::Log;
use super::*;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::Builder;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use std::sync::atomic::Ordering;

type Client = SendRequest<Empty<Bytes>>;

/// A connection on which nothing was said yet.
async fn dial(server: &Running, caller: Option<&Identity>) -> TlsStream<TcpStream> {
    let mut config = pki::client_config(caller);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::IpAddress(server.address.ip().into());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// A client, and its connection's task, which ends with it.
async fn client(server: &Running, caller: Option<&Identity>) -> (Client, JoinHandle<()>) {
    handshake(dial(server, caller).await, &Builder::new(TokioExecutor::new())).await
}

async fn handshake(stream: TlsStream<TcpStream>, builder: &Builder<TokioExecutor>) -> (Client, JoinHandle<()>) {
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let task = tokio::spawn(async move { drop(connection.await) });
    (client, task)
}

async fn known(server: &Running) -> (Client, JoinHandle<()>) {
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    client(server, Some(&caller)).await
}

async fn get(client: &mut Client, path: &str) -> http::Response<Incoming> {
    client.ready().await.unwrap();
    let request = Request::get(format!("https://x{path}")).body(Empty::new()).unwrap();
    let answer = tokio::time::timeout(PATIENCE, client.send_request(request)).await;
    answer.unwrap().unwrap()
}

async fn body(answer: http::Response<Incoming>) -> Bytes {
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn requests_share_a_connection() {
    let server = start(Fake::new(Log::Text(LOG))).await;
    let (mut client, task) = known(&server).await;
    assert_eq!(body(get(&mut client, "/healthz").await).await, "ok");
    assert_eq!(
        body(get(&mut client, "/containerLogs/default/web/app").await).await,
        "one\ntwo\nthree\n"
    );
    assert_eq!(get(&mut client, "/nothing").await.status(), 404);
    let exec = get(&mut client, "/exec/default/web/app?output=1&command=cat").await;
    assert_eq!(exec.status(), 400);
    assert_eq!(body(exec).await, "unable to upgrade: this needs HTTP/1.1\n");
    drop(client);
    task.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_what_it_read() {
    let backend = Fake::new(Log::Endless);
    let (open, read) = (Arc::clone(&backend.open), Arc::clone(&backend.read));
    let server = start(backend).await;
    let (mut client, _task) = known(&server).await;
    let endless = get(&mut client, "/containerLogs/default/web/app").await;
    let (mut last, mut still) = (0, 0);
    eventually("the log goes on without a reader", || {
        let now = read.load(Ordering::SeqCst);
        still = if std::mem::replace(&mut last, now) == now && now > 0 {
            still + 1
        } else {
            0
        };
        still == 20
    })
    .await;
    assert!(read.load(Ordering::SeqCst) < 16 << 20);
    // Others on the same connection do not wait for it.
    assert_eq!(body(get(&mut client, "/healthz").await).await, "ok");
    assert_eq!(open.load(Ordering::SeqCst), 1);
    drop(endless);
    eventually("the log stays open", || open.load(Ordering::SeqCst) == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn idle_and_unknown_callers_lose_their_connection() {
    let limits = Limits {
        head: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = start_with(Fake::new(Log::Text("")), limits).await;
    let (mut idle, task) = known(&server).await;
    assert_eq!(get(&mut idle, "/healthz").await.status(), 200);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    server.stop().await;

    let server = start(Fake::new(Log::Text(""))).await;
    let (mut unknown, task) = client(&server, None).await;
    assert_eq!(get(&mut unknown, "/healthz").await.status(), 401);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn callers_that_let_nothing_end_are_cut_off() {
    let limits = Limits {
        head: Duration::from_millis(100),
        stalled: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start_with(Fake::new(Log::Text("")), limits).await;
    // One says nothing.
    let mut silent = dial(&server, None).await;
    let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await;
    assert!(end.is_ok(), "a caller that says nothing keeps its connection");
    // One has no room for the answer.
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(0);
    let (mut full, task) = handshake(dial(&server, None).await, &builder).await;
    let answer = get(&mut full, "/healthz").await;
    assert_eq!(answer.status(), 401);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    drop(answer);
    server.stop().await;
}

#[tokio::test]
async fn the_servers_end_cuts_what_does_not_end() {
    let backend = Fake::new(Log::Stuck(LOG));
    let open = Arc::clone(&backend.open);
    let limits = Limits {
        farewell: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = start_with(backend, limits).await;
    let (mut client, _task) = known(&server).await;
    let stuck = get(&mut client, "/containerLogs/default/web/app").await;
    server.stop().await;
    assert_eq!(open.load(Ordering::SeqCst), 0);
    assert!(
        stuck.into_body().collect().await.is_err(),
        "an answer cut off must not look whole"
    );
}
