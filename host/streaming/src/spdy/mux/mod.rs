mod frames;

use super::block::{Deflater, Inflater};
use super::core::Core;
use super::frame::{LARGEST_ID, encode};
use super::half::Halves;
use super::sender::Sender;
use super::shared::{Open, Request, Shared, Todo};
use super::stream::Stream;
use super::{Error, Headers, Status};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Opens streams with odd numbers.
    Client,
    /// Opens streams with even numbers, and is silent until the client has opened one.
    Server,
}

/// The streams of a connection: what each frame means for them, and what they send.
#[derive(Debug)]
pub(super) struct Mux {
    pub(super) shared: Arc<Shared>,
    pub(super) out: Sender,
    role: Role,
    streams: HashMap<u32, Entry>,
    inflater: Inflater,
    deflater: Deflater,
    /// The highest id that the peer has used.
    last_theirs: u32,
    /// The highest id that was accepted, for GOAWAY.
    last_taken: u32,
    next_ours: u32,
    next_ping: u32,
    /// Something may be sent.
    speaking: bool,
    /// The peer has said GOAWAY.
    leaving: bool,
    /// No more streams are taken from the peer.
    ending: bool,
    /// Nothing more is read until this stream was.
    held: Option<Arc<Core>>,
    /// Nothing is taken from streams any more.
    deaf: bool,
    /// Streams with something to send.
    ready: VecDeque<Arc<Core>>,
    /// Streams to open as soon as something may be sent.
    opens: VecDeque<Open>,
}

/// A stream that is not over.
#[derive(Debug)]
struct Entry {
    core: Arc<Core>,
    halves: Halves,
    answer: Answer,
}

/// Whether a stream was accepted.
#[derive(Debug)]
enum Answer {
    /// It is for this side to say.
    Due,
    /// It is for the peer to say; somebody waits for it.
    Awaited(oneshot::Sender<Result<Stream, Error>>),
    /// It was.
    Given,
}

impl Mux {
    pub(super) fn new(role: Role, shared: Arc<Shared>) -> Mux {
        Mux {
            out: Sender::default(),
            role,
            streams: HashMap::new(),
            inflater: Inflater::new(shared.config.header_block),
            deflater: Deflater::default(),
            last_theirs: 0,
            last_taken: 0,
            next_ours: if role == Role::Client { 1 } else { 2 },
            next_ping: if role == Role::Client { 1 } else { 2 },
            speaking: role == Role::Client,
            leaving: false,
            ending: false,
            held: None,
            deaf: false,
            ready: VecDeque::new(),
            opens: VecDeque::new(),
            shared,
        }
    }

    /// Whether something may be sent.
    pub(super) fn speaking(&self) -> bool {
        self.speaking
    }

    /// Whether the peer has said GOAWAY.
    pub(super) fn leaving(&self) -> bool {
        self.leaving
    }

    /// Whether streams have something to send.
    pub(super) fn has_data(&self) -> bool {
        !self.ready.is_empty() || self.out.has_data()
    }

    /// Whether reading has to stop: for a reader, or until the peer takes the answers to what it has sent.
    pub(super) fn is_held(&mut self) -> bool {
        if let Some(core) = &self.held
            && !core.held()
        {
            self.held = None;
        }
        let full = !self.deaf && (self.held.is_some() || self.shared.starved());
        full || self.out.backlog() >= self.shared.config.control_backlog
    }

    /// What comes on streams is not taken any more, so that nobody who does not read keeps the peer's end from being seen.
    /// `false` if that was so.
    pub(super) fn deafen(&mut self) -> bool {
        if self.deaf {
            return false;
        }
        self.deaf = true;
        for entry in self.streams.values() {
            entry.core.deafen();
        }
        true
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self) {
        if self.speaking && self.out.backlog() < self.shared.config.control_backlog {
            encode::ping(&mut self.out.control, self.next_ping);
            self.next_ping = self.next_ping.wrapping_add(2);
        }
    }

    /// Says that no more streams are taken. `status`: 0 in order, 1 after a fault of the peer.
    pub(super) fn go_away(&mut self, status: u32) {
        self.ending = true;
        encode::go_away(&mut self.out.control, self.last_taken, status);
    }

    /// Takes up what streams and handles ask for; what concerns the connection as a whole comes back.
    pub(super) fn requests(&mut self, todo: &mut Todo) -> Option<Request> {
        self.shared.swap(todo);
        let mut whole = None;
        for request in todo.requests.drain(..) {
            match request {
                Request::Open(open) => self.opens.push_back(open),
                Request::Reply { id, headers } => self.reply(id, &headers),
                Request::Reset { id, status } => self.reset_known(id, status),
                // Nothing overrules the end at once.
                other if !matches!(whole, Some(Request::Abandon)) => whole = Some(other),
                _ => {}
            }
        }
        while self.speaking
            && let Some(open) = self.opens.pop_front()
        {
            self.open(open);
        }
        // After the answers, which have to come first on a stream.
        self.ready.append(&mut todo.ready);
        whole
    }

    fn reply(&mut self, id: u32, headers: &Headers) {
        let Some(entry) = self.streams.get_mut(&id) else {
            return;
        };
        if !matches!(entry.answer, Answer::Due) {
            return;
        }
        entry.answer = Answer::Given;
        let mut block = Vec::new();
        match self.deflater.deflate(&headers.block(), &mut block) {
            Ok(()) => encode::syn_reply(&mut self.out.control, id, &block),
            Err(error) => {
                entry.core.fail(&error);
                self.remove(id);
                self.reset(id, Status::InternalError);
            }
        }
    }

    fn open(&mut self, open: Open) {
        let Open {
            headers,
            fin,
            slot,
            answer,
        } = open;
        if answer.is_closed() {
            return;
        }
        let id = self.next_ours;
        let mut block = Vec::new();
        let result = match () {
            () if self.leaving || self.ending => Err(Error::GoAway),
            () if id > LARGEST_ID => Err(Error::NoMoreIds),
            () => self.deflater.deflate(&headers.block(), &mut block),
        };
        if let Err(error) = result {
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(Err(error));
            return;
        }
        self.next_ours += 2;
        encode::syn_stream(&mut self.out.control, id, fin, &block);
        let mut halves = Halves::Both;
        if fin {
            halves.end_ours();
        }
        let entry = Entry {
            core: Core::new(id, slot, true, !fin),
            halves,
            answer: Answer::Awaited(answer),
        };
        self.streams.insert(id, entry);
    }

    /// Gives the transport frames of the streams that have some, one of each in turn.
    pub(super) fn fill(&mut self) {
        while self.out.wants_data()
            && let Some(core) = self.ready.pop_front()
        {
            let Some(frame) = core.take() else {
                continue;
            };
            let (fin, more) = (frame.fin, frame.more);
            if more {
                self.ready.push_back(core.clone());
            }
            if fin && let Some(entry) = self.streams.get_mut(&core.id) {
                entry.halves.end_ours();
                self.settle(core.id);
            }
            self.out.data(core, frame);
        }
    }

    /// Ends a stream, if it is not over.
    fn reset_known(&mut self, id: u32, status: Status) {
        if self.remove(id).is_some() {
            self.reset(id, status);
        }
    }

    fn reset(&mut self, id: u32, status: Status) {
        encode::reset(&mut self.out.control, id, status);
    }

    /// Forgets a stream that is over.
    fn settle(&mut self, id: u32) {
        if self
            .streams
            .get(&id)
            .is_some_and(|entry| entry.halves == Halves::Neither)
        {
            self.streams.remove(&id);
        }
    }

    /// Forgets a stream and what it has left to send.
    fn remove(&mut self, id: u32) -> Option<Entry> {
        let entry = self.streams.remove(&id)?;
        self.out.scrub(id);
        Some(entry)
    }

    /// Takes no more streams, and ends the writing half of all that are there.
    pub(super) fn finish(&mut self) {
        self.ending = true;
        self.shared.leaving();
        // Refused by being dropped.
        drop(self.shared.take_back());
        let due = |entry: &Entry| matches!(entry.answer, Answer::Due);
        let undecided: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, entry)| due(entry))
            .map(|(id, _)| *id)
            .collect();
        for id in undecided {
            if let Some(entry) = self.remove(id) {
                entry.end(&Error::Closed);
                self.reset(id, Status::RefusedStream);
            }
        }
        for entry in self.streams.values() {
            entry.core.end();
        }
        for open in self.opens.drain(..) {
            let _ = open.answer.send(Err(Error::Closed));
        }
    }

    /// The connection is over: ends all streams at once. What was received can be read.
    pub(super) fn fail(&mut self, error: Error) {
        let error = &self.shared.over(error);
        self.held = None;
        self.ready.clear();
        self.out.scrub_all();
        for (_, entry) in self.streams.drain() {
            entry.end(error);
        }
        for open in self.opens.drain(..) {
            let _ = open.answer.send(Err(error.clone()));
        }
    }
}

impl Drop for Mux {
    /// No stream outlives the connection, even when the runtime ends before it.
    fn drop(&mut self) {
        self.fail(Error::Closed);
    }
}

impl Entry {
    /// Tells the stream, or who waits for it.
    fn end(self, error: &Error) {
        self.core.fail(error);
        if let Answer::Awaited(answer) = self.answer {
            let _ = answer.send(Err(error.clone()));
        }
    }
}
