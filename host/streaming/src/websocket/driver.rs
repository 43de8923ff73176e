//! The task that owns a connection's socket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::codec::Event;
use super::lanes::Shared;
use super::metered::Metered;
use super::{Error, Timing};

/// For the last frame and the end of TLS, when the peer is of no interest any more.
const LEAVE: Duration = Duration::from_secs(5);
/// While the socket is not read because a reader is behind, a pong goes out this often: clients that ping (kubectl gives up
/// after 61 s) see that we are here, and a write to a peer that has left fails, so that it is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How far the connection is.
enum Phase {
    /// Both directions work.
    Open,
    /// What is queued goes out, the close frame behind it; then the peer's is waited for. What comes is dropped. The error, if
    /// there is one, is why.
    Closing { since: Instant, why: Option<Arc<Error>> },
    /// It is decided how it ended; what the socket still has to take is sent, and TLS ended.
    Leaving {
        since: Instant,
        result: Result<(), Arc<Error>>,
        flushed: bool,
    },
}

pub(super) struct Driver<Io> {
    socket: WebSocketStream<Metered<Io>>,
    lanes: Shared,
    timing: Timing,
    phase: Phase,
    /// The close frame was handed to the socket.
    close_sent: bool,
    /// Something was handed to the socket since its last flush.
    unflushed: bool,
    /// Pongs may wait in the socket's buffer, and fill it.
    ponged: bool,
    /// Reading is held up by a reader.
    held_up: bool,
    gone: Option<oneshot::Sender<()>>,
    timer: Pin<Box<Sleep>>,
    moved: u64,
    active: Instant,
    beat: Instant,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Driver<Io> {
    pub fn new(socket: WebSocketStream<Metered<Io>>, lanes: Shared, timing: Timing) -> (Self, oneshot::Receiver<()>) {
        let now = Instant::now();
        let (gone, receiver) = oneshot::channel();
        let driver = Driver {
            socket,
            lanes,
            timing,
            phase: Phase::Open,
            close_sent: false,
            unflushed: false,
            ponged: false,
            held_up: false,
            gone: Some(gone),
            timer: Box::pin(sleep_until(now + timing.idle)),
            moved: 0,
            active: now,
            beat: now,
        };
        (driver, receiver)
    }

    /// Sends what is queued as far as the socket takes it. `true`: something was sent.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, tungstenite::Error> {
        let mut sent = false;
        loop {
            if self.poll_room(cx)?.is_pending() {
                return Ok(sent);
            }
            let (message, closing) = {
                let mut lanes = self.lanes.lock();
                (lanes.next_message(), lanes.is_closing())
            };
            let message = match message {
                Some(message) => message,
                None if closing && !self.close_sent => {
                    self.close_sent = true;
                    Message::Close(Some(self.close_frame()))
                }
                None => break,
            };
            Pin::new(&mut self.socket).start_send(message)?;
            self.unflushed = true;
            sent = true;
        }
        self.flush(cx)?;
        Ok(sent)
    }

    /// Waits until the socket takes a message.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let socket = Pin::new(&mut self.socket);
        ready!(if self.ponged {
            socket.poll_flush(cx)
        } else {
            socket.poll_ready(cx)
        })?;
        self.ponged = false;
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), tungstenite::Error> {
        if self.unflushed && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    /// What to tell the peer at the end.
    fn close_frame(&self) -> CloseFrame {
        let (code, reason) = match &self.phase {
            Phase::Closing { why: Some(why), .. } | Phase::Leaving { result: Err(why), .. } => match &**why {
                Error::Protocol(tungstenite::Error::Capacity(_)) => (CloseCode::Size, why.to_string()),
                Error::Protocol(_) | Error::Channel(_) | Error::NoSuchChannel(_) => {
                    (CloseCode::Protocol, why.to_string())
                }
                _ => (CloseCode::Away, why.to_string()),
            },
            _ => (CloseCode::Normal, String::new()),
        };
        CloseFrame {
            code,
            reason: reason.into(),
        }
    }

    /// Reads one message. `true`: there was something.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        if matches!(self.phase, Phase::Open) {
            let full = !self.lanes.lock().has_room();
            if full != self.held_up {
                self.held_up = full;
                self.beat = Instant::now();
            }
            if full {
                return false;
            }
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Pending => return false,
            Poll::Ready(None) => self.leave(Ok(())),
            Poll::Ready(Some(Err(error))) => self.read_failed(error),
            Poll::Ready(Some(Ok(message))) => self.take(message),
        }
        true
    }

    fn take(&mut self, message: Message) {
        let data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            Message::Ping(_) => {
                self.unflushed = true;
                self.ponged = true;
                return;
            }
            Message::Pong(_) | Message::Frame(_) => return,
            Message::Close(frame) => return self.peer_closed(frame),
        };
        let mut lanes = self.lanes.lock();
        let fault = match lanes.codec().decode(data) {
            Ok(Event::Nothing) => return,
            Ok(Event::Data(channel, data)) => return lanes.deliver(channel, data),
            Ok(Event::End(channel)) if lanes.end_incoming(channel) => return,
            Ok(Event::End(channel)) => Error::NoSuchChannel(channel),
            Err(error) => Error::Channel(error),
        };
        drop(lanes);
        self.fail(fault);
    }

    /// The peer sent nonsense: says so in order, with a close frame that it can read.
    fn fail(&mut self, error: Error) {
        if matches!(self.phase, Phase::Open) {
            let why = Arc::new(error);
            self.lanes.lock().over(Err(why.clone()));
            let since = Instant::now();
            self.active = since;
            self.phase = Phase::Closing {
                since,
                why: Some(why.clone()),
            };
            self.close_sent = true;
            let close = Message::Close(Some(self.close_frame()));
            if Pin::new(&mut self.socket).start_send(close).is_err() {
                // It can't be told: the socket broke, or is full of what the peer doesn't take.
                self.leave(Err(why));
            }
            self.unflushed = true;
            self.tell_gone();
        }
    }

    fn peer_closed(&mut self, frame: Option<CloseFrame>) {
        self.unflushed = true;
        let (code, reason) = frame.map_or((CloseCode::Status, String::new()), |f| (f.code, f.reason.to_string()));
        let result = match code {
            CloseCode::Normal | CloseCode::Away | CloseCode::Status => Ok(()),
            code => Err(Arc::new(Error::Closed {
                code: code.into(),
                reason,
            })),
        };
        match &self.phase {
            Phase::Open => self.leave(result),
            Phase::Closing { why: Some(why), .. } => self.leave(Err(why.clone())),
            // Its answer to our close frame, or its own that crossed ours: whether all arrived is known by the order only.
            Phase::Closing { why: None, .. } if self.close_sent => self.leave(Ok(())),
            Phase::Closing { why: None, .. } => self.leave(Err(Arc::new(Error::Stalled))),
            Phase::Leaving { .. } => {}
        }
    }

    fn read_failed(&mut self, error: tungstenite::Error) {
        let hung_up = matches!(
            error,
            tungstenite::Error::Io(_) | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        );
        match &self.phase {
            Phase::Closing { why: Some(why), .. } => self.leave(Err(why.clone())),
            // It has the close frame, and left without an answer: so do clients that have all they want.
            Phase::Closing { why: None, .. } if hung_up && self.close_sent && !self.unflushed => self.leave(Ok(())),
            _ if hung_up => self.leave(Err(lost(error))),
            _ => {
                let tell = matches!(self.phase, Phase::Open) && !self.close_sent;
                self.leave(Err(Arc::new(Error::Protocol(error))));
                if tell {
                    let close = Message::Close(Some(self.close_frame()));
                    // When this fails, the peer gets no reason.
                    let _ = Pin::new(&mut self.socket).start_send(close);
                }
            }
        }
    }

    /// The end is decided: everybody hears of it now, and the socket gets a moment for its last bytes.
    fn leave(&mut self, result: Result<(), Arc<Error>>) {
        self.lanes.lock().over(result.clone());
        self.phase = Phase::Leaving {
            since: Instant::now(),
            result,
            flushed: false,
        };
        self.tell_gone();
    }

    fn tell_gone(&mut self) {
        if let Some(gone) = self.gone.take() {
            // Nobody needs to be waiting.
            let _ = gone.send(());
        }
    }

    /// Takes note of the user's wish to close.
    fn check_closing(&mut self) {
        if matches!(self.phase, Phase::Open) && self.lanes.lock().is_closing() {
            let since = Instant::now();
            self.active = since;
            self.phase = Phase::Closing { since, why: None };
        }
    }

    /// Ends what took too long. `true`: something changed.
    fn check_time(&mut self, cx: &mut Context<'_>) -> bool {
        let now = Instant::now();
        let moved = self.socket.get_ref().moved();
        if moved != self.moved {
            self.moved = moved;
            self.active = now;
        }
        let deadline = match &self.phase {
            Phase::Open if self.held_up => (self.active + self.timing.idle).min(self.beat + HEARTBEAT),
            Phase::Open => self.active + self.timing.idle,
            Phase::Closing { since, .. } => (self.active + self.timing.patience).min(*since + self.timing.cap),
            Phase::Leaving { since, .. } => *since + LEAVE,
        };
        if now >= deadline {
            self.time_is_up(now);
            return true;
        }
        // A timer that goes off early is set again; that is cheaper than to set it at each message.
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn time_is_up(&mut self, now: Instant) {
        match &self.phase {
            Phase::Open if now < self.active + self.timing.idle => {
                self.beat = now;
                // Only the flush can fail, and fails again in its place.
                let _ = Pin::new(&mut self.socket).start_send(Message::Pong(Bytes::new()));
                self.unflushed = true;
                self.ponged = true;
            }
            Phase::Open => self.fail(Error::Idle(self.timing.idle)),
            Phase::Closing { why: Some(why), .. } => self.leave(Err(why.clone())),
            // With the close frame out, only the peer's own is missing: a client that shows no sign of life has read it or never
            // will.
            Phase::Closing { why: None, .. } if self.close_sent && !self.unflushed => self.leave(Ok(())),
            Phase::Closing { why: None, .. } => self.leave(Err(Arc::new(Error::Stalled))),
            Phase::Leaving { .. } => {}
        }
    }

    /// The last bytes, then the end of the transport.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Arc<Error>>> {
        let Phase::Leaving { since, result, flushed } = &mut self.phase else {
            return Poll::Pending;
        };
        let late = Instant::now() >= *since + LEAVE;
        if !*flushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Pending if !late => return Poll::Pending,
                // What can't be sent any more is no news: the result is decided.
                _ => *flushed = true,
            }
        }
        match Pin::new(self.socket.get_mut()).poll_shutdown(cx) {
            Poll::Pending if !late => Poll::Pending,
            _ => Poll::Ready(result.clone()),
        }
    }
}

fn lost(error: tungstenite::Error) -> Arc<Error> {
    Arc::new(Error::Lost(match error {
        tungstenite::Error::Io(error) => error,
        other => std::io::Error::new(std::io::ErrorKind::UnexpectedEof, other),
    }))
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Future for Driver<Io> {
    type Output = Result<(), Arc<Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.lanes.lock().register_driver(cx);
        loop {
            this.check_closing();
            let mut moved = false;
            if !matches!(this.phase, Phase::Leaving { .. }) {
                match this.send(cx) {
                    Ok(sent) => moved |= sent,
                    Err(error) => this.read_failed(error),
                }
            }
            if !matches!(this.phase, Phase::Leaving { .. }) {
                moved |= this.receive(cx);
            }
            if matches!(this.phase, Phase::Leaving { .. })
                && let Poll::Ready(result) = this.poll_leave(cx)
            {
                return Poll::Ready(result);
            }
            moved |= this.check_time(cx);
            if !moved {
                return Poll::Pending;
            }
        }
    }
}

impl<Io> Drop for Driver<Io> {
    fn drop(&mut self) {
        self.lanes.lock().over(Err(Arc::new(Error::GivenUp)));
    }
}
