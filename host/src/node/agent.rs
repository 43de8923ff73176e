//! One virtual node from claim to release.
//!
//! The agent is level-triggered: whatever wakes it (a change of its Node, of its claim, of the provider's health, of
//! what the host wants to say, or the clock), it compares what is with what should be and makes the requests that are
//! missing. It writes only while the claim is held.

use super::claim::Claim;
use super::claim::LeaseTiming;
use super::compact::Compact;
use super::facts;
use super::facts::Facts;
use super::handle::NodeHandle;
use super::handle::Ownership;
use super::handle::Terms;
use super::handle::Wanted;
use super::health::Health;
use super::health::Verdict;
use super::images;
use super::object::DesiredNode;
use super::object::Drift;
use super::register::NodeApi;
use super::status;
use super::status::DesiredStatus;
use super::status::Inputs;
use crate::cluster::ApiError;
use crate::cluster::Backoff;
use crate::cluster::Client;
use crate::cluster::Clients;
use crate::cluster::Events;
use crate::cluster::InstanceId;
use crate::cluster::Sight;
use crate::cluster::shared::Sighting;
use crate::config::Intervals;
use crate::config::NodeConfig;
use crate::config::OnShutdown;
use http::Uri;
use jiff::Timestamp;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::NodeDescription;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// As the kubelet's for registration.
const BACKOFF_CAP: Duration = Duration::from_secs(7);
/// So many reports pass from one look at the provider's images to the next: they change seldom, and only the scheduler's
/// preferences depend on them.
const REPORTS_PER_IMAGES: u32 = 6;
/// An address that was found is looked for again after this long; a fifth is added or taken at random.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// And so long, at most, everything else waits for that.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last request may take when the host ends; with many nodes it waits for its turn.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What an agent is to run.
#[derive(Clone)]
pub struct Config {
    /// The node.
    pub node: NodeConfig,
    /// The plugin's name; value of the default taint.
    pub plugin: String,
    /// The plugin's version.
    pub plugin_version: String,
    /// The kubelet port that is really open.
    pub port: u16,
    /// For `status.declaredFeatures`, sorted.
    pub declared_features: Vec<&'static str>,
    /// Rhythms.
    pub timing: Timing,
    /// What becomes of the Node when the host ends.
    pub on_shutdown: OnShutdown,
    /// Deletes the Node then, if asked to: the host's, as under the Node authorizer no node may delete itself.
    pub remover: Client,
    /// The machine, read once for all nodes.
    pub facts: Arc<Facts>,
}

/// The rhythms of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Of the lease.
    pub lease: LeaseTiming,
    /// Between two computations of the status.
    pub status_report: Duration,
    /// The longest time between two sends of it.
    pub status_resend: Duration,
    /// How long the provider may take to describe the node.
    pub describe_timeout: Duration,
}

impl From<&Intervals> for Timing {
    fn from(intervals: &Intervals) -> Self {
        Self {
            lease: LeaseTiming::default(),
            status_report: intervals.status_report,
            status_resend: intervals.status_resend,
            describe_timeout: intervals.ping_timeout,
        }
    }
}

/// What is known of the Node object.
enum State {
    /// Nothing: it was not looked for yet.
    Unseen,
    /// It does not exist.
    Absent,
    /// It exists and was last seen like this.
    Present { live: Compact, sent: Option<Sent> },
}

/// The last status that was sent to the present Node under the present claim.
struct Sent {
    desired: DesiredStatus,
    /// What the API server made of it.
    observed: Compact,
    at: Instant,
    resend: Duration,
}

/// Runs one virtual node.
pub struct NodeAgent {
    claim: Claim,
    work: Work,
}

impl NodeAgent {
    /// An agent and the handle by which the rest of the host sees its node. `verdict` comes from the provider's
    /// [`Monitor`](super::Monitor).
    pub fn build(
        config: Config,
        clients: &Clients,
        sight: Sight,
        instance: &InstanceId,
        events: Events,
        provider: Arc<dyn Health>,
        verdict: Receiver<Verdict>,
    ) -> (Self, NodeHandle) {
        let name = config.node.name.clone();
        let handle = NodeHandle::new(name.clone(), config.node.provider.clone(), config.port);
        let claim = Claim::new(
            clients.leases.clone(),
            handle.shared.clone(),
            instance.clone(),
            config.timing.lease,
        );
        let work = Work {
            api: NodeApi::new(clients.leases.clone(), &name),
            sight,
            server: clients.server().clone(),
            handle: handle.clone(),
            events,
            provider,
            verdict,
            ownership: handle.ownership(),
            wanted: handle.shared.wanted.subscribe(),
            address: config.node.address,
            seen_address: None,
            next_look: Instant::now(),
            state: State::Unseen,
            next_report: Instant::now(),
            reports: false,
            retry_at: None,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            trouble: None,
            describe_again: true,
            describe_trouble: false,
            address_trouble: false,
            unproven: false,
            images: None,
            next_images: Some(Instant::now()),
            repaired_at: None,
            refused: None,
            told_provider_id: false,
            told_broken: false,
            was_ready: None,
            config,
        };
        (Self { claim, work }, handle)
    }

    /// Runs until `shutdown`, then does with the Node what the configuration says and gives the lease up, so that the
    /// next host can act at once. Cancel it only after the last plugin call that changes anything has ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { claim, mut work } = self;
        let release = CancellationToken::new();
        let working = async {
            work.run(&shutdown).await;
            work.leave().await;
            release.cancel();
        };
        tokio::join!(Box::pin(claim.run(release.clone())), Box::pin(working));
    }
}

struct Work {
    config: Config,
    api: NodeApi,
    sight: Sight,
    server: Uri,
    handle: NodeHandle,
    events: Events,
    provider: Arc<dyn Health>,
    verdict: Receiver<Verdict>,
    ownership: Receiver<Ownership>,
    wanted: Receiver<Wanted>,
    address: Option<IpAddr>,
    /// Another one that was found when it was last looked for.
    seen_address: Option<IpAddr>,
    next_look: Instant,
    state: State,
    next_report: Instant,
    /// Whether a first report was made; the next ones follow in a rhythm that is not that of other nodes.
    reports: bool,
    /// Not before this, after a failure.
    retry_at: Option<Instant>,
    backoff: Backoff,
    trouble: Option<&'static str>,
    describe_again: bool,
    describe_trouble: bool,
    address_trouble: bool,
    /// The Node was created here while its provider was not well, and that has not been well since.
    unproven: bool,
    /// `status.images`, once the provider has told.
    images: Option<Vec<Value>>,
    /// When it is asked for them next; `None`: it can't tell.
    next_images: Option<Instant>,
    repaired_at: Option<Instant>,
    /// Drift that we may not repair, and when that was tried.
    refused: Option<(Drift, Instant)>,
    told_provider_id: bool,
    told_broken: bool,
    was_ready: Option<bool>,
}

impl Work {
    async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                sighting = self.sight.next() => self.take_in(&sighting),
                Ok(()) = self.ownership.changed() => self.ownership_changed(),
                Ok(()) = self.verdict.changed() => self.verdict_changed(),
                Ok(()) = self.wanted.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            // A Node whose creation is under way is not known yet, and could not be left as it should be.
            let patience = match self.config.on_shutdown {
                OnShutdown::Keep => Duration::ZERO,
                OnShutdown::Cordon | OnShutdown::Deregister => LEAVE_TIMEOUT,
            };
            let cut = async {
                shutdown.cancelled().await;
                tokio::time::sleep(patience).await;
            };
            tokio::select! {
                () = cut => return,
                // Boxed, as a node has nothing to do most of the time, and there may be a thousand.
                () = Box::pin(self.act()) => {}
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let unready = status::unready_at(&self.verdict.borrow(), self.config.node.not_ready_after);
        let unready = unready.filter(|at| *at > now);
        [Some(self.next_report), unready]
            .into_iter()
            .flatten()
            .min()
            .map_or(now, |wake| {
                // A failure delays everything, but what is due later stays due.
                self.retry_at
                    .map_or(wake, |retry| if retry > now { retry } else { wake.min(retry) })
            })
    }

    fn take_in(&mut self, sighting: &Sighting) {
        match sighting {
            Sighting::Present(object) | Sighting::Restored(object) => match serde_json::from_slice(object) {
                Ok(object) => {
                    if matches!(sighting, Sighting::Restored(_)) {
                        self.state = State::Unseen;
                    }
                    self.seen(object);
                }
                Err(error) => tracing::warn!(node = %self.config.node.name, %error, "unable to read the node's object"),
            },
            Sighting::Absent => self.gone(),
        }
    }

    /// The Node looks like this.
    fn seen(&mut self, object: Value) {
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok();
        let uid = |object: &Value| object["metadata"]["uid"].as_str().map(str::to_owned);
        let shared = &self.handle.shared;
        let known = match &self.state {
            State::Present { live, .. } => Some(live.value()),
            State::Unseen | State::Absent => None,
        };
        let live = &object;
        match (&mut self.state, known) {
            (State::Present { live: kept, .. }, Some(known)) if uid(&known) == uid(live) => {
                // The answer to a request of ours may be newer than what the watch tells.
                if let (Some(known), Some(new)) = (version(&known), version(live))
                    && new < known
                {
                    return;
                }
                *kept = Compact::from(live);
            }
            (state, _) => {
                *state = State::Present {
                    live: Compact::from(live),
                    sent: None,
                }
            }
        }
        let new_uid = uid(live);
        shared.uid.send_if_modified(|uid| {
            let changed = *uid != new_uid;
            uid.clone_from(&new_uid);
            changed
        });
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(live["metadata"]["annotations"].clone()).unwrap_or_default();
        shared.annotations.send_if_modified(|known| {
            let changed = *known != annotations;
            *known = annotations;
            changed
        });
        if let Some(terms) = Terms::of(live) {
            shared.terms.send_if_modified(|known| {
                let changed = known.as_deref() != Some(&terms);
                if changed {
                    *known = Some(Arc::new(terms));
                }
                changed
            });
        }
    }

    fn gone(&mut self) {
        if matches!(self.state, State::Present { .. }) {
            tracing::warn!(node = %self.config.node.name, "the node was deleted");
        }
        self.state = State::Absent;
        self.refused = None;
        self.was_ready = None;
        self.handle.shared.uid.send_if_modified(|uid| uid.take().is_some());
    }

    fn ownership_changed(&mut self) {
        if *self.ownership.borrow_and_update() == Ownership::Held
            && let State::Present { sent, .. } = &mut self.state
        {
            // Another host may have written meanwhile.
            *sent = None;
        }
    }

    fn verdict_changed(&mut self) {
        if *self.verdict.borrow_and_update() == Verdict::Healthy {
            // A new instance may describe the node in another way.
            self.describe_again = true;
            self.unproven = false;
        }
    }

    /// Makes the requests that are missing.
    async fn act(&mut self) {
        // Pods wait for it, and nothing is written for it.
        self.find_address().await;
        let now = Instant::now();
        let report_due = now >= self.next_report;
        if report_due {
            let interval = self.config.timing.status_report;
            self.next_report = match std::mem::replace(&mut self.reports, true) {
                true => now + interval,
                false => now + interval.mul_f64(fastrand::f64()),
            };
        }
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        if !self.handle.may_act() {
            return;
        }
        let verdict = self.verdict.borrow().clone();
        if verdict == Verdict::Unknown {
            return;
        }
        let healthy = verdict == Verdict::Healthy;
        if healthy {
            self.describe().await;
        }
        match &self.state {
            State::Unseen => {}
            State::Absent => self.create(&verdict).await,
            State::Present { .. } => {
                self.repair(report_due).await;
                self.report(&verdict, report_due).await;
            }
        }
        // What is wrong was told first: a provider that hangs takes its time here, too.
        if !healthy && report_due && self.provider.trouble().is_none() {
            self.describe().await;
        }
        if healthy && report_due {
            self.look_at_images().await;
        }
    }

    /// Asks the provider for its images, for the next report.
    async fn look_at_images(&mut self) {
        let now = Instant::now();
        if self.next_images.is_none_or(|at| now < at) {
            return;
        }
        let name = &self.config.node.name;
        self.next_images = Some(now + self.config.timing.status_report * REPORTS_PER_IMAGES);
        match self.provider.images(name, self.config.timing.describe_timeout).await {
            Ok(images) => self.images = Some(images::of_status(images)),
            Err(error) if error.code == ErrorCode::Unsupported => self.next_images = None,
            // That it is unwell is told elsewhere; what is known stays.
            Err(error) => tracing::debug!(node = %name, %error, "unable to learn of the provider's images"),
        }
    }

    /// Asks the provider how the node looks, where it has not said so or is a new instance.
    async fn describe(&mut self) {
        if !self.describe_again {
            return;
        }
        let name = &self.config.node.name;
        match self
            .provider
            .describe_node(name, self.config.timing.describe_timeout)
            .await
        {
            Ok(description) => {
                self.describe_again = false;
                self.describe_trouble = false;
                self.handle.describe(description);
            }
            Err(error) if matches!(error.code, ErrorCode::Unsupported | ErrorCode::NotFound) => {
                self.describe_again = false;
                if self.wanted.borrow().description.is_none() {
                    self.handle.describe(NodeDescription::default());
                }
            }
            Err(error) if !self.describe_trouble => {
                self.describe_trouble = true;
                tracing::warn!(node = %name, %error, "unable to learn from the provider how the node looks, retrying");
            }
            Err(_) => {}
        }
    }

    async fn find_address(&mut self) {
        let now = Instant::now();
        let looks_again = self.config.node.address.is_none() && now >= self.next_look;
        if self.address.is_none() || looks_again {
            self.next_look = now + LOOK_AGAIN.mul_f64(0.8 + 0.4 * fastrand::f64());
            let limit = if self.address.is_some() {
                LOOK_TIMEOUT
            } else {
                Duration::MAX
            };
            let look = tokio::time::timeout(limit, facts::local_address(&self.server));
            match look.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(address) => {
                    let (address, moved) = facts::moved(self.address, &mut self.seen_address, address);
                    if moved {
                        tracing::info!(node = %self.config.node.name, %address, "the node has another address");
                    }
                    self.address = Some(address);
                }
                // It is as it was, as far as anybody knows.
                Err(_) if self.address.is_some() => {}
                Err(error) if !self.address_trouble => {
                    self.address_trouble = true;
                    tracing::warn!(node = %self.config.node.name, %error,
                        "unable to find the node's address, for which its pods wait: retrying; \
                         nodes[].address in the configuration says it");
                }
                Err(_) => {}
            }
        }
        let addresses: Vec<IpAddr> = self.address.into_iter().collect();
        self.handle.shared.addresses.send_if_modified(|known| {
            let changed = *known != addresses;
            *known = addresses;
            changed
        });
    }

    fn desired_status(&self, verdict: &Verdict, registering: bool) -> DesiredStatus {
        let wanted = self.wanted.borrow();
        DesiredStatus::new(&Inputs {
            node: &self.config.node,
            plugin: (&self.config.plugin, &self.config.plugin_version),
            facts: &self.config.facts,
            address: self.address,
            port: self.config.port,
            declared_features: &self.config.declared_features,
            images: self.images.as_deref(),
            verdict,
            description: wanted.description.as_ref(),
            registering,
            unproven: self.unproven,
            conditions: &wanted.conditions,
            now: Instant::now(),
        })
    }

    fn desired_node(&self, description: &NodeDescription) -> DesiredNode {
        DesiredNode::new(&self.config.node, &self.config.plugin, description)
    }

    async fn create(&mut self, verdict: &Verdict) {
        let name = &self.config.node.name;
        if let Verdict::Unhealthy {
            never_ran: true,
            message,
            ..
        } = verdict
        {
            if !self.told_broken {
                self.told_broken = true;
                tracing::warn!(node = %name, cause = message, "the node is not registered: its provider could not be started");
            }
            return;
        }
        let description = self.wanted.borrow().description.clone();
        self.unproven = *verdict != Verdict::Healthy && description.is_none();
        let desired = self.desired_node(&description.unwrap_or_default());
        let status = self.desired_status(verdict, true);
        match self.api.create(&desired.object(status.first(Timestamp::now()))).await {
            Ok(object) => {
                tracing::info!(node = %name, "registered the node");
                self.events.node(name, None, false, "Starting", "Starting kubelet.");
                self.seen(object);
                self.was_sent(status, true);
            }
            // The watch will show it.
            Err(ApiError::AlreadyExists(_)) => self.recovered(),
            Err(error) => self.failed(&error, "unable to register the node, retrying"),
        }
    }

    /// Writes what of our metadata and spec is missing.
    async fn repair(&mut self, report_due: bool) {
        let State::Present { live, .. } = &self.state else {
            return;
        };
        let live = &live.value();
        // The labels of a node that is not described are not known.
        let Some(description) = self.wanted.borrow().description.clone() else {
            return;
        };
        let desired = self.desired_node(&description);
        let name = &self.config.node.name;
        if let Some(id) = desired.foreign_provider_id(live)
            && !self.told_provider_id
        {
            self.told_provider_id = true;
            tracing::warn!(
                node = %name, found = id, wanted = %desired.provider_id,
                "the node has another providerID, which can't be changed; delete the node to have it registered anew"
            );
        }
        let Some(drift) = desired.drift(live) else {
            self.refused = None;
            return;
        };
        let pause = self.config.timing.status_report;
        // Whoever else keeps writing the same key is not raced.
        let too_soon = self.repaired_at.is_some_and(|at| at.elapsed() < pause) && !report_due;
        // A right that was missing may have been given since.
        let known = self.refused.as_ref().filter(|(refused, _)| *refused == drift);
        let hopeless = known.is_some_and(|(_, tried)| tried.elapsed() < self.config.timing.status_resend);
        if too_soon || hopeless || !self.handle.may_act() {
            return;
        }
        let told = known.is_some();
        self.repaired_at = Some(Instant::now());
        match self.api.patch(&drift.repair(live)).await {
            Ok(object) => {
                tracing::info!(node = %name, %drift, "repaired the node");
                self.seen(object);
                self.recovered();
            }
            Err(error @ (ApiError::Forbidden(_) | ApiError::Invalid(_))) => {
                if !told {
                    tracing::warn!(node = %name, %drift, %error, "the node lacks what this host may not set");
                    let message = format!("may not set {drift}");
                    self.events.node(name, None, true, "NodeDriftNotRepaired", message);
                }
                self.refused = Some((drift, Instant::now()));
            }
            // Somebody else changed the node: it will be seen, and compared again.
            Err(ApiError::Conflict(_)) => self.repaired_at = None,
            Err(error) => self.failed(&error, "unable to repair the node, retrying"),
        }
    }

    async fn report(&mut self, verdict: &Verdict, report_due: bool) {
        let desired = self.desired_status(verdict, false);
        let State::Present { live, sent } = &self.state else {
            return;
        };
        let live = &live.value();
        let (changed, due) = match sent {
            None => (true, true),
            Some(sent) if sent.desired != desired => (true, true),
            // Others' changes to what is ours are looked for with each report, not raced.
            Some(sent) if report_due && Compact::from(&desired.observe(live)) != sent.observed => (true, true),
            Some(sent) => (false, sent.at.elapsed() >= sent.resend),
        };
        if !due || self.retry_at.is_some() || !self.handle.may_act() {
            return;
        }
        let before = sent.as_ref().map(|sent| &sent.desired);
        let patch = desired.patch(live, before, Timestamp::now());
        match self.api.patch_status(&patch).await {
            Ok(object) => {
                self.seen(object);
                self.was_sent(desired, changed);
            }
            Err(ApiError::NotFound(_)) => self.gone(),
            Err(error) => self.failed(&error, "unable to write the node's status, retrying"),
        }
    }

    fn was_sent(&mut self, desired: DesiredStatus, changed: bool) {
        self.recovered();
        let ready = desired.is_ready();
        if self.was_ready.replace(ready) != Some(ready) {
            let name = &self.config.node.name;
            let (reason, message) = desired.ready_because();
            if ready {
                tracing::info!(node = %name, "the node is ready");
                let message = format!("Node {name} status is now: NodeReady");
                self.events.node(name, None, false, "NodeReady", message);
            } else {
                tracing::warn!(node = %name, reason, message, "the node is not ready");
                let message = format!("Node {name} status is now: NodeNotReady");
                self.events.node(name, None, false, "NodeNotReady", message);
            }
        }
        if let State::Present { live, sent } = &mut self.state {
            *sent = Some(Sent {
                observed: Compact::from(&desired.observe(&live.value())),
                desired,
                at: Instant::now(),
                resend: status::resend_delay(self.config.timing.status_resend, changed),
            });
        }
    }

    fn failed(&mut self, error: &ApiError, what: &'static str) {
        if self.trouble.replace(error.class()) != Some(error.class()) {
            tracing::warn!(node = %self.config.node.name, %error, "{what}");
        }
        let delay = self.backoff.next_delay().max(error.retry_after().unwrap_or_default());
        self.retry_at = Some(Instant::now() + delay);
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        if self.trouble.take().is_some() {
            tracing::info!(node = %self.config.node.name, "the node can be written again");
        }
    }

    /// Does with the Node what is configured for the end of the host.
    async fn leave(&mut self) {
        if !self.handle.may_act() {
            return;
        }
        let name = &self.config.node.name;
        let request = async {
            match (self.config.on_shutdown, self.handle.uid()) {
                (OnShutdown::Keep, _) | (_, None) => Ok(()),
                (OnShutdown::Cordon, Some(_)) => self.api.cordon().await,
                (OnShutdown::Deregister, Some(uid)) => {
                    NodeApi::new(self.config.remover.clone(), name).delete(&uid).await?;
                    // The lease goes with it.
                    self.handle.shared.uid.send_replace(None);
                    Ok(())
                }
            }
        };
        let outcome = tokio::time::timeout(LEAVE_TIMEOUT, request).await;
        if let Err(error) = outcome.unwrap_or(Err(ApiError::Timeout(LEAVE_TIMEOUT))) {
            let wanted = self.config.on_shutdown;
            tracing::warn!(node = %name, %error, ?wanted, "unable to leave the node as configured");
        }
    }
}
