//! Pods as they cross the boundary: who they are, what is asked, what is reported.

use crate::{materials::Materials, time::Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Each image has its own; it outlives the instances, so that a rebuilt one goes on counting.
static NEXT_SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// Who a pod is. A provider stores all of it with the pod in its backend (labels, tags): after a restart it is the
/// only way to know whose pod that is. [`uid`](Self::uid) is the key; a recreated pod of the same name is another pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodIdentity {
    /// The cluster: the UID of its kube-system namespace, or a configured id.
    pub cluster: String,
    /// The virtual node.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID: unique in time and space.
    pub uid: String,
}

/// A pod to run, or to bring up to date.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRequest {
    /// Who it is.
    pub identity: PodIdentity,
    /// The whole `v1.Pod` as the API server sent it, as JSON; read it with [`PodRequest::manifest`].
    pub pod: Box<RawValue>,
    /// What the host resolved for it.
    #[serde(default)]
    pub materials: Materials,
    /// When the pod is made again under its UID after it vanished from the backend: the restart count that each
    /// container's first run reports, already one more than before, or the same for those that are not started again, see
    /// [`ended`](Self::ended). Containers not named here start at 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restart_counts: BTreeMap<String, u32>,
    /// Then, too: the containers that had ended for good, and how. They are not started again, and are reported as they are here,
    /// with the restart count above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<String, Termination>,
}

impl PodRequest {
    /// Decodes the manifest into any type that reads a `v1.Pod`: `k8s_openapi::api::core::v1::Pod`, or a small struct
    /// of one's own with just the fields that matter.
    pub fn manifest<T: DeserializeOwned>(&self) -> crate::Result<T> {
        serde_json::from_str(self.pod.get())
            .map_err(|source| crate::ProviderError::invalid("unable to read pod manifest").with_source(source))
    }
}

/// A pod's state as the provider knows it. The host makes the Kubernetes pod status from it.
///
/// A report is stamped when it is made, and the host keeps the one with the highest stamp, on whatever way and in
/// whatever order reports arrive. So make it while the state stands still, for example under the lock that guards it, and
/// give one that was kept and is changed a new stamp ([`renewed`](Self::renewed)): under its old one the host does not look at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodReport {
    /// Whose state it is.
    pub identity: PodIdentity,
    /// The report's place among all of this plugin; [`new`](Self::new) and [`renewed`](Self::renewed) count on.
    pub sequence: u64,
    /// The pod is gone from the backend though nobody asked for that. Everything below is then ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The pod's addresses, at most one per family, primary first; empty until there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// Regular containers, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerReport>,
    /// Init containers, sidecars among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<ContainerReport>,
    /// Ephemeral (debug) containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_containers: Vec<ContainerReport>,
}

impl PodReport {
    /// A report without containers or addresses.
    pub fn new(identity: PodIdentity) -> Self {
        Self {
            identity,
            sequence: NEXT_SEQUENCE.fetch_add(1, Ordering::Relaxed),
            gone: false,
            ips: Vec::new(),
            containers: Vec::new(),
            init_containers: Vec::new(),
            ephemeral_containers: Vec::new(),
        }
    }

    /// The report of a pod that vanished.
    pub fn gone(identity: PodIdentity) -> Self {
        Self {
            gone: true,
            ..Self::new(identity)
        }
    }

    /// The same report with a new stamp, to be changed: the host takes it for newer than all that were made so far.
    #[must_use]
    pub fn renewed(self) -> Self {
        Self {
            sequence: NEXT_SEQUENCE.fetch_add(1, Ordering::Relaxed),
            ..self
        }
    }

    /// Whether every container (init, regular, ephemeral) has ended or never started.
    pub fn all_ended(&self) -> bool {
        self.containers
            .iter()
            .chain(&self.init_containers)
            .chain(&self.ephemeral_containers)
            .all(|container| !matches!(container.state, ContainerState::Running { .. }))
    }
}

/// A container's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its name in the pod.
    pub name: String,
    /// What it does now.
    pub state: ContainerState,
    /// How its previous run ended, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_termination: Option<Termination>,
    /// How often it was started again.
    #[serde(default)]
    pub restart_count: u32,
    /// Whether its readiness probe passes; without a probe, whether it runs.
    #[serde(default)]
    pub ready: bool,
    /// Whether its startup probe has passed; without a probe, whether it runs.
    #[serde(default)]
    pub started: bool,
    /// The image as resolved; empty means as in the manifest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Digest reference of the image, as the runtime gives it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// `<runtime>://<id>` of the current or last run; empty before the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container_id: String,
}

impl ContainerReport {
    /// A container in its first run, of the manifest's image, without a readiness or startup probe: ready and started while
    /// it runs.
    pub fn new(name: impl Into<String>, state: ContainerState) -> Self {
        let runs = matches!(state, ContainerState::Running { .. });
        Self {
            name: name.into(),
            state,
            last_termination: None,
            restart_count: 0,
            ready: runs,
            started: runs,
            image: String::new(),
            image_id: String::new(),
            container_id: String::new(),
        }
    }
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum ContainerState {
    /// It does not run (yet, or between two runs).
    Waiting {
        /// In CamelCase; the kubelet's words where they fit: `ContainerCreating`, `PodInitializing`, `ErrImagePull`,
        /// `ImagePullBackOff`, `CreateContainerError`, `CrashLoopBackOff`.
        reason: String,
        /// For people; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended and will not be started again, or not yet.
    Terminated(Termination),
}

/// How a container's run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Termination {
    /// Exit code; 128 + n after signal n.
    pub exit_code: i32,
    /// The signal's number; 0 without one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun` or another word in CamelCase.
    pub reason: String,
    /// For people, for example the termination message; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the run began, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// `<runtime>://<id>` of that run; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container_id: String,
}

impl Termination {
    /// An end with that exit code, without more known of the run.
    pub fn new(exit_code: i32, reason: impl Into<String>, finished_at: Timestamp) -> Self {
        Self {
            exit_code,
            signal: 0,
            reason: reason.into(),
            message: String::new(),
            started_at: None,
            finished_at,
            container_id: String::new(),
        }
    }
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateOutcome {
    /// The pod's state after it.
    pub report: PodReport,
    /// What became of changed resources (in-place resize); `None` when they did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeOutcome>,
}

impl From<PodReport> for UpdateOutcome {
    fn from(report: PodReport) -> Self {
        Self { report, resize: None }
    }
}

/// What became of an in-place resize (KEP-1287).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub enum ResizeOutcome {
    /// The containers have the new resources.
    Done,
    /// Not now, perhaps later: condition `PodResizePending`, reason `Deferred`.
    Deferred {
        /// For people.
        message: String,
    },
    /// Never on this node: condition `PodResizePending`, reason `Infeasible`.
    Infeasible {
        /// For people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_report_is_the_newest_of_all_and_says_the_same() {
        let identity = |uid: &str| PodIdentity {
            cluster: "c".to_owned(),
            node: "n".to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: uid.to_owned(),
        };
        let mut report = PodReport::gone(identity("u1"));
        report.ips.push("10.0.0.1".parse().unwrap());
        let another = PodReport::new(identity("u2"));
        let renewed = report.clone().renewed();
        assert!(renewed.sequence > another.sequence && another.sequence > report.sequence);
        report.sequence = renewed.sequence;
        assert_eq!(renewed, report);
    }
}
