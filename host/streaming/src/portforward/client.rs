//! The client's side, over SPDY streams.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::streams::{PORT, REQUEST, STREAM_TYPE, config};
use super::{Error, Limits, Protocol};
use crate::spdy::{self, Headers, Stream};
use crate::websocket::{Role, Tunnel};

/// Longest error text that is read.
const TEXT: u64 = 64 << 10;

/// A connection to a server that forwards ports.
#[derive(Debug)]
pub struct Client {
    connection: spdy::Connection,
    limits: Limits,
    requests: AtomicU64,
}

/// One forwarded connection.
#[derive(Debug)]
pub struct Forwarding {
    /// Its bytes; shutting it down ends the client's half.
    pub data: Stream,
    /// What went wrong on the server's side.
    pub error: Complaint,
}

/// What the server has to say about a forwarded connection.
#[derive(Debug)]
pub struct Complaint(Stream);

/// Begins on a connection whose upgrade the client has [asked](super::ask) for and the server granted.
///
/// # Errors
/// [`Error::NoStreams`] for WebSocket channels.
pub async fn connect<Io>(io: Io, protocol: Protocol) -> Result<Client, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = Limits::default();
    let connection = match protocol {
        Protocol::Spdy => spdy::client(io, config(limits)),
        Protocol::Tunnel => spdy::client(Tunnel::new(io, Role::Client).await, config(limits)),
        Protocol::WebSocket | Protocol::WebSocketBase64 => return Err(Error::NoStreams(protocol)),
    };
    Ok(Client {
        connection,
        limits,
        requests: AtomicU64::new(0),
    })
}

impl Client {
    /// Opens a connection to a port of the pod. That the pod takes it is not known yet: see [`Forwarding::error`].
    ///
    /// # Errors
    /// The server refused, or is gone.
    pub async fn open(&self, port: u16) -> Result<Forwarding, Error> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let headers = |kind: &str| {
            Headers::new()
                .with(STREAM_TYPE, kind)
                .with(PORT, port.to_string())
                .with(REQUEST, request.to_string())
        };
        let mut error = self.stream(headers("error")).await?;
        // As Go's client: nothing will be written here.
        error.shutdown().await.map_err(|_| self.lost())?;
        let data = self.stream(headers("data")).await?;
        Ok(Forwarding {
            data,
            error: Complaint(error),
        })
    }

    async fn stream(&self, headers: Headers) -> Result<Stream, Error> {
        let patience = self.limits.creation;
        let opened = timeout(patience, self.connection.open(headers, false)).await;
        Ok(opened.map_err(|_| Error::NotAccepted(patience))??)
    }

    fn lost(&self) -> Error {
        self.connection.error().unwrap_or(spdy::Error::Gone).into()
    }

    /// Ends the connection and all that it forwards. A server that has left by itself is no error.
    ///
    /// # Errors
    /// The server did not take what was left to send.
    pub async fn close(self) -> Result<(), Error> {
        match self.connection.close().await {
            Err(gone) if gone.is_gone() => Ok(()),
            ended => Ok(ended?),
        }
    }
}

impl Complaint {
    /// Waits for the server's end of the connection: the error, or nothing.
    ///
    /// # Errors
    /// The connection broke before.
    pub async fn wait(self) -> io::Result<Option<String>> {
        let mut text = Vec::new();
        match self.0.take(TEXT).read_to_end(&mut text).await {
            Ok(_) => {}
            // Servers in Go end it this way, after the text.
            Err(error) if spdy::Error::is_reset(&error) => {}
            Err(error) => return Err(error),
        }
        Ok((!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned()))
    }
}
