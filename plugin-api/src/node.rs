//! Virtual nodes as a provider describes them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a provider says of a virtual node. Everything is optional: the host fills the rest as a kubelet would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeDescription {
    /// Capacity by resource name as Kubernetes quantities: `cpu: "64"`, `memory: 256Gi`, `pods: "1000"`.
    pub capacity: BTreeMap<String, String>,
    /// What pods may use of it; where a resource is missing, its capacity.
    pub allocatable: BTreeMap<String, String>,
    /// `linux` or `windows`; `linux` when empty.
    pub operating_system: String,
    /// As `GOARCH` writes it; that of the host when empty.
    pub architecture: String,
    /// `<name>://<version>` of what runs the containers; the plugin's name and version when empty.
    pub container_runtime: String,
    /// Labels in addition to the host's.
    pub labels: BTreeMap<String, String>,
    /// Annotations in addition to the host's.
    pub annotations: BTreeMap<String, String>,
    /// Conditions in addition to the host's, and in place of its `MemoryPressure`, `DiskPressure` and `PIDPressure`.
    /// `Ready` here set to anything but true makes the node not ready, with the provider's reason.
    pub conditions: Vec<NodeCondition>,
}

/// A node condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCondition {
    /// Its type in CamelCase.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`; `None` for `Unknown`.
    pub status: Option<bool>,
    /// In CamelCase, for machines.
    pub reason: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

/// An event about a pod or, without one, about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// UID of the pod it is about; `None`: the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The node that it is about, or on which the pod runs.
    pub node: String,
    /// Something to worry about, rather than to know.
    #[serde(default)]
    pub warning: bool,
    /// In CamelCase; the kubelet's words where they fit: `Pulling`, `Pulled`, `BackOff`, `Unhealthy`.
    pub reason: String,
    /// For people; no secrets.
    pub message: String,
}
