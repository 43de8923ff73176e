//! What a Node's status should be, and the patch that makes it so. No requests are made here.
//!
//! Fields and reasons are those of a current kubelet. Conditions and resources of others stay as they are.
//!
//! What a kubelet writes and we don't, because it would not be true of a node without a machine:
//!
//! - `runtimeHandlers` and `features.supplementalGroupsPolicy` repeat what a CRI runtime says of itself. There is none, and
//!   a provider says what it carries of a pod field by field ([`Support`](outrigger_plugin::Support)). Absent, they read as
//!   "not offered": no pod is sent here in the belief that it gets them.
//! - `nodeInfo.swap`: a kubelet leaves it out where there is no swap, too.
//! - `volumesInUse` and `volumesAttached`, and the annotation `volumes.kubernetes.io/controller-managed-attach-detach`:
//!   with it the attach-detach controller would attach disks to a machine that does not exist, and they would stay there. A
//!   provider whose backend is such a machine adds it to the annotations of its description, an operator to those of the node.

use super::facts;
use super::facts::Facts;
use super::health::Verdict;
use super::object;
use crate::config::NodeConfig;
use crate::config::NotReadyAfter;
use jiff::Timestamp;
use outrigger_plugin::NodeCondition;
use outrigger_plugin::NodeDescription;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The condition that tells of the provider alone; Ready follows it later, see [`NotReadyAfter`].
pub const PROVIDER_HEALTHY: &str = "ProviderHealthy";
/// The condition that says that orphans are to be looked at by somebody; it comes and goes.
pub const ORPHANED_PODS: &str = "OrphanedPods";

/// All that a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The node as configured.
    pub node: &'a NodeConfig,
    /// The plugin's name and version.
    pub plugin: (&'a str, &'a str),
    /// The machine.
    pub facts: &'a Facts,
    /// InternalIP, once it is known.
    pub address: Option<IpAddr>,
    /// The kubelet port.
    pub port: u16,
    /// What the node can do that not every kubelet can (KEP-5328), sorted: consumers search the list.
    pub declared_features: &'a [&'static str],
    /// `status.images`; `None` leaves it alone.
    pub images: Option<&'a [Value]>,
    /// How the provider is.
    pub verdict: &'a Verdict,
    /// The provider's word on the node; without one neither capacity nor runtime are touched.
    pub description: Option<&'a NodeDescription>,
    /// Whether the Node is about to be created. Its capacity waits for the description, so that no pods come before.
    pub registering: bool,
    /// The Node was created while its provider was not well, and that has not been well since.
    pub unproven: bool,
    /// Conditions of the host's other rooms.
    pub conditions: &'a BTreeMap<String, NodeCondition>,
    /// Now.
    pub now: Instant,
}

/// A condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    status: &'static str,
    reason: String,
    message: String,
}

impl Condition {
    fn new(status: Option<bool>, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: match status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            },
            reason: reason.into(),
            message: message.into(),
        }
    }

    fn of(condition: &NodeCondition) -> Self {
        Self::new(condition.status, condition.reason.clone(), condition.message.clone())
    }
}

/// Our part of a Node's status.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredStatus {
    /// Address, capacity and so on, by field; never conditions.
    fields: Map<String, Value>,
    /// By type.
    conditions: BTreeMap<String, Condition>,
}

impl DesiredStatus {
    /// Computes it.
    pub fn new(inputs: &Inputs<'_>) -> Self {
        let mut fields = Map::new();
        let mut addresses = Vec::new();
        addresses.extend(
            inputs
                .address
                .map(|ip| json!({ "type": "InternalIP", "address": ip.to_string() })),
        );
        addresses.push(json!({ "type": "Hostname", "address": inputs.node.name }));
        fields.insert("addresses".into(), Value::Array(addresses));
        fields.insert(
            "daemonEndpoints".into(),
            json!({ "kubeletEndpoint": { "Port": inputs.port } }),
        );
        fields.insert("declaredFeatures".into(), json!(inputs.declared_features));
        if let Some(images) = inputs.images {
            fields.insert("images".into(), json!(images));
        }
        if let Some(description) = inputs.description {
            let (capacity, allocatable) = resources(inputs, description);
            fields.insert("capacity".into(), json!(capacity));
            fields.insert("allocatable".into(), json!(allocatable));
            fields.insert("nodeInfo".into(), node_info(inputs, description));
        } else if inputs.registering {
            fields.insert("nodeInfo".into(), node_info(inputs, &NodeDescription::default()));
        }
        Self {
            fields,
            conditions: conditions(inputs),
        }
    }

    /// Whether the node is to be ready.
    pub fn is_ready(&self) -> bool {
        self.conditions.get("Ready").is_some_and(|ready| ready.status == "True")
    }

    /// Why it is as ready as it is: reason and message.
    pub fn ready_because(&self) -> (&str, &str) {
        self.conditions
            .get("Ready")
            .map_or(("", ""), |ready| (&ready.reason, &ready.message))
    }

    /// The whole status of a node that is about to be created.
    pub fn first(&self, now: Timestamp) -> Value {
        let mut status = self.fields.clone();
        status.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        status.insert("conditions".into(), self.timed_conditions(&Value::Null, now));
        Value::Object(status)
    }

    /// A strategic merge patch of `nodes/NAME/status`: conditions with a new heartbeat, and the fields that `live` does
    /// not have so. What `before` had of ours and is no longer wanted is removed.
    pub fn patch(&self, live: &Value, before: Option<&Self>, now: Timestamp) -> Value {
        let mut status = Map::new();
        for (field, wanted) in &self.fields {
            let old = before.and_then(|before| before.fields.get(field));
            let same_keys = keys(old).all(|key| wanted.get(key).is_some());
            let found = observed_field(live, field, wanted);
            // An empty list is not stored.
            let both_empty = found.is_null() && wanted.as_array().is_some_and(Vec::is_empty);
            if same_keys && (found == *wanted || both_empty) {
                continue;
            }
            let mut value = wanted.clone();
            match &mut value {
                // Merged by type otherwise, which would keep an address that is no longer ours.
                Value::Array(list) if field == "addresses" => list.push(json!({ "$patch": "replace" })),
                Value::Object(map) => {
                    for key in keys(old) {
                        map.entry(key.clone()).or_insert(Value::Null);
                    }
                }
                _ => {}
            }
            status.insert(field.clone(), value);
        }
        let mut conditions = self.timed_conditions(live, now);
        if let Some(list) = conditions.as_array_mut() {
            let earlier: Vec<&str> = match before {
                Some(before) => before.conditions.keys().map(String::as_str).collect(),
                // Of an earlier process, which has told nobody what it wrote.
                None => vec![ORPHANED_PODS],
            };
            let gone = earlier.into_iter().filter(|kind| {
                let stands = before.is_some() || live_condition(live, kind).is_object();
                stands && !self.conditions.contains_key(*kind)
            });
            list.extend(gone.map(|kind| json!({ "type": kind, "$patch": "delete" })));
        }
        status.insert("conditions".into(), conditions);
        json!({ "metadata": { "uid": live["metadata"]["uid"] }, "status": status })
    }

    /// What `live` has in the places of ours, without times. It is compared with an earlier observation and not with
    /// what was wanted: the API server writes quantities in a form of its own.
    pub fn observe(&self, live: &Value) -> Value {
        let fields: Map<String, Value> = self
            .fields
            .iter()
            .map(|(field, wanted)| (field.clone(), observed_field(live, field, wanted)))
            .collect();
        let conditions: Vec<Value> = self
            .conditions
            .keys()
            .map(|kind| {
                let found = live_condition(live, kind);
                json!([kind, found["status"], found["reason"], found["message"]])
            })
            .collect();
        json!([fields, conditions])
    }

    fn timed_conditions(&self, live: &Value, now: Timestamp) -> Value {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        // Ready comes last, as the kubelet writes it: who reads in order sees the causes first.
        let ready_last: BTreeSet<(bool, &String)> =
            self.conditions.keys().map(|kind| (kind == "Ready", kind)).collect();
        ready_last
            .into_iter()
            .filter_map(|(_, kind)| Some((kind, self.conditions.get(kind)?)))
            .map(|(kind, condition)| {
                let before = live_condition(live, kind);
                let transition = match before["lastTransitionTime"].as_str() {
                    Some(since) if before["status"] == condition.status => since,
                    _ => &now,
                };
                json!({
                    "type": kind,
                    "status": condition.status,
                    "reason": condition.reason,
                    "message": condition.message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": transition,
                })
            })
            .collect()
    }
}

/// The field as `live` has it, where it is a map cut to our keys: extended resources of others are theirs.
fn observed_field(live: &Value, field: &str, wanted: &Value) -> Value {
    let found = &live["status"][field];
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => found
            .iter()
            .filter(|(key, _)| wanted.contains_key(*key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        _ => found.clone(),
    }
}

fn keys(map: Option<&Value>) -> impl Iterator<Item = &String> {
    map.and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

fn live_condition<'a>(live: &'a Value, kind: &str) -> &'a Value {
    live["status"]["conditions"]
        .as_array()
        .and_then(|conditions| conditions.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

fn resources(
    inputs: &Inputs<'_>,
    description: &NodeDescription,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut capacity = inputs.facts.capacity.clone();
    capacity.extend(description.capacity.clone());
    capacity.extend(inputs.node.capacity.clone());
    let mut allocatable = capacity.clone();
    for (resource, quantity) in &description.allocatable {
        // What was configured replaces all that the provider says of that resource.
        if !inputs.node.capacity.contains_key(resource) {
            allocatable.insert(resource.clone(), quantity.clone());
        }
    }
    (capacity, allocatable)
}

fn node_info(inputs: &Inputs<'_>, description: &NodeDescription) -> Value {
    let (machine_id, system_uuid) = facts::machine_ids(&inputs.node.provider_id);
    let runtime = match description.container_runtime.as_str() {
        "" => format!("{}://{}", inputs.plugin.0, inputs.plugin.1),
        runtime => runtime.to_owned(),
    };
    json!({
        "machineID": machine_id,
        "systemUUID": system_uuid,
        "bootID": inputs.facts.boot_id,
        "kernelVersion": inputs.facts.kernel_version,
        "osImage": inputs.facts.os_image,
        "containerRuntimeVersion": runtime,
        "kubeletVersion": facts::kubelet_version(),
        "kubeProxyVersion": "",
        "operatingSystem": object::operating_system(description),
        "architecture": object::architecture(description),
    })
}

fn conditions(inputs: &Inputs<'_>) -> BTreeMap<String, Condition> {
    let mut conditions = BTreeMap::new();
    let mut add = |kind: &str, condition: Condition| conditions.insert(kind.to_owned(), condition);
    for (kind, reason, message) in [
        (
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    ] {
        add(kind, Condition::new(Some(false), reason, message));
    }
    let described = inputs.description.map(|description| description.conditions.as_slice());
    for condition in described.unwrap_or_default().iter().chain(inputs.conditions.values()) {
        add(&condition.kind, Condition::of(condition));
    }
    add(PROVIDER_HEALTHY, provider_healthy(inputs));
    add("Ready", ready(inputs));
    conditions
}

fn provider_healthy(inputs: &Inputs<'_>) -> Condition {
    match inputs.verdict {
        Verdict::Unknown => Condition::new(None, "NotAsked", "the provider was not asked yet"),
        Verdict::Healthy => Condition::new(Some(true), "PingSucceeded", "the provider answers"),
        Verdict::Unhealthy { reason, message, .. } => Condition::new(Some(false), reason, message),
    }
}

fn ready(inputs: &Inputs<'_>) -> Condition {
    let not_ready = |message: String| Condition::new(Some(false), "KubeletNotReady", message);
    match inputs.verdict {
        Verdict::Unknown => return not_ready("the provider was not asked yet".to_owned()),
        // Nothing runs there that patience would be for.
        Verdict::Unhealthy { message, .. } if inputs.unproven => {
            return not_ready(format!("the provider has not been well yet: {message}"));
        }
        Verdict::Unhealthy { message, .. }
            if unready_at(inputs.verdict, inputs.node.not_ready_after).is_some_and(|at| at <= inputs.now) =>
        {
            return not_ready(format!("the provider is unhealthy: {message}"));
        }
        Verdict::Healthy | Verdict::Unhealthy { .. } => {}
    }
    let described = inputs.description.and_then(|description| {
        description
            .conditions
            .iter()
            .find(|condition| condition.kind == "Ready" && condition.status != Some(true))
    });
    match described {
        Some(condition) => Condition::of(condition),
        None => Condition::new(Some(true), "KubeletReady", "kubelet is posting ready status"),
    }
}

/// When an unhealthy provider makes its node not ready; `None` where it does not.
pub fn unready_at(verdict: &Verdict, after: NotReadyAfter) -> Option<Instant> {
    match (verdict, after) {
        // It was never well, so there is nothing to wait for.
        (
            Verdict::Unhealthy {
                since, never_ran: true, ..
            },
            _,
        ) => Some(*since),
        (Verdict::Unhealthy { since, .. }, NotReadyAfter::After(after)) => since.checked_add(after),
        _ => None,
    }
}

/// When a status is sent that did not change: the kubelet's rule. After a change the next one is shifted at random by
/// half of the interval, so that nodes that changed together do not report together for ever.
pub fn resend_delay(interval: Duration, after_change: bool) -> Duration {
    if after_change {
        interval.mul_f64(0.5 + fastrand::f64())
    } else {
        interval
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
