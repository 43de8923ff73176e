//! The controller's task: what it owns, and the loop.

use super::{
    actions::Done,
    entry::{Entry, NodeIndex, Object, Uid},
    lane::Lane,
    mailbox::Mailbox,
    names::Names,
    nodes::{Node, ProviderSlot},
    record::Press,
    supply::Naming,
};
use crate::{
    cluster::{Clients, ClusterId, Events, Members, Owner, Pressure, Returns, SharedWatch, Watch, watch},
    config::OrphanConfig,
    material::Lives,
    node::{NodeHandle, Ownership},
    plugin::{Provider, State},
};
use bytes::Bytes;
use outrigger_plugin::PodIdentity;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Events of watches that wait for the controller, over all nodes.
const WATCH_BACKLOG: usize = 1_024;
const QUERY_BACKLOG: usize = 64;
const PODS: &str = "/api/v1/pods";
/// Timers that need not be exact go off together, this far apart.
const ROUND: Duration = Duration::from_millis(250);
/// Writes at a time: each has a connection of its own (HTTP/1.1).
const MAX_WRITES: usize = 32;

/// Records that are packed in a row: a few milliseconds.
const MAX_PACKED: usize = 256;
/// Room that is kept by what was longer for a while.
const SMALL: usize = 64;
/// So many timers are never looked through for those of pods that have gone.
const FEW_TIMERS: usize = 1_024;
/// Pods that are looked at in a row before anything else has its turn.
const MAX_LOOKS: usize = 512;

/// What the controller works with.
pub struct Config {
    /// Our mark's first part, and whether sweeping is allowed at all.
    pub cluster: ClusterId,
    /// Connections to the API server.
    pub clients: Clients,
    /// Connections of the nodes that act for themselves, by node.
    pub acting: HashMap<String, Clients>,
    /// For the cluster's users.
    pub events: Events,
    /// Told of every status write, so that events yield to them.
    pub pressure: Pressure,
    /// The orphan sweep.
    pub orphans: OrphanConfig,
    /// The virtual nodes whose provider could be loaded.
    pub nodes: Vec<NodeSlot>,
    /// Whether one watch of all pods serves all nodes, in place of one for each.
    pub shares_watch: bool,
    /// What providers push.
    pub mailbox: Arc<Mailbox>,
    /// What others ask.
    pub queries: Queries,
}

/// Questions that wait for the controller: the other end of a [`PodHandle`].
pub struct Queries(mpsc::Receiver<Query>);

/// A virtual node and its provider.
pub struct NodeSlot {
    /// The node's agent.
    pub handle: NodeHandle,
    /// The provider that runs its pods.
    pub provider: Arc<Provider>,
    /// Connections of whoever acts for it.
    pub clients: Clients,
}

/// Asks the controller about pods. Cheap to clone.
#[derive(Clone)]
pub struct PodHandle {
    queries: mpsc::Sender<Query>,
}

/// A pod as a reader outside of the controller sees it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Who it is.
    pub identity: Arc<PodIdentity>,
    /// `v1.Pod` as JSON, without managed fields.
    pub raw: Bytes,
}

pub(super) enum Query {
    Identity {
        uid: String,
        reply: oneshot::Sender<Option<Arc<PodIdentity>>>,
    },
    Pods {
        node: String,
        reply: oneshot::Sender<Vec<Bytes>>,
    },
    NodeOf {
        namespace: String,
        name: String,
        reply: oneshot::Sender<Option<String>>,
    },
    Find {
        node: String,
        namespace: String,
        name: String,
        reply: oneshot::Sender<Option<PodView>>,
    },
}

impl PodHandle {
    /// A handle and its other end. It exists before the controller, since kubelet ports do: questions wait.
    pub fn channel() -> (Self, Queries) {
        let (queries, asked) = mpsc::channel(QUERY_BACKLOG);
        (Self { queries }, Queries(asked))
    }

    /// All pods of a node that the API server has. Empty once the controller has ended.
    pub async fn pods(&self, node: &str) -> Vec<Bytes> {
        let (reply, answer) = oneshot::channel();
        let query = Query::Pods {
            node: node.to_owned(),
            reply,
        };
        if self.queries.send(query).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Whether there is anybody to ask: false once the controller has ended. Waits while it is busy.
    pub async fn answers(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        let nobody = Query::Identity {
            uid: String::new(),
            reply,
        };
        self.queries.send(nobody).await.is_ok() && answer.await.is_ok()
    }

    /// Who a pod is, by its UID.
    pub async fn identity(&self, uid: &str) -> Option<Arc<PodIdentity>> {
        let (reply, answer) = oneshot::channel();
        self.queries
            .send(Query::Identity {
                uid: uid.to_owned(),
                reply,
            })
            .await
            .ok()?;
        answer.await.ok().flatten()
    }

    /// The name of the node that the pod of that name is on: of several pods, the one that is not being deleted, or the
    /// newest.
    pub async fn node_of(&self, namespace: &str, name: &str) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let query = Query::NodeOf { namespace, name, reply };
        self.queries.send(query).await.ok()?;
        answer.await.ok().flatten()
    }

    /// The pod of that name on a node: of several, the one that is not being deleted, or the newest.
    pub async fn find(&self, node: &str, namespace: &str, name: &str) -> Option<PodView> {
        let (reply, answer) = oneshot::channel();
        let (node, namespace, name) = (node.to_owned(), namespace.to_owned(), name.to_owned());
        self.queries
            .send(Query::Find {
                node,
                namespace,
                name,
                reply,
            })
            .await
            .ok()?;
        answer.await.ok().flatten()
    }
}

/// A change of what gates a node.
pub(super) struct Gate {
    pub(super) node: NodeIndex,
    pub(super) owned: bool,
    /// By which tenure.
    pub(super) tenure: u64,
    pub(super) epoch: Option<u64>,
    /// Its address is known.
    pub(super) addressed: bool,
    /// The digest by which an operator has confirmed an orphan sweep.
    pub(super) confirmed: Option<String>,
}

/// Brings pods where they should be. See the [module](super).
pub struct PodController {
    pub(super) cluster: ClusterId,
    pub(super) events: Events,
    pub(super) pressure: Pressure,
    pub(super) orphans: OrphanConfig,
    pub(super) nodes: Vec<Node>,
    pub(super) providers: Vec<ProviderSlot>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Boxed: a table of large entries is mostly room for the next ones.
    pub(super) pods: HashMap<Uid, Box<Entry>>,
    pub(super) names: Names,
    /// Packs the records of pods at rest.
    pub(super) press: Press,
    /// Pods to look at.
    pub(super) queue: VecDeque<Uid>,
    /// Pods to look at later. A pod may stand here more often than needed; looking is harmless.
    pub(super) timers: BinaryHeap<Reverse<(Instant, Uid)>>,
    /// With more of them those of pods that have gone are looked for.
    max_timers: usize,
    pub(super) actions: JoinSet<Done>,
    /// Writes and calls under way, and pods whose turn comes when there are fewer.
    pub(super) writes: Lane,
    pub(super) next_call: u64,
    /// What pods refer to.
    pub(super) live: Lives,
    pub(super) naming: Naming,
    /// Recognises materials that a provider has.
    pub(super) hasher: RandomState,
    began: Instant,
    shares_watch: bool,
    /// The API server is back: what could not be written is tried again.
    returns: Returns,
    queries: mpsc::Receiver<Query>,
}

impl PodController {
    /// A controller. Nothing happens before [`run`](Self::run).
    pub fn build(config: Config) -> Self {
        let mut controller = Self {
            live: Lives::new(&config.clients, &config.acting),
            naming: Naming::default(),
            hasher: RandomState::new(),
            cluster: config.cluster,
            events: config.events,
            pressure: config.pressure,
            orphans: config.orphans,
            nodes: Vec::with_capacity(config.nodes.len()),
            providers: Vec::new(),
            mailbox: config.mailbox,
            pods: HashMap::new(),
            names: Names::default(),
            press: Press::default(),
            queue: VecDeque::new(),
            timers: BinaryHeap::new(),
            max_timers: FEW_TIMERS,
            actions: JoinSet::new(),
            writes: Lane::new(MAX_WRITES),
            next_call: 0,
            began: Instant::now(),
            returns: config.clients.status.returns(),
            shares_watch: config.shares_watch,
            queries: config.queries.0,
        };
        for slot in config.nodes {
            controller.add_node(slot);
        }
        controller
    }

    /// Lets pods find each other by the cluster's names.
    #[must_use]
    pub fn with_naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    fn add_node(&mut self, slot: NodeSlot) {
        let known = self
            .providers
            .iter()
            .position(|known| Arc::ptr_eq(&known.provider, &slot.provider));
        let provider = known.unwrap_or_else(|| {
            self.providers.push(ProviderSlot::new(slot.provider));
            self.providers.len() - 1
        });
        self.providers[provider].nodes.push(self.nodes.len());
        self.nodes.push(Node::new(slot.handle, slot.clients, provider));
    }

    /// Runs until shutdown: then it takes no new work, lets calls and writes that are under way end (not longer than
    /// `flush`), and leaves the pods alone.
    pub async fn run(mut self, shutdown: CancellationToken, flush: Duration) {
        let (tell, mut watched) = mpsc::channel(WATCH_BACKLOG);
        let (open, mut gates) = mpsc::channel(WATCH_BACKLOG);
        let mut feeds = JoinSet::new();
        if let (true, Some(first)) = (self.shares_watch, self.nodes.first()) {
            // Whoever shares a watch acts with the host's own credentials: the first node's are everybody's.
            let target = watch::Target::new("pods of all nodes", PODS).fields("spec.nodeName!=");
            let members = Members::new(Owner::Node, self.nodes.iter().map(|node| &*node.name));
            feeds.spawn(SharedWatch::new(first.clients.watch.clone(), target, members).feed(tell.clone()));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if !self.shares_watch {
                let target = watch::Target::new(format!("pods of {}", node.name), PODS)
                    .fields(format!("spec.nodeName={}", node.name));
                let watch = Watch::new(node.clients.watch.clone(), target);
                feeds.spawn(follow_pods(watch, index, tell.clone()));
            }
            let provider = self.providers[node.provider].provider.state();
            feeds.spawn(follow_gates(node.handle.clone(), provider, index, open.clone()));
        }
        drop((tell, open));
        let (mailbox, objects) = (self.mailbox.clone(), self.live.changes());
        let mut alarm = std::pin::pin!(tokio::time::sleep_until(far_away()));
        loop {
            let at = self.next_timer().map_or_else(far_away, Into::into);
            if alarm.deadline() != at {
                alarm.as_mut().reset(at);
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(done) = self.actions.join_next() => self.finish(done),
                Some(gate) = gates.recv() => self.gate(gate),
                Some((node, event)) = watched.recv() => self.observe(node, event),
                () = mailbox.wait() => self.take_reports(),
                () = objects.wait() => self.learn(),
                Some(query) = self.queries.recv() => self.answer(query),
                () = alarm.as_mut() => self.ring(),
                () = self.returns.next() => self.write_again(),
                // The round before had enough of it.
                () = std::future::ready(()), if !self.queue.is_empty() => {}
            }
            self.work();
        }
        feeds.shutdown().await;
        self.flush(flush).await;
    }

    /// Looks at queued pods, and at those that waited for a place that is free now; what is left has its turn in the next
    /// round.
    fn work(&mut self) {
        let mut looks = 0;
        loop {
            while let Some(uid) = self.queue.pop_front() {
                if let Some(entry) = self.pods.get_mut(&uid) {
                    entry.queued = false;
                    self.advance(&uid);
                }
                looks += 1;
                if looks >= MAX_LOOKS && !self.queue.is_empty() {
                    return;
                }
            }
            let mut providers = self.providers.iter_mut();
            let turn = self.writes.turn();
            match turn.or_else(|| providers.find_map(|slot| slot.calls.turn())) {
                Some(uid) => self.enqueue(&uid),
                None => return,
            }
            if looks >= MAX_LOOKS {
                return;
            }
        }
    }

    /// Has a pod looked at.
    pub(super) fn enqueue(&mut self, uid: &Uid) {
        if let Some(entry) = self.pods.get_mut(uid)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(uid.clone());
        }
    }

    /// Has a pod looked at later.
    pub(super) fn enqueue_at(&mut self, at: Instant, uid: &Uid) {
        self.timers.push(Reverse((at, uid.clone())));
    }

    /// Has a pod looked at a little later than that, together with others: most have nothing to do by then, and a
    /// wake-up for each would cost more than they do.
    pub(super) fn enqueue_about(&mut self, at: Instant, uid: &Uid) {
        self.enqueue_at(self.about(at), uid);
    }

    /// A pod that goes leaves its timers, and a deadline may be a week away.
    pub(super) fn drop_idle_timers(&mut self) {
        if self.timers.len() > self.max_timers {
            let pods = &self.pods;
            self.timers.retain(|Reverse((_, uid))| pods.contains_key(uid));
            self.max_timers = (2 * self.timers.len()).max(FEW_TIMERS);
        }
    }

    /// The next time for what need not be exact.
    fn about(&self, at: Instant) -> Instant {
        let step = ROUND.as_millis();
        let late = at.saturating_duration_since(self.began).as_millis() % step;
        let wait = u64::try_from(step - late).unwrap_or(0);
        at + Duration::from_millis(wait)
    }

    /// Has the record of a pod packed when it has come to rest.
    pub(super) fn line_up(&mut self, uid: &Uid, now: Instant) {
        if let Some(entry) = self.pods.get_mut(uid)
            && !entry.lined_up
        {
            entry.lined_up = true;
            self.press.line_up(uid.clone(), entry.mark(), entry.is_leaving(), now);
        }
    }

    /// Packs what rests, some at a time.
    fn pack(&mut self, now: Instant) {
        for _ in 0..MAX_PACKED {
            let Some((uid, mark)) = self.press.due(now) else {
                return;
            };
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            entry.lined_up = false;
            if entry.mark() == mark && !entry.writing && entry.call.is_none() {
                self.press.pack(&mut entry.record);
            } else {
                self.line_up(&uid, now);
            }
            if self.press.due_at().is_none() {
                self.queue.shrink_to(SMALL);
                self.timers.shrink_to(SMALL);
            }
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let pod = self.timers.peek().map(|Reverse((at, _))| *at);
        let list = self
            .providers
            .iter()
            .filter(|slot| !slot.listing)
            .filter_map(|slot| slot.list_at)
            .min();
        let press = self.press.due_at().map(|at| self.about(at));
        pod.into_iter().chain(list).chain(press).min()
    }

    fn ring(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
        {
            if let Some(Reverse((_, uid))) = self.timers.pop() {
                self.enqueue(&uid);
            }
        }
        self.pack(now);
        for provider in 0..self.providers.len() {
            let slot = &self.providers[provider];
            if !slot.listing && slot.list_at.is_some_and(|at| at <= now) {
                self.list(provider);
            }
        }
    }

    fn answer(&self, query: Query) {
        // A reader that has gone needs no answer.
        match query {
            Query::Pods { node, reply } => {
                let pods = self
                    .pods_of(&node)
                    .filter(|entry| entry.object == Object::There)
                    .map(|entry| entry.record.object())
                    .collect();
                let _ = reply.send(pods);
            }
            Query::Identity { uid, reply } => {
                let _ = reply.send(self.pods.get(uid.as_str()).map(|entry| entry.identity.clone()));
            }
            Query::NodeOf { namespace, name, reply } => {
                let found = self.newest(&namespace, &name, |_| true);
                let _ = reply.send(found.map(|entry| self.nodes[entry.node].name.to_string()));
            }
            Query::Find {
                node,
                namespace,
                name,
                reply,
            } => {
                let found = self.newest(&namespace, &name, |on| on == node);
                let _ = reply.send(found.map(|entry| PodView {
                    identity: entry.identity.clone(),
                    raw: entry.record.object(),
                }));
            }
        }
    }

    /// The pod of that name on a node of which this holds.
    fn newest(&self, namespace: &str, name: &str, node: impl Fn(&str) -> bool) -> Option<&Entry> {
        self.bearers(namespace, name)
            .map(|(_, entry)| entry)
            .filter(|entry| entry.object == Object::There && node(&self.nodes[entry.node].name))
            .max_by_key(|entry| (entry.deletion.is_none(), entry.version))
    }

    /// All pods of that name, oldest first.
    pub(super) fn bearers(&self, namespace: &str, name: &str) -> impl Iterator<Item = (&Uid, &Entry)> {
        self.names
            .of(namespace, name)
            .iter()
            .filter_map(|uid| Some((uid, &**self.pods.get(uid)?)))
            .filter(move |(_, entry)| entry.identity.namespace == namespace && entry.identity.name == name)
    }

    fn pods_of(&self, node: &str) -> impl Iterator<Item = &Entry> {
        let node = self.nodes.iter().find(|candidate| *candidate.name == *node);
        node.into_iter()
            .flat_map(|node| &node.pods)
            .filter_map(|uid| self.pods.get(uid).map(|entry| &**entry))
    }

    /// Ends the work that is under way and sends the statuses that follow from it.
    async fn flush(&mut self, limit: Duration) {
        let finish = async {
            self.hurry_statuses();
            self.flush_statuses();
            while let Some(done) = self.actions.join_next().await {
                self.finish(done);
                self.take_reports();
                self.flush_statuses();
            }
        };
        if tokio::time::timeout(limit, finish).await.is_err() {
            tracing::warn!(
                calls = self.actions.len(),
                "shutdown limit reached, leaving calls under way"
            );
        }
        self.actions.shutdown().await;
    }
}

fn far_away() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(3600)
}

async fn follow_pods(mut watch: Watch, node: NodeIndex, tell: mpsc::Sender<(NodeIndex, watch::Event)>) {
    loop {
        let event = watch.next().await;
        if tell.send((node, event)).await.is_err() {
            return;
        }
    }
}

/// Tells whenever something that gates the node has changed: who holds it, its provider's state, whether its address is
/// known, a confirmation.
async fn follow_gates(
    handle: NodeHandle,
    mut provider: tokio::sync::watch::Receiver<State>,
    node: NodeIndex,
    tell: mpsc::Sender<Gate>,
) {
    let (mut ownership, mut annotations) = (handle.ownership(), handle.annotations());
    let mut addresses = handle.watch_addresses();
    let mut told = None;
    loop {
        let owned = matches!(*ownership.borrow_and_update(), Ownership::Held);
        let epoch = match *provider.borrow_and_update() {
            State::Ready { epoch } => Some(epoch),
            _ => None,
        };
        let confirmed = annotations.borrow_and_update().get(super::orphans::CONFIRM).cloned();
        let addressed = !addresses.borrow_and_update().is_empty();
        let tenure = handle.tenure();
        let gate = (owned, tenure, epoch, addressed, confirmed.clone());
        if told.as_ref() != Some(&gate) {
            if tell
                .send(Gate {
                    node,
                    owned,
                    tenure,
                    epoch,
                    addressed,
                    confirmed,
                })
                .await
                .is_err()
            {
                return;
            }
            told = Some(gate);
        }
        let changed = tokio::select! {
            changed = ownership.changed() => changed,
            changed = provider.changed() => changed,
            changed = annotations.changed() => changed,
            changed = addresses.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
