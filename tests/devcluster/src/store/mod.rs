//! The store: one [`Collection`] per resource behind its own lock, one revision for all of them.
//!
//! Objects are JSON bytes plus a small [`Head`]. Revisions are given under the collection's lock, so that within a resource
//! they grow in the order in which watchers see the events. Nothing here knows HTTP or what a pod is.

mod collection;
mod object;
mod selector;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use collection::Collection;
pub use collection::Page;
pub use object::{Change, Draft, Head, Stored, key};
pub use selector::{Fields, Filter, Labels};
pub use watch::{Delivery, Watch};

use crate::resources::Kind;

/// Events that may wait for a controller; one that falls behind starts over from what there is.
const FEED_QUEUE: usize = 20_000;

/// How much a store remembers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Events kept per resource for watches that start from an earlier revision; older ones are 410 Gone.
    pub history: usize,
    /// Events that may wait for one watcher before it is cut off.
    pub watch_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            history: 20_000,
            watch_queue: 20_000,
        }
    }
}

/// Why a conditional write was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another writer was faster: read again.
    #[error("unable to write: the object has changed")]
    Stale,
    /// There is no such object.
    #[error("unable to write: the object does not exist")]
    Missing,
    /// There is one already.
    #[error("unable to create: the object exists")]
    Exists,
}

/// Objects of all kinds, and their history.
#[derive(Debug)]
pub struct Store {
    config: Config,
    collections: Vec<Mutex<Collection>>,
    revision: AtomicU64,
    cut_off: AtomicU64,
}

impl Store {
    /// An empty store.
    pub fn new(config: Config) -> Store {
        let collections = Kind::ALL
            .iter()
            .map(|_| Mutex::new(Collection::new(config.history.max(1))))
            .collect();
        // The real server's first revisions are small, too, but never 0 or 1, which mean something else to clients.
        Store {
            config,
            collections,
            revision: AtomicU64::new(100),
            cut_off: AtomicU64::new(0),
        }
    }

    fn of(&self, kind: Kind) -> &Mutex<Collection> {
        &self.collections[kind as usize]
    }

    fn next_revision(&self) -> u64 {
        self.revision.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn note_cut_off(&self, watchers: usize) {
        if watchers > 0 {
            self.cut_off.fetch_add(watchers as u64, Ordering::Relaxed);
        }
    }

    /// The newest revision of all.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// A revision up to which all events of this kind have reached its watchers' queues.
    pub fn settled(&self, kind: Kind) -> u64 {
        let _writers_wait = self.of(kind).lock();
        self.revision()
    }

    /// One object.
    pub fn get(&self, kind: Kind, key: &str) -> Option<Arc<Stored>> {
        self.of(kind).lock().get(key).cloned()
    }

    /// Number of objects of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.of(kind).lock().len()
    }

    /// Whether a namespace holds any object of a kind.
    pub fn any_in(&self, kind: Kind, namespace: &str) -> bool {
        self.of(kind).lock().any_in(namespace)
    }

    /// Objects that name `uid` as an owner.
    pub fn owned_by(&self, kind: Kind, uid: &str) -> Vec<Arc<Stored>> {
        self.of(kind).lock().owned_by(uid)
    }

    /// The names of all nodes that pods are bound to.
    pub fn nodes_with_pods(&self) -> Vec<Box<str>> {
        self.of(Kind::Pods).lock().nodes()
    }

    /// The pods that are bound to a node.
    pub fn on_node(&self, node: &str) -> Vec<Arc<Stored>> {
        self.of(Kind::Pods).lock().on_node(node)
    }

    /// A page of objects, and the revision that it shows (older than the newest while lists are frozen by a fault).
    pub fn list(&self, kind: Kind, filter: &Filter, after: Option<&str>, limit: usize) -> (Page, u64) {
        let collection = self.of(kind).lock();
        let revision = collection
            .frozen
            .as_ref()
            .map_or_else(|| self.revision(), |(revision, _)| *revision);
        (collection.list(filter, after, limit), revision)
    }

    /// All objects of a kind in a namespace, or everywhere when it is empty.
    pub fn all(&self, kind: Kind, namespace: &str) -> Vec<Arc<Stored>> {
        self.list(kind, &Filter::namespace(namespace), None, 0).0.items
    }

    /// The oldest revision from which `kind` can still be watched.
    pub fn oldest(&self, kind: Kind) -> u64 {
        self.of(kind).lock().forgotten
    }

    /// Stores a new object.
    pub fn insert(&self, kind: Kind, draft: Draft) -> Result<Arc<Stored>, Refused> {
        let mut collection = self.of(kind).lock();
        if collection.get(&draft.head.key()).is_some() {
            return Err(Refused::Exists);
        }
        let stored = Arc::new(draft.commit(Change::Added, self.next_revision()));
        self.note_cut_off(collection.put(stored.clone()));
        Ok(stored)
    }

    /// Replaces an object that is still at revision `expected`.
    pub fn replace(&self, kind: Kind, expected: u64, draft: Draft) -> Result<Arc<Stored>, Refused> {
        let mut collection = self.of(kind).lock();
        match collection.get(&draft.head.key()) {
            None => return Err(Refused::Missing),
            Some(current) if current.revision != expected => return Err(Refused::Stale),
            Some(_) => {}
        }
        let stored = Arc::new(draft.commit(Change::Modified, self.next_revision()));
        self.note_cut_off(collection.put(stored.clone()));
        Ok(stored)
    }

    /// Removes an object that is still at revision `expected`; returns its last state.
    pub fn remove(&self, kind: Kind, key: &str, expected: u64) -> Result<Arc<Stored>, Refused> {
        let mut collection = self.of(kind).lock();
        let current = match collection.get(key) {
            None => return Err(Refused::Missing),
            Some(current) if current.revision != expected => return Err(Refused::Stale),
            Some(current) => current.clone(),
        };
        let gone = Arc::new(current.at_revision(Change::Deleted, self.next_revision()));
        self.note_cut_off(collection.take(gone.clone()));
        Ok(gone)
    }

    /// Watches from behind `from`; `Err` has the oldest revision that would do.
    pub fn watch_from(&self, kind: Kind, filter: Filter, from: u64) -> Result<Watch, u64> {
        let mut collection = self.of(kind).lock();
        collection
            .watch_from(filter, from, self.config.watch_queue)
            .ok_or(collection.forgotten)
    }

    /// Watches with all present objects as the backlog; also returns the revision of that state.
    pub fn watch_all(&self, kind: Kind, filter: Filter) -> (Watch, u64) {
        let mut collection = self.of(kind).lock();
        let watch = collection.watch_all(filter, self.config.watch_queue);
        let revision = collection
            .frozen
            .as_ref()
            .map_or_else(|| self.revision(), |(revision, _)| *revision);
        (watch, revision)
    }

    /// What a controller of ours watches: it never misses what lists hide, and no fault switch ends it.
    pub fn feed(&self, kind: Kind) -> Watch {
        self.of(kind).lock().feed(FEED_QUEUE)
    }

    /// Ends all watches of a kind; returns how many.
    pub fn drop_watches(&self, kind: Kind) -> usize {
        self.of(kind).lock().drop_watches()
    }

    /// Makes every revision up to now too old to watch from.
    pub fn forget_history(&self, kind: Kind) {
        let mut collection = self.of(kind).lock();
        let revision = self.revision();
        collection.forget_history(revision);
    }

    /// Freezes (or thaws) what lists of a kind show.
    pub fn freeze(&self, kind: Kind, frozen: bool) {
        let mut collection = self.of(kind).lock();
        let revision = self.revision();
        collection.freeze(frozen.then_some(revision));
    }

    /// Open watches of a kind.
    pub fn watchers(&self, kind: Kind) -> usize {
        self.of(kind).lock().watcher_count()
    }

    /// Watchers that were cut off because their queue ran over or they had gone away.
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
