//! A pod for both nodes, and when there is nothing more to wait for.

use crate::harness::phase;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

/// A script that runs until it is told to end.
pub const RUNS_ON: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

/// One question to the kubelet.
#[derive(Clone, Debug)]
pub struct Case {
    /// What makes it another pod than the suite's plain one.
    pub pod: Value,
    /// What its commands do, in the mock's annotations: key and value.
    pub behaviour: Vec<(&'static str, &'static str)>,
    /// Whether a pod has come to where it is looked at.
    pub until: fn(&Pod) -> bool,
    /// It is deleted then, with its own grace period, and looked at when it is gone.
    pub deleted: bool,
}

impl Case {
    /// A pod with this specification, of which containers have the image that both nodes have.
    pub fn new(spec: Value, until: fn(&Pod) -> bool) -> Self {
        let mut spec = spec;
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = json!("registry.example/app:1");
            }
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        Self {
            pod: json!({ "spec": spec }),
            behaviour: Vec::new(),
            until,
            deleted: false,
        }
    }

    /// A pod of one container that runs this by the shell.
    pub fn shell(script: &str, rest: Value, until: fn(&Pod) -> bool) -> Self {
        let mut spec = rest;
        spec["containers"] = json!([{ "name": "app", "command": ["sh", "-c", script] }]);
        Self::new(spec, until)
    }

    /// What the mock is to do for it: keys without their domain, which may begin with a container's name and a slash.
    pub fn mock(mut self, behaviour: &[(&'static str, &'static str)]) -> Self {
        self.behaviour.extend(behaviour);
        self
    }

    /// Deletes it in the end.
    pub fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }

    /// Whether a state of its pod can be the one that is compared: whatever comes when it is to go, and otherwise where it
    /// was to come to.
    pub fn looks_at(&self, pod: &Pod) -> bool {
        self.deleted || (self.until)(pod)
    }

    /// The mock's annotations.
    pub fn annotations(&self) -> Value {
        let entry = |(key, value): &(&str, &str)| {
            let key = match key.split_once('/') {
                Some((container, key)) => format!("{container}.mock.outrigger.dev/{key}"),
                None => format!("mock.outrigger.dev/{key}"),
            };
            (key, json!(value))
        };
        Value::Object(self.behaviour.iter().map(entry).collect())
    }
}

/// The status of a pod's container with this name, of whatever kind.
fn container(pod: &Pod, name: &str) -> Value {
    let status = serde_json::to_value(&pod.status).unwrap();
    let lists = ["containerStatuses", "initContainerStatuses"];
    let all = lists
        .iter()
        .flat_map(|list| status[list].as_array().into_iter().flatten());
    let mut found = all.filter(|one| one["name"] == name);
    found.next().cloned().unwrap_or_default()
}

/// Whether a pod has come to its end.
pub fn is_over(pod: &Pod) -> bool {
    ["Succeeded", "Failed"].contains(&phase(pod))
}

/// Why a container waits.
pub fn waits(pod: &Pod, name: &str) -> String {
    let status = container(pod, name);
    status["state"]["waiting"]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// How often a container was started again.
pub fn restarts(pod: &Pod, name: &str) -> u64 {
    container(pod, name)["restartCount"].as_u64().unwrap_or_default()
}

/// Whether a container has ended.
pub fn ended(pod: &Pod, name: &str) -> bool {
    !container(pod, name)["state"]["terminated"].is_null()
}
