use super::core::Core;
use super::frame::{HEAD, encode};
use super::outbound::Outgoing;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Frames that are written with one call.
const BATCH: usize = 16;
/// Bytes that are taken from streams for one call, at least one frame.
const BATCH_BYTES: usize = 128 << 10;

/// Frames to the transport. Control frames overtake all DATA but the frame that has begun.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Control frames, whole but for what was taken of the first.
    pub(super) control: Vec<u8>,
    control_taken: usize,
    batch: VecDeque<Data>,
    batch_bytes: usize,
    /// The transport may hold back what it has taken.
    unflushed: bool,
}

#[derive(Debug)]
struct Data {
    core: Arc<Core>,
    bytes: Vec<u8>,
    taken: usize,
    fin: bool,
}

impl Sender {
    /// Bytes of control frames that wait.
    pub(super) fn backlog(&self) -> usize {
        self.control.len() - self.control_taken
    }

    /// Whether frames of streams wait.
    pub(super) fn has_data(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Whether frames of streams should be added.
    pub(super) fn wants_data(&self) -> bool {
        self.batch.len() < BATCH && self.batch_bytes < BATCH_BYTES
    }

    /// Adds a frame of a stream.
    pub(super) fn data(&mut self, core: Arc<Core>, frame: Outgoing) {
        let Outgoing { mut bytes, fin, .. } = frame;
        let head = encode::data_head(core.id, fin, bytes.len() - HEAD);
        bytes[..HEAD].copy_from_slice(&head);
        self.batch_bytes += bytes.len();
        self.batch.push_back(Data {
            core,
            bytes,
            taken: 0,
            fin,
        });
    }

    /// Takes back what was not begun of a stream that was reset.
    pub(super) fn scrub(&mut self, id: u32) {
        self.batch.retain(|data| data.core.id != id || data.taken > 0);
        self.batch_bytes = self.batch.iter().map(|data| data.bytes.len()).sum();
    }

    /// Takes back all that was not begun.
    pub(super) fn scrub_all(&mut self) {
        self.batch.retain(|data| data.taken > 0);
        self.batch_bytes = self.batch.iter().map(|data| data.bytes.len()).sum();
        // A control frame that has begun can't be told from the next: those that were not are lost only when none was begun.
        if self.control_taken == 0 {
            self.control.clear();
        }
    }

    /// Writes once, or flushes when there is nothing to write. Ready with how much the transport took; `None` when there is
    /// nothing to do.
    pub(super) fn poll_send(
        &mut self,
        mut io: Pin<&mut (impl AsyncWrite + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        if self.control.is_empty() && self.batch.is_empty() {
            if self.unflushed {
                ready!(io.poll_flush(cx))?;
                self.unflushed = false;
            }
            return Poll::Ready(Ok(None));
        }
        let begun = self.batch.front().is_some_and(|data| data.taken > 0);
        let mut slices = [IoSlice::new(&[]); BATCH + 1];
        let control = &self.control[self.control_taken..];
        let data = self.batch.iter().map(|data| &data.bytes[data.taken..]);
        let mut count = 0;
        let first = data.clone().take(usize::from(begun));
        let rest = data.skip(usize::from(begun));
        for (slice, bytes) in slices
            .iter_mut()
            .zip(first.chain(Some(control).filter(|c| !c.is_empty())).chain(rest))
        {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        let taken = match &slices[..count] {
            [single] => ready!(io.as_mut().poll_write(cx, single))?,
            several => ready!(io.as_mut().poll_write_vectored(cx, several))?,
        };
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.advance(taken, begun);
        Poll::Ready(Ok(Some(taken)))
    }

    fn advance(&mut self, mut taken: usize, begun: bool) {
        if begun {
            self.advance_data(&mut taken, 1);
        }
        let control = taken.min(self.backlog());
        self.control_taken += control;
        taken -= control;
        if self.control_taken == self.control.len() {
            self.control_taken = 0;
            self.control.clear();
            self.control.shrink_to(1 << 10);
        }
        self.advance_data(&mut taken, usize::MAX);
    }

    fn advance_data(&mut self, taken: &mut usize, most: usize) {
        for _ in 0..most {
            let Some(data) = self.batch.front_mut().filter(|_| *taken > 0) else {
                return;
            };
            let now = (*taken).min(data.bytes.len() - data.taken);
            data.taken += now;
            *taken -= now;
            if data.taken < data.bytes.len() {
                return;
            }
            self.batch_bytes -= data.bytes.len();
            data.core.sent(&data.bytes, data.fin);
            self.batch.pop_front();
        }
    }
}
