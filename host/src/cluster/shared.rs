//! One watch for many: of all pods, or of all Nodes, told apart here.
//!
//! A watch for each node costs a connection and, in the API server, a watcher that every event of the collection is
//! compared with; one for all costs a look at each stranger's bytes. Which is cheaper is a matter of counts: see
//! `cluster.watchesPerNodeUpTo`.
//!
//! What holds for a [`Watch`] holds for every member's part of it: after `Restarted` everything that it has follows, then
//! `Synced`; what was not seen in between is gone. It is pulled, too: while a member's event can't be handed over, nothing
//! is read from the API server.

use super::{
    Client, Watch,
    members::{Member, Members},
    watch::{Event, Target},
};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Whom an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Everybody: a list begins or is complete.
    All,
    /// One.
    One(Member),
}

/// A list and watch that goes on for ever, of what members have; strangers' objects are passed over.
pub struct SharedWatch {
    watch: Watch,
    members: Arc<Members>,
}

impl SharedWatch {
    /// Starts with a list as soon as it is asked for the first event.
    pub fn new(client: Client, target: Target, members: Members) -> Self {
        let members = Arc::new(members);
        Self {
            watch: Watch::new(client, target).only(members.clone()),
            members,
        }
    }

    /// The next event that concerns anybody.
    ///
    /// Cancel safe: what was under way goes on with the next call.
    pub async fn next(&mut self) -> (To, Event) {
        let event = self.watch.next().await;
        let to = match &event {
            Event::Restarted | Event::Listed { .. } | Event::Synced => To::All,
            Event::Apply(_) | Event::Delete(_) => self.watch.owner().map_or(To::All, To::One),
        };
        (to, event)
    }

    /// Hands events over to one receiver that knows the members by number, until it is gone.
    pub async fn feed(mut self, tell: mpsc::Sender<(Member, Event)>) {
        loop {
            let (to, event) = self.next().await;
            let members = match to {
                To::One(member) => member..member + 1,
                To::All => 0..self.members.count(),
            };
            for member in members {
                if tell.send((member, event.clone())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What is known of the one object that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It looks like this.
    Present(Bytes),
    /// It looks like this since the API server's store was restored: whatever was known of it is of another time.
    Restored(Bytes),
    /// There is none.
    Absent,
}

/// Where a member finds the newest sighting. Only the newest: one that was not taken in time is replaced, so that a member
/// that is busy holds nobody up, and what waits is one object for each.
#[derive(Default)]
struct Cell {
    newest: Mutex<Option<Sighting>>,
    fresh: Notify,
}

impl Cell {
    fn put(&self, sighting: Sighting) {
        {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            *newest = Some(match (newest.take(), sighting) {
                (Some(Sighting::Restored(_)), Sighting::Present(object)) => Sighting::Restored(object),
                (_, sighting) => sighting,
            });
        }
        self.fresh.notify_one();
    }

    fn take(&self) -> Option<Sighting> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A watch of objects of which each member has one, its Node.
pub struct Lookout {
    watch: SharedWatch,
    board: Board,
}

/// The place of one member at a [`Lookout`].
pub struct Seat(Arc<Cell>);

/// The members' cells, and who was seen in the present list.
struct Board {
    cells: Vec<Arc<Cell>>,
    listed: Vec<bool>,
    /// The present list is the first since the store was restored.
    restored: bool,
}

impl Board {
    fn new(count: usize) -> Self {
        Self {
            cells: (0..count).map(|_| Arc::default()).collect(),
            listed: vec![false; count],
            restored: false,
        }
    }

    fn take_in(&mut self, to: To, event: Event) {
        match (to, event) {
            (_, Event::Restarted) => self.listed.fill(false),
            (_, Event::Listed { restored, .. }) => self.restored = restored,
            (_, Event::Synced) => {
                self.restored = false;
                let missing = self.cells.iter().zip(&self.listed).filter(|(_, listed)| !**listed);
                missing.for_each(|(cell, _)| cell.put(Sighting::Absent));
            }
            (To::One(member), Event::Apply(object)) => {
                self.listed[member] = true;
                self.cells[member].put(if self.restored {
                    Sighting::Restored(object)
                } else {
                    Sighting::Present(object)
                });
            }
            (To::One(member), Event::Delete(_)) => self.cells[member].put(Sighting::Absent),
            (To::All, Event::Apply(_) | Event::Delete(_)) => {}
        }
    }
}

impl Lookout {
    /// A lookout and the members' seats, in their order.
    pub fn new(watch: SharedWatch) -> (Self, Vec<Seat>) {
        let board = Board::new(watch.members.count());
        let seats = board.cells.iter().cloned().map(Seat).collect();
        (Self { watch, board }, seats)
    }

    /// Looks until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some((to, event)) = shutdown.run_until_cancelled(self.watch.next()).await {
            self.board.take_in(to, event);
        }
    }
}

/// How one learns what one's own object looks like.
pub enum Sight {
    /// By a watch of one's own.
    Own {
        /// The watch.
        watch: Box<Watch>,
        /// Whether its present list has shown the object.
        listed: bool,
        /// Whether that list is the first since the store was restored.
        restored: bool,
    },
    /// By one that is shared.
    Shared(Seat),
}

impl Sight {
    /// Through a watch that sees nothing but the object.
    pub fn own(watch: Watch) -> Self {
        Self::Own {
            watch: Box::new(watch),
            listed: false,
            restored: false,
        }
    }

    /// The next sighting.
    ///
    /// Cancel safe: what was under way goes on with the next call.
    pub async fn next(&mut self) -> Sighting {
        match self {
            Self::Own {
                watch,
                listed,
                restored,
            } => loop {
                match watch.next().await {
                    Event::Restarted => *listed = false,
                    Event::Listed { restored: is, .. } => *restored = is,
                    Event::Apply(object) => {
                        *listed = true;
                        return match std::mem::take(restored) {
                            true => Sighting::Restored(object),
                            false => Sighting::Present(object),
                        };
                    }
                    Event::Delete(_) => return Sighting::Absent,
                    Event::Synced => {
                        *restored = false;
                        if !*listed {
                            return Sighting::Absent;
                        }
                    }
                }
            },
            Self::Shared(Seat(cell)) => loop {
                // A note that was left before the last look is one look too many, never one too few.
                let fresh = cell.fresh.notified();
                match cell.take() {
                    Some(sighting) => return sighting,
                    None => fresh.await,
                }
            },
        }
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
