//! What holds a pod for its materials, in the kubelet's words.

use std::fmt;

/// Why a pod can't be made now. All faults of one kind: the kubelet mounts a pod's volumes before it makes any container,
/// so nothing is said of environments while a volume is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// At least one, in the manifest's order.
    pub faults: Vec<Fault>,
}

/// One thing that holds a pod. No part of it holds an object's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the pod looks like meanwhile.
    pub kind: FaultKind,
    /// The kubelet's error, as in a container's `state.waiting.message`.
    pub message: String,
    /// The object that is missing or lacks something, if it is about one.
    pub object: Option<ObjectRef>,
    /// The event that virtual-kubelet sends for it, beside the kubelet's.
    pub peer: Option<Notice>,
}

/// What a held pod looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This container waits with reason `CreateContainerConfigError`; event `Failed`.
    Config {
        /// Its name.
        container: String,
    },
    /// The containers wait with reason `ContainerCreating` (`PodInitializing` behind init containers); event
    /// `FailedMount`.
    Mount {
        /// The volume.
        volume: String,
    },
    /// The containers wait as with [`FaultKind::Mount`]; event `FailedCreatePodSandBox`.
    Sandbox,
    /// Objects are not known yet: nothing to say.
    Waiting,
}

/// An object in the pod's namespace (or in none).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Kind of an [`ObjectRef`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1.ConfigMap`.
    ConfigMap,
    /// `v1.Secret`.
    Secret,
    /// `v1.ServiceAccount`, for its token.
    ServiceAccount,
    /// `ClusterTrustBundle`.
    ClusterTrustBundle,
    /// `PodCertificateRequest`.
    PodCertificateRequest,
}

/// An event about the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its type: `Warning`, else `Normal`.
    pub warning: bool,
    /// Its reason.
    pub reason: &'static str,
    /// Its text.
    pub message: String,
}

impl Notice {
    /// A warning.
    pub fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            reason,
            message: message.into(),
        }
    }
}

impl Fault {
    /// The kubelet's event for it; `None` while there is nothing to say.
    pub fn event(&self) -> Option<Notice> {
        let message = &self.message;
        Some(match &self.kind {
            FaultKind::Config { .. } => Notice::warning("Failed", format!("Error: {message}")),
            FaultKind::Mount { volume } => Notice::warning(
                "FailedMount",
                format!("MountVolume.SetUp failed for volume {volume:?} : {message}"),
            ),
            FaultKind::Sandbox => Notice::warning(
                "FailedCreatePodSandBox",
                format!("Failed to create pod sandbox: {message}"),
            ),
            FaultKind::Waiting => return None,
        })
    }
}

impl Held {
    /// Whether there is nothing to say yet.
    pub fn is_waiting(&self) -> bool {
        self.faults.iter().all(|fault| fault.kind == FaultKind::Waiting)
    }
}

impl fmt::Display for Kind {
    /// The kubelet's word for it, as in `configmap "x" not found`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::ServiceAccount => "serviceaccount",
            Self::ClusterTrustBundle => "clustertrustbundle",
            Self::PodCertificateRequest => "podcertificaterequest",
        })
    }
}
