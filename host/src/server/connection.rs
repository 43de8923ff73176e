//! Connections: how many, how slow, and how they end.
//!
//! HTTP/1.1 is preferred where a caller offers both, since only it can be upgraded, and what most callers come for are
//! upgrades.

use super::activity::Activity;
use super::front::Front;
use super::socket::Socket;
use super::stall::Patience;
use super::stall::Stall;
use hyper::rt::Executor;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a caller may choose from, the best first; without a choice it is the first.
pub(super) const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", HTTP2];
const HTTP2: &[u8] = b"h2";

/// What a caller may take of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections that are served at once.
    pub served: usize,
    /// Connections beyond those that get a 503; the rest is closed unheard.
    pub refused: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request, and so for an idle connection as well.
    pub head: Duration,
    /// Of a request's head, in bytes; and of an answer, what waits for the caller to take it. Request lines are shorter in any
    /// case: those above 64 KiB get a 414, where a kubelet takes 1 MiB.
    pub head_bytes: usize,
    /// Requests at once on a connection of HTTP/2.
    pub streams: u32,
    /// For a caller that does not read what it is sent.
    pub stalled: Duration,
    /// The same while people may be reading: logs, and sessions.
    pub watched: Duration,
    /// For answers under way when the server ends.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            served: 512,
            refused: 32,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            head_bytes: 128 << 10,
            streams: 64,
            stalled: Duration::from_secs(60),
            watched: Duration::from_secs(4 * 3600),
            farewell: Duration::from_secs(5),
        }
    }
}

/// Whether there is room for the connection that a request came by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It is one of those that are served.
    Served,
    /// There are too many; it gets one answer.
    Full,
}

/// A connection, as those see it who answer the requests that come by it.
#[derive(Clone)]
pub(super) struct Line {
    /// The certificates that the caller showed, its own first.
    pub chain: Arc<[CertificateDer<'static>]>,
    pub room: Room,
    /// Knows when the caller has left.
    pub socket: Socket,
    pub limits: Limits,
    patience: Patience,
    /// Requests under way.
    pub activity: Arc<Activity>,
    server: Endings,
    _place: Arc<OwnedSemaphorePermit>,
}

/// How the server ends.
#[derive(Clone)]
struct Endings {
    tasks: TaskTracker,
    /// It has begun to end.
    shutdown: CancellationToken,
    /// Whoever is left ends now.
    cut: CancellationToken,
}

// What is run until something cancels it is boxed here: passed by value, each function on its way would keep room for it, and
// the task three times what it needs.

/// Requests of HTTP/2 have tasks of their own.
impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Endings {
    fn execute(&self, request: F) {
        let cut = self.cut.clone();
        let request = Box::pin(request);
        self.tasks
            .spawn(async move { cut.run_until_cancelled_owned(request).await.map(drop) });
    }
}

impl Line {
    /// From now on people may be reading, who take their time.
    pub(super) fn is_watched(&self) {
        self.patience.extend(self.limits.watched);
    }

    /// Runs what goes on after the connection was upgraded; it keeps the connection's place. At the server's end it is
    /// dropped when it does not end by itself in time, see [`ending`](Self::ending).
    pub(super) fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let line = self.clone();
        let session = Box::pin(session);
        self.server.tasks.spawn(async move {
            line.server.cut.run_until_cancelled(session).await;
        });
    }

    /// Waits until the server has begun to end and half of the time for farewells has passed: time to tell the caller.
    pub(super) async fn ending(&self) {
        self.server.shutdown.cancelled().await;
        tokio::time::sleep(self.limits.farewell / 2).await;
    }
}

/// Between two tries to accept when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let (served, refused) = (
        Arc::new(Semaphore::new(limits.served)),
        Arc::new(Semaphore::new(limits.refused)),
    );
    let endings = Endings {
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
        cut: CancellationToken::new(),
    };
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(node = front.name(), %error, "unable to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let served = place(&served).map(|place| (place, Room::Served));
        let Some((place, room)) = served.or_else(|| Some((place(&refused)?, Room::Full))) else {
            continue;
        };
        let connection = Box::pin(connection(
            stream,
            acceptor.clone(),
            Arc::clone(&front),
            limits,
            (place, room),
            endings.clone(),
        ));
        let cut = endings.cut.clone();
        endings.tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
                tracing::debug!(%error, "a connection to the kubelet port ended early");
            }
        });
    }
    drop(listener);
    let Endings { tasks, cut, .. } = endings;
    tasks.close();
    if tokio::time::timeout(limits.farewell, tasks.wait()).await.is_err() {
        cut.cancel();
        tasks.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    limits: Limits,
    (place, room): (OwnedSemaphorePermit, Room),
    server: Endings,
) -> io::Result<()> {
    let socket = Socket::new(stream)?;
    let patience = Patience::new(limits.stalled);
    let stream = Stall::new(socket.clone(), patience.clone());
    let stream = tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await??;
    let tls = stream.get_ref().1;
    let is_http2 = tls.alpn_protocol() == Some(HTTP2);
    let shutdown = server.shutdown.clone();
    let tasks = server.clone();
    let line = Arc::new(Line {
        chain: tls.peer_certificates().unwrap_or_default().into(),
        room,
        socket,
        limits,
        patience,
        activity: Arc::default(),
        server,
        _place: Arc::new(place),
    });
    let (activity, patience) = (line.activity.clone(), line.patience.clone());
    let answer = service_fn(move |request| {
        let (front, line) = (Arc::clone(&front), Arc::clone(&line));
        async move { Ok::<_, Infallible>(front.answer(request, &line).await) }
    });
    if is_http2 {
        let mut http = http2::Builder::new(tasks);
        http.timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            // What waits for a slow reader, for each request.
            .max_send_buf_size(64 << 10)
            .keep_alive_interval(limits.head)
            .keep_alive_timeout(limits.head);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = shutdown.cancelled() => {}
            () = activity.over(limits.head) => {}
        }
        connection.as_mut().graceful_shutdown();
        // It takes the caller to end it gracefully, who has to take the answers, too: some never do.
        tokio::select! {
            ended = connection => return ended.map_err(io::Error::other),
            () = activity.idle(|| patience.get()) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(io::Error::other)
}
