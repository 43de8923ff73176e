//! What the users of a connection hold: a reader and a writer for each channel, and the control of the whole.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::lanes::{Closed, Shared};
use super::{Error, PIECE};

/// Reads one channel. The end of the file is the peer's end of the channel or of the connection; a connection that broke is an
/// error, after all that came before. Dropping it lets the rest of the channel be dropped, too.
#[derive(Debug)]
pub struct Reader {
    lanes: Handle,
    channel: usize,
    piece: Bytes,
}

/// Writes one channel. Shutting it down, or dropping it, ends the channel; the peer hears of it only where the protocol has
/// words for that (v5, from the client).
#[derive(Debug)]
pub struct Writer {
    lanes: Handle,
    channel: usize,
}

/// The connection itself. Dropping it gives the connection up: nothing more is sent.
#[derive(Debug)]
pub struct Control {
    lanes: Handle,
    task: JoinHandle<Result<(), Arc<Error>>>,
    gone: Option<oneshot::Receiver<()>>,
}

struct Handle(Shared);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Control {
    pub(super) fn new(lanes: Shared, task: JoinHandle<Result<(), Arc<Error>>>, gone: oneshot::Receiver<()>) -> Control {
        Control {
            lanes: Handle(lanes),
            task,
            gone: Some(gone),
        }
    }

    /// The reader of a channel; there may be one.
    pub fn reader(&self, channel: u8) -> Reader {
        Reader {
            lanes: Handle(self.lanes.0.clone()),
            channel: channel.into(),
            piece: Bytes::new(),
        }
    }

    /// The writer of a channel; there may be one.
    pub fn writer(&self, channel: u8) -> Writer {
        Writer {
            lanes: Handle(self.lanes.0.clone()),
            channel: channel.into(),
        }
    }

    /// Sends a message of a channel, empty perhaps, whether or not there is a writer or room. For short ones: what is too long for
    /// the socket's buffer, 128 KiB as it is encoded, ends the connection.
    pub fn send(&self, channel: u8, data: &[u8]) {
        let mut lanes = self.lanes.0.lock();
        let message: Message = lanes.codec().encode(channel, data);
        lanes.push(channel.into(), message, data.len());
    }

    /// Waits until the peer has left: closed, hung up, broke the protocol, or was silent for too long. Cancel safe.
    pub async fn gone(&mut self) {
        if let Some(gone) = &mut self.gone {
            // A driver that is no more is as good as its word.
            let _ = gone.await;
            self.gone = None;
        }
    }

    /// Whether the peer has closed the connection as one should.
    pub fn closed_in_order(&self) -> bool {
        self.lanes.0.lock().has_ended()
    }

    /// Ends the connection: all that was queued goes out, then a close frame with code 1000, then what the peer still sends is
    /// read until it closes, too. Given up when the future is dropped, and after the times in
    /// [`Timing`](super::Timing).
    ///
    /// # Errors
    /// The peer was gone before, or didn't take the rest.
    pub async fn close(mut self) -> Result<(), Arc<Error>> {
        self.lanes.0.lock().close();
        match (&mut self.task).await {
            Ok(result) => result,
            Err(join) => Err(Arc::new(Error::Lost(io::Error::other(join)))),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.piece.is_empty() {
            let polled = this.lanes.0.lock().poll_read(this.channel, cx);
            this.piece = ready!(polled).map_err(|e| e.to_io())?;
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().piece.advance(amount);
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = ready!(self.as_mut().poll_fill_buf(cx))?;
        let amount = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..amount]);
        self.consume(amount);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.lanes.0.lock().ignore(self.channel);
    }
}

fn closed(closed: Closed) -> io::Error {
    match closed {
        Closed::Ended => io::Error::new(io::ErrorKind::BrokenPipe, "the channel is closed"),
        Closed::Failed(error) => error.to_io(),
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let polled = self.lanes.0.lock().poll_write(self.channel, buf, PIECE, cx);
        polled.map_err(closed)
    }

    /// The driver sends as soon as it can: there is nothing to hurry.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lanes.0.lock().shut(self.channel);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lanes.0.lock().shut(self.channel);
    }
}
