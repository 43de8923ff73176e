//! Binds pending pods to the emptiest node that fits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::feed::Feed;
use super::fit::{self, Load};
use super::record;
use crate::cluster::Cluster;
use crate::ops;
use crate::resources::Kind;
use crate::store::{Change, Delivery, Stored};

const NAME: &str = "default-scheduler";

#[derive(Debug)]
struct Node {
    object: Value,
    offer: Load,
}

/// What the scheduler knows of the cluster.
#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<Box<str>, Node>,
    /// Survives its node, whose pods may be seen before or after it.
    used: HashMap<Box<str>, Load>,
    /// Bound pods that have not ended: UID, node, load.
    placed: HashMap<Box<str>, (Box<str>, Box<str>, Load)>,
    /// Pods to be placed.
    pending: BTreeSet<Box<str>>,
    /// Pods for which there was no place; they wait for a change of the nodes' load.
    waiting: BTreeSet<Box<str>>,
}

/// Runs until the cluster shuts down.
pub async fn run(cluster: Arc<Cluster>) {
    loop {
        let session = session(&cluster);
        tokio::select! {
            () = session => tracing::debug!("scheduler starts over: its feed was cut off"),
            () = cluster.shutdown.cancelled() => return,
        }
    }
}

async fn session(cluster: &Arc<Cluster>) {
    let (mut nodes, mut pods) = (Feed::of(cluster, Kind::Nodes), Feed::of(cluster, Kind::Pods));
    let mut state = State::default();
    loop {
        tokio::select! {
            biased;
            delivery = nodes.next() => match delivery {
                Some(delivery) => state.node(&delivery),
                None => return,
            },
            delivery = pods.next() => match delivery {
                Some(delivery) => state.pod(&delivery),
                None => return,
            },
        }
        // What is known already comes first: a decision on half of it would pile pods up on one node.
        while let Some(delivery) = nodes.ready() {
            state.node(&delivery);
        }
        while let Some(delivery) = pods.ready() {
            state.pod(&delivery);
        }
        state.place_all(cluster);
        tokio::task::yield_now().await;
    }
}

impl State {
    fn node(&mut self, delivery: &Delivery) {
        let name = &delivery.stored.head.name;
        if delivery.change == Change::Deleted {
            self.nodes.remove(name);
        } else {
            let object = delivery.stored.value();
            let offer = Load::of_node(&object);
            self.nodes.insert(name.clone(), Node { object, offer });
        }
        self.retry();
    }

    fn retry(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.pending.append(&mut waiting);
    }

    fn pod(&mut self, delivery: &Delivery) {
        let head = &delivery.stored.head;
        let key = head.key();
        let node = head.field("spec.nodeName");
        let ended = matches!(head.field("status.phase"), "Succeeded" | "Failed");
        if delivery.change == Change::Deleted || ended {
            self.pending.remove(&key);
            self.waiting.remove(&key);
            self.release(&key);
        } else if node.is_empty() {
            if head.field("spec.schedulerName") == NAME && !head.deleting && !self.waiting.contains(&key) {
                self.pending.insert(key);
            }
        } else {
            self.pending.remove(&key);
            self.waiting.remove(&key);
            if self.placed.get(&key).is_none_or(|(uid, ..)| *uid != head.uid) {
                self.release(&key);
                self.occupy(&delivery.stored, node);
            }
        }
    }

    fn occupy(&mut self, stored: &Stored, node: &str) {
        let load = Load::of_pod(&stored.value()["spec"]);
        self.used.entry(node.into()).or_default().add(&load);
        self.placed
            .insert(stored.head.key(), (stored.head.uid.clone(), node.into(), load));
    }

    fn release(&mut self, key: &str) {
        if let Some((_, node, load)) = self.placed.remove(key) {
            if let Some(used) = self.used.get_mut(&node) {
                used.remove(&load);
            }
            self.retry();
        }
    }

    fn place_all(&mut self, cluster: &Arc<Cluster>) {
        for key in std::mem::take(&mut self.pending) {
            // What the store says now counts, not what the feed said.
            let Some(stored) = cluster.store.get(Kind::Pods, &key) else {
                continue;
            };
            if !stored.head.field("spec.nodeName").is_empty() || stored.head.deleting {
                continue;
            }
            let pod = stored.value();
            if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
                continue;
            }
            match self.choose(&pod["spec"]) {
                Ok(node) => self.bind(cluster, &stored, &node),
                Err(why) => {
                    self.waiting.insert(key);
                    refuse(cluster, &stored, &pod, &why);
                }
            }
        }
    }

    /// The node with the smallest share of its pods taken; in words, why there is none.
    fn choose(&self, spec: &Value) -> Result<Box<str>, String> {
        let need = Load::of_pod(spec);
        let mut best: Option<(&Box<str>, i128, i128)> = None;
        let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
        let none = Load::default();
        for (name, node) in &self.nodes {
            let used = self.used.get(name).unwrap_or(&none);
            match fit::refusal(spec, &need, &node.object, &node.offer, used) {
                Some(why) => *refusals.entry(why).or_default() += 1,
                None if best.is_none_or(|(_, pods, room)| used.pods * room < pods * node.offer.pods) => {
                    best = Some((name, used.pods, node.offer.pods));
                }
                None => {}
            }
        }
        if let Some((name, ..)) = best {
            return Ok(name.clone());
        }
        if self.nodes.is_empty() {
            return Err("no nodes available to schedule pods".into());
        }
        let reasons: Vec<String> = refusals
            .into_iter()
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        Err(format!(
            "0/{} nodes are available: {}.",
            self.nodes.len(),
            reasons.join(", ")
        ))
    }

    fn bind(&mut self, cluster: &Arc<Cluster>, stored: &Stored, node: &str) {
        let head = &stored.head;
        let binding = ops::Binding {
            namespace: &head.namespace,
            name: &head.name,
            uid: Some(&head.uid),
            node,
            dry_run: false,
        };
        match ops::bind(cluster, &binding) {
            Ok(bound) => {
                self.occupy(&bound, node);
                let message = format!("Successfully assigned {}/{} to {node}", head.namespace, head.name);
                record::event(cluster, Kind::Pods.resource(), head, NAME, "Scheduled", &message);
            }
            // Gone, or bound by somebody else: its next event says so.
            Err(error) => tracing::debug!(%error, pod = %head.name, "unable to bind"),
        }
    }
}

fn refuse(cluster: &Arc<Cluster>, stored: &Stored, pod: &Value, why: &str) {
    let known = pod["status"]["conditions"].as_array().into_iter().flatten();
    if known
        .into_iter()
        .any(|c| c["type"] == "PodScheduled" && c["message"] == why)
    {
        return;
    }
    let head = &stored.head;
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why});
    match ops::set_pod_condition(cluster, &head.namespace, &head.name, &condition) {
        Ok(_) => record::event(cluster, Kind::Pods.resource(), head, NAME, "FailedScheduling", why),
        Err(error) => tracing::debug!(%error, pod = %head.name, "unable to say why a pod has no node"),
    }
}
