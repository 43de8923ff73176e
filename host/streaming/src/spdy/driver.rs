use super::Error;
use super::frame::Step;
use super::mux::{Mux, Role};
use super::receiver::Receiver;
use super::shared::{Request, Shared, Todo};
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rounds of reading and writing before other tasks of the runtime get a turn.
const ROUNDS: usize = 32;

/// GOAWAY: nothing was wrong.
const IN_ORDER: u32 = 0;
/// GOAWAY: the peer broke the protocol.
const PROTOCOL_ERROR: u32 = 1;

/// The task that owns a connection's transport.
pub(super) struct Driver<T> {
    io: T,
    receiver: Receiver,
    mux: Mux,
    /// Kept for its memory.
    todo: Todo,
    phase: Phase,
    /// When something was last received, or taken by the transport.
    active: Instant,
    /// As `active`, without what this side sends on its own account: the last sign that the peer lives.
    alive: Instant,
    /// While reading is held back: since when, or when the peer was last probed.
    held: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// Who waits for the end, and is told how it went.
type Done = oneshot::Sender<Result<(), Error>>;

/// Where a connection is between its begin and its end.
enum Phase {
    /// Streams come and go.
    Open,
    /// All that waits is sent; then the peer is to leave.
    Finishing {
        patience: Duration,
        cap: Duration,
        until: Instant,
        /// When the peer was last asked for a sign of life.
        probed: Instant,
        done: Done,
    },
    /// All that waits is sent, and GOAWAY; then the transport is shut down.
    Closing {
        /// What the peer sends still matters: it broke no rule.
        listening: bool,
        /// GOAWAY was added to what is to be sent.
        said: bool,
        until: Instant,
        /// `until` moves as long as the peer takes something.
        patient: bool,
        /// How the end went, if nothing happens until then.
        result: Result<(), Error>,
        done: Option<Done>,
    },
    /// All is done.
    Over {
        result: Result<(), Error>,
        done: Option<Done>,
    },
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Driver<T> {
    pub(super) fn new(io: T, role: Role, shared: Arc<Shared>) -> Driver<T> {
        let now = Instant::now();
        Driver {
            io,
            receiver: Receiver::new(&shared.config),
            timer: Box::pin(sleep_until(now + shared.config.idle)),
            mux: Mux::new(role, shared),
            todo: Todo::default(),
            phase: Phase::Open,
            active: now,
            alive: now,
            held: None,
        }
    }

    /// Runs the connection to its end.
    pub(super) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let Driver { io, mut mux, phase, .. } = self;
        // In this order: who waits for the end finds the transport closed.
        drop(io);
        if let Phase::Over { result, done } = phase {
            mux.fail(result.clone().err().unwrap_or(Error::Closed));
            if let Some(done) = done {
                // Whoever waited may have stopped.
                let _ = done.send(result);
            }
        }
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mux.shared.register(cx);
        for _ in 0..ROUNDS {
            match self.round(cx) {
                Break(()) => return Poll::Ready(()),
                Continue(Poll::Ready(())) => {}
                Continue(Poll::Pending) => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what can be done. Breaks when the connection is over; pending when there is nothing to do.
    fn round(&mut self, cx: &mut Context<'_>) -> ControlFlow<(), Poll<()>> {
        if let Some(request) = self.mux.requests(&mut self.todo) {
            self.take_up(request)?;
            // Streams that are ended by it have asked for something meanwhile.
            return Continue(Poll::Ready(()));
        }
        let received = self.receive(cx)?;
        if self.mux.leaving() && matches!(self.phase, Phase::Finishing { .. }) {
            self.peer_leaves();
        }
        let has_data = self.mux.has_data();
        let sent = self.send(cx)?;
        if received || sent {
            self.active = Instant::now();
        }
        if received || (sent && has_data) {
            self.alive = self.active;
        }
        let linger = self.linger(self.active);
        if sent
            && let Phase::Closing {
                until, patient: true, ..
            } = &mut self.phase
        {
            *until = linger;
        }
        if received || sent {
            return Continue(Poll::Ready(()));
        }
        self.poll_timer(cx)
    }

    fn take_up(&mut self, request: Request) -> ControlFlow<()> {
        let now = Instant::now();
        match request {
            Request::Finish { patience, cap, done } if matches!(self.phase, Phase::Open) => {
                self.mux.finish();
                self.alive = now;
                self.phase = Phase::Finishing {
                    patience,
                    cap,
                    until: later(now, cap),
                    probed: now,
                    done,
                };
            }
            Request::Close { done } if matches!(self.phase, Phase::Open) => {
                self.mux.finish();
                self.phase = Phase::Closing {
                    listening: true,
                    said: false,
                    until: self.linger(now),
                    patient: true,
                    result: Ok(()),
                    done: Some(done),
                };
            }
            Request::Abandon => return self.over(Err(Error::Closed)),
            // It ends already, and they are told why.
            _ => {}
        }
        Continue(())
    }

    /// Reads once, after all that was read before is understood. Whether something was read.
    fn receive(&mut self, cx: &mut Context<'_>) -> ControlFlow<(), bool> {
        if matches!(self.phase, Phase::Closing { listening: false, .. }) {
            return Continue(false);
        }
        if !self.understand()? {
            return Continue(false);
        }
        let error = match self.receiver.poll_read(Pin::new(&mut self.io), cx) {
            Poll::Pending => return Continue(false),
            Poll::Ready(Ok(0)) => Error::Gone,
            Poll::Ready(Ok(_)) => {
                self.understand()?;
                return Continue(true);
            }
            // What TLS says about a peer that closes without a word.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Error::Gone,
            Poll::Ready(Err(error)) => Error::Transport(Arc::new(error)),
        };
        self.lost(error)?;
        Continue(true)
    }

    /// Takes up the frames that were read. `false` when no more should be read.
    fn understand(&mut self) -> ControlFlow<(), bool> {
        loop {
            while !self.mux.is_held() {
                let result = match self.receiver.next() {
                    Ok(Step::Frame { frame, used }) => self.mux.frame(frame).map(|()| used),
                    Ok(Step::More { .. }) => {
                        self.held = None;
                        return Continue(true);
                    }
                    Err(error) => Err(error),
                };
                match result {
                    Ok(used) => self.receiver.consume(used),
                    Err(error) => {
                        self.fault(error, PROTOCOL_ERROR)?;
                        return Continue(false);
                    }
                }
            }
            if matches!(self.phase, Phase::Open) || !self.mux.deafen() {
                self.held.get_or_insert_with(Instant::now);
                return Continue(false);
            }
        }
    }

    /// Writes until there is nothing to write, or the transport takes no more. Whether something was written.
    fn send(&mut self, cx: &mut Context<'_>) -> ControlFlow<(), bool> {
        let mut progress = false;
        while self.mux.speaking() {
            self.mux.fill();
            match self.mux.out.poll_send(Pin::new(&mut self.io), cx) {
                Poll::Pending => return Continue(progress),
                Poll::Ready(Ok(Some(_))) => progress = true,
                Poll::Ready(Ok(None)) => match &mut self.phase {
                    Phase::Closing { said, .. } if !*said => {
                        *said = true;
                        self.mux.go_away(IN_ORDER);
                    }
                    _ => break,
                },
                Poll::Ready(Err(error)) => self.lost(Error::Transport(Arc::new(error)))?,
            }
        }
        if let Phase::Closing { result, .. } = &self.phase
            // It may say that the peer was faster, which is no fault any more.
            && Pin::new(&mut self.io).poll_shutdown(cx).is_ready()
        {
            let result = result.clone();
            self.over(result)?;
        }
        Continue(progress)
    }

    /// What is next if nothing happens.
    fn deadline(&self) -> Instant {
        let config = &self.mux.shared.config;
        match &self.phase {
            Phase::Open => {
                let idle = later(self.active, config.idle);
                self.held.map_or(idle, |held| idle.min(later(held, config.probe)))
            }
            Phase::Finishing {
                patience,
                until,
                probed,
                ..
            } => later(self.alive, *patience)
                .min(*until)
                .min(later(*probed, *patience / 4)),
            Phase::Closing { until, .. } => *until,
            Phase::Over { .. } => self.active,
        }
    }

    /// Pending until it is time for something, which is done then.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> ControlFlow<(), Poll<()>> {
        let deadline = self.deadline();
        loop {
            // The timer is moved only when it would ring too late, and again when it has rung too early: activity is frequent.
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Continue(Poll::Pending);
            }
            let now = Instant::now();
            if now >= deadline {
                self.expire(now)?;
                return Continue(Poll::Ready(()));
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    /// It is time for something.
    fn expire(&mut self, now: Instant) -> ControlFlow<()> {
        let config = &self.mux.shared.config;
        match &mut self.phase {
            Phase::Open if now >= later(self.active, config.idle) => {
                let error = Error::Idle(config.idle);
                self.fault(error, IN_ORDER)
            }
            Phase::Open => {
                self.held = Some(now);
                self.mux.ping();
                Continue(())
            }
            Phase::Finishing { patience, .. } if now >= later(self.alive, *patience) => {
                let error = Error::Stuck(*patience);
                self.fault(error, IN_ORDER)
            }
            Phase::Finishing { cap, until, .. } if now >= *until => {
                let error = Error::Stuck(*cap);
                self.fault(error, IN_ORDER)
            }
            Phase::Finishing { probed, .. } => {
                *probed = now;
                self.mux.ping();
                Continue(())
            }
            Phase::Closing { said, result, .. } => {
                let result = if *said {
                    result.clone()
                } else {
                    Err(Error::Stuck(config.linger))
                };
                self.over(result)
            }
            Phase::Over { .. } => Break(()),
        }
    }

    /// The peer has said that it leaves, which is what this side was waiting for.
    fn peer_leaves(&mut self) {
        let until = self.linger(Instant::now());
        self.phase = Phase::Closing {
            listening: true,
            said: false,
            until,
            patient: false,
            result: Ok(()),
            done: self.take_done(),
        };
    }

    /// Ends the connection early, with GOAWAY where something may be said.
    fn fault(&mut self, error: Error, status: u32) -> ControlFlow<()> {
        if !self.mux.speaking() {
            return self.over(Err(error));
        }
        self.mux.fail(error.clone());
        self.mux.go_away(status);
        self.phase = Phase::Closing {
            listening: false,
            said: true,
            until: self.linger(Instant::now()),
            patient: false,
            result: Err(error),
            done: self.take_done(),
        };
        Continue(())
    }

    /// The transport is. That is no fault when nothing was left to do but to wait for it.
    fn lost(&mut self, error: Error) -> ControlFlow<()> {
        let result = match &self.phase {
            Phase::Finishing { .. } if !self.mux.has_data() => Ok(()),
            Phase::Closing { said: true, result, .. } => result.clone(),
            _ => Err(error),
        };
        self.over(result)
    }

    fn over(&mut self, result: Result<(), Error>) -> ControlFlow<()> {
        let done = self.take_done();
        self.phase = Phase::Over { result, done };
        Break(())
    }

    fn take_done(&mut self) -> Option<Done> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Open => None,
            Phase::Finishing { done, .. } => Some(done),
            Phase::Closing { done, .. } | Phase::Over { done, .. } => done,
        }
    }

    fn linger(&self, now: Instant) -> Instant {
        later(now, self.mux.shared.config.linger)
    }
}

/// That much later, or so late that it is never.
fn later(now: Instant, by: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now + by.min(NEVER)
}
