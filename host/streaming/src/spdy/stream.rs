use super::core::Core;
use super::{Headers, Status};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that the peer wants to open. Dropping it refuses it.
#[derive(Debug)]
pub struct Incoming {
    /// What the peer said about it.
    pub headers: Headers,
    pub(super) stream: Stream,
}

impl Incoming {
    /// The number of the stream.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.stream.id()
    }

    /// Takes the stream, and answers with `reply` (SYN_REPLY). Bytes that have come meanwhile are there to read.
    #[must_use]
    pub fn accept(self, reply: Headers) -> Stream {
        let mut stream = self.stream;
        stream.dropped = Status::Cancel;
        stream.core.reply(reply);
        stream
    }

    /// Refuses the stream (RST_STREAM).
    pub fn reject(self, status: Status) {
        self.stream.reset(status);
    }
}

/// A byte stream in both directions.
///
/// Reading ends with the peer's FIN; `shutdown` sends ours, after all that was written, and leaves the other half open. A
/// reset or the end of the connection is an [`io::Error`] around an [`Error`](super::Error), which readers get after all
/// bytes that came before. `flush` and `shutdown` wait until the transport has taken everything.
///
/// Dropping a stream whose writing half has not ended resets it with [`Status::Cancel`]: what waits to be sent is lost. After
/// `shutdown` (even one that was not waited for), dropping it loses nothing but what the peer goes on sending.
pub struct Stream {
    core: Arc<Core>,
    /// What the peer is told when the stream is dropped early.
    dropped: Status,
}

impl Stream {
    pub(super) fn new(core: Arc<Core>, dropped: Status) -> Stream {
        Stream { core, dropped }
    }

    /// The number of the stream, odd for those that the client opened.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.core.id
    }

    /// Drops what the peer has sent and will send on this stream: for streams that are only written, so that a peer which
    /// sends nevertheless does not hold up the others. Nothing is to be read from it afterwards.
    pub fn ignore_input(&self) {
        self.core.ignore();
    }

    /// Ends both halves at once (RST_STREAM). What waits to be sent is thrown away: flush before, if it should arrive. Does
    /// nothing on a stream that is over.
    pub fn reset(&self, status: Status) {
        self.core.reset(status);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.core.id)
            .finish_non_exhaustive()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.core.abandon(self.dropped);
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.core.poll_read(cx, buf).map_err(io::Error::from)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.core.poll_write(cx, buf).map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core.poll_flush(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.core.poll_ended(cx).map_err(io::Error::from)
    }
}
