//! Virtual nodes as the pod controller sees them: when their pods may be acted on.

use super::{
    admission::Used,
    entry::{NodeIndex, Retry, Uid},
    lane::Lane,
};
use crate::{cluster::Clients, node::NodeHandle, plugin::Provider};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

/// Index of a provider in the controller.
pub type ProviderIndex = usize;

/// A virtual node.
pub struct Node {
    pub handle: NodeHandle,
    /// Of whoever acts for it.
    pub clients: Clients,
    pub name: Arc<str>,
    pub provider: ProviderIndex,
    /// Whether this host holds the node.
    pub owned: bool,
    /// And by which tenure.
    pub tenure: u64,
    /// The provider's epoch while it can be called.
    pub epoch: Option<u64>,
    /// Whether its address is known.
    pub addressed: bool,
    /// The digest by which an operator has confirmed an orphan sweep.
    pub confirmed: Option<String>,
    /// The API server's pods of this node are known.
    pub synced: bool,
    /// UIDs seen in a list that is not complete yet.
    pub listing: Option<HashSet<Uid>>,
    /// The store's version in that list; 0 where it has none.
    pub listed_at: u64,
    /// That list is of a store that was restored from a backup, or the one that it goes on from is.
    pub restored: bool,
    /// The provider epoch with which backend and API were compared; pods are acted on only while it is the present one.
    pub compared: Option<u64>,
    /// When calls of an earlier process that are still on their way have had time to arrive.
    pub settles_at: Option<Instant>,
    /// The backend was listed after that time.
    pub settled: bool,
    pub pods: HashSet<Uid>,
    /// Those that have gone while another host held the node, and since when, oldest first.
    pub departed: VecDeque<(Instant, Uid)>,
    /// What its pods take of it.
    pub used: Used,
    /// Pods to be judged by the next look at the Node, and whether one is under way.
    pub doubts: Vec<Uid>,
    pub looking: bool,
    pub look_retry: Retry,
}

/// Why nothing happens to a node's pods, or that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another host holds the node, or nobody yet.
    AwaitsLease,
    /// The first list of its pods is not complete.
    AwaitsPods,
    /// The provider is starting, or being rebuilt.
    AwaitsProvider,
    /// The node's address is not known: statuses and environments would lack it.
    AwaitsAddress,
    /// What the backend has is to be compared with what the API server has.
    AwaitsComparison,
    /// Pods are acted on.
    Active,
}

impl Node {
    pub fn new(handle: NodeHandle, clients: Clients, provider: ProviderIndex) -> Self {
        Self {
            clients,
            name: handle.name().into(),
            handle,
            provider,
            owned: false,
            tenure: 0,
            epoch: None,
            addressed: false,
            confirmed: None,
            synced: false,
            listing: None,
            listed_at: 0,
            restored: false,
            compared: None,
            settles_at: None,
            settled: false,
            pods: HashSet::new(),
            departed: VecDeque::new(),
            used: Used::default(),
            doubts: Vec::new(),
            looking: false,
            look_retry: Retry::default(),
        }
    }

    pub fn stage(&self) -> Stage {
        if !self.owned {
            Stage::AwaitsLease
        } else if !self.synced {
            Stage::AwaitsPods
        } else if self.epoch.is_none() {
            Stage::AwaitsProvider
        } else if !self.addressed {
            Stage::AwaitsAddress
        } else if self.compared != self.epoch {
            Stage::AwaitsComparison
        } else {
            Stage::Active
        }
    }
}

/// Plugin calls of one provider at a time, stops apart, which take as long as a grace period.
const MAX_CALLS: usize = 256;

/// A provider and what the controller does with it as a whole.
pub struct ProviderSlot {
    pub provider: Arc<Provider>,
    /// Its calls: those that hang take nobody else's places.
    pub calls: Lane,
    pub name: Arc<str>,
    pub nodes: Vec<NodeIndex>,
    /// A list is under way.
    pub listing: bool,
    /// When to list again.
    pub list_at: Option<Instant>,
    pub retry: Retry,
    /// Pods of the backend that carry our mark and that the API server does not know, by UID: since when.
    pub orphans: HashMap<Box<str>, Instant>,
    /// Those of them that are being swept.
    pub sweeping: HashSet<Box<str>>,
    /// The last digest that was printed, so that it is printed once.
    pub announced: Option<String>,
    /// It has told of a pod of another provider, which was said.
    pub told_foreign: bool,
    /// It has changed a report without a new stamp, which was said.
    pub told_unrenewed: bool,
    /// It has said that it can't change the files of a pod that runs.
    pub fixed: bool,
}

impl ProviderSlot {
    pub fn new(provider: Arc<Provider>) -> Self {
        Self {
            name: provider.name().into(),
            provider,
            calls: Lane::new(MAX_CALLS),
            nodes: Vec::new(),
            listing: false,
            list_at: None,
            retry: Retry::default(),
            orphans: HashMap::new(),
            sweeping: HashSet::new(),
            announced: None,
            told_foreign: false,
            told_unrenewed: false,
            fixed: false,
        }
    }

    /// Has it listed again, at the latest at that time.
    pub fn list_by(&mut self, at: Instant) {
        self.list_at = Some(self.list_at.map_or(at, |known| known.min(at)));
    }
}
