//! What the frames of the peer mean.

use super::{Answer, Entry, Mux, Role};
use crate::spdy::core::Core;
use crate::spdy::frame::{Frame, encode};
use crate::spdy::half::Halves;
use crate::spdy::shared::Side;
use crate::spdy::stream::{Incoming, Stream};
use crate::spdy::{Error, Headers, Status};

impl Mux {
    /// What a frame says.
    ///
    /// # Errors
    ///
    /// When the connection can't go on.
    pub(in crate::spdy) fn frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        match frame {
            Frame::Data { id, bytes, last, fin } => self.data(id, bytes, last, fin),
            Frame::SynStream {
                id,
                fin,
                unidirectional,
                block,
            } => {
                let block = self.inflater.inflate(block)?;
                self.syn_stream(id, fin, unidirectional, &block);
            }
            Frame::SynReply { id, fin, block } => {
                self.inflater.inflate(block)?;
                self.syn_reply(id, fin);
            }
            Frame::Headers { id, fin, block } => {
                self.inflater.inflate(block)?;
                if fin {
                    self.fin(id);
                }
            }
            Frame::Reset { id, status } => self.was_reset(id, Status::from(status)),
            Frame::Ping { id } => {
                let ours = (id % 2 == 1) == (self.role == Role::Client);
                if !ours {
                    encode::ping(&mut self.out.control, id);
                }
            }
            Frame::GoAway { last, .. } => self.went_away(last),
            Frame::Settings { .. } | Frame::WindowUpdate { .. } | Frame::Unknown { .. } => {}
        }
        if !self.speaking && self.out.backlog() >= self.shared.config.control_backlog {
            return Err(Error::Protocol("it asks for answers before it opens a stream".into()));
        }
        Ok(())
    }

    fn syn_stream(&mut self, id: u32, fin: bool, unidirectional: bool, block: &[u8]) {
        self.speaking = true;
        let theirs = (id % 2 == 1) != (self.role == Role::Client);
        if !theirs || id <= self.last_theirs {
            // Of a stream that is used twice nobody knows what belongs to which.
            if let Some(entry) = self.remove(id) {
                entry.end(&Error::Protocol("a stream was opened twice".into()));
            }
            return self.reset(id, Status::ProtocolError);
        }
        self.last_theirs = id;
        if self.ending || self.leaving {
            return self.reset(id, Status::RefusedStream);
        }
        let Ok(headers) = Headers::parse(block, &self.shared.config) else {
            return self.reset(id, Status::ProtocolError);
        };
        let Some(slot) = self.shared.slot(Side::Theirs) else {
            return self.reset(id, Status::RefusedStream);
        };
        self.last_taken = id;
        let core = Core::new(id, slot, !fin, !unidirectional);
        let halves = match (fin, unidirectional) {
            (false, false) => Halves::Both,
            (true, false) => Halves::OursOnly,
            (false, true) => Halves::TheirsOnly,
            (true, true) => Halves::Neither,
        };
        if halves != Halves::Neither {
            // Where the peer wants nothing sent, it wants no answer either.
            let answer = if unidirectional { Answer::Given } else { Answer::Due };
            let entry = Entry {
                core: core.clone(),
                halves,
                answer,
            };
            self.streams.insert(id, entry);
        }
        let stream = Stream::new(core, Status::RefusedStream);
        self.shared.offer(Incoming { headers, stream });
    }

    fn syn_reply(&mut self, id: u32, fin: bool) {
        let Some(entry) = self.streams.get_mut(&id) else {
            return self.unknown(id);
        };
        match std::mem::replace(&mut entry.answer, Answer::Given) {
            Answer::Awaited(answer) => {
                let core = entry.core.clone();
                if fin {
                    self.fin(id);
                }
                // If nobody waits any more, the stream resets itself.
                let _ = answer.send(Ok(Stream::new(core, Status::Cancel)));
            }
            Answer::Given | Answer::Due => {
                if let Some(entry) = self.remove(id) {
                    entry.end(&Error::Protocol("a stream was accepted twice".into()));
                }
                self.reset(id, Status::StreamInUse);
            }
        }
    }

    fn data(&mut self, id: u32, bytes: &[u8], last: bool, fin: bool) {
        let Some(entry) = self.streams.get(&id) else {
            if last {
                self.unknown(id);
            }
            return;
        };
        if !entry.halves.theirs() {
            if let Some(entry) = self.remove(id) {
                entry.end(&Error::Protocol("data came after its end".into()));
            }
            return self.reset(id, Status::StreamAlreadyClosed);
        }
        if entry.core.receive(bytes) {
            self.held = Some(entry.core.clone());
        }
        if fin {
            self.fin(id);
        }
    }

    /// The peer sends nothing more on a stream.
    fn fin(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.halves.end_theirs();
            entry.core.received_fin();
            self.settle(id);
        }
    }

    /// Something came for a stream that is not there. The last frames of one that was reset are on their way for a while;
    /// about one that never was, the peer is told.
    fn unknown(&mut self, id: u32) {
        let theirs = (id % 2 == 1) != (self.role == Role::Client);
        let known = if theirs {
            id <= self.last_theirs
        } else {
            id < self.next_ours
        };
        if !known {
            self.reset(id, Status::InvalidStream);
        }
    }

    fn was_reset(&mut self, id: u32, status: Status) {
        if let Some(entry) = self.remove(id) {
            entry.end(&Error::Reset(status));
            self.shared.withdraw(id);
        }
    }

    fn went_away(&mut self, last: u32) {
        self.leaving = true;
        self.shared.leaving();
        let ours = if self.role == Role::Client { 1 } else { 0 };
        let refused: Vec<u32> = self
            .streams
            .keys()
            .copied()
            .filter(|id| *id > last && id % 2 == ours)
            .collect();
        for entry in refused.into_iter().filter_map(|id| self.remove(id)) {
            entry.end(&Error::GoAway);
        }
        for open in self.opens.drain(..) {
            let _ = open.answer.send(Err(Error::GoAway));
        }
    }
}
