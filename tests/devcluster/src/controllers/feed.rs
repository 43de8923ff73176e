//! What a controller watches: everything there is, then every change. A feed that was cut off ends; start another.

use tokio::sync::mpsc::Receiver;

use crate::cluster::Cluster;
use crate::resources::Kind;
use crate::store::Delivery;

/// Objects of one kind, and their changes.
#[derive(Debug)]
pub struct Feed {
    backlog: std::vec::IntoIter<Delivery>,
    events: Receiver<Delivery>,
}

impl Feed {
    /// Starts with all objects of a kind.
    pub fn of(cluster: &Cluster, kind: Kind) -> Feed {
        let watch = cluster.store.feed(kind);
        Feed {
            backlog: watch.backlog.into_iter(),
            events: watch.events,
        }
    }

    /// The next change; `None` when the feed has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Delivery> {
        match self.backlog.next() {
            Some(delivery) => Some(delivery),
            None => self.events.recv().await,
        }
    }

    /// What is there without waiting.
    pub fn ready(&mut self) -> Option<Delivery> {
        self.backlog.next().or_else(|| self.events.try_recv().ok())
    }
}
