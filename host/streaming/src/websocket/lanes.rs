//! What the driver of a connection and the ends of its channels share: queues with bounds, and who waits for what.
//!
//! One lock, held for moments and never across an await. Each direction of each channel is a *lane*.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Message;

use super::codec::Codec;
use super::{Error, READ_BUFFER, Role, Settings, Use};

/// What a queued piece costs besides its bytes, so that a flood of tiny messages is bounded, too.
const PIECE: usize = 64;

/// The state behind the lock.
pub(super) struct Lanes {
    codec: Codec,
    /// Only clients may end a channel with a message.
    tells_ends: bool,
    receive: usize,
    send: usize,
    incoming: Vec<Incoming>,
    outgoing: Vec<Outgoing>,
    /// Encoded messages in the order in which they go out, with the lane that pays for them.
    queue: VecDeque<(usize, usize, Message)>,
    stage: Stage,
    driver: Option<Waker>,
}

/// How far the connection is.
enum Stage {
    /// Both directions work.
    Open,
    /// Nothing new goes out; what is queued does.
    Closing,
    /// The peer ended it as one should.
    Ended,
    /// It broke.
    Failed(Arc<Error>),
}

struct Incoming {
    /// Whether anybody will read; what comes otherwise is dropped.
    wanted: bool,
    ended: bool,
    pieces: VecDeque<Bytes>,
    held: usize,
    reader: Option<Waker>,
}

struct Outgoing {
    open: bool,
    queued: usize,
    writer: Option<Waker>,
}

pub(super) type Shared = Arc<Mutex<Lanes>>;

impl Lanes {
    pub fn new(settings: &Settings) -> Lanes {
        let incoming = |u: &Use| Incoming {
            wanted: matches!(u, Use::Read | Use::Both),
            ended: false,
            pieces: VecDeque::new(),
            held: 0,
            reader: None,
        };
        let outgoing = |u: &Use| Outgoing {
            open: matches!(u, Use::Write | Use::Both),
            queued: 0,
            writer: None,
        };
        Lanes {
            codec: settings.codec,
            tells_ends: settings.role == Role::Client,
            receive: settings.receive,
            send: settings.send,
            incoming: settings.channels.iter().map(incoming).collect(),
            outgoing: settings.channels.iter().map(outgoing).collect(),
            queue: VecDeque::new(),
            stage: Stage::Open,
            driver: None,
        }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    // The driver's side.

    pub fn register_driver(&mut self, cx: &Context<'_>) {
        match &mut self.driver {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            slot => *slot = Some(cx.waker().clone()),
        }
    }

    /// Whether the socket may be read: no lane holds more than its limit.
    pub fn has_room(&self) -> bool {
        self.incoming.iter().all(|lane| lane.held < self.receive)
    }

    /// Bytes for a channel. Those for a channel that nobody reads, or that isn't there, are dropped, as upstream does; and all that
    /// comes after the end, when the socket is read for its close frame only.
    pub fn deliver(&mut self, channel: u8, data: Bytes) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        let Some(lane) = self.incoming.get_mut(usize::from(channel)) else {
            return;
        };
        if lane.wanted && !lane.ended && !data.is_empty() {
            // Messages are slices of what was read from the socket at a time, all of which a small one would keep alive.
            let data = if data.len() < READ_BUFFER / 2 {
                Bytes::copy_from_slice(&data)
            } else {
                data
            };
            lane.held += data.len() + PIECE;
            lane.pieces.push_back(data);
            wake(&mut lane.reader);
        }
    }

    /// The peer sends no more on this channel. `false`: there is no such channel.
    pub fn end_incoming(&mut self, channel: u8) -> bool {
        let Some(lane) = self.incoming.get_mut(usize::from(channel)) else {
            return false;
        };
        lane.ended = true;
        wake(&mut lane.reader);
        true
    }

    /// The next message to send.
    pub fn next_message(&mut self) -> Option<Message> {
        let (channel, cost, message) = self.queue.pop_front()?;
        if let Some(lane) = self.outgoing.get_mut(channel) {
            lane.queued -= cost;
            wake(&mut lane.writer);
        }
        Some(message)
    }

    pub fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    /// The peer ended the connection as one should.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// The connection is over: readers get what has come and then the end or the error, writers an error.
    pub fn over(&mut self, result: Result<(), Arc<Error>>) {
        if matches!(self.stage, Stage::Ended | Stage::Failed(_)) {
            return;
        }
        self.stage = match result {
            Ok(()) => Stage::Ended,
            Err(error) => Stage::Failed(error),
        };
        self.queue.clear();
        for lane in &mut self.incoming {
            wake(&mut lane.reader);
        }
        for lane in &mut self.outgoing {
            lane.queued = 0;
            wake(&mut lane.writer);
        }
    }

    // The readers' side.

    /// The next bytes of a channel; none at its end.
    pub fn poll_read(&mut self, channel: usize, cx: &Context<'_>) -> Poll<Result<Bytes, Arc<Error>>> {
        let full = !self.has_room();
        let Some(lane) = self.incoming.get_mut(channel) else {
            return Poll::Ready(Ok(Bytes::new()));
        };
        if let Some(piece) = lane.pieces.pop_front() {
            lane.held -= piece.len() + PIECE;
            if full {
                self.wake_driver();
            }
            return Poll::Ready(Ok(piece));
        }
        match &self.stage {
            _ if lane.ended => Poll::Ready(Ok(Bytes::new())),
            Stage::Ended => Poll::Ready(Ok(Bytes::new())),
            Stage::Failed(error) => Poll::Ready(Err(error.clone())),
            Stage::Open | Stage::Closing => {
                lane.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Nobody will read this channel any more: what is and will be there is dropped, so that it holds up no other.
    pub fn ignore(&mut self, channel: usize) {
        if let Some(lane) = self.incoming.get_mut(channel) {
            lane.wanted = false;
            lane.held = 0;
            lane.pieces = VecDeque::new();
            self.wake_driver();
        }
    }

    // The writers' side.

    /// Queues as much of `data` as there is room for, at most `piece` bytes.
    pub fn poll_write(
        &mut self,
        channel: usize,
        data: &[u8],
        piece: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, Closed>> {
        self.check_open(channel)?;
        let (codec, limit) = (self.codec, self.send);
        let Some(lane) = self.outgoing.get_mut(channel) else {
            return Poll::Ready(Err(Closed::Ended));
        };
        let room = limit.saturating_sub(lane.queued + PIECE);
        if room == 0 {
            lane.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let data = &data[..data.len().min(room).min(piece)];
        self.push(channel, codec.encode(channel as u8, data), data.len());
        Poll::Ready(Ok(data.len()))
    }

    fn check_open(&self, channel: usize) -> Result<(), Closed> {
        match &self.stage {
            Stage::Failed(error) => Err(Closed::Failed(error.clone())),
            Stage::Open if self.outgoing.get(channel).is_some_and(|lane| lane.open) => Ok(()),
            _ => Err(Closed::Ended),
        }
    }

    /// Queues a message in any case: for the few that the protocol itself sends.
    pub fn push(&mut self, channel: usize, message: Message, cost: usize) {
        if matches!(self.stage, Stage::Ended | Stage::Failed(_)) {
            return;
        }
        let cost = cost + PIECE;
        if let Some(lane) = self.outgoing.get_mut(channel) {
            lane.queued += cost;
        }
        self.queue.push_back((channel, cost, message));
        self.wake_driver();
    }

    /// This side writes no more on the channel; tells the peer where the protocol can.
    pub fn shut(&mut self, channel: usize) {
        let Some(lane) = self.outgoing.get_mut(channel).filter(|lane| lane.open) else {
            return;
        };
        lane.open = false;
        wake(&mut lane.writer);
        if let (true, Stage::Open, Some(message)) = (self.tells_ends, &self.stage, self.codec.end(channel as u8)) {
            self.push(channel, message, 0);
        }
    }

    /// What is queued goes out and nothing else; what comes in is dropped.
    pub fn close(&mut self) {
        if matches!(self.stage, Stage::Open) {
            self.stage = Stage::Closing;
        }
        for channel in 0..self.incoming.len() {
            self.ignore(channel);
            self.end_incoming(channel as u8);
        }
        for lane in &mut self.outgoing {
            lane.open = false;
            wake(&mut lane.writer);
        }
        self.wake_driver();
    }
}

/// Why nothing can be written.
pub(super) enum Closed {
    Ended,
    Failed(Arc<Error>),
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
