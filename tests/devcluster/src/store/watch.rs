//! The two ends of a watch: a bounded queue, filled under the collection's lock, that is cut off when it runs over.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::object::{Change, Stored};
use super::selector::Filter;

/// One event, as the watcher's selection sees it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Added, modified or deleted for this watcher.
    pub change: Change,
    /// The object, shared with the store and all other watchers.
    pub stored: Arc<Stored>,
}

/// A started watch. The channel closes when the watch is dropped by a fault, or was too slow: the client starts again from
/// the last revision that it saw, as with the real server.
#[derive(Debug)]
pub struct Watch {
    /// What happened since the revision that was asked for (or everything, for a watch without one).
    pub backlog: Vec<Delivery>,
    /// What happens from now on.
    pub events: mpsc::Receiver<Delivery>,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) filter: Filter,
    /// A controller of ours: no fault switch drops it, no count shows it.
    pub(super) internal: bool,
    pub(super) tx: mpsc::Sender<Delivery>,
}

impl Watcher {
    /// False when the watcher is gone, or so slow that it has to go.
    pub(super) fn send(&self, delivery: Delivery) -> bool {
        self.tx.try_send(delivery).is_ok()
    }
}
