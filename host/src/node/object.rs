//! What a Node's metadata and spec should be, and how a live Node differs from it. No requests are made here.
//!
//! Only keys that this host sets are ever compared or written: labels, taints and annotations of others stay.

use crate::config::NodeConfig;
use outrigger_plugin::NodeDescription;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;

/// Key of the default taint; its value is the plugin's name.
pub const PROVIDER_TAINT: &str = "virtual-kubelet.io/provider";

/// Characters of a hostname, and of a label's value.
const MAX_HOSTNAME: usize = 63;

/// The keys of a Node that are ours, with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredNode {
    /// Its name.
    pub name: String,
    /// Ours among its labels.
    pub labels: BTreeMap<String, String>,
    /// Ours among its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Ours among its taints, by key and effect.
    pub taints: Vec<Value>,
    /// Set once; it can't be changed later.
    pub provider_id: String,
}

impl DesiredNode {
    /// The configured node, as its provider describes it. The configuration wins over the provider, and that over the
    /// defaults.
    pub fn new(node: &NodeConfig, plugin: &str, description: &NodeDescription) -> Self {
        let mut labels = BTreeMap::new();
        let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
        if node.defaults.type_label {
            label("type", "virtual-kubelet");
        }
        if node.defaults.exclude_from_load_balancers {
            label("node.kubernetes.io/exclude-from-external-load-balancers", "true");
        }
        if node.defaults.kubernetes_labels {
            let (os, arch) = (operating_system(description), architecture(description));
            // A label's value ends where a hostname does; longer names of nodes are told apart by `metadata.name` alone.
            if node.name.len() <= MAX_HOSTNAME {
                label("kubernetes.io/hostname", &node.name);
            }
            label("kubernetes.io/os", &os);
            label("kubernetes.io/arch", &arch);
            label("beta.kubernetes.io/os", &os);
            label("beta.kubernetes.io/arch", &arch);
        }
        labels.extend(description.labels.clone());
        labels.extend(node.labels.clone());
        let mut annotations = description.annotations.clone();
        annotations.extend(node.annotations.clone());
        let mut taints = Vec::new();
        if node.defaults.taint {
            taints.push(json!({ "key": PROVIDER_TAINT, "value": plugin, "effect": "NoSchedule" }));
        }
        for taint in &node.taints {
            let effect = taint.effect.as_str();
            taints.push(json!({ "key": taint.key, "value": taint.value, "effect": effect }));
        }
        Self {
            name: node.name.clone(),
            labels,
            annotations,
            taints,
            provider_id: node.provider_id.clone(),
        }
    }

    /// A Node to create, with its first status.
    pub fn object(&self, status: Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.name, "labels": self.labels, "annotations": self.annotations },
            "spec": { "providerID": self.provider_id, "taints": self.taints },
            "status": status,
        })
    }

    /// How `live` differs in what is ours; nothing where it does not.
    pub fn drift(&self, live: &Value) -> Option<Drift> {
        let drift = Drift {
            labels: missing(&self.labels, &live["metadata"]["labels"]),
            annotations: missing(&self.annotations, &live["metadata"]["annotations"]),
            taints: self.missing_taints(live),
            provider_id: live["spec"]["providerID"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
                .then(|| self.provider_id.clone()),
        };
        (!drift.is_empty()).then_some(drift)
    }

    /// Another `providerID` than ours; it can't be changed any more.
    pub fn foreign_provider_id<'a>(&self, live: &'a Value) -> Option<&'a str> {
        live["spec"]["providerID"]
            .as_str()
            .filter(|id| !id.is_empty() && *id != self.provider_id)
    }

    fn missing_taints(&self, live: &Value) -> Vec<Value> {
        let present = live["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_there = |taint: &Value| {
            present
                .iter()
                .any(|other| same_taint(taint, other) && text(taint, "value") == text(other, "value"))
        };
        self.taints.iter().filter(|taint| !is_there(taint)).cloned().collect()
    }
}

/// What of ours a live Node lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    taints: Vec<Value>,
    provider_id: Option<String>,
}

impl Drift {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A merge patch that repairs it, on the version of `live`. Taints are one list to a merge patch: the others' are
    /// written back as they were read, and the version makes sure that they still are.
    pub fn repair(&self, live: &Value) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), live["metadata"]["resourceVersion"].clone());
        if !self.labels.is_empty() {
            metadata.insert("labels".into(), json!(self.labels));
        }
        if !self.annotations.is_empty() {
            metadata.insert("annotations".into(), json!(self.annotations));
        }
        let mut spec = Map::new();
        if let Some(id) = &self.provider_id {
            spec.insert("providerID".into(), json!(id));
        }
        if !self.taints.is_empty() {
            let present = live["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
            let foreign = present
                .iter()
                .filter(|other| !self.taints.iter().any(|taint| same_taint(taint, other)));
            let taints: Vec<&Value> = foreign.chain(&self.taints).collect();
            spec.insert("taints".into(), json!(taints));
        }
        let mut patch = json!({ "metadata": metadata });
        if !spec.is_empty() {
            patch["spec"] = Value::Object(spec);
        }
        patch
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.keys().map(|key| format!("label {key}"));
        let annotations = self.annotations.keys().map(|key| format!("annotation {key}"));
        let taints = self.taints.iter().map(|taint| format!("taint {}", text(taint, "key")));
        let provider_id = self.provider_id.iter().map(|_| "providerID".to_owned());
        let all: Vec<String> = labels.chain(annotations).chain(taints).chain(provider_id).collect();
        f.write_str(&all.join(", "))
    }
}

/// The operating system of a described node.
pub fn operating_system(description: &NodeDescription) -> String {
    match description.operating_system.as_str() {
        "" => "linux".to_owned(),
        os => os.to_owned(),
    }
}

/// The architecture of a described node, as Go writes it.
pub fn architecture(description: &NodeDescription) -> String {
    match description.architecture.as_str() {
        "" => match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        }
        .to_owned(),
        arch => arch.to_owned(),
    }
}

fn missing(wanted: &BTreeMap<String, String>, live: &Value) -> BTreeMap<String, String> {
    wanted
        .iter()
        .filter(|(key, value)| live[key.as_str()].as_str() != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Taints are told apart by key and effect.
fn same_taint(one: &Value, other: &Value) -> bool {
    text(one, "key") == text(other, "key") && text(one, "effect") == text(other, "effect")
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
