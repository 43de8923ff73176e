//! Nodes that stopped talking: Ready becomes Unknown, taints follow, pods are no longer ready and leave in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::eviction::Evictions;
use super::record;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::ops::{self, Scope, Update, member};
use crate::resources::Kind;
use crate::store::{Stored, key};
use crate::time;

/// Whether a node talks is a question of time, so that it has to be asked again and again.
const TICKS_PER_GRACE: u32 = 8;
const LONGEST_TICK: Duration = Duration::from_secs(5);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The last sign of life: the lease's revision or the heartbeat in the status, and when it changed by our own clock.
#[derive(Debug)]
struct Sign {
    lease: u64,
    heartbeat: String,
    at: Instant,
}

/// Runs until the cluster shuts down.
pub async fn run(cluster: Arc<Cluster>, grace: Duration) {
    let period = (grace / TICKS_PER_GRACE).clamp(Duration::from_millis(10), LONGEST_TICK);
    let mut tick = tokio::time::interval(period);
    let mut signs: HashMap<Box<str>, Sign> = HashMap::new();
    let mut evictions = Evictions::default();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = cluster.shutdown.cancelled() => return,
        }
        let nodes = cluster.store.all(Kind::Nodes, "");
        signs.retain(|uid, _| nodes.iter().any(|n| n.head.uid == *uid));
        for node in nodes {
            let object = node.value();
            if let Err(error) = look_at(&cluster, &node, &object, &mut signs, grace) {
                tracing::debug!(%error, node = %node.head.name, "unable to update a node");
            }
            evictions.look_at(&cluster, &object);
        }
    }
}

fn ready(node: &Value) -> Option<&Value> {
    node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready")
}

fn look_at(
    cluster: &Arc<Cluster>,
    stored: &Stored,
    node: &Value,
    signs: &mut HashMap<Box<str>, Sign>,
    grace: Duration,
) -> Result<()> {
    let head = &stored.head;
    let lease = cluster
        .store
        .get(Kind::Leases, &key("kube-node-lease", &head.name))
        .map_or(0, |l| l.revision);
    let heartbeat = ready(node)
        .and_then(|c| c["lastHeartbeatTime"].as_str())
        .unwrap_or_default();
    let sign = signs.entry(head.uid.clone()).or_insert_with(|| Sign {
        lease,
        heartbeat: heartbeat.into(),
        at: Instant::now(),
    });
    if sign.lease != lease || sign.heartbeat != heartbeat {
        *sign = Sign {
            lease,
            heartbeat: heartbeat.into(),
            at: Instant::now(),
        };
    }
    let silent = sign.at.elapsed() > grace;
    let status = ready(node).and_then(|c| c["status"].as_str()).unwrap_or("Unknown");
    if silent && (status != "Unknown" || ready(node).is_none()) {
        go_unknown(cluster, stored)?;
        return taint(cluster, stored, "Unknown");
    }
    taint(cluster, stored, status)
}

fn update<'a>(stored: &'a Stored, scope: Scope) -> Update<'a> {
    Update {
        resource: Kind::Nodes.resource(),
        namespace: "",
        name: &stored.head.name,
        scope,
        dry_run: false,
        narrow: scope == Scope::Status,
    }
}

/// All that the node says about itself becomes Unknown, and its pods are not ready.
fn go_unknown(cluster: &Arc<Cluster>, stored: &Stored) -> Result<()> {
    ops::update(cluster, &update(stored, Scope::Status), |node| {
        let list = member(node, "status").entry("conditions").or_insert_with(|| json!([]));
        let Some(list) = list.as_array_mut() else { return Ok(()) };
        if list.iter().all(|c| c["type"] != "Ready") {
            list.push(json!({"type": "Ready", "status": "True"}));
        }
        for condition in list {
            let own = matches!(
                condition["type"].as_str(),
                Some("Ready" | "MemoryPressure" | "DiskPressure" | "PIDPressure")
            );
            if own && condition["status"] != "Unknown" {
                let map = ops::as_map(condition);
                map.insert("status".into(), "Unknown".into());
                map.insert("reason".into(), "NodeStatusUnknown".into());
                map.insert("message".into(), "Kubelet stopped posting node status.".into());
                map.insert("lastTransitionTime".into(), time::now().into());
            }
        }
        Ok(())
    })?;
    let message = format!("Node {} status is now: NodeNotReady", stored.head.name);
    record::event(
        cluster,
        Kind::Nodes.resource(),
        &stored.head,
        "node-controller",
        "NodeNotReady",
        &message,
    );
    for pod in cluster.store.on_node(&stored.head.name) {
        if pod.head.ready {
            let condition = json!({"type": "Ready", "status": "False"});
            // A pod that is gone by now needs nothing.
            let _ = ops::set_pod_condition(cluster, &pod.head.namespace, &pod.head.name, &condition);
        }
    }
    Ok(())
}

/// The taints that a node's condition and cordon ask for; everybody else's stay.
fn wanted(node: &Value, status: &str) -> Vec<Value> {
    let mine = |t: &Value| {
        let key = t["key"].as_str().unwrap_or_default();
        [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key)
    };
    let old = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let mut taints: Vec<Value> = old.iter().filter(|t| !mine(t)).cloned().collect();
    let mut add = |key: &str, effect: &str| {
        let known = old.iter().find(|t| t["key"] == key && t["effect"] == effect);
        let fresh = || {
            let mut taint = json!({"key": key, "effect": effect});
            if effect == "NoExecute" {
                taint["timeAdded"] = time::now().into();
            }
            taint
        };
        taints.push(known.cloned().unwrap_or_else(fresh));
    };
    let key = match status {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    if let Some(key) = key {
        add(key, "NoSchedule");
        add(key, "NoExecute");
    }
    if node["spec"]["unschedulable"] == true {
        add(UNSCHEDULABLE, "NoSchedule");
    }
    taints
}

fn taint(cluster: &Arc<Cluster>, stored: &Stored, status: &str) -> Result<()> {
    ops::update(cluster, &update(stored, Scope::Whole), |node| {
        let taints = wanted(node, status);
        let spec = member(node, "spec");
        if taints.is_empty() {
            spec.remove("taints");
        } else {
            spec.insert("taints".into(), taints.into());
        }
        Ok(())
    })
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_the_condition_and_leave_others_alone() {
        let mut node = json!({"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}});
        assert_eq!(wanted(&node, "True"), [json!({"key": "mine", "effect": "NoSchedule"})]);
        let unknown = wanted(&node, "Unknown");
        assert_eq!(unknown.len(), 3);
        assert_eq!(unknown[1], json!({"key": UNREACHABLE, "effect": "NoSchedule"}));
        node["spec"]["taints"] = unknown.clone().into();
        assert_eq!(wanted(&node, "Unknown"), unknown);
        assert_eq!(wanted(&node, "True").len(), 1);
        node["spec"]["unschedulable"] = json!(true);
        assert_eq!(wanted(&node, "True")[1]["key"], UNSCHEDULABLE);
    }
}
