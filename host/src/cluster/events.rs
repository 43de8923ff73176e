//! Kubernetes events, in the kubelet's form and within its budget.
//!
//! Events tell people, and are the first thing to give when there is much to do: 50 a second after a burst of 100, a
//! bounded queue, drops counted. They wait while pod statuses are being written, each in its turn and for a second at most:
//! a warning until none is under way, what is normal until there was a pause, as each event costs the API server what a
//! status does. An event that happens again is one object whose count grows.

use super::Client;
use super::Clients;
use super::Pressure;
use super::raw;
use super::raw::ApiError;
use super::raw::Patch;
use jiff::Timestamp;
use serde_json::json;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PER_SECOND: f64 = 50.0;
const BURST: f64 = 100.0;
/// Different events of each kind that wait; repetitions of a waiting one take no room.
const QUEUE: usize = 1_000;
/// Events that are remembered, so that a repetition raises their count.
const REMEMBERED: usize = 4_096;
/// As long as the API server keeps an event by default; afterwards a repetition is a new one.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// After so many warnings a normal event has its turn.
const WARNINGS: u32 = 4;
/// How long one event gives way to status writes.
const YIELD: Duration = Duration::from_secs(1);
/// A pause of status writes: they come less often than fifty a second.
const QUIET: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The source that kubectl shows and that tools select by; the reasons are the kubelet's, so the name is, too.
const COMPONENT: &str = "kubelet";
const CONTROLLER: &str = "outrigger.dev/host";
const MAX_MESSAGE: usize = 1_024;
/// Names of objects end here.
const MAX_NAME: usize = 253;

/// The pod that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node that it runs on.
    pub node: String,
}

/// Records events. Cheap to clone; recording never blocks and never fails.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    enabled: bool,
    waiting: Mutex<Waiting>,
    wake: Notify,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    warnings: VecDeque<Arc<Key>>,
    normal: VecDeque<Arc<Key>>,
    /// Warnings that were taken since the last normal event.
    warned: u32,
    happened: HashMap<Arc<Key>, Happened>,
    /// Since when there is no room: how many were refused.
    overflow: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    object: Object,
    warning: bool,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Object {
    Pod(PodRef),
    Node { name: String, uid: String },
}

#[derive(Debug, Clone, Copy)]
struct Happened {
    times: u32,
    first: Timestamp,
    last: Timestamp,
}

impl Events {
    /// A recorder and the task that sends what it records.
    ///
    /// Nodes that act for themselves tell their events themselves.
    pub fn build(
        clients: &Clients,
        nodes: &HashMap<String, Clients>,
        pressure: Pressure,
        enabled: bool,
    ) -> (Self, Sender) {
        let shared = Arc::new(Shared {
            enabled,
            waiting: Mutex::default(),
            wake: Notify::new(),
            dropped: AtomicU64::new(0),
        });
        let sender = Sender {
            client: clients.events.clone(),
            nodes: nodes
                .iter()
                .map(|(node, clients)| (node.clone(), clients.events.clone()))
                .collect(),
            pressure,
            shared: shared.clone(),
            sent: Remembered::default(),
            budget: Budget::full(Instant::now()),
            trouble: None,
        };
        (Self { shared }, sender)
    }

    /// Something happened to a pod. `reason` is CamelCase, one of the kubelet's where one fits; the message holds no
    /// secret and is cut after 1,024 bytes.
    pub fn pod(&self, pod: &PodRef, warning: bool, reason: &str, message: impl Into<String>) {
        self.record(Object::Pod(pod.clone()), warning, reason, message.into());
    }

    /// Something happened to a node; without a UID its name stands for it, as with the kubelet.
    pub fn node(&self, name: &str, uid: Option<&str>, warning: bool, reason: &str, message: impl Into<String>) {
        let object = Object::Node {
            name: name.to_owned(),
            uid: uid.unwrap_or(name).to_owned(),
        };
        self.record(object, warning, reason, message.into());
    }

    /// Events that were lost so far, because too much waited or the API server did not take them.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn record(&self, object: Object, warning: bool, reason: &str, mut message: String) {
        if !self.shared.enabled {
            return;
        }
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let key = Key {
            object,
            warning,
            reason: reason.to_owned(),
            message,
        };
        if self.shared.waiting().push(key, Timestamp::now()) {
            self.shared.wake.notify_one();
        } else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event, mostly a warning if there is one, when it may be sent.
    async fn next(&self, pressure: &Pressure) -> (Arc<Key>, Happened) {
        let mut deadline = None;
        loop {
            let notified = self.wake.notified();
            let Some(quiet) = self.waiting().quiet() else {
                notified.await;
                continue;
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + YIELD);
            tokio::select! {
                biased;
                () = pressure.calm(quiet, deadline) => {
                    if let Some(next) = self.waiting().pop() {
                        return next;
                    }
                }
                // It may be a warning.
                () = notified => {}
            }
        }
    }
}

impl Waiting {
    /// False when there is no room.
    fn push(&mut self, key: Key, now: Timestamp) -> bool {
        let order = if key.warning {
            &mut self.warnings
        } else {
            &mut self.normal
        };
        let room = order.len() < QUEUE;
        match self.happened.entry(Arc::new(key)) {
            Entry::Occupied(mut waiting) => {
                let waiting = waiting.get_mut();
                waiting.times = waiting.times.saturating_add(1);
                waiting.last = now;
                true
            }
            Entry::Vacant(vacant) if room => {
                order.push_back(vacant.key().clone());
                vacant.insert(Happened {
                    times: 1,
                    first: now,
                    last: now,
                });
                true
            }
            Entry::Vacant(_) => {
                if self.overflow.is_none() {
                    tracing::warn!(waiting = QUEUE, "too many events, dropping new ones");
                }
                self.overflow = Some(self.overflow.unwrap_or_default() + 1);
                false
            }
        }
    }

    /// How long a pause of status writes the next event waits for, if there is one.
    fn quiet(&self) -> Option<Duration> {
        match (self.warning_is_next(), self.normal.is_empty()) {
            (true, _) => Some(Duration::ZERO),
            (false, false) => Some(QUIET),
            (false, true) => None,
        }
    }

    fn warning_is_next(&self) -> bool {
        !self.warnings.is_empty() && (self.warned < WARNINGS || self.normal.is_empty())
    }

    fn pop(&mut self) -> Option<(Arc<Key>, Happened)> {
        let key = if self.warning_is_next() {
            self.warned = self.warned.saturating_add(1);
            self.warnings.pop_front()
        } else {
            self.warned = 0;
            self.normal.pop_front()
        }?;
        if self.warnings.len().max(self.normal.len()) < QUEUE / 2
            && let Some(dropped) = self.overflow.take()
        {
            tracing::info!(dropped, "events are no longer dropped");
        }
        self.happened.remove_entry(&key)
    }
}

/// Sends what [`Events`] recorded, one at a time.
pub struct Sender {
    client: Client,
    nodes: HashMap<String, Client>,
    pressure: Pressure,
    shared: Arc<Shared>,
    sent: Remembered,
    budget: Budget,
    trouble: Option<&'static str>,
}

impl Sender {
    /// Runs until shutdown. What still waits then is lost: the states that it told of are in the API.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            loop {
                let (key, happened) = self.shared.next(&self.pressure).await;
                tokio::time::sleep(self.budget.take(Instant::now())).await;
                self.send(&key, happened).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    async fn send(&mut self, key: &Key, happened: Happened) {
        let outcome = match self.sent.known(key, Instant::now()) {
            Some(known) => match self.repeat(key, happened, known).await {
                // Its time in the API is over.
                Err(ApiError::NotFound(_)) => self.create(key, happened).await,
                outcome => outcome,
            },
            None => self.create(key, happened).await,
        };
        match outcome {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("sending events again");
                }
            }
            // A namespace that is being deleted takes no new objects, and one that is gone has none.
            Err(ApiError::NotFound(_)) => {}
            Err(ApiError::Forbidden(message)) if message.contains("being terminated") => {}
            Err(error) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                if self.trouble.replace(error.class()) != Some(error.class()) {
                    tracing::warn!(%error, "unable to send events, dropping them");
                }
                if error.is_retryable() {
                    let pause = error.retry_after().unwrap_or(Duration::from_secs(1));
                    tokio::time::sleep(pause.min(Duration::from_secs(30))).await;
                }
            }
        }
    }

    fn client_of(&self, object: &Object) -> &Client {
        let node = match object {
            Object::Pod(pod) => &pod.node,
            Object::Node { name, .. } => name,
        };
        self.nodes.get(node).unwrap_or(&self.client)
    }

    async fn create(&mut self, key: &Key, happened: Happened) -> Result<(), ApiError> {
        let name = self.sent.name(key);
        let path = format!("/api/v1/namespaces/{}/events", key.object.namespace());
        let request = raw::post(&path, key.body(&name, happened))?;
        raw::send(self.client_of(&key.object), request, TIMEOUT).await?;
        self.sent.remember(
            key,
            Sent {
                name: name.into(),
                count: happened.times,
                at: Instant::now(),
            },
        );
        Ok(())
    }

    async fn repeat(&mut self, key: &Key, happened: Happened, mut known: Sent) -> Result<(), ApiError> {
        known.count = known.count.saturating_add(happened.times);
        known.at = Instant::now();
        let body = json!({ "count": known.count, "lastTimestamp": seconds(happened.last) });
        let path = format!("/api/v1/namespaces/{}/events/{}", key.object.namespace(), known.name);
        let request = raw::patch(&path, Patch::Merge, body.to_string().into_bytes())?;
        raw::send(self.client_of(&key.object), request, TIMEOUT).await?;
        self.sent.remember(key, known);
        Ok(())
    }
}

impl Object {
    fn namespace(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.namespace,
            // Nodes have none; their events live here by convention.
            Self::Node { .. } => "default",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.name,
            Self::Node { name, .. } => name,
        }
    }

    fn node(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.node,
            Self::Node { name, .. } => name,
        }
    }
}

impl Key {
    fn body(&self, name: &str, happened: Happened) -> Vec<u8> {
        let involved = match &self.object {
            Object::Pod(pod) => json!({
                "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
            }),
            Object::Node { name, uid } => json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }),
        };
        let node = self.object.node();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": self.object.namespace() },
            "involvedObject": involved,
            "type": if self.warning { "Warning" } else { "Normal" },
            "reason": self.reason,
            "message": self.message,
            "source": { "component": COMPONENT, "host": node },
            "reportingComponent": CONTROLLER,
            "reportingInstance": node,
            "count": happened.times,
            "firstTimestamp": seconds(happened.first),
            "lastTimestamp": seconds(happened.last),
        })
        .to_string()
        .into_bytes()
    }
}

/// As `metav1.Time` is written: whole seconds.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An event in the API.
#[derive(Debug, Clone)]
struct Sent {
    name: Box<str>,
    count: u32,
    at: Instant,
}

/// Stands for a key: two hashes under different secrets.
type Digest = (u64, u64);

#[derive(Default)]
struct Remembered {
    sent: HashMap<Digest, Sent>,
    names: u64,
    hashers: (RandomState, RandomState),
}

impl Remembered {
    fn known(&self, key: &Key, now: Instant) -> Option<Sent> {
        self.sent
            .get(&self.digest(key))
            .filter(|sent| now.saturating_duration_since(sent.at) < REMEMBERED_FOR)
            .cloned()
    }

    fn digest(&self, key: &Key) -> Digest {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn remember(&mut self, key: &Key, sent: Sent) {
        let key = self.digest(key);
        if self.sent.len() >= REMEMBERED && !self.sent.contains_key(&key) {
            // Half at a time, so that making room costs little per event.
            let mut times: Vec<Instant> = self.sent.values().map(|sent| sent.at).collect();
            let (_, middle, _) = times.select_nth_unstable(REMEMBERED / 2);
            let middle = *middle;
            self.sent.retain(|_, sent| sent.at > middle);
        }
        self.sent.insert(key, sent);
    }

    /// `<object>.<hash>`, different each time.
    fn name(&mut self, key: &Key) -> String {
        self.names += 1;
        let hash = self.hashers.0.hash_one((key, self.names));
        let object = key.object.name();
        let room = MAX_NAME - 17;
        let object = object[..object.floor_char_boundary(room)].trim_end_matches(['-', '.']);
        format!("{object}.{hash:016x}")
    }
}

/// A bucket of tokens.
struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    fn full(now: Instant) -> Self {
        Self { tokens: BURST, at: now }
    }

    /// Takes a token, on credit if there is none: the result is how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.tokens = (self.tokens + gained).min(BURST) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.tokens / PER_SECOND).max(0.0))
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
