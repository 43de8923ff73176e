//! Nodes of the file: expanded, and checked against each other.

use super::NodeConfig;
use super::NodeDefaults;
use super::ProviderConfig;
use super::Taint;
use super::TaintEffect;
use super::file;
use super::names;
use super::nearest::alternatives;
use super::nearest::did_you_mean;
use super::resolve::Resolver;
use super::shape::MOST_NODES;
use std::collections::HashMap;

/// Fields of a node, for their origins.
pub(super) const FIELDS: [&str; 15] = [
    "name",
    "provider",
    "address",
    "port",
    "labels",
    "annotations",
    "taints",
    "defaults",
    "defaults.taint",
    "defaults.typeLabel",
    "defaults.excludeFromLoadBalancers",
    "defaults.kubernetesLabels",
    "capacity",
    "providerID",
    "notReadyAfter",
];

/// The API's limit for all annotations of an object, names and values.
const LARGEST_ANNOTATIONS: usize = 256 << 10;

/// The key of the taint that every node has by default.
const DEFAULT_TAINT: &str = "virtual-kubelet.io/provider";

/// What earlier nodes took.
#[derive(Default)]
struct Taken {
    /// Name to the entry of the file.
    names: HashMap<String, usize>,
    /// Port to the node that has it.
    ports: HashMap<u16, String>,
    /// No node has a port of its own.
    shares_port: bool,
}

impl Resolver<'_> {
    /// All nodes of the file, each with the index of its entry. Where they share a port, none has one of its own.
    pub(super) fn nodes(
        &mut self,
        entries: file::Items<file::Node>,
        providers: &[Option<ProviderConfig>],
        shares_port: bool,
    ) -> Vec<(usize, NodeConfig)> {
        let total: u64 = entries
            .iter()
            .flatten()
            .map(|entry| u64::from(entry.count.unwrap_or(1)))
            .sum();
        if total > MOST_NODES {
            self.fault(
                "nodes",
                format!("{total} nodes, expected at most {MOST_NODES} in one host"),
            );
            return Vec::new();
        }
        let mut taken = Taken {
            shares_port,
            ..Taken::default()
        };
        let mut nodes = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let Some(entry) = entry else { continue };
            self.node(index, entry, providers, &mut taken, &mut nodes);
        }
        nodes
    }

    fn node(
        &mut self,
        index: usize,
        entry: file::Node,
        providers: &[Option<ProviderConfig>],
        taken: &mut Taken,
        nodes: &mut Vec<(usize, NodeConfig)>,
    ) {
        let at = format!("nodes[{index}]");
        if let Some(provider) = &entry.provider {
            self.check_reference(&at, provider, providers);
        }
        if entry.count.is_some_and(|count| count > 1) && entry.provider_id.is_some() {
            let message = "one id for several nodes; leave it out to have one made for each";
            self.fault(&format!("{at}.providerID"), message.to_owned());
        }
        let size: usize = entry
            .annotations
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if size > LARGEST_ANNOTATIONS {
            let message = format!("{size} bytes of annotations, expected at most {LARGEST_ANNOTATIONS}");
            self.fault(&format!("{at}.annotations"), message);
        }
        let ports = self.ports(&at, &entry, taken);
        let defaults = defaults(&entry.defaults);
        let taints = self.taints(&at, &entry.taints, defaults);
        let Some(name) = &entry.name else { return };
        let (mut name_fault, mut port_fault) = (false, false);
        for (ordinal, port) in ports.into_iter().enumerate() {
            // With a count each node has its number, also where the count is one: it may grow, and a name stays.
            let name = if entry.count.is_some() {
                format!("{name}-{ordinal}")
            } else {
                name.clone()
            };
            name_fault = name_fault || !self.name_is_free(&at, index, &name, taken);
            port_fault = port_fault || !self.port_is_free(&at, &name, port, taken);
            let provider = entry.provider.clone().unwrap_or_default();
            let mut node = NodeConfig::new(name, provider);
            node.address = entry.address;
            node.port = port;
            node.labels = entry.labels.clone();
            node.annotations = entry.annotations.clone();
            node.taints = taints.clone();
            node.defaults = defaults;
            node.capacity = entry.capacity.clone();
            if let Some(id) = &entry.provider_id {
                node.provider_id = id.clone();
            }
            node.not_ready_after = entry.not_ready_after.unwrap_or_default();
            nodes.push((index, node));
        }
    }

    fn check_reference(&mut self, at: &str, provider: &str, providers: &[Option<ProviderConfig>]) {
        // A provider without a usable name has its own fault; it may be the one that is meant.
        if providers
            .iter()
            .any(|known| known.as_ref().is_none_or(|known| known.name == provider))
        {
            return;
        }
        let names = || providers.iter().flatten().map(|known| known.name.as_str());
        let hint = match did_you_mean(provider, names()) {
            hint if hint.is_empty() && !providers.is_empty() => format!(", expected {}", alternatives(names())),
            hint => hint,
        };
        self.fault(
            &format!("{at}.provider"),
            format!("unknown provider {provider:?}{hint}"),
        );
    }

    /// The port of each node of the entry.
    fn ports(&mut self, at: &str, entry: &file::Node, taken: &Taken) -> Vec<u16> {
        let count = entry.count.unwrap_or(1);
        let base = entry.port.unwrap_or(NodeConfig::DEFAULT_PORT);
        if taken.shares_port && entry.port.is_some_and(|port| port != 0) {
            let message = "all nodes are on kubelet.sharedListener, where this does nothing; leave one of both out";
            self.fault(&format!("{at}.port"), message.to_owned());
        }
        if base == 0 || taken.shares_port {
            return vec![0; usize::from(count)];
        }
        let last = u32::from(base) + u32::from(count) - 1;
        if last > u32::from(u16::MAX) {
            let field = if entry.port.is_some() { "port" } else { "count" };
            let message = format!(
                "{count} nodes from port {base} on would go up to {last}, expected at most 65535; start lower, or use 0 for free ports"
            );
            self.fault(&format!("{at}.{field}"), message);
            return vec![0; usize::from(count)];
        }
        (0..count).map(|ordinal| base + ordinal).collect()
    }

    fn name_is_free(&mut self, at: &str, index: usize, name: &str, taken: &mut Taken) -> bool {
        if let Err(message) = names::subdomain(name) {
            self.fault(&format!("{at}.name"), message);
            return false;
        }
        let Some(first) = taken.names.get(name).copied() else {
            taken.names.insert(name.to_owned(), index);
            return true;
        };
        self.fault(
            &format!("{at}.name"),
            format!("two nodes are named {name:?}, the other is of nodes[{first}]"),
        );
        false
    }

    fn port_is_free(&mut self, at: &str, name: &str, port: u16, taken: &mut Taken) -> bool {
        if port == 0 {
            return true;
        }
        let Some(other) = taken.ports.get(&port) else {
            taken.ports.insert(port, name.to_owned());
            return true;
        };
        let default = if self.written(&format!("{at}.port")) {
            ""
        } else {
            " (the default)"
        };
        let message = format!(
            "port {port}{default} of node {name:?} is already the port of node {other:?}; choose another, or 0 for a free one"
        );
        self.fault(&format!("{at}.port"), message);
        false
    }

    fn taints(&mut self, at: &str, entries: &[Option<file::Taint>], defaults: NodeDefaults) -> Vec<Taint> {
        let mut taints: Vec<Taint> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let Some((key, effect)) = entry.as_ref().and_then(|e| Some((e.key.clone()?, e.effect?))) else {
                continue;
            };
            let effect = TaintEffect::from(effect);
            let value = entry.as_ref().and_then(|entry| entry.value.clone()).unwrap_or_default();
            let at = format!("{at}.taints[{index}]");
            if taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
                let message = format!("a second taint {key:?} with effect {}, expected one", effect.as_str());
                self.fault(&at, message);
            } else if key == DEFAULT_TAINT && effect == TaintEffect::NoSchedule && defaults.taint {
                let message = "the node has this taint by default; set defaults.taint to false to write it yourself";
                self.fault(&at, message.to_owned());
            }
            taints.push(Taint { key, value, effect });
        }
        taints
    }
}

fn defaults(file: &file::NodeDefaults) -> NodeDefaults {
    let all = NodeDefaults::default();
    NodeDefaults {
        taint: file.taint.unwrap_or(all.taint),
        type_label: file.type_label.unwrap_or(all.type_label),
        exclude_from_load_balancers: file
            .exclude_from_load_balancers
            .unwrap_or(all.exclude_from_load_balancers),
        kubernetes_labels: file.kubernetes_labels.unwrap_or(all.kubernetes_labels),
    }
}

impl From<file::TaintEffect> for TaintEffect {
    fn from(file: file::TaintEffect) -> Self {
        match file {
            file::TaintEffect::NoSchedule => Self::NoSchedule,
            file::TaintEffect::PreferNoSchedule => Self::PreferNoSchedule,
            file::TaintEffect::NoExecute => Self::NoExecute,
        }
    }
}
