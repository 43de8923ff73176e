//! Bodies of the calls that cross the boundary, for both sides. Unknown keys are ignored, missing ones have defaults.

use crate::{
    pod::{PodIdentity, PodReport},
    support::Support,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a plugin says of itself, without an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginInfo {
    /// The plugin's name: the middle of its file name `liboutrigger_<name>.so`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// Version of the SDK it was built with; filled by the SDK.
    #[serde(default)]
    pub sdk: String,
    /// Compiler and profile it was built with; filled by the SDK.
    #[serde(default)]
    pub build: String,
    /// JSON Schema of its config; filled by the SDK.
    #[serde(default)]
    pub config_schema: serde_json::Value,
    /// Ids of its capabilities; filled by the SDK.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What it carries of a pod with its default config.
    pub support: Support,
}

/// Body of `create` (an instance).
#[derive(Debug, Serialize, Deserialize)]
pub struct StartRequest {
    /// The provider's section of the host's config.
    pub config: serde_json::Value,
    /// The provider's name in the host's config.
    pub provider: String,
}

/// Reply to it.
#[derive(Debug, Serialize, Deserialize)]
pub struct StartReply {
    /// What the instance carries of a pod, with its config.
    pub support: Support,
}

/// Body of `sync`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The pods that should be there.
    pub pods: Vec<PodIdentity>,
}

/// Reply to `sync` and `list_pods`.
#[derive(Debug, Serialize, Deserialize)]
pub struct PodList {
    /// The pods that are there.
    pub pods: Vec<PodReport>,
}

/// Body of `stop_pod`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StopRequest {
    /// Which pod.
    pub identity: PodIdentity,
    /// Milliseconds from now until containers are killed.
    pub grace_ms: u64,
}

/// Body of `get_pod` and `remove_pod`.
#[derive(Debug, Serialize, Deserialize)]
pub struct PodKey {
    /// Which pod.
    pub identity: PodIdentity,
}

/// Body of `describe_node`.
#[derive(Debug, Serialize, Deserialize)]
pub struct NodeKey {
    /// The node's name.
    pub node: String,
}

/// Body of the logs capability's `read`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogRequest {
    /// Which pod.
    pub identity: PodIdentity,
    /// Which container.
    pub container: String,
    /// The run before the current one.
    #[serde(default)]
    pub previous: bool,
    /// Go on until the container ends.
    #[serde(default)]
    pub follow: bool,
    /// Only lines written at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only the last so many lines of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
}

/// Body of the stats capability's `summary`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatsRequest {
    /// The node's name.
    pub node: String,
}

/// Reply to it: what a kubelet's summary needs; missing numbers are unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsSummary {
    /// The node's own use.
    pub node: Usage,
    /// Use by container, of the pods of that node.
    pub containers: Vec<ContainerUsage>,
}

/// Resource use at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Usage {
    /// When it was measured.
    pub time: Timestamp,
    /// CPU time used since the start, in nanoseconds.
    pub cpu_core_nanoseconds: Option<u64>,
    /// CPU in use now, in billionths of a core.
    pub cpu_nanocores: Option<u64>,
    /// Memory that can't be reclaimed, in bytes.
    pub memory_working_set_bytes: Option<u64>,
}

/// A container's resource use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerUsage {
    /// Which pod.
    pub identity: PodIdentity,
    /// Which container.
    pub container: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// What it uses.
    pub usage: Usage,
}

/// Body of the exec capability's `exec`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Which pod.
    pub identity: PodIdentity,
    /// Which container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// With a terminal: output and errors come together.
    #[serde(default)]
    pub tty: bool,
    /// The client sends input: [`Session::stdin`](crate::Session::stdin) is there.
    #[serde(default)]
    pub stdin: bool,
    /// The client wants output.
    #[serde(default)]
    pub stdout: bool,
    /// The client wants errors apart from output; without effect with a terminal.
    #[serde(default)]
    pub stderr: bool,
}

/// Body of the attach capability's `attach`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttachRequest {
    /// Which pod.
    pub identity: PodIdentity,
    /// Which container.
    pub container: String,
    /// The container has a terminal.
    #[serde(default)]
    pub tty: bool,
    /// The client sends input: [`Session::stdin`](crate::Session::stdin) is there.
    #[serde(default)]
    pub stdin: bool,
    /// The client wants output.
    #[serde(default)]
    pub stdout: bool,
    /// The client wants errors apart from output; without effect with a terminal.
    #[serde(default)]
    pub stderr: bool,
}

/// Body of the port-forward capability's `connect`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortForwardRequest {
    /// Which pod.
    pub identity: PodIdentity,
    /// TCP port on the pod's loopback.
    pub port: u16,
}

/// How a command ended: the completion of `exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitStatus {
    /// 0 to 255; 128 + n after signal n.
    pub exit_code: u8,
}

/// An image that the backend holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its names, tags and digests.
    pub names: Vec<String>,
    /// Its size.
    pub size_bytes: u64,
}

/// Reply of the images capability's `list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageList {
    /// The images.
    pub images: Vec<Image>,
}

/// A log record on its way to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Module path of the place that logged.
    pub target: String,
    /// The text.
    pub message: String,
    /// Fields as text, those of enclosing spans as `span.field`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// A sample for the host's metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// Its name in snake_case, with the unit at the end.
    pub name: String,
    /// How samples combine.
    pub kind: MetricKind,
    /// Labels; few values each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The amount.
    pub value: f64,
}

/// How the samples of a metric combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// The value is added.
    Counter,
    /// The value replaces the last one.
    Gauge,
}
