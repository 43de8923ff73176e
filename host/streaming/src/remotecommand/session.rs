//! What a server gets for a session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Error, Limits, Outcome, Protocol, Sizes};
use crate::{spdy, websocket};

/// A session whose streams are all there. Dropping it, or its [`End`], gives the connection up.
#[derive(Debug)]
pub struct Session {
    /// What the client types or pipes in, when it wants to.
    pub stdin: Option<Input>,
    /// Where the command's output goes, when the client wants it.
    pub stdout: Option<Output>,
    /// The same for errors; never with a terminal.
    pub stderr: Option<Output>,
    /// The sizes of the client's terminal, when it has one and the protocol knows sizes.
    pub resize: Option<Sizes>,
    /// The rest.
    pub end: End,
}

/// A stream to read. It ends when the peer ends it. A connection that breaks is an error, after all bytes that came before. Dropping
/// it tells the client, where the protocol can, and what it still sends is dropped.
#[derive(Debug)]
pub struct Input(pub(super) Reading);

#[derive(Debug)]
pub(super) enum Reading {
    Spdy(spdy::Stream),
    /// From a server. Those in Go end a session by resetting its streams, so that a reset is an end like any other; whether the
    /// session ended well is said by its outcome.
    SpdyServed(spdy::Stream),
    WebSocket(websocket::Reader),
}

/// A stream to write. Shutting it down, or dropping it, ends it for the peer, after all that was written, where the protocol can
/// say so. Waits while too much is queued: see [`Limits::send`].
#[derive(Debug)]
pub struct Output(pub(super) Writing);

#[derive(Debug)]
pub(super) enum Writing {
    Spdy(spdy::Stream),
    WebSocket(websocket::Writer),
}

/// The client, and how the session ends.
#[derive(Debug)]
pub struct End {
    pub(super) connection: Ending,
    pub(super) protocol: Protocol,
    pub(super) limits: Limits,
}

#[derive(Debug)]
pub(super) enum Ending {
    Spdy {
        connection: spdy::Connection,
        error: spdy::Stream,
    },
    WebSocket(websocket::Control),
}

/// The channels over WebSocket.
pub(super) mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    pub const ERROR: u8 = 3;
    pub const RESIZE: u8 = 4;
}

/// Ends our half of a stream without waiting; what is queued goes out before.
pub(super) fn shut(stream: &mut spdy::Stream) {
    // It is queued at once; only the wait for the socket is left out. A connection that is gone has no halves to end.
    let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
}

impl End {
    /// Waits until the client has left: it closed the connection, lost it, broke the protocol, or was silent for
    /// [`Limits::idle`]. Cancel safe.
    pub async fn gone(&mut self) {
        match &mut self.connection {
            Ending::Spdy { connection, .. } => {
                while let Some(late) = connection.accept().await {
                    late.reject(spdy::Status::RefusedStream);
                }
            }
            Ending::WebSocket(control) => control.gone().await,
        }
    }

    /// Once the client has [`gone`](Self::gone): whether it said so, after all that it had to say, which is still to be read
    /// then. Over SPDY streams have ends of their own, and it is not told.
    #[must_use]
    pub fn left_in_order(&self) -> bool {
        match &self.connection {
            Ending::Spdy { .. } => false,
            Ending::WebSocket(control) => control.closed_in_order(),
        }
    }

    /// Ends the session so that nothing is lost: all output goes out, then the outcome, and every stream ends; then the client's
    /// pings are answered until it leaves by itself. Closing first would make the kernel drop what a slow client has not read
    /// (kubernetes issue 142376).
    ///
    /// Outputs still held elsewhere can't be written any more. Dropping the future gives the connection up.
    ///
    /// # Errors
    /// The client was gone before, or took nothing for [`Limits::patience`]: it may not know the outcome.
    pub async fn finish(self, outcome: Outcome) -> Result<(), Error> {
        let text = outcome.encode(self.protocol);
        match self.connection {
            Ending::Spdy { connection, mut error } => {
                // When this fails, the connection knows better why.
                let _ = error.write_all(&text).await;
                shut(&mut error);
                drop(error);
                connection.finish(self.limits.patience, self.limits.cap).await?;
            }
            Ending::WebSocket(control) => {
                if !text.is_empty() {
                    control.send(channel::ERROR, &text);
                }
                control.close().await?;
            }
        }
        Ok(())
    }
}

impl AsyncRead for Input {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Reading::Spdy(stream) => Pin::new(stream).poll_read(cx, buf),
            Reading::SpdyServed(stream) => match Pin::new(stream).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if spdy::Error::is_reset(&error) => Poll::Ready(Ok(())),
                polled => polled,
            },
            Reading::WebSocket(reader) => Pin::new(reader).poll_read(cx, buf),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Reading::Spdy(stream) | Reading::SpdyServed(stream) = &mut self.0 {
            shut(stream);
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Writing::Spdy(stream) => Pin::new(stream).poll_write(cx, buf),
            Writing::WebSocket(writer) => Pin::new(writer).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Writing::Spdy(stream) => Pin::new(stream).poll_flush(cx),
            Writing::WebSocket(writer) => Pin::new(writer).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Writing::Spdy(stream) => Pin::new(stream).poll_shutdown(cx),
            Writing::WebSocket(writer) => Pin::new(writer).poll_shutdown(cx),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Writing::Spdy(stream) = &mut self.0 {
            shut(stream);
        }
    }
}
