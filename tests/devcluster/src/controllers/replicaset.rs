//! ReplicaSets: as many pods as asked for. A pod that failed is replaced at once, as with the real controller.

use std::sync::Arc;

use serde_json::{Value, json};

use super::record;
use super::workloads::{create_pod, ended, remove, set_status};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::ops::as_map;
use crate::resources::Kind;
use crate::store::Stored;

/// Pods made or removed in one look, so that a large set doesn't hold up the others.
const BURST: usize = 500;
const NAME: &str = "replicaset-controller";

/// Brings the set's pods to their number, and tells how many there are.
pub fn reconcile(cluster: &Arc<Cluster>, stored: &Stored) -> Result<()> {
    if stored.head.deleting {
        return Ok(());
    }
    let set = stored.value();
    let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
    let owned = cluster.store.owned_by(Kind::Pods, &stored.head.uid);
    let mut active: Vec<Arc<Stored>> = owned.into_iter().filter(|p| !p.head.deleting && !ended(p)).collect();
    let resource = Kind::ReplicaSets.resource();
    for _ in active.len()..wanted.min(active.len() + BURST) {
        match create_pod(cluster, Kind::ReplicaSets, stored, &set["spec"]["template"], None) {
            Ok(pod) => {
                record::event(
                    cluster,
                    resource,
                    &stored.head,
                    NAME,
                    "SuccessfulCreate",
                    &format!("Created pod: {}", pod.head.name),
                );
                active.push(pod);
            }
            Err(error) => {
                record::event(
                    cluster,
                    resource,
                    &stored.head,
                    NAME,
                    "FailedCreate",
                    &format!("Error creating: {error}"),
                );
                return Err(error);
            }
        }
    }
    if active.len() > wanted {
        // The least useful go first: without a node, then not ready, then the youngest.
        active.sort_by_key(|p| {
            (
                !p.head.field("spec.nodeName").is_empty(),
                p.head.ready,
                std::cmp::Reverse(p.revision),
            )
        });
        let surplus = (active.len() - wanted).min(BURST);
        for pod in active.drain(..surplus) {
            remove(cluster, Kind::Pods, &pod)?;
            record::event(
                cluster,
                resource,
                &stored.head,
                NAME,
                "SuccessfulDelete",
                &format!("Deleted pod: {}", pod.head.name),
            );
        }
    }
    let ready = active.iter().filter(|p| p.head.ready).count();
    set_status(cluster, Kind::ReplicaSets, stored, |object| {
        as_map(object).insert(
            "status".into(),
            status(active.len(), ready, &set["metadata"]["generation"]),
        );
    })
}

fn status(replicas: usize, ready: usize, generation: &Value) -> Value {
    let mut status = json!({"replicas": replicas, "observedGeneration": generation});
    if replicas > 0 {
        status["fullyLabeledReplicas"] = json!(replicas);
    }
    if ready > 0 {
        status["readyReplicas"] = json!(ready);
        status["availableReplicas"] = json!(ready);
    }
    status
}
