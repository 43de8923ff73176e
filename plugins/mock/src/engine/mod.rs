//! The simulation itself: pods as state machines, moved by the times that it is told. No clock, no thread, no I/O, so
//! that a test can live through a year in a microsecond; both back ends run this.

pub mod container;
pub mod once;
pub mod pod;
pub mod report;
#[cfg(test)]
mod report_tests;
pub mod spec;
#[cfg(test)]
mod tests;

use crate::{dice, ip_pool::Pools};
use once::Once;
use outrigger_plugin::{
    ContainerUsage, ErrorCode, Image, PodIdentity, PodReport, ProviderError, Result, Timestamp, UpdateOutcome,
};
use pod::{Pod, Stage};
use report::{Door, LogSource};
use serde::{Deserialize, Serialize};
use spec::{ContainerSpec, PodSpec, Template};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// All pods.
#[derive(Default)]
pub struct Engine {
    pods: HashMap<Arc<str>, Box<Entry>>,
    /// Of those pods alone to which something will happen.
    deadlines: BTreeSet<(Timestamp, Arc<str>)>,
    pools: Pools,
    templates: Once<Template>,
    container_specs: Once<ContainerSpec>,
    /// Those whose addresses have changed since anybody asked.
    readdressed: Vec<Arc<str>>,
}

struct Entry {
    pod: Pod,
    /// Its place in the deadlines.
    due: Option<Timestamp>,
}

/// Something has happened to a pod that nobody asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Its state is another one.
    Report(PodReport),
    /// It is gone.
    Gone {
        /// Which pod.
        identity: PodIdentity,
        /// Whether the host shall not be told.
        silently: bool,
    },
}

impl Change {
    /// Which pod it is about.
    pub fn identity(&self) -> &PodIdentity {
        match self {
            Self::Report(report) => &report.identity,
            Self::Gone { identity, .. } => identity,
        }
    }
}

/// What a create has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The pod is new.
    New,
    /// There was one with this UID; it is as it was.
    Repeated,
}

impl Engine {
    /// Makes a pod, unless there is one with this UID.
    pub fn create(&mut self, spec: PodSpec, now: Timestamp) -> Result<(PodReport, Made)> {
        if let Some(entry) = self.pods.get(&*spec.identity.uid) {
            return Ok((report::report(&entry.pod), Made::Repeated));
        }
        let hint = dice::hash(0, [&*spec.identity.uid]);
        let addresses = self.pools.take(&spec.template.ranges, hint).map_err(|range| {
            ProviderError::retry_after(Duration::from_secs(1), format!("no free address in {range}"))
        })?;
        let uid: Arc<str> = spec.identity.uid.as_str().into();
        let mut pod = Pod::new(spec, addresses, now);
        pod.advance(now, &mut self.pools);
        let report = report::report(&pod);
        self.insert(uid, pod);
        Ok((report, Made::New))
    }

    /// Takes over a pod that was written down by an earlier process.
    pub fn restore(&mut self, pod: Pod) {
        pod.claim(&mut self.pools);
        self.insert(pod.identity.uid.as_str().into(), pod);
    }

    fn insert(&mut self, uid: Arc<str>, mut pod: Pod) {
        pod.share(&mut self.templates, &mut self.container_specs);
        self.pods.insert(uid.clone(), Box::new(Entry { pod, due: None }));
        self.schedule(&uid);
    }

    /// Changes a pod.
    pub fn update(&mut self, spec: PodSpec, now: Timestamp) -> Result<UpdateOutcome> {
        let entry = self
            .pods
            .get_mut(&*spec.identity.uid)
            .ok_or_else(|| unknown(&spec.identity))?;
        let uid = spec.identity.uid.clone();
        let resize = entry.pod.update(spec, now, &mut self.pools);
        entry.pod.share(&mut self.templates, &mut self.container_specs);
        let report = report::report(&entry.pod);
        self.schedule(&uid);
        Ok(UpdateOutcome { report, resize })
    }

    /// Begins to stop a pod; its containers may still run when this returns.
    pub fn stop(&mut self, identity: &PodIdentity, grace: Duration, now: Timestamp) -> Result<PodReport> {
        let entry = self.pods.get_mut(&*identity.uid).ok_or_else(|| unknown(identity))?;
        entry.pod.stop(grace, now, &mut self.pools);
        let report = report::report(&entry.pod);
        self.schedule(&identity.uid);
        Ok(report)
    }

    /// Whether a pod has come to its end.
    pub fn has_stopped(&self, uid: &str) -> bool {
        self.pod(uid).is_some_and(|pod| pod.stage == Stage::Stopped)
    }

    /// Forgets a pod; whether there was one.
    pub fn remove(&mut self, uid: &str) -> bool {
        let Some((uid, entry)) = self.pods.remove_entry(uid) else {
            return false;
        };
        if let Some(due) = entry.due {
            self.deadlines.remove(&(due, uid));
        }
        self.pools.release(&entry.pod.addresses);
        true
    }

    /// A pod as it is.
    pub fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid).map(|entry| &entry.pod)
    }

    /// All pods, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(|entry| &entry.pod)
    }

    /// A pod's state.
    pub fn get(&self, identity: &PodIdentity) -> Result<PodReport> {
        self.pod(&identity.uid)
            .map(report::report)
            .ok_or_else(|| unknown(identity))
    }

    /// Where a container's log comes from.
    pub fn log_source(&self, identity: &PodIdentity, container: &str, previous: bool) -> Result<LogSource> {
        let pod = self.pod(&identity.uid).ok_or_else(|| unknown(identity))?;
        let found = pod
            .containers
            .iter()
            .find(|candidate| candidate.spec.name == container)
            .ok_or_else(|| {
                ProviderError::not_found(format!("container {container} is not in pod {}", identity.name))
            })?;
        report::log_source(found, previous).ok_or_else(|| {
            ProviderError::invalid(if previous {
                format!("container {container} of pod {} has no previous run", identity.name)
            } else {
                format!("container {container} of pod {} waits to be started", identity.name)
            })
        })
    }

    /// The ways into a pod.
    pub fn doors(&self, identity: &PodIdentity) -> Result<Vec<Door>> {
        self.pod(&identity.uid)
            .map(report::doors)
            .ok_or_else(|| unknown(identity))
    }

    /// The images that the pods of a node have used, in the order of their names.
    pub fn images(&self, node: &str) -> Vec<Image> {
        let pods = self.pods().filter(|pod| pod.identity.node == node);
        let images: BTreeMap<&str, Image> = pods.flat_map(report::images).collect();
        images.into_values().collect()
    }

    /// What the containers of a node use.
    pub fn usage(&self, node: &str, now: Timestamp) -> Vec<ContainerUsage> {
        self.pods()
            .filter(|pod| pod.identity.node == node)
            .flat_map(|pod| report::usage(pod, now))
            .collect()
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Lets happen what is due, to so many pods at most.
    pub fn advance(&mut self, now: Timestamp, most: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < most
            && let Some((due, uid)) = self.deadlines.first()
            && *due <= now
        {
            let uid = uid.clone();
            changes.extend(self.advance_one(&uid, now));
        }
        changes
    }

    /// Lets happen what is due to one pod.
    pub fn advance_one(&mut self, uid: &str, now: Timestamp) -> Option<Change> {
        let entry = self.pods.get_mut(uid)?;
        let readdressed = entry.pod.changes_addresses(now);
        if !entry.pod.advance(now, &mut self.pools) {
            return None;
        }
        if entry.pod.stage == Stage::Vanished {
            let identity = entry.pod.identity.clone();
            let silently = entry.pod.template.behaviour.vanish_silently;
            self.remove(uid);
            return Some(Change::Gone { identity, silently });
        }
        if readdressed {
            self.readdressed.push(uid.into());
        }
        let report = report::report(&entry.pod);
        self.schedule(uid);
        Some(Change::Report(report))
    }

    /// The pods whose addresses have changed by time since this was last asked.
    pub fn take_readdressed(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.readdressed)
    }

    fn schedule(&mut self, uid: &str) {
        let Some((uid, entry)) = self.pods.get_key_value(uid) else {
            return;
        };
        let next = entry.pod.next();
        if entry.due == next {
            return;
        }
        let (uid, due) = (uid.clone(), entry.due);
        if let Some(due) = due {
            self.deadlines.remove(&(due, uid.clone()));
        }
        if let Some(next) = next {
            self.deadlines.insert((next, uid.clone()));
        }
        if let Some(entry) = self.pods.get_mut(&uid) {
            entry.due = next;
        }
    }
}

fn unknown(pod: &PodIdentity) -> ProviderError {
    let PodIdentity {
        namespace, name, uid, ..
    } = pod;
    ProviderError::new(ErrorCode::NotFound, format!("no pod {namespace}/{name} with uid {uid}"))
}
