use super::driver::Driver;
use super::mux::Role;
use super::shared::{Open, Request, Shared, Side};
use super::{Config, Error, Headers, Incoming, Stream};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// Speaks SPDY on `io` as the side that was called. Spawns one task on the current tokio runtime, which owns `io` and ends
/// with the connection. Nothing is sent before the client's first SYN_STREAM.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn server(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, config: Config) -> Connection {
    start(io, Role::Server, config)
}

/// As [`server`], as the side that called.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn client(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, config: Config) -> Connection {
    start(io, Role::Client, config)
}

fn start(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, role: Role, config: Config) -> Connection {
    let shared = Shared::new(config);
    tokio::spawn(Driver::new(io, role, shared.clone()).run());
    Connection { shared }
}

/// A connection. Dropping it ends it at once, and all its streams with an error; to end it in order there are
/// [`finish`](Connection::finish) for the side that serves and [`close`](Connection::close) for the side that calls.
pub struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// The next stream that the peer opens. `None` when no more will come: the connection is over, or the peer has said with
    /// GOAWAY that it leaves. Cancel safe.
    pub async fn accept(&mut self) -> Option<Incoming> {
        poll_fn(|cx| self.shared.poll_accept(cx)).await
    }

    /// As [`Handle::open`].
    ///
    /// # Errors
    ///
    /// As [`Handle::open`].
    pub async fn open(&self, headers: Headers, fin: bool) -> Result<Stream, Error> {
        self.handle().open(headers, fin).await
    }

    /// Something to open streams with, for other tasks. It does not keep the connection alive.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Ends the connection without losing output, for the side that serves: takes no more streams, writes all that waits,
    /// ends every stream that was not ended (FIN), answers pings, waits until the peer leaves (GOAWAY or the end of the
    /// transport), and closes. Gives up when there was no sign of life (nothing taken by the transport, no frame received)
    /// for `patience`, and after `cap` at the latest. Bytes that come for a stream whose queue is full are thrown away from now
    /// on, and its reader gets an error after those that are there. Dropping the future ends the connection at once.
    ///
    /// Closing first, as others do, loses output: a client that reads slowly sends its next ping to a closed socket, and is
    /// answered with a reset that takes what it had not read yet (Kubernetes issue 142376).
    ///
    /// # Errors
    ///
    /// What ended the connection before all was written; [`Error::Stuck`] when the peer was given up.
    pub async fn finish(self, patience: Duration, cap: Duration) -> Result<(), Error> {
        self.end(|done| Request::Finish { patience, cap, done }).await
    }

    /// Ends the connection, for the side that calls: writes all that waits, ends every stream, says GOAWAY and closes.
    /// Dropping the future ends the connection at once.
    ///
    /// # Errors
    ///
    /// What ended the connection before all was written; [`Error::Stuck`] when the transport took nothing for
    /// [`Config::linger`].
    pub async fn close(self) -> Result<(), Error> {
        self.end(|done| Request::Close { done }).await
    }

    async fn end(self, request: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Request) -> Result<(), Error> {
        let (done, result) = oneshot::channel();
        self.shared.request(request(done));
        // Without an answer it was over before.
        result
            .await
            .unwrap_or_else(|_| Err(self.error().unwrap_or(Error::Closed)))
    }

    /// Why the connection is over; `None` while it is not.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.shared.error()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.request(Request::Abandon);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}

/// Opens streams on a [`Connection`].
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Opens a stream, without anything to send when `fin`, and waits until the peer accepts it. Dropping the future resets
    /// the stream.
    ///
    /// On the side that was called it also waits for the client's first stream, before which nothing may be sent.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`] when the peer refuses it, [`Error::GoAway`] when it takes no more of them,
    /// [`Error::TooManyStreams`], [`Error::NoMoreIds`], [`Error::Headers`], or what ended the connection.
    pub async fn open(&self, headers: Headers, fin: bool) -> Result<Stream, Error> {
        let slot = self
            .shared
            .slot(Side::Ours)
            .ok_or(Error::TooManyStreams(self.shared.config.streams))?;
        let (answer, stream) = oneshot::channel();
        self.shared.request(Request::Open(Open {
            headers,
            fin,
            slot,
            answer,
        }));
        stream
            .await
            .unwrap_or_else(|_| Err(self.shared.error().unwrap_or(Error::Closed)))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("error", &self.shared.error())
            .finish_non_exhaustive()
    }
}
