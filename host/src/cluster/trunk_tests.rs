use super::*;
use crate::{
    cluster::{client, raw},
    config::ClusterConfig,
};
use base64::Engine as _;
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::StreamBody;
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use std::sync::atomic::AtomicUsize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A server that answers watches with a stream that goes on.
struct Server {
    kubeconfig: tempfile::NamedTempFile,
    seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Those that have ended, too.
    accepted: AtomicUsize,
    open: AtomicUsize,
    cut: Mutex<CancellationToken>,
    frozen: Mutex<CancellationToken>,
    closing: Mutex<CancellationToken>,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Breaks all connections.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Does nothing more on the connections that there are; what comes on them is acknowledged by the system all the same.
    fn freeze(&self) {
        std::mem::take(&mut *self.frozen.lock().unwrap()).cancel();
    }

    /// Closes the connections that there are in order, with a GOAWAY, once what travels on them has its answer.
    fn close(&self) {
        std::mem::take(&mut *self.closing.lock().unwrap()).cancel();
    }
}

async fn serve(protocols: &[&str]) -> Server {
    serve_with(protocols, |stream, seen| connection(stream, seen).boxed()).await
}

type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn serve_with(protocols: &[&str], serving: fn(Stream, Arc<Seen>) -> BoxFuture<'static, ()>) -> Server {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let counting = seen.clone();
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), counting.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else {
                    return;
                };
                seen.connections.fetch_add(1, Ordering::SeqCst);
                seen.accepted.fetch_add(1, Ordering::SeqCst);
                let cut = seen.cut.lock().unwrap().clone();
                let frozen = seen.frozen.lock().unwrap().clone();
                let mut connection = serving(stream, seen.clone());
                let serving = async {
                    if frozen.run_until_cancelled(&mut connection).await.is_none() {
                        std::future::pending().await
                    }
                };
                cut.run_until_cancelled(serving).await;
                seen.connections.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    let authority = base64::engine::general_purpose::STANDARD.encode(issued.cert.pem());
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "kind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {authority}}}}}]\n"
    );
    std::fs::write(kubeconfig.path(), text).unwrap();
    Server {
        kubeconfig,
        seen,
        _task: AbortOnDropHandle::new(task),
    }
}

async fn connection(stream: Stream, seen: Arc<Seen>) {
    let shared = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let closing = seen.closing.lock().unwrap().clone();
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            assert_eq!(request.headers()["authorization"], "Bearer t");
            let watch = request.uri().path() == "/watch";
            let guard = watch.then(|| Open::new(seen));
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"first")))]);
            let body = if watch {
                let rest = futures::stream::pending();
                StreamBody::new(Guarded(
                    futures::StreamExt::boxed(futures::StreamExt::chain(first, rest)),
                    guard,
                ))
            } else {
                StreamBody::new(Guarded(futures::StreamExt::boxed(first), guard))
            };
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    });
    let io = TokioIo::new(stream);
    // However it ends.
    if shared {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(u32::from(STREAMS));
        let mut serving = std::pin::pin!(builder.serve_connection(io, answer));
        if closing.run_until_cancelled(serving.as_mut()).await.is_none() {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, answer)
            .await;
    }
}

struct Open(Arc<Seen>);

impl Open {
    fn new(seen: Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

type Frames = futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

/// A body that counts as open while it is there.
struct Guarded(
    Frames,
    #[expect(dead_code, reason = "it counts by being there")] Option<Open>,
);

impl futures::Stream for Guarded {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

async fn trunks(server: &Server) -> Trunks {
    clients(server).await.objects
}

async fn clients(server: &Server) -> crate::cluster::Clients {
    let config = ClusterConfig {
        kubeconfig: vec![server.kubeconfig.path().to_owned()],
        ..ClusterConfig::default()
    };
    client::connect(&config).await.unwrap()
}

/// Opens a watch and waits for its first bytes.
async fn watch(place: &Place) -> Result<super::super::http::Incoming, ApiError> {
    let request = Request::get("/watch").body(Body::empty()).unwrap();
    let mut body = place.client().send(request).await?.into_body();
    let first = body.frame().await.expect("a frame")?;
    assert_eq!(first.into_data().unwrap(), "first");
    Ok(body)
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn hundreds_of_watches_share_a_few_connections() {
    let server = serve(&["h2", "http/1.1"]).await;
    let trunks = trunks(&server).await;
    let mut places = Vec::new();
    for _ in 0..250 {
        places.push(trunks.place().await.unwrap().expect("room"));
    }
    let bodies = join_all(places.iter().map(watch)).await;
    assert!(bodies.iter().all(Result::is_ok));
    assert_eq!(server.seen.open.load(Ordering::SeqCst), 250);
    // 100 watches each on three, and one for requests, which has found out what the server speaks.
    assert_eq!(server.seen.connections(), 4);
    assert!(trunks.shares());
    drop(bodies);
    eventually("the server sees them end", || {
        server.seen.open.load(Ordering::SeqCst) == 0
    })
    .await;
    drop(places);
    eventually("only the one for requests stays", || server.seen.connections() == 1).await;
}

#[tokio::test]
async fn there_is_an_end_of_room_and_who_leaves_makes_some() {
    let server = serve(&["h2"]).await;
    let trunks = trunks(&server).await;
    let mut places = Vec::new();
    while let Some(place) = trunks.place().await.unwrap() {
        places.push(place);
    }
    assert_eq!(places.len(), (CONNECTIONS - 1) * usize::from(STREAMS));
    drop(places.pop());
    assert!(trunks.place().await.unwrap().is_some());
}

#[tokio::test]
async fn broken_connections_are_made_again_once() {
    let server = serve(&["h2"]).await;
    let trunks = trunks(&server).await;
    let mut places = Vec::new();
    for _ in 0..STREAMS {
        places.push(trunks.place().await.unwrap().expect("room"));
    }
    let bodies = join_all(places.iter().map(watch)).await;
    assert_eq!(server.seen.connections(), 2);
    server.seen.cut();
    for body in bodies {
        let end = body.unwrap().frame().await;
        assert!(matches!(end, Some(Err(ApiError::Transport(_)))), "{end:?}");
    }
    let bodies = join_all(places.iter().map(watch)).await;
    assert!(bodies.iter().all(Result::is_ok));
    eventually("one connection for all", || server.seen.connections() == 1).await;
}

/// As behind a load balancer whose backend has vanished.
#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_given_up() {
    let server = serve(&["h2"]).await;
    let trunks = trunks(&server).await;
    let place = trunks.place().await.unwrap().expect("room");
    let mut body = watch(&place).await.unwrap();
    let ask = || raw::get("/anything").unwrap();
    let patience = Duration::from_secs(3600);
    raw::send(&trunks.requests, ask(), patience).await.unwrap();
    server.seen.freeze();
    let request = tokio::spawn({
        let requests = trunks.requests.clone();
        async move { raw::send(&requests, ask(), patience).await }
    });
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let end = body.frame().await;
    assert!(matches!(end, Some(Err(ApiError::Transport(_)))), "{end:?}");
    let unanswered = request.await.unwrap();
    assert!(matches!(unanswered, Err(ApiError::Transport(_))), "{unanswered:?}");
    let took = began.elapsed();
    let Pings { after, timeout } = Pings::OF_WATCHES;
    assert!(took <= after + timeout + Duration::from_secs(1), "{took:?}");
    tokio::time::resume();
    watch(&place).await.unwrap();
    raw::send(&trunks.requests, ask(), patience).await.unwrap();
}

#[tokio::test]
async fn writes_share_a_connection_and_another_one_soon_after_that_freezes() {
    let server = serve(&["h2", "http/1.1"]).await;
    let status = clients(&server).await.status;
    let patience = Duration::from_secs(3600);
    let write = || {
        raw::send(
            &status,
            raw::patch("/pod", raw::Patch::Merge, b"{}".to_vec()).unwrap(),
            patience,
        )
    };
    let answers = join_all((0..50).map(|_| write())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.seen.connections(), 1);
    server.seen.freeze();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let unanswered = write().await;
    assert!(matches!(unanswered, Err(ApiError::Transport(_))), "{unanswered:?}");
    let (Pings { after, timeout }, took) = (Pings::OF_REQUESTS, began.elapsed());
    assert!(took <= after + timeout + Duration::from_secs(1), "{took:?}");
    tokio::time::resume();
    write().await.unwrap();
}

/// As API servers do now and then with `--goaway-chance`, and when they end.
#[tokio::test]
async fn a_connection_that_is_closed_in_order_loses_no_write() {
    let server = serve(&["h2"]).await;
    let status = clients(&server).await.status;
    let write = || raw::send(&status, raw::get("/pod").unwrap(), Duration::from_secs(20));
    let under_way = AtomicUsize::new(32);
    let writing = async {
        join_all((0..32).map(|_| async {
            for _ in 0..200 {
                write().await.expect("an answer");
                tokio::task::yield_now().await;
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
        }))
        .await;
    };
    let closing = async {
        let mut times = 0;
        while under_way.load(Ordering::SeqCst) > 0 {
            if server.seen.connections() > 0 {
                server.seen.close();
                times += 1;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times
    };
    let ((), times) = tokio::join!(writing, closing);
    assert!(times > 1, "closed {times} times only");
    let accepted = server.seen.accepted.load(Ordering::SeqCst);
    assert!(accepted <= times + 1, "{accepted} connections, closed {times} times");
}

/// The first connection answers one request and closes in order when the next comes, as Go's server does it: at once, and
/// what came behind the last request that it answers it does not look at. Later ones answer everything.
async fn closing_behind_the_first(mut stream: Stream, seen: Arc<Seen>) {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const ACK: [u8; 5] = [1, 0, 0, 0, 0];
    let first = seen.accepted.load(Ordering::SeqCst) == 1;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
    let mut head = [0; 9];
    // RFC 9113, 4.1: length, type, flags, stream.
    while stream.read_exact(&mut head).await.is_ok() {
        let [_, high, low, kind, flags, stream_id @ ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
        stream.read_exact(&mut payload).await.unwrap();
        let answer = match kind {
            SETTINGS | PING if flags & 1 == 0 => {
                let payload = if kind == PING { payload } else { Vec::new() };
                [&[0, 0, payload.len().try_into().unwrap(), kind], &ACK[..], &payload].concat()
            }
            HEADERS if first && stream_id != [0, 0, 0, 1] => {
                // GOAWAY: the last that counts is 1, no error.
                [&[0, 0, 8, 7, 0, 0, 0, 0, 0], &[0, 0, 0, 1][..], &[0; 4]].concat()
            }
            // END_STREAM and END_HEADERS; 0x88 is `:status: 200` (RFC 7541, appendix A).
            HEADERS => [&[0, 0, 1, HEADERS, 5], &stream_id[..], &[0x88]].concat(),
            _ => continue,
        };
        stream.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_comes_too_late_for_a_connection_goes_on_the_next() {
    let server = serve_with(&["h2"], |stream, seen| closing_behind_the_first(stream, seen).boxed()).await;
    let status = clients(&server).await.status;
    let write = || raw::send(&status, raw::get("/pod").unwrap(), Duration::from_secs(20));
    write().await.expect("an answer on the first connection");
    let answers = join_all((0..5).map(|_| write())).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.seen.accepted.load(Ordering::SeqCst), 2);
}

/// As where a load balancer accepts and has nobody behind it. Whoever needed the connection first has given up meanwhile.
#[tokio::test]
async fn a_connection_that_nobody_waits_for_any_more_fails_nobody_later() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let server = serve(&["h2"]).await;
    let text = std::fs::read_to_string(server.kubeconfig.path()).unwrap();
    let (before, rest) = text.split_once("https://127.0.0.1:").unwrap();
    let real: u16 = rest.split_once('\'').unwrap().0.parse().unwrap();
    std::fs::write(
        server.kubeconfig.path(),
        format!("{before}https://127.0.0.1:{port}'{}", rest.split_once('\'').unwrap().1),
    )
    .unwrap();
    let status = clients(&server).await.status;
    let write = |patience| raw::send(&status, raw::get("/pod").unwrap(), patience);
    let given_up = write(Duration::from_millis(50)).await;
    assert!(matches!(given_up, Err(ApiError::Timeout(_))), "{given_up:?}");
    let (held, _) = silent.accept().await.unwrap();
    let well = tokio::spawn(async move {
        while let Ok((mut near, _)) = silent.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", real)).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    tokio::time::pause();
    tokio::time::sleep(DIAL_TIMEOUT * 2).await;
    tokio::time::resume();
    let answer = write(Duration::from_secs(20)).await;
    assert!(answer.is_ok(), "{answer:?}");
    drop(held);
    well.abort();
}

#[tokio::test]
async fn writes_find_their_way_over_http_1() {
    let server = serve(&["http/1.1"]).await;
    let status = clients(&server).await.status;
    let write = || raw::send(&status, raw::get("/pod").unwrap(), Duration::from_secs(20));
    let answers = join_all((0..10).map(|_| write())).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn over_http_1_a_watch_has_a_connection_and_there_are_few() {
    let server = serve(&["http/1.1"]).await;
    let trunks = trunks(&server).await;
    let mut places = Vec::new();
    while let Some(place) = trunks.place().await.unwrap() {
        assert!(!place.is_crowded());
        places.push(place);
    }
    assert!(!trunks.shares());
    assert_eq!(places.len(), PLAIN_WATCHES - 1);
    let bodies = join_all(places.iter().map(watch)).await;
    assert!(bodies.iter().all(Result::is_ok));
    assert!(
        server.seen.connections() <= PLAIN_WATCHES,
        "{}",
        server.seen.connections()
    );
    let reply = raw::send(
        &trunks.requests,
        raw::get("/anything").unwrap(),
        Duration::from_secs(10),
    )
    .await;
    assert_eq!(reply.unwrap().body, "first");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_that_can_be_tried_again() {
    let server = serve(&["h2"]).await;
    let trunks = trunks(&server).await;
    drop(server._task);
    eventually("it is away", || server.seen.connections() == 0).await;
    let error = trunks.place().await.err().expect("nobody is there");
    assert!(error.is_retryable(), "{error}");
}
