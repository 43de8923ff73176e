//! What pods refer to, read by whoever acts for their node.

use super::{Live, Subject, Uid};
use crate::{
    cluster::Clients,
    material::{Context, Held, Resolved},
};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

/// A [`Live`] for the host, or one for each node that acts for itself: what one identity may read says nothing of
/// another, so they share nothing.
pub struct Lives {
    host: Live,
    nodes: HashMap<String, Live>,
    /// The nodes of the pods that were resolved, where nodes act for themselves.
    homes: HashMap<Uid, Arc<outrigger_plugin::PodIdentity>>,
    bell: Arc<Notify>,
}

/// Tells when something has changed. Cheap to clone.
#[derive(Clone)]
pub struct Changes(Arc<Notify>);

impl Changes {
    /// Waits until there is something for [`Lives::take`]. Cancel safe.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}

impl Lives {
    /// Nothing is read before a pod refers to it.
    pub fn new<'a>(host: &Clients, nodes: impl IntoIterator<Item = (&'a String, &'a Clients)>) -> Self {
        let bell = Arc::new(Notify::new());
        Self {
            host: Live::new(host, &bell),
            nodes: nodes
                .into_iter()
                .map(|(node, clients)| (node.clone(), Live::new(clients, &bell)))
                .collect(),
            homes: HashMap::new(),
            bell,
        }
    }

    /// See [`Live::resolve`].
    ///
    /// # Errors
    /// Why the materials can't be made now.
    pub fn resolve(&mut self, pod: Subject<'_>, context: &Context<'_>) -> Result<Resolved, Held> {
        match self.nodes.get_mut(&pod.identity.node) {
            Some(own) => {
                self.homes.insert(pod.uid.clone(), pod.identity.clone());
                own.resolve(pod, context)
            }
            None => self.host.resolve(pod, context),
        }
    }

    /// See [`Live::is_reading`].
    pub fn is_reading(&self, uid: &str) -> bool {
        self.of(uid).is_reading(uid)
    }

    /// See [`Live::refers`].
    pub fn refers(&self, uid: &str) -> bool {
        self.of(uid).refers(uid)
    }

    /// See [`Live::release`].
    pub fn release(&mut self, uid: &str) {
        let home = self.homes.remove(uid);
        match home.and_then(|home| self.nodes.get_mut(&home.node)) {
            Some(own) => own.release(uid),
            None => self.host.release(uid),
        }
    }

    /// See [`Live::take`].
    pub fn take(&mut self, mut look: impl FnMut(&Uid)) {
        self.host.take(&mut look);
        // Which of them has news, the bell does not tell.
        self.nodes.values_mut().for_each(|own| own.take(&mut look));
    }

    /// A handle to wait for changes with.
    pub fn changes(&self) -> Changes {
        Changes(self.bell.clone())
    }

    fn of(&self, uid: &str) -> &Live {
        let home = self.homes.get(uid);
        home.and_then(|home| self.nodes.get(&home.node)).unwrap_or(&self.host)
    }
}
