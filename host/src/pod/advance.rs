//! The next step of a pod, begun.

use super::{
    actions::{self, Done, Outcome, Past},
    controller::PodController,
    entry::{Call, CallKind, Entry, Object, SHOW_CREATING_AFTER, Standing, Uid},
    nodes::Stage,
    reconcile::{self, Backend, Facts, Step},
    status::{self, Desired, Inputs, Situation, model::PodStatus, patch},
    supply::Provision,
    view,
};
use crate::cluster::{ApiError, Returns};
use outrigger_plugin::{ContainerState, PodReport, Termination, Timestamp};
use std::{
    cmp::Reverse,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Steps that may follow each other without any waiting in between; there are three at most.
const MAX_STEPS: usize = 8;
/// A stop is repeated only if its end comes earlier by at least this much.
const STOP_TOLERANCE: Duration = Duration::from_millis(500);

impl PodController {
    /// Begins what is to be done next for a pod, if its lane is free; otherwise it is looked at again when it is.
    pub(super) fn advance(&mut self, uid: &Uid) {
        let now = Instant::now();
        for _ in 0..MAX_STEPS {
            let Some(entry) = self.pods.get(uid) else { return };
            if self.nodes[entry.node].stage() != Stage::Active {
                return;
            }
            if entry.inherited
                && (entry.deletion.is_some() || entry.object == Object::Gone)
                && !self.nodes[entry.node].settled
            {
                return self.await_settling(uid);
            }
            if entry.rare.get().strange_since.is_some() && entry.backend == Backend::Absent {
                let provider = self.nodes[entry.node].provider;
                return self.providers[provider].list_by(now);
            }
            if entry.standing == Standing::Unjudged && entry.object == Object::There && entry.deletion.is_none() {
                if self.judge(uid) {
                    continue;
                }
                return;
            }
            // Only one that may be made waits for another.
            let unmade = matches!(entry.backend, Backend::Absent | Backend::Vanished);
            let facts = entry.facts(now, unmade && self.has_predecessor(uid, entry));
            let calling = entry.call.is_some();
            if entry.supplied {
                self.release_if_done(uid, &facts);
            }
            match reconcile::next(&facts) {
                Step::Rest => return,
                Step::Forget => {
                    if !calling {
                        self.forget(uid);
                    }
                    return;
                }
                Step::WriteStatus => {
                    if !self.write_status(uid, now) {
                        return;
                    }
                }
                Step::Delete => return self.delete(uid, now),
                step @ (Step::Create | Step::Update | Step::Stop { .. } | Step::Remove) => {
                    if !self.call(uid, step, &facts, now) {
                        return;
                    }
                }
            }
        }
        tracing::error!(pod = %uid, "reconciliation does not come to rest; this is a fault of outrigger");
    }

    /// Has the backend listed again before a pod is taken for gone.
    fn await_settling(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get(uid) else { return };
        let node = &self.nodes[entry.node];
        if let Some(at) = node.settles_at {
            self.providers[node.provider].list_by(at);
        }
    }

    /// Begins a plugin call. Returns true when it turns out that none can be made, or need be, and the pod is to be looked
    /// at again.
    fn call(&mut self, uid: &Uid, step: Step, facts: &Facts, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else {
            return false;
        };
        let kind = match step {
            Step::Create => CallKind::Create,
            Step::Update => CallKind::Update,
            Step::Stop { grace } => CallKind::Stop { ends: now + grace },
            _ => CallKind::Remove,
        };
        if let Some(running) = &entry.call {
            match (running.kind, kind) {
                (CallKind::Create | CallKind::Update, CallKind::Stop { .. }) => {
                    // It should go: what is being made is no longer wanted. Whether it was made, the stop finds out.
                    running.task.abort();
                    entry.backend = Backend::Present;
                    self.end_call(uid);
                }
                (CallKind::Stop { ends }, CallKind::Stop { ends: sooner }) if sooner + STOP_TOLERANCE < ends => {}
                _ => {
                    self.write_meanwhile(uid, facts, now);
                    return false;
                }
            }
        }
        let Some(entry) = self.pods.get(uid) else { return false };
        if entry.keeps_waiting(kind, now) {
            self.write_meanwhile(uid, facts, now);
            return false;
        }
        let node = &self.nodes[entry.node];
        if !node.handle.may_act() {
            return false;
        }
        let stops = matches!(kind, CallKind::Stop { .. });
        let index = node.provider;
        if !stops && !self.providers[index].calls.enter(uid) {
            self.write_meanwhile(uid, facts, now);
            return false;
        }
        let provider = self.providers[index].provider.clone();
        let identity = entry.identity.clone();
        let (generation, only_materials) = (entry.generation, !entry.wants_update(now));
        let mut gives = None;
        let work: futures::future::BoxFuture<'static, Outcome> = match kind {
            CallKind::Create | CallKind::Update => {
                let past = past(entry);
                let body = match self.provide(uid, kind, &past) {
                    Provision::Made(body) => body,
                    Provision::Same | Provision::Wanting => {
                        self.providers[index].calls.leave();
                        return true;
                    }
                };
                gives = Some(body.digest);
                if kind == CallKind::Create {
                    Box::pin(actions::create(provider, body.json))
                } else {
                    Box::pin(actions::update(provider, body.json))
                }
            }
            CallKind::Stop { ends } => Box::pin(actions::stop(provider, identity, ends.saturating_duration_since(now))),
            CallKind::Remove => Box::pin(actions::remove(provider, identity)),
        };
        self.next_call += 1;
        let number = self.next_call;
        let owner = uid.clone();
        let task = self.actions.spawn(async move {
            Done::Call {
                uid: owner,
                number,
                kind,
                outcome: actions::contained(work, |fault| Outcome::panicked(kind, fault)).await,
            }
        });
        let Some(entry) = self.pods.get_mut(uid) else {
            return false;
        };
        let first_stop = stops && entry.call.is_none();
        let overdue = first_stop && entry.deletion.is_none() && entry.overdue_at().is_some_and(|at| at <= now);
        entry.call = Some(Box::new(Call {
            number,
            kind,
            gives,
            generation,
            only_materials,
            task,
        }));
        let soon = now + SHOW_CREATING_AFTER;
        if kind == CallKind::Create && entry.show_creating_at.is_none_or(|at| at > soon) {
            entry.show_creating_at = Some(soon);
            self.enqueue_about(soon, uid);
        }
        if overdue {
            self.say(uid, false, "DeadlineExceeded", status::DEADLINE_EXCEEDED);
        }
        if first_stop {
            self.say_killing(uid);
        }
        if kind == CallKind::Update {
            self.write_meanwhile(uid, facts, now);
        }
        false
    }

    /// While a call is under way or awaits its turn, a live pod's status goes its own way. Of one that is being stopped only
    /// whether it is ready: its end comes soon, and is a write of its own.
    fn write_meanwhile(&mut self, uid: &Uid, facts: &Facts, now: Instant) {
        let Some(entry) = self.pods.get(uid).filter(|_| facts.status_due) else {
            return;
        };
        let due = match facts.api {
            reconcile::Api::Live => true,
            reconcile::Api::Deleting { .. } => {
                readiness_has_changed(entry, &self.nodes[entry.node].handle.addresses(), now)
            }
            _ => false,
        };
        if due {
            self.write_status(uid, now);
        }
    }

    /// Begins a status write. Returns true when there was nothing to write and the pod is to be looked at again.
    pub(super) fn write_status(&mut self, uid: &Uid, now: Instant) -> bool {
        let Some(entry) = self.pods.get_mut(uid) else {
            return false;
        };
        if entry.writing || entry.write_retry.waits(now) || !self.nodes[entry.node].handle.may_act() {
            return false;
        }
        if !self.writes.enter(uid) {
            return false;
        }
        let situation = entry.situation(now);
        let ends = situation == Situation::Ended;
        // Where there was something to stop, it was said then.
        let unmade = matches!(entry.backend, Backend::Absent | Backend::Vanished);
        let overdue = situation == Situation::DeadlineExceeded && unmade && entry.write_retry.failures() == 0;
        let addresses = self.nodes[entry.node].handle.addresses();
        let difference = difference(entry, &addresses, now).map(|(body, finishing)| {
            entry.finishing = finishing;
            body
        });
        let body = match difference {
            Ok(Some(body)) => body,
            Ok(None) => {
                self.writes.leave();
                entry.status_stale = false;
                entry.end_recorded |= ends;
                return true;
            }
            Err(error) => {
                self.writes.leave();
                tracing::error!(pod = %uid, %error, "unable to make pod status");
                return false;
            }
        };
        entry.writing = true;
        entry.status_stale = false;
        let pressure = self.pressure.enter();
        let write = actions::write_status(
            self.nodes[entry.node].clients.status.clone(),
            entry.identity.clone(),
            body,
        );
        if overdue {
            self.say(uid, false, "DeadlineExceeded", status::DEADLINE_EXCEEDED);
        }
        let uid = uid.clone();
        self.actions.spawn(async move {
            let _pressure = pressure;
            Done::Written {
                uid,
                ends,
                result: actions::contained(write, |fault| Err(ApiError::Panicked(fault))).await,
            }
        });
        false
    }

    /// Begins the final DELETE.
    fn delete(&mut self, uid: &Uid, now: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if entry.writing || entry.write_retry.waits(now) || !self.nodes[entry.node].handle.may_act() {
            return;
        }
        if let Some(at) = entry.goes_by_itself_until().filter(|at| now < *at) {
            self.timers.push(Reverse((at, uid.clone())));
            return;
        }
        // One that has failed waits in line with the others, or such pods could take all places.
        let entered = match entry.write_retry.failures() {
            0 => self.writes.enter_to_end(uid),
            _ => self.writes.enter(uid),
        };
        if !entered {
            return;
        }
        entry.writing = true;
        let pressure = self.pressure.enter();
        let client = self.nodes[entry.node].clients.status.clone();
        let delete = actions::delete(client, entry.identity.clone(), entry.version_for_end());
        let uid = uid.clone();
        self.actions.spawn(async move {
            let _pressure = pressure;
            Done::Deleted {
                uid,
                result: actions::contained(delete, |fault| Err(ApiError::Panicked(fault))).await,
            }
        });
    }

    /// The API server is back: what could not be written is due soon, scattered.
    pub(super) fn write_again(&mut self) {
        let now = Instant::now();
        for (uid, entry) in &mut self.pods {
            if entry.write_retry.waits(now) {
                let at = now + Returns::turn();
                entry.write_retry.restart(at);
                self.timers.push(Reverse((at, uid.clone())));
            }
        }
    }

    /// At shutdown: statuses whose write has failed, and that would be tried again later, are due now. There is no later.
    pub(super) fn hurry_statuses(&mut self) {
        let late = self.pods.iter_mut().filter(|(_, entry)| entry.status_stale);
        let late: Vec<Uid> = late
            .map(|(uid, entry)| {
                entry.write_retry.clear();
                uid.clone()
            })
            .collect();
        late.iter().for_each(|uid| self.enqueue(uid));
    }

    /// At shutdown: statuses that are due are still sent, those too that wait for a place; nothing else is begun.
    pub(super) fn flush_statuses(&mut self) {
        let now = Instant::now();
        loop {
            while let Some(uid) = self.queue.pop_front() {
                let Some(entry) = self.pods.get_mut(&uid) else { continue };
                entry.queued = false;
                let facts = entry.facts(now, false);
                if facts.status_due && self.nodes[entry.node].stage() == Stage::Active && entry.object == Object::There
                {
                    self.write_status(&uid, now);
                }
            }
            match self.writes.turn() {
                Some(uid) => self.enqueue(&uid),
                None => return,
            }
        }
    }
}

/// The patch that leads from the status that the API server has to the one that it should have; `None` when they are
/// the same. And whether the pod is [finishing](status::Desired::finishing).
fn difference(entry: &Entry, addresses: &[IpAddr], now: Instant) -> Result<(Option<Vec<u8>>, bool), serde_json::Error> {
    let kept = entry.record.read();
    let pod = view::pod(&kept.object)?;
    let Desired { status, finishing } = status::desired(&inputs(entry, &pod, kept.report.as_deref(), addresses, now));
    if patch::is_current(&status, &pod.status) {
        return Ok((None, finishing));
    }
    let version = entry.version_for_end().filter(|_| entry.is_leaving());
    let body = patch::body(&entry.identity.uid, version, &status, &pod.status)?;
    Ok((Some(body), finishing))
}

fn inputs<'a>(
    entry: &'a Entry,
    pod: &'a view::Pod<'a>,
    report: Option<&'a PodReport>,
    addresses: &'a [IpAddr],
    now: Instant,
) -> Inputs<'a> {
    Inputs {
        pod,
        report,
        situation: entry.situation(now),
        may_run: entry.effective_backend() == Backend::Present,
        host_ips: addresses,
        taken_generation: entry.taken_generation,
        resize: entry.resize.as_ref(),
        now: Timestamp::now(),
    }
}

/// Whether a pod that is being stopped and still runs has become ready, or is so no more: whoever sends it requests should know,
/// as a kubelet's probes go on to the end.
fn readiness_has_changed(entry: &Entry, addresses: &[IpAddr], now: Instant) -> bool {
    let kept = entry.record.read();
    let runs = |report: &PodReport| {
        let mut containers = report.containers.iter();
        containers.any(|container| matches!(container.state, ContainerState::Running { .. }))
    };
    let Some(report) = kept.report.as_deref().filter(|report| runs(report)) else {
        return false;
    };
    let Ok(pod) = view::pod(&kept.object) else {
        return false;
    };
    let Desired { status, .. } = status::desired(&inputs(entry, &pod, Some(report), addresses, now));
    let is_ready = |status: &PodStatus| status.condition("Ready").is_some_and(|ready| ready.status == "True");
    is_ready(&status) != is_ready(&pod.status)
}

/// For a pod that vanished: its containers are counted on from here, and those that had ended for good stay so.
fn past(entry: &Entry) -> Past {
    let mut past = Past::default();
    if entry.backend != Backend::Vanished {
        return past;
    }
    let raw = entry.record.object();
    let Ok(pod) = view::pod(&raw) else {
        return past;
    };
    let (status, spec) = (&pod.status, &pod.spec);
    // Init containers begin anew with a new sandbox, as with a kubelet.
    let recorded = status
        .container_statuses
        .iter()
        .chain(&status.ephemeral_container_statuses);
    let recorded = recorded.filter_map(|container| {
        let end = container.state.terminated.as_ref()?;
        Some((&container.name, container.restart_count, Termination::from(end)))
    });
    let reported = entry.rare.get().lost_ends.iter();
    let reported = reported.flat_map(|report| report.containers.iter().chain(&report.ephemeral_containers));
    let reported = reported.filter_map(|container| match &container.state {
        ContainerState::Terminated(end) => Some((&container.name, container.restart_count, end.clone())),
        _ => None,
    });
    // What was reported last is newer, or the same.
    for (name, restart_count, end) in recorded.chain(reported) {
        let declared = spec.containers.iter().find(|declared| declared.name == *name);
        let restarts = declared
            .is_some_and(|declared| declared.restarts(&spec.restart_policy, end.exit_code) || spec.restarts_together());
        if !restarts {
            past.restart_counts.insert(name.clone(), restart_count);
            past.ended.insert(name.clone(), end);
        }
    }
    for container in status.all_containers().filter(|container| container.has_run()) {
        let again = || container.restart_count + 1;
        past.restart_counts.entry(container.name.clone()).or_insert_with(again);
    }
    past
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::entry::Entry;
    use outrigger_plugin::{ContainerReport, PodIdentity, PodReport};
    use serde_json::json;

    #[test]
    fn what_has_ended_for_good_is_told_whether_it_was_recorded_or_only_reported() {
        let identity = PodIdentity {
            cluster: String::new(),
            node: String::new(),
            namespace: "ns".to_owned(),
            name: "job".to_owned(),
            uid: "u".to_owned(),
        };
        let run = |name: &str, exit_code: Option<i32>| match exit_code {
            Some(code) => json!({ "name": name, "restartCount": 2, "state": { "terminated": { "exitCode": code } } }),
            None => {
                json!({ "name": name, "restartCount": 2, "state": { "running": { "startedAt": "2026-11-30T00:00:00Z" } } })
            }
        };
        let raw = json!({
            "metadata": { "uid": "u", "resourceVersion": "1" },
            "spec": { "restartPolicy": "OnFailure", "containers": [{ "name": "recorded" }, { "name": "reported" }, { "name": "failed" }, { "name": "runs" }] },
            "status": { "containerStatuses": [run("recorded", Some(0)), run("reported", None), run("failed", Some(1)), run("runs", None)] },
        })
        .to_string();
        let mut entry = Entry::new(identity.clone(), 0);
        entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now());
        let ended = |name: &str, code| {
            let end = Termination::new(code, "Completed", Timestamp(7));
            ContainerReport::new(name, ContainerState::Terminated(end))
        };
        let report = PodReport {
            containers: vec![
                ended("recorded", 0),
                ended("reported", 0),
                ended("failed", 1),
                ContainerReport::new(
                    "runs",
                    ContainerState::Running {
                        started_at: Timestamp(1),
                    },
                ),
            ],
            ..PodReport::new(identity.clone())
        };
        entry.ingest(report);
        entry.ingest(PodReport::gone(identity.clone()));
        let told = past(&entry);
        assert_eq!(told.ended.keys().collect::<Vec<_>>(), ["recorded", "reported"]);
        assert_eq!(told.ended["reported"].finished_at, Timestamp(7));
        let counts: Vec<u32> = ["recorded", "reported", "failed", "runs"]
            .map(|name| told.restart_counts[name])
            .into();
        assert_eq!(
            counts,
            [0, 0, 3, 3],
            "its own report's, or one more than what is recorded"
        );
        entry.ingest(PodReport::new(identity));
        assert!(entry.rare.get().lost_ends.is_none());
    }
}
