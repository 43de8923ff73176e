//! A few connections for many watches, and one for many requests.
//!
//! A watch of one object is mostly silence, and over HTTP/1.1 it occupies a connection. Here many share one as streams
//! of HTTP/2 (RFC 9113). How many at a time is the server's choice; 100 is the least that the RFC recommends (6.5.2), and
//! what API servers allow since CVE-2023-44487. Where the server, or a proxy before it, speaks only HTTP/1.1, every
//! request has a connection of its own again, and there is room for as many watches as for connections.
//!
//! A connection is made when it is first needed, once however many wait for it, and closed when its last watch has gone.

use super::{Client, raw::ApiError};
use arc_swap::ArcSwap;
use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Shared},
};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::client::conn::http2;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use std::{
    error::Error,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower::{BoxError, Service, ServiceExt};

/// Connections, the one for requests among them.
pub(super) const CONNECTIONS: usize = 64;
/// Streams on a connection.
const STREAMS: u16 = 100;
/// Watches where each has a connection of its own: the rest is left to requests.
const PLAIN_WATCHES: usize = 32;
/// Connecting, with the handshakes.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that spoke only HTTP/1.1 is tried again after this long.
const PLAIN_FOR: Duration = Duration::from_secs(600);
/// How often a request is sent of which the server does not want to know anything, because it closes the connection.
const TRIES: usize = 3;
/// When what travels on a connection fails. A peer that has vanished is found out below, by TCP; this is for one that stands
/// between, and acknowledges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pings {
    /// When nothing has come for so long, the server is asked for a sign of life (RFC 9113, 6.7).
    after: Duration,
    /// And has so long to give it.
    timeout: Duration,
}

impl Pings {
    /// As Go's clients of Kubernetes have them.
    pub(super) const OF_WATCHES: Self = Self {
        after: Duration::from_secs(30),
        timeout: Duration::from_secs(15),
    };
    /// Where an answer is due at once. A request that is given up would otherwise be repeated on the connection that failed it.
    pub(super) const OF_REQUESTS: Self = Self {
        after: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
    };
}
/// A stream holds at most so much that was not read yet; a larger object arrives in several turns.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Which connection a request travels on; an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trunk(u16);

/// Places for watches, and a client for requests, on few connections. Cheap to clone; clones share them.
#[derive(Clone)]
pub struct Trunks {
    /// For requests: it shares one connection where it can.
    pub requests: Client,
    places: Arc<Places>,
}

struct Places {
    dial: ArcSwap<Dialled>,
    /// Watches by connection.
    taken: Mutex<Vec<u16>>,
}

/// Room for one watch, until it is dropped.
pub struct Place {
    client: Client,
    trunk: Trunk,
    places: Arc<Places>,
}

/// What the server was found to speak.
#[derive(Default)]
struct Protocol(AtomicU8);

const UNKNOWN: u8 = 0;
const SHARED: u8 = 1;
const PLAIN: u8 = 2;

impl Trunks {
    /// Over a client whose requests end in [`Dial`].
    pub(super) fn new(client: &Client, dial: &Dial) -> Self {
        Self {
            requests: client.via(Trunk(0)),
            places: Arc::new(Places {
                dial: ArcSwap::new(dial.shared.clone()),
                taken: Mutex::new(vec![0; CONNECTIONS]),
            }),
        }
    }

    /// Goes the way of other ones from now on.
    pub(super) fn replace(&self, other: &Self) {
        self.requests.replace(&other.requests);
        self.places.dial.store(other.places.dial.load_full());
    }

    /// Room for one more watch. `None` when there is none; one that is dropped makes some.
    ///
    /// # Errors
    /// Before anything is known of the server, when it can't be reached.
    pub async fn place(&self) -> Result<Option<Place>, ApiError> {
        if self.places.dial.load().protocol.get() == UNKNOWN {
            // Whatever it answers, the connection tells.
            let version = Request::get("/version")
                .body(Body::empty())
                .map_err(ApiError::Request)?;
            let asking = self.requests.send(version);
            let answer = tokio::time::timeout(DIAL_TIMEOUT, asking).await;
            answer.unwrap_or(Err(ApiError::Timeout(DIAL_TIMEOUT)))?;
        }
        let (trunks, streams) = self.places.room();
        let mut taken = self.places.taken();
        let free = taken.iter().take(trunks).skip(1).position(|taken| *taken < streams);
        Ok(free.map(|index| {
            let index = index + 1;
            taken[index] += 1;
            let trunk = Trunk(u16::try_from(index).unwrap_or(0));
            Place {
                client: self.requests.via(trunk),
                trunk,
                places: self.places.clone(),
            }
        }))
    }

    /// Whether many requests share a connection, as far as is known.
    pub fn shares(&self) -> bool {
        self.places.dial.load().protocol.get() != PLAIN
    }
}

impl Places {
    /// Connections, and watches on each.
    fn room(&self) -> (usize, u16) {
        if self.dial.load().protocol.get() == PLAIN {
            (PLAIN_WATCHES, 1)
        } else {
            (CONNECTIONS, STREAMS)
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<u16>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A client for the one watch.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether there is less room than when it was given: the server no longer shares connections. It is to be given
    /// back, then.
    pub fn is_crowded(&self) -> bool {
        let (trunks, watches) = self.places.room();
        let trunk = usize::from(self.trunk.0);
        trunk >= trunks || self.places.taken()[trunk] > watches
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let last = {
            let mut taken = self.places.taken();
            let taken = &mut taken[usize::from(self.trunk.0)];
            *taken -= 1;
            *taken == 0
        };
        if last {
            self.places.dial.load().hang_up(self.trunk);
        }
    }
}

impl Protocol {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether that is news.
    fn set(&self, protocol: u8) -> bool {
        self.0.swap(protocol, Ordering::Relaxed) != protocol
    }
}

/// The lowest part of a client: sends a request on the connection that its [`Trunk`] names.
#[derive(Clone)]
pub(super) struct Dial {
    shared: Arc<Dialled>,
}

struct Dialled {
    connector: HttpsConnector<HttpConnector>,
    /// For a server that speaks only HTTP/1.1.
    plain: legacy::Client<HttpsConnector<HttpConnector>, Body>,
    lines: Box<[Mutex<State>]>,
    pings: Pings,
    protocol: Arc<Protocol>,
}

/// A connection.
enum State {
    Closed,
    /// Whoever needs it waits for the same attempt.
    Opening(Opening),
    Open(Line),
}

type Opening = Shared<BoxFuture<'static, Result<Line, Arc<str>>>>;

/// What came of connecting.
#[derive(Clone)]
enum Line {
    /// HTTP/2.
    Shared(http2::SendRequest<Body>),
    /// The server did not want it, then.
    Plain(Instant),
}

impl Dial {
    /// So many connections. `connector` offers both protocols, `plain` uses only the older one.
    pub(super) fn new(
        connections: usize,
        pings: Pings,
        connector: HttpsConnector<HttpConnector>,
        plain: legacy::Client<HttpsConnector<HttpConnector>, Body>,
    ) -> Self {
        Self {
            shared: Arc::new(Dialled {
                connector,
                plain,
                lines: (0..connections).map(|_| Mutex::new(State::Closed)).collect(),
                pings,
                protocol: Arc::default(),
            }),
        }
    }
}

impl Dialled {
    /// Closes a connection as soon as nothing travels on it.
    fn hang_up(&self, trunk: Trunk) {
        if let Some(line) = self.lines.get(usize::from(trunk.0)) {
            *line.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
        }
    }

    async fn send(&self, trunk: Trunk, request: Request<Body>) -> Result<Response<Answer>, BoxError> {
        // All that is sent is short: a status, an event, a question.
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = || Request::from_parts(head.clone(), Body::from(body.clone()));
        let mut tries = 1;
        loop {
            let mut line = match self.line(trunk, &head.uri).await? {
                Line::Shared(line) => line,
                Line::Plain(_) => {
                    let answer = self.plain.request(request()).await?;
                    return Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()));
                }
            };
            let error = match line.try_send_request(request()).await {
                Ok(answer) => return Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync())),
                Err(error) => error,
            };
            // The server has closed the connection in order, as one does that ends, and has done nothing with this.
            let untouched = error.message().is_some() || is_refused(error.error());
            if !untouched || tries == TRIES {
                return Err(error.into_error().into());
            }
            tries += 1;
        }
    }

    async fn line(&self, trunk: Trunk, uri: &Uri) -> Result<Line, BoxError> {
        let state = self.lines.get(usize::from(trunk.0)).ok_or("no such connection")?;
        let locked = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let opening = {
            let mut state = locked();
            // One that nobody waited for to its end.
            if let State::Opening(opening) = &*state
                && let Some(outcome) = opening.clone().now_or_never()
            {
                *state = outcome.map_or(State::Closed, State::Open);
            }
            match &*state {
                State::Open(line) if line.is_usable() => return Ok(line.clone()),
                State::Opening(opening) => opening.clone(),
                _ => {
                    // By itself: whoever needs it may give up, and then nobody would go on with it.
                    let opening = tokio::spawn(self.open(uri.clone()));
                    let opening = opening.unwrap_or_else(|error| Err(error.to_string().into()));
                    let opening = opening.boxed().shared();
                    *state = State::Opening(opening.clone());
                    opening
                }
            }
        };
        let outcome = opening.clone().await;
        let mut state = locked();
        if matches!(&*state, State::Opening(known) if known.ptr_eq(&opening)) {
            *state = match &outcome {
                Ok(line) => State::Open(line.clone()),
                Err(_) => State::Closed,
            };
        }
        Ok(outcome.map_err(|error| error.to_string())?)
    }

    fn open(&self, uri: Uri) -> impl Future<Output = Result<Line, Arc<str>>> + Send + 'static {
        let (connector, pings, protocol) = (self.connector.clone(), self.pings, self.protocol.clone());
        let for_watches = self.lines.len() > 1;
        async move {
            let opened = tokio::time::timeout(DIAL_TIMEOUT, open(connector, uri, pings)).await;
            let line = match opened {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => return Err(super::raw::chain(error.as_ref()).into()),
                Err(_) => return Err(format!("no connection within {DIAL_TIMEOUT:?}").into()),
            };
            let found = match line {
                Line::Shared(_) => SHARED,
                Line::Plain(_) => PLAIN,
            };
            if protocol.set(found) && found == PLAIN && for_watches {
                tracing::info!(
                    watches = PLAIN_WATCHES,
                    "the API server speaks only HTTP/1.1: each watch of a ConfigMap or Secret has a connection of its own"
                );
            }
            Ok(line)
        }
    }
}

impl Line {
    fn is_usable(&self) -> bool {
        match self {
            Self::Shared(line) => !line.is_closed(),
            Self::Plain(since) => since.elapsed() < PLAIN_FOR,
        }
    }
}

/// Whether the server says that it has done nothing with a request: that came behind the last one which it answers before it
/// closes the connection (RFC 9113, 6.8), or was more than it takes at a time (8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let Some(cause) = causes.into_iter().find_map(|cause| cause.downcast_ref::<h2::Error>()) else {
        return false;
    };
    cause.is_remote()
        && match cause.reason() {
            Some(h2::Reason::NO_ERROR) => cause.is_go_away(),
            Some(h2::Reason::REFUSED_STREAM) => cause.is_reset(),
            _ => false,
        }
}

async fn open(connector: HttpsConnector<HttpConnector>, uri: Uri, pings: Pings) -> Result<Line, BoxError> {
    let io = connector.oneshot(uri).await?;
    if !io.connected().is_negotiated_h2() {
        return Ok(Line::Plain(Instant::now()));
    }
    let (line, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(pings.after)
        .keep_alive_timeout(pings.timeout)
        .handshake(io)
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "shared connection ended");
        }
    });
    Ok(Line::Shared(line))
}

type Answer = UnsyncBoxBody<bytes::Bytes, BoxError>;

impl Service<Request<Body>> for Dial {
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let trunk = request.extensions_mut().remove::<Trunk>().unwrap_or(Trunk(0));
            shared.send(trunk, request).await
        })
    }
}

#[cfg(test)]
#[path = "trunk_tests.rs"]
mod tests;
