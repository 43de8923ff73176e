use super::Error;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// An empty queue keeps no more memory than this for its next bytes.
const KEPT: usize = 16 << 10;

/// What a stream has received and its reader has not taken.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    bytes: VecDeque<u8>,
    /// What comes after the bytes; nothing is added to them any more.
    end: Option<End>,
    reader: Option<Waker>,
    /// The stream was dropped: nobody will read.
    unwanted: bool,
    /// The connection has stopped reading until there is room.
    held: bool,
}

/// How receiving ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// With the peer's FIN: all is there.
    Fin,
    /// Too early.
    Failed(Error),
}

impl Inbound {
    /// Adds bytes, and says how many: none when nobody wants them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        if self.unwanted || self.end.is_some() {
            return 0;
        }
        self.bytes.extend(bytes);
        bytes.len()
    }

    /// Whether `limit` is reached; then the reader will be told to wake the connection.
    pub(super) fn hold(&mut self, limit: usize) -> bool {
        self.held = self.bytes.len() >= limit;
        self.held
    }

    /// Whether the connection waits for room here.
    pub(super) fn held(&self) -> bool {
        self.held
    }

    /// Ends it, if it has not ended.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// The reader, to be woken.
    pub(super) fn reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Moves bytes to `buf`. Ready with nothing moved is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<usize, Error>> {
        let count = self.bytes.len().min(buf.remaining());
        if count == 0 {
            return match &self.end {
                _ if buf.remaining() == 0 => Poll::Ready(Ok(0)),
                Some(End::Fin) => Poll::Ready(Ok(0)),
                Some(End::Failed(error)) => Poll::Ready(Err(error.clone())),
                None => {
                    match &mut self.reader {
                        Some(reader) => reader.clone_from(cx.waker()),
                        none => *none = Some(cx.waker().clone()),
                    }
                    Poll::Pending
                }
            };
        }
        let (front, back) = self.bytes.as_slices();
        let first = count.min(front.len());
        buf.put_slice(&front[..first]);
        buf.put_slice(&back[..count - first]);
        self.bytes.drain(..count);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = VecDeque::new();
        }
        Poll::Ready(Ok(count))
    }

    /// Whether the connection waits and can go on: at most half of `limit` is left. Says so once.
    pub(super) fn release(&mut self, limit: usize) -> bool {
        self.held && self.bytes.len() <= limit / 2 && {
            self.held = false;
            true
        }
    }

    /// Throws away what is there and all that comes, and says how much was there.
    pub(super) fn abandon(&mut self) -> usize {
        self.unwanted = true;
        std::mem::take(&mut self.bytes).len()
    }
}
