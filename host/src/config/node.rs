//! One virtual node as the configuration describes it, after `count` was expanded.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A virtual node to register and run.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// Name of the Node object, an RFC 1123 subdomain; unique in the host.
    pub name: String,
    /// Name of the provider that runs it: a [`ProviderConfig::name`](super::ProviderConfig::name) of the same config.
    pub provider: String,
    /// InternalIP to report; `None` means the local address that routes to the API server.
    pub address: Option<IpAddr>,
    /// Kubelet port, reported in `status.daemonEndpoints`; 0 takes any free port.
    pub port: u16,
    /// Labels in addition to the default ones.
    pub labels: BTreeMap<String, String>,
    /// Annotations to set.
    pub annotations: BTreeMap<String, String>,
    /// Taints in addition to the default one.
    pub taints: Vec<Taint>,
    /// Which of the default taint and labels the node carries.
    pub defaults: NodeDefaults,
    /// Resource name to quantity; each entry replaces what the provider reports.
    pub capacity: BTreeMap<String, String>,
    /// `spec.providerID`.
    pub provider_id: String,
    /// How long the provider may stay unhealthy before the node is NotReady.
    pub not_ready_after: NotReadyAfter,
}

impl NodeConfig {
    /// The kubelet's well-known port, and the default here.
    pub const DEFAULT_PORT: u16 = 10250;

    /// A node with every default.
    pub fn new(name: impl Into<String>, provider: impl Into<String>) -> Self {
        let (name, provider) = (name.into(), provider.into());
        Self {
            provider_id: Self::default_provider_id(&provider, &name),
            name,
            provider,
            address: None,
            port: Self::DEFAULT_PORT,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            defaults: NodeDefaults::default(),
            capacity: BTreeMap::new(),
            not_ready_after: NotReadyAfter::default(),
        }
    }

    /// The `spec.providerID` of a node whose configuration names none.
    pub fn default_provider_id(provider: &str, node: &str) -> String {
        format!("outrigger://{provider}/{node}")
    }
}

/// A taint of a node: `key=value:effect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Qualified name.
    pub key: String,
    /// Label value, may be empty.
    pub value: String,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// The effect of a [`Taint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaintEffect {
    /// The scheduler puts no new pod there.
    NoSchedule,
    /// The scheduler avoids the node if it can.
    PreferNoSchedule,
    /// Running pods are evicted too.
    NoExecute,
}

impl TaintEffect {
    /// The name in the Kubernetes API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// Which defaults a node carries; all of them unless switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDefaults {
    /// Taint `virtual-kubelet.io/provider=NAME:NoSchedule`.
    pub taint: bool,
    /// Label `type=virtual-kubelet`.
    pub type_label: bool,
    /// Label `node.kubernetes.io/exclude-from-external-load-balancers`.
    pub exclude_from_load_balancers: bool,
    /// Labels `kubernetes.io/hostname`, `kubernetes.io/os` and `kubernetes.io/arch`.
    pub kubernetes_labels: bool,
}

impl Default for NodeDefaults {
    fn default() -> Self {
        Self {
            taint: true,
            type_label: true,
            exclude_from_load_balancers: true,
            kubernetes_labels: true,
        }
    }
}

/// When an unhealthy provider makes its node NotReady.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReadyAfter {
    /// After it was unhealthy for this long without a break.
    After(Duration),
    /// Not at all: only the condition ProviderHealthy tells.
    Never,
}

impl Default for NotReadyAfter {
    fn default() -> Self {
        Self::After(Duration::from_secs(60))
    }
}
