//! What came of a step.

use super::{
    actions::{Done, Outcome},
    controller::PodController,
    entry::{CallKind, Object, Uid},
    reconcile::Backend,
    supply::Supply,
    view,
};
use crate::cluster::{ApiError, raw::Reply};
use outrigger_plugin::{ErrorCode, PodReport, ProviderError, ResizeOutcome, UpdateOutcome};
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// A resize that the provider has deferred is not asked for again before this.
const FIRST_RESIZE_RETRY: Duration = Duration::from_secs(5);

/// A call without an answer in time may have done its work: after this long the provider is asked what it has, once for all
/// calls that ended so meanwhile, and after the other the call is made again, unless that has made it needless.
const DOUBT: Duration = Duration::from_secs(1);
const RETRY_IN_DOUBT: Duration = Duration::from_secs(10);

impl PodController {
    pub(super) fn finish(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Call {
                uid,
                number,
                kind,
                outcome,
            }) => self.called(&uid, number, kind, outcome),
            Ok(Done::Written { uid, ends, result }) => self.written(&uid, ends, result),
            Ok(Done::Deleted { uid, result }) => self.deleted(&uid, result),
            Ok(Done::Looked { node, doubts, result }) => self.looked(node, &doubts, result),
            Ok(Done::Listed {
                provider,
                epochs,
                began,
                result,
            }) => self.listed(provider, epochs, began, result),
            Ok(Done::Swept {
                provider,
                identity,
                result,
            }) => self.swept(provider, &identity, result),
            // Given up by ourselves: its place was given back then.
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!(%error, "an action ended abnormally"),
        }
    }

    /// Ends the call on record, whatever came of it.
    pub(super) fn end_call(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let call = entry.call.take();
        if call.is_some_and(|call| !matches!(call.kind, CallKind::Stop { .. })) {
            let provider = self.nodes[entry.node].provider;
            self.providers[provider].calls.leave();
        }
    }

    fn called(&mut self, uid: &Uid, number: u64, kind: CallKind, outcome: Outcome) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let current = entry.call.as_ref().is_some_and(|call| call.number == number);
        if !current && !matches!(outcome, Outcome::Stopped(Ok(_))) {
            // A stop that was repeated with a shorter grace: the later call counts, unless this one has done it.
            return;
        }
        let (gives, generation, only_materials) = entry.call.as_ref().map_or((None, entry.generation, false), |call| {
            (call.gives, call.generation, call.only_materials)
        });
        self.end_call(uid);
        match outcome {
            Outcome::Created(Ok(report)) => {
                self.given(uid, gives);
                self.created(uid, report, generation);
            }
            Outcome::Updated(Ok(outcome)) => {
                self.given(uid, gives);
                self.updated(uid, outcome, generation, only_materials);
            }
            Outcome::Stopped(Ok(report)) => {
                self.ingest(uid, report);
                self.succeeded(uid, Backend::Ended);
            }
            Outcome::Removed(Ok(())) => self.succeeded(uid, Backend::Removed),
            Outcome::Stopped(Err(error)) | Outcome::Removed(Err(error)) if error.code == ErrorCode::NotFound => {
                self.succeeded(uid, Backend::Removed);
            }
            Outcome::Created(Err(error)) | Outcome::Stopped(Err(error)) | Outcome::Removed(Err(error)) => {
                self.call_failed(uid, kind, &error);
            }
            Outcome::Updated(Err(error)) if !error.is_retryable() && only_materials => {
                self.given(uid, gives);
                self.materials_refused(uid, error.code == ErrorCode::Unsupported, &error.message);
            }
            Outcome::Updated(Err(error)) if !error.is_retryable() => {
                // It goes on as it is; asking again would give the same answer.
                self.given(uid, gives);
                self.say(
                    uid,
                    true,
                    "FailedUpdate",
                    format!("provider can't apply the change: {}", error.message),
                );
                if let Some(entry) = self.pods.get_mut(uid) {
                    // Shown where it is the resources that have changed.
                    entry.resize = Some(ResizeOutcome::Infeasible { message: error.message });
                    entry.clear_resize_retry();
                }
                self.taken(uid, generation);
            }
            Outcome::Updated(Err(error)) if error.code == ErrorCode::NotFound => {
                if let Some(identity) = self.pods.get(uid).map(|entry| entry.identity.clone()) {
                    let sequence = self.pods.get(uid).and_then(|entry| entry.reported);
                    let gone = PodReport {
                        sequence: sequence.unwrap_or(0) + 1,
                        ..PodReport::gone((*identity).clone())
                    };
                    self.ingest(uid, gone);
                }
            }
            Outcome::Updated(Err(error)) => self.call_failed(uid, kind, &error),
        }
        self.enqueue(uid);
    }

    /// The provider has the materials of this digest.
    fn given(&mut self, uid: &Uid, digest: Option<u64>) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.given = digest;
        }
    }

    fn created(&mut self, uid: &Uid, report: PodReport, generation: i64) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.call_retry.clear();
            entry.taken_generation = Some(generation);
            entry.resize = Some(ResizeOutcome::Done);
            // Unless it has vanished since.
            if entry.backend == Backend::Vanished && entry.reported.is_none_or(|known| known < report.sequence) {
                entry.backend = Backend::Absent;
            }
        }
        self.ingest(uid, report);
        if let Some(entry) = self.pods.get_mut(uid)
            && entry.backend == Backend::Absent
        {
            // A newer report came first, on another way.
            entry.backend = Backend::Present;
            entry.status_stale = true;
        }
    }

    fn updated(&mut self, uid: &Uid, outcome: UpdateOutcome, generation: i64, only_materials: bool) {
        // That resources did not change says nothing of a change that still waits, or can't be made.
        if !only_materials || outcome.resize.is_some() {
            self.resized(uid, outcome.resize);
        }
        self.ingest(uid, outcome.report);
        self.taken(uid, generation);
    }

    /// What the provider said of changed resources; nothing where they did not change.
    fn resized(&mut self, uid: &Uid, outcome: Option<ResizeOutcome>) {
        let now = Instant::now();
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let before = entry.resize.take();
        let event = match &outcome {
            Some(ResizeOutcome::Deferred { message }) => Some((true, "ResizeDeferred", message.clone())),
            Some(ResizeOutcome::Infeasible { message }) => Some((true, "ResizeInfeasible", message.clone())),
            Some(ResizeOutcome::Done) => Some((false, "ResizeCompleted", "Pod resize completed".to_owned())),
            None => None,
        };
        let said = outcome == before && outcome != Some(ResizeOutcome::Done);
        if matches!(outcome, Some(ResizeOutcome::Deferred { .. })) {
            // No backend tells when there is room, so it is asked: soon at first, every minute at last.
            let at = entry.rare.make().resize_retry.fail(now, Some(FIRST_RESIZE_RETRY));
            self.enqueue_at(at, uid);
        } else {
            entry.clear_resize_retry();
        }
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.resize = Some(outcome.unwrap_or(ResizeOutcome::Done));
        }
        if let Some((warning, reason, message)) = event
            && !said
        {
            self.say(uid, warning, reason, message);
        }
    }

    /// The provider has seen the manifest of that generation. There may be a newer one by now.
    fn taken(&mut self, uid: &Uid, generation: i64) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.call_retry.clear();
            entry.taken_generation = Some(generation);
            entry.status_stale = true;
        }
    }

    fn succeeded(&mut self, uid: &Uid, backend: Backend) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.call_retry.clear();
            entry.backend = backend;
            entry.status_stale = true;
        }
        // A successor of the same name may have waited for this.
        let successors = self
            .pods
            .get(uid)
            .map(|entry| self.namesakes(uid, entry))
            .unwrap_or_default();
        successors.iter().for_each(|other| self.enqueue(other));
    }

    fn namesakes(&self, uid: &Uid, entry: &super::entry::Entry) -> Vec<Uid> {
        self.bearers(&entry.identity.namespace, &entry.identity.name)
            .map(|(other, _)| other)
            .filter(|other| *other != uid)
            .cloned()
            .collect()
    }

    fn call_failed(&mut self, uid: &Uid, kind: CallKind, error: &ProviderError) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let now = Instant::now();
        let asked = match error.code {
            ErrorCode::RetryAfter(after) => Some(after),
            ErrorCode::Timeout => Some(RETRY_IN_DOUBT),
            _ => None,
        };
        if error.code == ErrorCode::Timeout {
            self.providers[self.nodes[entry.node].provider].list_by(now + DOUBT);
        }
        let at = entry.call_retry.fail(now, asked);
        entry.stop_failed = matches!(kind, CallKind::Stop { .. });
        if matches!(entry.supply, Supply::Given) {
            entry.supply = Supply::Due;
        }
        let first = entry.call_retry.failures() == 1;
        let verb = match kind {
            CallKind::Create => "create",
            CallKind::Update => "update",
            CallKind::Stop { .. } => "stop",
            CallKind::Remove => "remove",
        };
        let text = format!("unable to {verb} pod: {}: {}", error.code.name(), error.message);
        if kind == CallKind::Create && entry.trouble.as_deref() != Some(text.as_str()) {
            entry.trouble = Some(text.as_str().into());
            entry.status_stale = true;
        }
        let identity = entry.identity.clone();
        self.enqueue_at(at, uid);
        if first {
            tracing::warn!(pod = %identity.name, namespace = %identity.namespace, node = %identity.node, %error,
                "unable to {verb} pod, retrying");
        } else {
            tracing::debug!(pod = %identity.name, namespace = %identity.namespace, %error, "still unable to {verb} pod");
        }
        let reason = match kind {
            CallKind::Create => "FailedCreatePodSandBox",
            CallKind::Update => "FailedUpdate",
            CallKind::Stop { .. } | CallKind::Remove => "FailedKillPod",
        };
        self.say(uid, true, reason, text);
    }

    fn written(&mut self, uid: &Uid, ends: bool, result: Result<Reply, ApiError>) {
        self.writes.leave();
        let now = Instant::now();
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.writing = false;
        match result {
            Ok(reply) => {
                entry.write_retry.clear();
                entry.end_recorded |= ends;
                let changed_meanwhile = entry.status_stale;
                let echoed = view::key(&reply.body).is_some_and(|key| entry.knows(&key.resource_version));
                // Where the watch was faster, the answer brings nothing.
                let mut applied = false;
                let due = entry.overdue_at();
                if !echoed {
                    match view::head(&reply.body) {
                        Ok(head) => {
                            applied = entry.apply(&reply.body, &head, now);
                            if applied {
                                // What the answer shows is what was sent: nothing to compare.
                                entry.status_stale = changed_meanwhile;
                            }
                        }
                        Err(error) => {
                            tracing::warn!(pod = %uid, %error, "unable to read the answer to a status write");
                        }
                    }
                }
                if let Some(at) = entry.overdue_at().filter(|at| due != Some(*at)) {
                    self.enqueue_at(at, uid);
                }
                if applied {
                    // One that waited long for this write was packed meanwhile.
                    self.line_up(uid, now);
                }
                self.recount(uid);
            }
            Err(error) => self.write_failed(uid, &error, now),
        }
        self.enqueue(uid);
    }

    fn deleted(&mut self, uid: &Uid, result: Result<Reply, ApiError>) {
        self.writes.leave();
        let now = Instant::now();
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.writing = false;
        match result {
            // The watch says when it is gone: finalizers may keep it for a while.
            Ok(_) => {
                entry.write_retry.clear();
                entry.deleted = true;
            }
            Err(error) => self.write_failed(uid, &error, now),
        }
        self.enqueue(uid);
    }

    fn write_failed(&mut self, uid: &Uid, error: &ApiError, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let missing = matches!(error, ApiError::NotFound(_));
        if missing && (entry.deletion.is_some() || entry.object == Object::Gone) {
            return self.gone(uid);
        }
        // A pod whose end nobody has asked for, and that the server does not have all the same, was deleted by force, which
        // the watch is about to tell; or the server has lost it, and many others: then only a list may say so.
        //
        // A conflict is either somebody else's write at the same time, or another pod of that name, whose UID does not
        // meet the precondition. The watch tells the second; to guess it would end a healthy pod.
        let conflict = matches!(error, ApiError::Conflict(_));
        entry.status_stale = true;
        let floor = error.is_retryable().then_some(error.retry_after()).flatten();
        // What the API server refuses as it is will hardly pass a moment later.
        let floor = if error.is_retryable() || conflict {
            floor
        } else {
            Some(Duration::from_secs(10))
        };
        let at = entry.write_retry.fail(now, floor);
        let first = entry.write_retry.failures() == 1;
        let identity = entry.identity.clone();
        self.enqueue_at(at, uid);
        if !first {
            tracing::debug!(pod = %identity.name, namespace = %identity.namespace, %error, "still unable to write pod");
        } else if error.is_retryable() || missing {
            // The watch speaks for the connection, and for what is gone; a line for each of ten thousand pods would say no more.
            tracing::debug!(pod = %identity.name, namespace = %identity.namespace, %error, "unable to write pod, retrying");
        } else {
            tracing::warn!(pod = %identity.name, namespace = %identity.namespace, node = %identity.node, %error,
                "unable to write pod, retrying");
        }
    }
}
