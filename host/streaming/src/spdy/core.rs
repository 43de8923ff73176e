use super::Error;
use super::frame::HEAD;
use super::inbound::{End, Inbound};
use super::outbound::{Outbound, Outgoing};
use super::shared::{Request, Shared, Slot};
use super::status::Status;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// What a stream and its connection share. It lives until both have let go of it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) id: u32,
    slot: Slot,
    inbound: Mutex<Inbound>,
    outbound: Mutex<Outbound>,
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// For the connection.
impl Core {
    /// A stream without a receiving or a sending half, if it began so.
    pub(super) fn new(id: u32, slot: Slot, receives: bool, sends: bool) -> Arc<Core> {
        let mut inbound = Inbound::default();
        if !receives {
            inbound.end(End::Fin);
        }
        let outbound = if sends { Outbound::default() } else { Outbound::ended() };
        Arc::new(Core {
            id,
            slot,
            inbound: Mutex::new(inbound),
            outbound: Mutex::new(outbound),
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.slot.shared
    }

    /// Bytes have come. `true`: as many wait as may, and nothing more should be read until [`held`](Core::held) says no.
    pub(super) fn receive(&self, bytes: &[u8]) -> bool {
        let shared = self.shared();
        let (reader, full) = {
            let mut inbound = self.inbound.lock();
            shared.add_unread(inbound.push(bytes));
            (inbound.reader(), inbound.hold(shared.config.receive))
        };
        wake(reader);
        full
    }

    /// Whether the connection has to wait for the reader.
    pub(super) fn held(&self) -> bool {
        self.inbound.lock().held()
    }

    /// The peer's FIN has come.
    pub(super) fn received_fin(&self) {
        let reader = {
            let mut inbound = self.inbound.lock();
            inbound.end(End::Fin);
            inbound.reader()
        };
        wake(reader);
    }

    /// Nothing more is received, and readers get an error after what is there.
    pub(super) fn deafen(&self) {
        let reader = {
            let mut inbound = self.inbound.lock();
            inbound.end(End::Failed(Error::Closed));
            inbound.reader()
        };
        wake(reader);
    }

    /// The next frame to send.
    pub(super) fn take(&self) -> Option<Outgoing> {
        self.outbound.lock().take()
    }

    /// The transport has taken a frame.
    pub(super) fn sent(&self, frame: &[u8], fin: bool) {
        let limit = self.shared().config.send;
        wake(self.outbound.lock().sent(frame.len().saturating_sub(HEAD), fin, limit));
    }

    /// Both halves end at once: what was received can be read, what waits to be sent is lost.
    pub(super) fn fail(&self, error: &Error) {
        let reader = {
            let mut inbound = self.inbound.lock();
            inbound.end(End::Failed(error.clone()));
            inbound.reader()
        };
        wake(reader);
        let writer = self.outbound.lock().fail(error.clone());
        wake(writer);
    }
}

/// For the stream.
impl Core {
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<(), Error>> {
        let shared = self.shared();
        let (result, released) = {
            let mut inbound = self.inbound.lock();
            let result = inbound.poll_read(cx, buf);
            (result, inbound.release(shared.config.receive))
        };
        if let Poll::Ready(Ok(count)) = result
            && (shared.sub_unread(count) || released)
        {
            shared.wake();
        }
        result.map_ok(|_| ())
    }

    pub(super) fn poll_write(self: &Arc<Core>, cx: &Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Error>> {
        let (result, due) = {
            let mut outbound = self.outbound.lock();
            let result = outbound.poll_write(cx, bytes, self.shared().config.send);
            (result, outbound.schedule())
        };
        if due {
            self.shared().schedule(self);
        }
        result
    }

    pub(super) fn poll_flush(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.outbound.lock().poll_flush(cx)
    }

    pub(super) fn poll_ended(self: &Arc<Core>, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.end();
        self.outbound.lock().poll_ended(cx)
    }

    /// Has FIN follow what was written.
    pub(super) fn end(self: &Arc<Core>) {
        let due = {
            let mut outbound = self.outbound.lock();
            outbound.end();
            outbound.schedule()
        };
        if due {
            self.shared().schedule(self);
        }
    }

    /// Ends both halves at once and tells the peer.
    pub(super) fn reset(&self, status: Status) {
        self.fail(&Error::ResetHere(status));
        self.shared().request(Request::Reset { id: self.id, status });
    }

    /// The peer is told that the stream is accepted.
    pub(super) fn reply(&self, headers: super::Headers) {
        self.shared().request(Request::Reply { id: self.id, headers });
    }

    /// Nobody will read what the peer sends: what is and will be there is dropped.
    pub(super) fn ignore(&self) {
        let shared = self.shared();
        let (left, held) = {
            let mut inbound = self.inbound.lock();
            let left = inbound.abandon();
            (left, inbound.release(usize::MAX))
        };
        if shared.sub_unread(left) || held {
            shared.wake();
        }
    }

    /// The stream was dropped. The connection goes on with what it has to send after a shutdown, and tells the peer with
    /// `status` when there was none.
    pub(super) fn abandon(&self, status: Status) {
        self.ignore();
        let open = self.outbound.lock().is_open();
        if open {
            self.reset(status);
        }
    }
}
