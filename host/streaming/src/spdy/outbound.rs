use super::Error;
use super::frame::{HEAD, LARGEST_DATA};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// What a stream was given to send.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Payloads of DATA frames, each behind room for its head, so that a frame is one piece of memory.
    frames: VecDeque<Vec<u8>>,
    /// Bytes that were written here and that the transport has not taken.
    waiting: usize,
    state: State,
    /// Our FIN was not taken by the transport.
    fin_waiting: bool,
    /// The connection knows that there is something to send.
    scheduled: bool,
    writer: Option<Waker>,
}

/// Where the writing half is.
#[derive(Debug, Default)]
enum State {
    /// Bytes can be written.
    #[default]
    Open,
    /// FIN follows what is there.
    Ending,
    /// FIN is on its way or sent.
    Ended,
    /// Nothing is sent any more.
    Failed(Error),
}

/// A frame to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Room for the head, then the payload.
    pub(super) bytes: Vec<u8>,
    /// The last of the stream.
    pub(super) fin: bool,
    /// There are more after it.
    pub(super) more: bool,
}

impl Outbound {
    /// One that never was open: the peer wants nothing sent.
    pub(super) fn ended() -> Outbound {
        Outbound {
            state: State::Ended,
            ..Outbound::default()
        }
    }

    /// Takes as much of `bytes` as there is room for below `limit`.
    pub(super) fn poll_write(&mut self, cx: &Context<'_>, bytes: &[u8], limit: usize) -> Poll<Result<usize, Error>> {
        match &self.state {
            State::Open => {}
            State::Ending | State::Ended => return Poll::Ready(Err(Error::HalfClosed)),
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
        }
        let count = bytes.len().min(limit.saturating_sub(self.waiting));
        if count == 0 && !bytes.is_empty() {
            return self.wait(cx);
        }
        self.append(&bytes[..count]);
        self.waiting += count;
        Poll::Ready(Ok(count))
    }

    fn append(&mut self, mut bytes: &[u8]) {
        if let Some(last) = self.frames.back_mut() {
            let (now, later) = bytes.split_at(bytes.len().min(HEAD + LARGEST_DATA - last.len()));
            last.extend_from_slice(now);
            bytes = later;
        }
        for payload in bytes.chunks(LARGEST_DATA) {
            let mut frame = Vec::with_capacity(HEAD + payload.len());
            frame.extend_from_slice(&[0; HEAD]);
            frame.extend_from_slice(payload);
            self.frames.push_back(frame);
        }
    }

    /// Ready when the transport has taken all that was written.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        match &self.state {
            State::Failed(error) => Poll::Ready(Err(error.clone())),
            _ if self.waiting == 0 => Poll::Ready(Ok(())),
            _ => self.wait(cx),
        }
    }

    /// Ready when the transport has taken all that was written, and FIN.
    pub(super) fn poll_ended(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        match &self.state {
            State::Failed(error) => Poll::Ready(Err(error.clone())),
            State::Ended if self.waiting == 0 && !self.fin_waiting => Poll::Ready(Ok(())),
            _ => self.wait(cx),
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.writer {
            Some(writer) => writer.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Has FIN follow what is there. Does nothing when that is so, or when it is too late.
    pub(super) fn end(&mut self) {
        if matches!(self.state, State::Open) {
            self.state = State::Ending;
            self.fin_waiting = true;
        }
    }

    /// Whether the connection has to be told that there is something to send. Says so once, until that was taken.
    pub(super) fn schedule(&mut self) -> bool {
        let due = !self.scheduled && (!self.frames.is_empty() || matches!(self.state, State::Ending));
        self.scheduled |= due;
        due
    }

    /// The next frame. When it says that there are more, the stream stays scheduled.
    pub(super) fn take(&mut self) -> Option<Outgoing> {
        let frame = self.frames.pop_front();
        let more = !self.frames.is_empty();
        let fin = !more && matches!(self.state, State::Ending);
        if fin {
            self.state = State::Ended;
        }
        self.scheduled = more;
        let bytes = match frame {
            Some(bytes) => bytes,
            None if fin => vec![0; HEAD],
            None => return None,
        };
        Some(Outgoing { bytes, fin, more })
    }

    /// The transport has taken `count` bytes, and FIN. Returns the writer if there is a reason to wake it.
    pub(super) fn sent(&mut self, count: usize, fin: bool, limit: usize) -> Option<Waker> {
        self.waiting = self.waiting.saturating_sub(count);
        if fin {
            self.fin_waiting = false;
        }
        // Who waits for room gets a good deal of it, and who waits for the end gets the end.
        if self.waiting <= limit / 2 {
            self.writer.take()
        } else {
            None
        }
    }

    /// Ends it at once, unless all was sent in order, and returns the writer to be woken.
    pub(super) fn fail(&mut self, error: Error) -> Option<Waker> {
        let complete = matches!(self.state, State::Ended) && self.waiting == 0 && !self.fin_waiting;
        if !complete && !matches!(self.state, State::Failed(_)) {
            self.state = State::Failed(error);
            self.frames = VecDeque::new();
            self.waiting = 0;
            self.fin_waiting = false;
        }
        self.writer.take()
    }

    /// Whether this half was left open.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }
}
