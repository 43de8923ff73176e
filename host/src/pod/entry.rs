//! What the controller keeps of a pod, and the facts that follow from it.

use super::{
    admission::Requests,
    backoff::Backoff,
    rare::Rarely,
    reconcile::{Admission, Api, Backend, Facts},
    record::{Mark, Record},
    status::{Situation, model::Phase},
    supply::Supply,
    view::{self, Head},
};
use bytes::Bytes;
use outrigger_plugin::{ContainerReport, ContainerState, PodIdentity, PodReport, ResizeOutcome};
use std::{
    borrow::Cow,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// A pod's key.
pub type Uid = Arc<str>;

/// Index of a node in the controller.
pub type NodeIndex = usize;

/// Whether the pod may run here, and what is said where it may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not judged yet.
    Unjudged,
    /// It may.
    Accepted,
    /// It waits, which its containers say.
    Held(Box<Refusal>),
    /// It fails, which the pod says.
    Rejected(Box<Refusal>),
}

/// Why a pod may not run here as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Cow<'static, str>,
    pub message: String,
}

/// An API server needs milliseconds for it.
const FORCED_PATIENCE: Duration = Duration::from_secs(5);

/// A deletion that the API server has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace_seconds: u64,
    /// When that grace period ends, by our own clock: from when we first saw it.
    pub ends: Instant,
    /// Finalizers keep the object beyond that.
    pub kept: bool,
}

impl Deletion {
    /// Whether the API server takes the object away by itself.
    fn is_forced(self) -> bool {
        self.grace_seconds == 0 && !self.kept
    }
}

/// What became of a report.
pub enum Ingested {
    /// A newer one is known, or the pod has been released.
    Old,
    /// It has the stamp of the one that is known and says something else: nobody can tell which is the newer.
    Unrenewed,
    /// It is the newest, and says what the one before said.
    Same,
    /// It is the newest.
    New { before: Option<Box<PodReport>> },
}

/// A plugin call under way.
#[derive(Debug)]
pub struct Call {
    /// Tells the completion of this call from that of one that was given up.
    pub number: u64,
    pub kind: CallKind,
    /// Digest of the materials that go with it.
    pub gives: Option<u64>,
    /// Of the manifest that goes with it.
    pub generation: i64,
    /// It brings other materials and the manifest that the provider has taken before.
    pub only_materials: bool,
    pub task: AbortHandle,
}

/// Which call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    Create,
    Update,
    /// Ends the grace period at this time.
    Stop {
        ends: Instant,
    },
    Remove,
}

/// A failed call or write that will be tried again; most pods have none.
#[derive(Debug, Default)]
pub struct Retry(Option<Box<Failed>>);

#[derive(Debug, Default)]
struct Failed {
    backoff: Backoff,
    /// Not before this time.
    at: Option<Instant>,
}

impl Retry {
    /// Nothing has failed.
    pub const NONE: Self = Self(None);

    /// After a failure: when to try again.
    pub fn fail(&mut self, now: Instant, at_least: Option<Duration>) -> Instant {
        let failed = self.0.get_or_insert_default();
        let at = now + failed.backoff.next(at_least);
        failed.at = Some(at);
        at
    }

    /// After a success, or when things have changed so much that waiting makes no sense.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Failures so far count no more, and it is tried again at this time, or before if it was to be.
    pub fn restart(&mut self, at: Instant) {
        let at = self.at().map_or(at, |known| known.min(at));
        self.0 = Some(Box::new(Failed {
            at: Some(at),
            ..Failed::default()
        }));
    }

    /// When it is tried again, after a failure.
    pub fn at(&self) -> Option<Instant> {
        self.0.as_ref()?.at
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.0.as_ref().map_or(0, |failed| failed.backoff.failures())
    }

    /// Whether it is still to wait.
    pub fn waits(&self, now: Instant) -> bool {
        self.at().is_some_and(|at| at > now)
    }
}

/// The pod's object in the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// It is there, or was when last heard of.
    There,
    /// A list lacked it and many others, though nobody had asked for their end: they are orphans until the object is
    /// seen again or an operator confirms that they may go.
    Lost,
    /// It is gone.
    Gone,
}

/// A pod.
pub struct Entry {
    pub identity: Arc<PodIdentity>,
    pub node: NodeIndex,
    /// Its API object, and what its provider last reported.
    pub record: Record,
    /// Its resource version, as a number.
    pub version: u64,
    /// The API server's store was restored from a backup, and this version is of the time before.
    pub restored: bool,
    pub generation: i64,
    pub object: Object,
    pub deletion: Option<Deletion>,
    pub phase: Phase,
    /// Something that the status is made from has changed since it was last compared.
    pub status_stale: bool,
    /// The terminal status of a deleted pod is in the API server.
    pub end_recorded: bool,
    /// The final DELETE was accepted.
    pub deleted: bool,
    pub backend: Backend,
    /// Its phase would be final, though some of it still runs.
    pub finishing: bool,
    /// The place of its last report among all of its plugin.
    pub reported: Option<u64>,
    /// None of its containers runs, by that report, and each of the regular ones has.
    pub all_ended: bool,
    /// And none of them is started again, by policies and exit codes.
    pub stays_ended: bool,
    /// It had ended so before `activeDeadlineSeconds` had passed: they count no more, however late that is recorded.
    pub ended_in_time: bool,
    /// Since when it is known to be in the backend: a list that began earlier says nothing about it.
    pub present_since: Option<Instant>,
    /// It was there before this host could call its provider, which did not have it: a call of an earlier process may
    /// still be on its way to the backend.
    pub inherited: bool,
    /// The generation that the provider has taken.
    pub taken_generation: Option<i64>,
    /// What the provider said of the resources of that generation; `None`: nothing to this process.
    pub resize: Option<ResizeOutcome>,
    /// Its materials.
    pub supply: Supply,
    /// What it refers to is followed.
    pub supplied: bool,
    /// Digest of the materials that the provider has; `None` if nobody here knows.
    pub given: Option<u64>,
    /// Hash of labels and annotations, which files may show.
    pub labels: u64,
    pub standing: Standing,
    /// It seems to be refused; the Node is read again to make sure.
    pub doubted: bool,
    /// What it asks of its node, and whether that is counted there.
    pub requests: Requests,
    pub counted: bool,
    /// What the last failed call said, for the status of a pod that does not run yet.
    pub trouble: Option<Box<str>>,
    pub call: Option<Box<Call>>,
    pub call_retry: Retry,
    /// It was a stop that failed last: any other failure does not keep a stop waiting.
    pub stop_failed: bool,
    /// A status write or the final DELETE is under way.
    pub writing: bool,
    pub write_retry: Retry,
    pub queued: bool,
    /// Its record is to be packed when it rests.
    pub lined_up: bool,
    pub restart_policy_never: bool,
    /// The manifest's grace period.
    pub grace_seconds: u64,
    /// When a pod that is still being created is shown so; `None` until its create has begun.
    pub show_creating_at: Option<Instant>,
    pub rare: Rarely,
}

/// A create that takes longer than this is shown as `ContainerCreating`; a shorter one costs no write of its own.
pub const SHOW_CREATING_AFTER: Duration = Duration::from_millis(500);
/// The same of a pod whose materials are on their way: where many come at once their tokens wait for the API server, and
/// a write more for each would make all of them later. What is missing is shown at once.
pub const SHOW_WAITING_AFTER: Duration = Duration::from_secs(10);

/// The resource version as a number, for order. API servers have always used the revision of their store (and promise
/// comparability since 1.35, KEP-5504).
fn version_of(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}

impl Entry {
    /// A pod seen for the first time.
    pub fn new(identity: PodIdentity, node: NodeIndex) -> Self {
        Self {
            identity: Arc::new(identity),
            node,
            record: Record::default(),
            version: 0,
            restored: false,
            generation: 0,
            object: Object::There,
            deletion: None,
            phase: Phase::Pending,
            status_stale: true,
            end_recorded: false,
            deleted: false,
            backend: Backend::Absent,
            finishing: false,
            reported: None,
            all_ended: false,
            stays_ended: false,
            ended_in_time: false,
            present_since: None,
            inherited: false,
            taken_generation: None,
            resize: None,
            supply: Supply::Due,
            supplied: false,
            given: None,
            labels: 0,
            standing: Standing::Unjudged,
            doubted: false,
            requests: Requests::default(),
            counted: false,
            trouble: None,
            call: None,
            call_retry: Retry::default(),
            stop_failed: false,
            writing: false,
            write_retry: Retry::default(),
            queued: false,
            lined_up: false,
            restart_policy_never: false,
            grace_seconds: 30,
            show_creating_at: None,
            rare: Rarely::default(),
        }
    }

    /// Which record it has.
    pub fn mark(&self) -> Mark {
        (self.version, self.reported)
    }

    /// The version that the object must have for its end to be written. Any, the first time; after a failure the API server may
    /// have been away, and come back with a store of a time at which nobody had asked for that end.
    pub fn version_for_end(&self) -> Option<u64> {
        (self.write_retry.failures() > 0 && self.version != 0).then_some(self.version)
    }

    /// The API server has it (again).
    pub fn found(&mut self) {
        if self.object == Object::Lost {
            self.object = Object::There;
            self.status_stale = true;
        }
    }

    /// Whether its backend has, or may have, something of it whose end nobody has asked for. Of what is finished nobody asks
    /// for it: the API server deletes that at once.
    pub fn runs_unasked(&self) -> bool {
        let finished = self.phase.is_terminal() && self.effective_backend() == Backend::Ended;
        let has = matches!(self.backend, Backend::Present | Backend::Ended) || self.call.is_some();
        has && !finished && self.object == Object::There && self.deletion.is_none()
    }

    /// Whether the API server seems to have lost it.
    pub fn is_lost(&self) -> bool {
        self.object == Object::Lost
    }

    /// Whether somebody has asked for its end.
    pub fn is_leaving(&self) -> bool {
        self.deletion.is_some() || self.object == Object::Gone
    }

    /// A list of that version of the store shows the object in this one. Older than what was known before the list was made it
    /// can only be in a store that was restored from a backup, and went on from a higher version than all.
    pub fn compare_listed(&mut self, resource_version: &str, listed_at: u64) {
        let version = version_of(resource_version);
        self.restored |= version != 0 && version < self.version && self.version <= listed_at;
    }

    /// Whether a state of that version brings nothing new.
    pub fn knows(&self, resource_version: &str) -> bool {
        let version = version_of(resource_version);
        version != 0 && version <= self.version && !self.restored
    }

    /// Notes that a state of that version comes after a newer one was known: what an answer to a write has shown may hold more
    /// than what was written. Returns whether it is so.
    pub fn was_overtaken(&mut self, resource_version: &str) -> bool {
        let version = version_of(resource_version);
        let overtaken = version != 0 && version < self.version;
        self.status_stale |= overtaken;
        overtaken
    }

    /// Takes over a state of the API object, whose head was read from `raw`. Returns whether anything is new.
    pub fn apply(&mut self, raw: &[u8], head: &Head<'_>, now: Instant) -> bool {
        if self.knows(&head.metadata.resource_version) {
            return false;
        }
        self.version = version_of(&head.metadata.resource_version);
        self.found();
        let restored = std::mem::take(&mut self.restored);
        if restored {
            // What was learnt of it since is not so any more.
            if self.is_leaving() {
                self.backend = Backend::Absent;
            }
            (self.object, self.deletion) = (Object::There, None);
            (self.end_recorded, self.deleted) = (false, false);
        }
        if restored || head.metadata.generation != self.generation {
            self.generation = head.metadata.generation;
            self.standing = Standing::Unjudged;
            self.call_retry.clear();
            self.supply = Supply::Due;
        }
        if restored {
            // It may have a manifest of the time that is gone, under whatever number; or be about to take it.
            self.taken_generation = self.taken_generation.map(|_| self.generation - 1);
            if let Some(call) = &mut self.call {
                call.generation = self.generation - 1;
            }
        }
        let labels = head.metadata.labels_hash();
        if labels != self.labels {
            self.labels = labels;
            self.supply = Supply::Due;
        }
        self.phase = head.status.phase;
        self.restart_policy_never = head.spec.restart_policy == "Never";
        self.grace_seconds = head.spec.grace_seconds();
        if head.metadata.deletion_timestamp.is_some() {
            let seconds = head.metadata.deletion_grace_period_seconds.unwrap_or(0);
            if self.deletion.is_none_or(|known| known.grace_seconds != seconds) {
                self.deletion = Some(Deletion {
                    grace_seconds: seconds,
                    ends: now + view::grace(seconds),
                    kept: false,
                });
                self.call_retry.clear();
                self.write_retry.clear();
            }
            if let Some(deletion) = &mut self.deletion {
                deletion.kept = head.metadata.finalizers.is_some();
            }
        }
        let overdue_at = overdue_at(head, now).filter(|_| !self.phase.is_terminal() && !self.ended_in_time);
        // Computed from clocks that are read at different times: the same time, unless it is much of a difference.
        let same = |known: &Instant| {
            let new = overdue_at.unwrap_or(*known);
            known.max(&new).duration_since(*known.min(&new)) < Duration::from_secs(1)
        };
        let overdue_at = overdue_at.map(|new| self.overdue_at().filter(same).unwrap_or(new));
        self.set_overdue_at(overdue_at);
        self.status_stale = true;
        self.record
            .set_object(Bytes::from(view::without_managed_fields(raw, head)));
        true
    }

    /// Takes over a report unless a newer one is known; returns the one before it.
    pub fn ingest(&mut self, mut report: PodReport) -> Ingested {
        if self.backend == Backend::Removed || self.reported.is_some_and(|known| known > report.sequence) {
            return Ingested::Old;
        }
        if self.reported == Some(report.sequence) {
            one_like_others(&mut report);
            let differs = self.record.report().is_some_and(|known| *known != report);
            return if differs { Ingested::Unrenewed } else { Ingested::Old };
        }
        // Of what says nothing new as well: addresses of the node, say, are looked at then.
        self.status_stale = true;
        if report.gone {
            // A stop that is under way will say the same.
            let expected = self.deletion.is_some() || self.object == Object::Gone;
            let ended = self.effective_backend() == Backend::Ended;
            let known = self.backend == Backend::Vanished;
            self.backend = if expected || ended {
                Backend::Removed
            } else {
                Backend::Vanished
            };
            // It is told more than once, by a push and by the answer to a call.
            if self.backend == Backend::Vanished && !known {
                self.rare.make().remakes.lost(self.present_since, Instant::now());
            }
            self.taken_generation = None;
            self.given = None;
            self.supply = Supply::Due;
            self.present_since = None;
            // What was reported before that counts no more, whenever it comes.
            self.reported = Some(report.sequence.saturating_sub(1));
            if ended {
                // How it has ended holds, and may not be recorded yet.
                return Ingested::Same;
            }
            (self.all_ended, self.stays_ended) = (false, false);
            let before = self.record.set_report(None);
            let has_ended = |container: &ContainerReport| matches!(container.state, ContainerState::Terminated(_));
            let ends = |report: &PodReport| {
                report
                    .containers
                    .iter()
                    .chain(&report.ephemeral_containers)
                    .any(has_ended)
            };
            self.set_lost_ends(before.clone().filter(|report| ends(report)));
            return Ingested::New { before };
        }
        let stands = matches!(self.backend, Backend::Present | Backend::Ended) && self.trouble.is_none();
        if self.backend != Backend::Ended {
            self.backend = Backend::Present;
        }
        self.present_since.get_or_insert_with(Instant::now);
        self.inherited = false;
        self.set_lost_ends(None);
        self.trouble = None;
        self.reported = Some(report.sequence);
        let surplus = one_like_others(&mut report);
        if stands && self.record.report().as_deref() == Some(&report) {
            return Ingested::Same;
        }
        if !surplus.is_empty() {
            tracing::warn!(pod = %self.identity.name, namespace = %self.identity.namespace, kept = ?report.ips, ?surplus,
                "the provider reports more than one address of a family, which no API server takes; correct the provider");
        }
        // It is kept for as long as the pod lives, and lists were read with room to grow.
        report.ips.shrink_to_fit();
        report.containers.shrink_to_fit();
        report.init_containers.shrink_to_fit();
        report.ephemeral_containers.shrink_to_fit();
        self.finishing = false;
        self.all_ended = have_all_ended(&report);
        // What is being stopped ends anyway, and its stop says when.
        let by_itself = self.deletion.is_none() || self.restart_policy_never;
        self.stays_ended = self.all_ended && by_itself && stay_ended(&self.record.object(), &report);
        let stopping = matches!(
            self.call.as_deref(),
            Some(Call {
                kind: CallKind::Stop { .. },
                ..
            })
        );
        if self.is_over() && !stopping && self.overdue_at().is_none_or(|at| Instant::now() < at) {
            self.ended_in_time = true;
            self.set_overdue_at(None);
        }
        Ingested::New {
            before: self.record.set_report(Some(Box::new(report))),
        }
    }

    /// Whether it takes room on its node: while it is there and has not ended, unless it was refused.
    pub fn takes_room(&self) -> bool {
        let admitted = match self.standing {
            Standing::Unjudged => self.counted || self.backend != Backend::Absent,
            Standing::Accepted | Standing::Held(_) => true,
            Standing::Rejected(_) => false,
        };
        admitted && self.object != Object::Gone && !self.phase.is_terminal()
    }

    /// Forgets that it was refused, with a new instance of the provider or after another host has held the node: it may be
    /// carried now, or run already. What is recorded, or about to be, holds.
    pub fn judge_again(&mut self) {
        match self.standing {
            Standing::Held(_) => self.standing = Standing::Unjudged,
            Standing::Rejected(_) if !self.phase.is_terminal() && !self.writing => self.standing = Standing::Unjudged,
            _ => {}
        }
    }

    /// The facts, for [`super::reconcile::next`].
    pub fn facts(&self, now: Instant, predecessor: bool) -> Facts {
        let api = if self.object == Object::Gone {
            Api::Gone
        } else if self.object == Object::Lost {
            Api::Lost
        } else if let Some(deletion) = self.deletion {
            Api::Deleting {
                grace: deletion.ends.saturating_duration_since(now),
            }
        } else if self.phase.is_terminal() {
            Api::Finished
        } else {
            Api::Live
        };
        let forced = self.deletion.is_some_and(Deletion::is_forced);
        let making = self.call.as_ref().is_some_and(|call| call.kind == CallKind::Create);
        let ends = matches!(api, Api::Deleting { .. } | Api::Gone);
        let backend = match self.effective_backend() {
            // Not there as far as is known, and perhaps a moment later: if its object went first, and this process
            // then died, nobody would know of it any more. What a create that failed has left the stop finds out.
            Backend::Absent | Backend::Vanished if ends && (making || self.trouble.is_some()) => Backend::Present,
            known => known,
        };
        let admission = match self.standing {
            Standing::Unjudged | Standing::Accepted => Admission::Accepted,
            Standing::Held(_) => Admission::Held,
            Standing::Rejected(_) => Admission::Rejected,
        };
        let overdue = self.overdue_at().is_some_and(|at| at <= now);
        // Nothing but the time has changed, and nothing is left to stop.
        let ends_late = overdue && api == Api::Live && backend != Backend::Present;
        let creating =
            matches!(self.backend, Backend::Absent) && self.trouble.is_none() && self.supply.faults().is_none();
        Facts {
            api,
            backend,
            admission,
            status_due: !forced
                && (ends_late
                    || self.status_stale
                        && !(creating
                            && admission == Admission::Accepted
                            && self.show_creating_at.is_none_or(|at| now < at))),
            update_due: self.wants_update(now) || self.supply.is_due(now),
            wanting: self.supply.is_wanting(now),
            overdue,
            finishing: self.finishing,
            again: !self.restart_policy_never,
            pausing: self.rare.get().remakes.waits(now).is_some(),
            predecessor,
            deleted: self.deleted,
            forced,
            grace: view::grace(self.grace_seconds),
            end_recorded: self.end_recorded,
        }
    }

    /// Until when an API server is left to take the object away by itself, as it does with force. A DELETE of ours that overtook
    /// its second step would leave that to whatever is made of the same name, as a status would; none is for when it died in
    /// between.
    pub fn goes_by_itself_until(&self) -> Option<Instant> {
        let deletion = self.deletion.filter(|deletion| deletion.is_forced())?;
        Some(deletion.ends + FORCED_PATIENCE)
    }

    /// Whether a failure keeps such a call waiting.
    pub fn keeps_waiting(&self, kind: CallKind, now: Instant) -> bool {
        let stops = matches!(kind, CallKind::Stop { .. });
        self.call_retry.waits(now) && (!stops || self.stop_failed)
    }

    /// Whether the provider is to see the manifest (again).
    pub fn wants_update(&self, now: Instant) -> bool {
        self.taken_generation.is_some_and(|taken| taken < self.generation)
            || self.rare.get().resize_retry.at().is_some_and(|at| at <= now)
    }

    /// What is true of the backend, a pod that ended by itself included.
    pub fn effective_backend(&self) -> Backend {
        match self.backend {
            Backend::Present if self.is_over() => Backend::Ended,
            other => other,
        }
    }

    /// When `activeDeadlineSeconds` will have passed.
    pub fn overdue_at(&self) -> Option<Instant> {
        self.rare.get().overdue_at
    }

    /// A resize is not to be asked for again.
    pub fn clear_resize_retry(&mut self) {
        if let Some(rare) = self.rare.known() {
            rare.resize_retry.clear();
        }
    }

    fn set_overdue_at(&mut self, at: Option<Instant>) {
        if at.is_some() || self.overdue_at().is_some() {
            self.rare.make().overdue_at = at;
        }
    }

    fn set_lost_ends(&mut self, report: Option<Box<PodReport>>) {
        if report.is_some() || self.rare.get().lost_ends.is_some() {
            self.rare.make().lost_ends = report;
        }
    }

    /// Whether nothing of it runs and nothing will: its end is recorded, or its containers have ended for good.
    fn is_over(&self) -> bool {
        self.all_ended && (self.phase.is_terminal() || self.stays_ended)
    }

    /// The situation, for the status.
    pub fn situation(&self, now: Instant) -> Situation<'_> {
        let backend = self.effective_backend();
        let over = matches!(
            backend,
            Backend::Ended | Backend::Removed | Backend::Absent | Backend::Vanished
        );
        let ending = self.deletion.is_some() || self.object == Object::Gone;
        if ending && over {
            return Situation::Ended;
        }
        if self.overdue_at().is_some_and(|at| at <= now) && over {
            return Situation::DeadlineExceeded;
        }
        match (&self.standing, backend) {
            (Standing::Rejected(refusal), _) => Situation::Rejected {
                reason: &refusal.reason,
                message: &refusal.message,
            },
            (_, Backend::Vanished) => Situation::Vanished {
                again: !self.restart_policy_never,
            },
            (Standing::Held(refusal), Backend::Absent) => Situation::Held {
                reason: &refusal.reason,
                message: &refusal.message,
            },
            (_, Backend::Absent) => match (self.supply.faults(), &self.trouble) {
                (Some(faults), _) => Situation::Lacking { faults },
                (None, Some(message)) => Situation::Held {
                    reason: "CreateContainerError",
                    message,
                },
                (None, None) => Situation::Normal,
            },
            _ => Situation::Normal,
        }
    }
}

/// Each of the regular containers has run, and nothing runs any more.
fn have_all_ended(report: &PodReport) -> bool {
    let has_ended = |container: &ContainerReport| matches!(container.state, ContainerState::Terminated(_));
    !report.containers.is_empty() && report.containers.iter().all(has_ended) && report.all_ended()
}

/// None of the regular containers, which have all ended, is started again.
fn stay_ended(object: &[u8], report: &PodReport) -> bool {
    let Ok(view::Pod { spec, .. }) = view::pod(object) else {
        return false;
    };
    report.containers.iter().all(|ended| {
        let mut declared = spec.containers.iter().filter(|container| container.name == ended.name);
        match (&ended.state, declared.next()) {
            (ContainerState::Terminated(end), Some(container)) => {
                !container.restarts(&spec.restart_policy, end.exit_code)
            }
            _ => false,
        }
    })
}

/// Keeps the first address of each family; returns the others.
fn one_of_each_family(addresses: &mut Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut four, mut six) = (false, false);
    let surplus = addresses.extract_if(.., |address| {
        let family = if address.is_ipv4() { &mut four } else { &mut six };
        std::mem::replace(family, true)
    });
    surplus.collect()
}

/// Makes it one that is kept: whose it is and which one stand elsewhere. Returns the addresses that it may not have.
fn one_like_others(report: &mut PodReport) -> Vec<IpAddr> {
    (report.identity, report.sequence) = (nobody(), 0);
    one_of_each_family(&mut report.ips)
}

/// Takes no memory of its own.
fn nobody() -> PodIdentity {
    PodIdentity {
        cluster: String::new(),
        node: String::new(),
        namespace: String::new(),
        name: String::new(),
        uid: String::new(),
    }
}

fn overdue_at(head: &Head<'_>, now: Instant) -> Option<Instant> {
    let limit = Duration::from_secs(head.spec.active_deadline_seconds?);
    let started = super::status::time::parse(head.status.start_time.as_deref()?)?;
    let age = outrigger_plugin::Timestamp::now().0.saturating_sub(started.0);
    let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
    Some(now + limit.saturating_sub(age))
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
