//! The resolved configuration of a host.

use super::KubeletConfig;
use super::NodeConfig;
use super::SectionPositions;
use super::Sha256Digest;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a host process needs to know to run.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// Which cluster, and who it is.
    pub cluster: ClusterConfig,
    /// Logs of the host and of its plugins.
    pub log: LogConfig,
    /// Where plugins come from.
    pub plugins: PluginsConfig,
    /// The plugin instances; names are unique.
    pub providers: Vec<ProviderConfig>,
    /// The virtual nodes, `count` already expanded; names are unique and each provider exists.
    pub nodes: Vec<NodeConfig>,
    /// The kubelet API that every node serves.
    pub kubelet: KubeletConfig,
    /// What happens to the Node objects when the host ends.
    pub on_shutdown: OnShutdown,
    /// How long the end may take in all: half of it for calls in flight and last status writes, a quarter for nodes and leases, and
    /// for providers what is left.
    pub shutdown_timeout: Duration,
    /// The sweep of what is ours in a backend and gone from the API.
    pub orphans: OrphanConfig,
    /// Kubernetes events.
    pub events: EventsConfig,
    /// Rhythms of the host; scaled down by tests.
    pub intervals: Intervals,
}

impl HostConfig {
    /// The default of [`shutdown_timeout`](Self::shutdown_timeout).
    pub const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(20);

    /// A configuration with every default around these providers and nodes.
    pub fn new(providers: Vec<ProviderConfig>, nodes: Vec<NodeConfig>) -> Self {
        Self {
            cluster: ClusterConfig::default(),
            log: LogConfig::default(),
            plugins: PluginsConfig::default(),
            providers,
            nodes,
            kubelet: KubeletConfig::default(),
            on_shutdown: OnShutdown::default(),
            shutdown_timeout: Self::DEFAULT_SHUTDOWN_TIMEOUT,
            orphans: OrphanConfig::default(),
            events: EventsConfig::default(),
            intervals: Intervals::default(),
        }
    }

    /// The provider that runs `node`.
    pub fn provider_of(&self, node: &NodeConfig) -> Option<&ProviderConfig> {
        self.providers.iter().find(|provider| provider.name == node.provider)
    }
}

/// The cluster that the nodes join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Kubeconfig files, merged in this order as kubectl merges the list in KUBECONFIG; empty means the service
    /// account of the pod that the host runs in.
    pub kubeconfig: Vec<PathBuf>,
    /// The cluster's id for marks in backends, used only where the UID of the namespace kube-system can't be read.
    pub id: Option<String>,
    /// The directory of the nodes' own client certificates, `NODE.pem`. With it every node acts as `system:node:NODE`,
    /// and the host's credentials only request those certificates.
    pub node_certificates: Option<PathBuf>,
    /// Up to so many nodes have a watch each for their pods and another for their Node; more share one of all pods and
    /// one of all Nodes. Nodes with [certificates](Self::node_certificates) never share: they may see only their own.
    pub watches_per_node_up_to: u16,
}

impl ClusterConfig {
    /// The default of [`watches_per_node_up_to`](Self::watches_per_node_up_to).
    pub const DEFAULT_WATCHES_PER_NODE_UP_TO: u16 = 16;

    /// Whether so many nodes share their watches.
    pub fn shares_watches(&self, nodes: usize) -> bool {
        self.node_certificates.is_none() && nodes > usize::from(self.watches_per_node_up_to)
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            kubeconfig: Vec::new(),
            id: None,
            node_certificates: None,
            watches_per_node_up_to: Self::DEFAULT_WATCHES_PER_NODE_UP_TO,
        }
    }
}

/// Log output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter directive as tracing-subscriber's `EnvFilter` reads it: `info`, `warn,outrigger::pod=debug`.
    pub level: String,
    /// Shape of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where plugins come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginsConfig {
    /// Directories searched in this order for `liboutrigger_NAME.so`.
    pub directories: Vec<PathBuf>,
    /// How a file is mapped.
    pub load: PluginLoad,
    /// When present, only these load.
    pub allow: Option<Vec<AllowedPlugin>>,
}

/// How a plugin file becomes code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PluginLoad {
    /// From a sealed copy in memory, whose hash was checked: overwriting the file can't hurt the host.
    #[default]
    Memory,
    /// From the file itself, for tools that need its path (profilers, debuggers).
    Path,
}

/// An entry of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPlugin {
    /// The plugin's name.
    pub name: String,
    /// What its file must hash to.
    pub sha256: Sha256Digest,
}

/// A provider: an instance of a plugin with a config of its own.
#[derive(Clone, PartialEq)]
pub struct ProviderConfig {
    /// Unique in the host.
    pub name: String,
    /// The plugin's name, looked up in [`PluginsConfig::directories`].
    pub plugin: String,
    /// The plugin's file, instead of the search.
    pub path: Option<PathBuf>,
    /// What the file must hash to.
    pub sha256: Option<Sha256Digest>,
    /// Whether the host ends (exit 69) when this provider can't start, instead of running the others.
    pub required: bool,
    /// Handed to the plugin as it is; may hold secrets, so it shows up in no log.
    pub config: serde_json::Value,
    /// Where `config` was written.
    pub positions: SectionPositions,
}

impl ProviderConfig {
    /// An instance of `plugin` by the same name, with an empty config.
    pub fn new(plugin: impl Into<String>) -> Self {
        let plugin = plugin.into();
        Self {
            name: plugin.clone(),
            plugin,
            path: None,
            sha256: None,
            required: false,
            config: serde_json::Value::Object(serde_json::Map::new()),
            positions: SectionPositions::default(),
        }
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("path", &self.path)
            .field("sha256", &self.sha256)
            .field("required", &self.required)
            .field("config", &format_args!("(not shown)"))
            .finish()
    }
}

/// What happens to the Node objects when the host ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnShutdown {
    /// Nothing: the pods run on in the backend and the next host adopts them.
    #[default]
    Keep,
    /// The nodes are marked unschedulable.
    Cordon,
    /// The nodes are deleted.
    Deregister,
}

/// The sweep of orphans: pods in the backend that carry our mark and that the API no longer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanConfig {
    /// Report what a sweep would delete, and delete nothing.
    pub dry_run: bool,
    /// How long something must have been an orphan before it is deleted.
    pub after: Duration,
}

impl Default for OrphanConfig {
    fn default() -> Self {
        Self {
            dry_run: false,
            after: Duration::from_secs(300),
        }
    }
}

/// Kubernetes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    /// Whether any are sent.
    pub enabled: bool,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Rhythms of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervals {
    /// Between two pings of a provider.
    pub ping: Duration,
    /// How long a ping may take.
    pub ping_timeout: Duration,
    /// Between two computations of a node's status; it is sent only when it changed.
    pub status_report: Duration,
    /// The longest time between two sends of a node's status.
    pub status_resend: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            status_report: Duration::from_secs(10),
            status_resend: Duration::from_secs(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_never_prints_its_config() {
        let mut provider = ProviderConfig::new("aci");
        provider.config = serde_json::json!({ "clientSecret": "hunter2" });
        assert!(!format!("{provider:?}").contains("hunter2"));
        assert!(!format!("{:?}", HostConfig::new(vec![provider], vec![])).contains("hunter2"));
    }

    #[test]
    fn only_many_nodes_without_certificates_share_watches() {
        let mut cluster = ClusterConfig {
            watches_per_node_up_to: 2,
            ..ClusterConfig::default()
        };
        assert!(!cluster.shares_watches(2));
        assert!(cluster.shares_watches(3));
        cluster.node_certificates = Some("/certificates".into());
        assert!(!cluster.shares_watches(3));
    }

    #[test]
    fn a_node_finds_its_provider() {
        let config = HostConfig::new(
            vec![ProviderConfig::new("a"), ProviderConfig::new("b")],
            vec![NodeConfig::new("vk", "b"), NodeConfig::new("lost", "c")],
        );
        assert_eq!(config.provider_of(&config.nodes[0]).map(|p| p.name.as_str()), Some("b"));
        assert_eq!(config.provider_of(&config.nodes[1]), None);
        assert_eq!(config.nodes[0].provider_id, "outrigger://b/vk");
    }
}
