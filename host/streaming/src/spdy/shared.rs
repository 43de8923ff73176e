use super::core::Core;
use super::stream::{Incoming, Stream};
use super::{Config, Error, Headers, Status};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a connection's task shares with the connection's handles and streams.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// The connection's task.
    task: AtomicWaker,
    /// Bytes that all streams have received and not read.
    unread: AtomicUsize,
    /// The task waits for `unread` to shrink.
    starved: AtomicBool,
    /// Streams that the peer opened and that are still known here, or held.
    theirs: AtomicUsize,
    /// Streams that this side opened.
    ours: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    todo: Todo,
    incoming: VecDeque<Incoming>,
    acceptor: Option<Waker>,
    /// The peer opens no more streams.
    leaving: bool,
    /// The connection is over.
    over: Option<Error>,
}

/// What the connection's task is to do. It is bounded by the number of streams: each stands in `ready` once, and asks once
/// for each thing.
#[derive(Debug, Default)]
pub(super) struct Todo {
    pub(super) requests: VecDeque<Request>,
    /// Streams with something to send.
    pub(super) ready: VecDeque<Arc<Core>>,
}

/// Something that a handle or a stream wants of the connection.
#[derive(Debug)]
pub(super) enum Request {
    /// Open a stream.
    Open(Open),
    /// Accept a stream.
    Reply { id: u32, headers: Headers },
    /// End a stream at once.
    Reset { id: u32, status: Status },
    /// End the connection as `Connection::finish` says.
    Finish {
        patience: Duration,
        cap: Duration,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// End the connection as `Connection::close` says.
    Close { done: oneshot::Sender<Result<(), Error>> },
    /// End the connection at once.
    Abandon,
}

/// A stream that this side wants to open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) headers: Headers,
    pub(super) fin: bool,
    pub(super) slot: Slot,
    pub(super) answer: oneshot::Sender<Result<Stream, Error>>,
}

/// Who opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Theirs,
}

/// The right to be one of [`Config::streams`].
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) shared: Arc<Shared>,
    side: Side,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.count(self.side).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(mut config: Config) -> Arc<Shared> {
        // With nothing allowed to wait, nothing would ever move.
        for limit in [
            &mut config.receive,
            &mut config.receive_total,
            &mut config.send,
            &mut config.control_backlog,
        ] {
            *limit = (*limit).max(1);
        }
        Arc::new(Shared {
            config,
            task: AtomicWaker::new(),
            unread: AtomicUsize::new(0),
            starved: AtomicBool::new(false),
            theirs: AtomicUsize::new(0),
            ours: AtomicUsize::new(0),
            state: Mutex::default(),
        })
    }

    fn count(&self, side: Side) -> &AtomicUsize {
        match side {
            Side::Ours => &self.ours,
            Side::Theirs => &self.theirs,
        }
    }

    /// Room for one more stream of `side`, if there is.
    pub(super) fn slot(self: &Arc<Shared>, side: Side) -> Option<Slot> {
        let limit = self.config.streams;
        let more = |count| (count < limit).then_some(count + 1);
        self.count(side)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Slot {
            shared: self.clone(),
            side,
        })
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// For the task, before it looks at anything that wakes it.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    pub(super) fn add_unread(&self, count: usize) {
        self.unread.fetch_add(count, Ordering::SeqCst);
    }

    /// Whether the task waits for this and has to be woken.
    pub(super) fn sub_unread(&self, count: usize) -> bool {
        let before = self.unread.fetch_sub(count, Ordering::SeqCst);
        before - count <= self.config.receive_total / 2
            && self.starved.load(Ordering::SeqCst)
            && self.starved.swap(false, Ordering::SeqCst)
    }

    /// For the task: whether more waits in all streams than may, and reading has to stop until it is woken. Once stopped, it
    /// goes on when half is gone.
    pub(super) fn starved(&self) -> bool {
        let limit = self.config.receive_total;
        let was = self.starved.load(Ordering::SeqCst);
        let unread = self.unread.load(Ordering::SeqCst);
        if unread <= limit / 2 || (unread < limit && !was) {
            if was {
                self.starved.store(false, Ordering::SeqCst);
            }
            return false;
        }
        self.starved.store(true, Ordering::SeqCst);
        // A reader that has made room before it could see this has not woken the task.
        self.unread.load(Ordering::SeqCst) > limit / 2
    }

    /// Tells the task. When the connection is over, what was wanted is dropped, and who waits for it with it.
    pub(super) fn request(&self, request: Request) {
        {
            let mut state = self.state.lock();
            if state.over.is_some() {
                return;
            }
            state.todo.requests.push_back(request);
        }
        self.wake();
    }

    /// Tells the task that a stream has something to send.
    pub(super) fn schedule(&self, core: &Arc<Core>) {
        {
            let mut state = self.state.lock();
            if state.over.is_some() {
                return;
            }
            state.todo.ready.push_back(core.clone());
        }
        self.wake();
    }

    /// For the task: what there is to do. `todo` is empty and comes back filled.
    pub(super) fn swap(&self, todo: &mut Todo) {
        std::mem::swap(&mut self.state.lock().todo, todo);
    }

    /// For the task: a stream was opened by the peer.
    pub(super) fn offer(&self, incoming: Incoming) {
        let acceptor = {
            let mut state = self.state.lock();
            state.incoming.push_back(incoming);
            state.acceptor.take()
        };
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
    }

    /// For the task: the peer has taken back a stream, which need not be offered any more.
    pub(super) fn withdraw(&self, id: u32) {
        let _withdrawn = {
            let mut state = self.state.lock();
            let at = state.incoming.iter().position(|incoming| incoming.id() == id);
            at.and_then(|at| state.incoming.remove(at))
        };
    }

    pub(super) fn poll_accept(&self, cx: &Context<'_>) -> Poll<Option<Incoming>> {
        let mut state = self.state.lock();
        if let Some(incoming) = state.incoming.pop_front() {
            return Poll::Ready(Some(incoming));
        }
        if state.leaving || state.over.is_some() {
            return Poll::Ready(None);
        }
        state.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    /// For the task: the peer opens no more streams.
    pub(super) fn leaving(&self) {
        let acceptor = {
            let mut state = self.state.lock();
            state.leaving = true;
            state.acceptor.take()
        };
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
    }

    /// For the task: streams that nobody has accepted, which won't be offered any more.
    pub(super) fn take_back(&self) -> VecDeque<Incoming> {
        std::mem::take(&mut self.state.lock().incoming)
    }

    /// For the task: the connection is over, for `error` if it was not over before. Returns why it is.
    pub(super) fn over(&self, error: Error) -> Error {
        let (error, acceptor, dropped) = {
            let mut state = self.state.lock();
            let error = state.over.get_or_insert(error).clone();
            let dropped = (std::mem::take(&mut state.todo), std::mem::take(&mut state.incoming));
            (error, state.acceptor.take(), dropped)
        };
        // Behind the lock: streams look at the state when they are dropped.
        drop(dropped);
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
        error
    }

    /// Why the connection is over.
    pub(super) fn error(&self) -> Option<Error> {
        self.state.lock().over.clone()
    }
}
