//! What a NoExecute taint does to the pods of its node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fit;
use crate::cluster::Cluster;
use crate::ops::{self, DeleteOptions};
use crate::resources::Kind;

/// When each node's NoExecute taint was first seen.
#[derive(Debug, Default)]
pub struct Evictions(HashMap<(String, String), Instant>);

impl Evictions {
    /// Deletes the pods of a node whose time under its taints is over.
    pub fn look_at(&mut self, cluster: &Arc<Cluster>, node: &Value) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let taints: Vec<&Value> = node["spec"]["taints"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|t| t["effect"] == "NoExecute")
            .collect();
        let key = |taint: &Value| (name.to_owned(), taint["key"].as_str().unwrap_or_default().to_owned());
        let present: Vec<_> = taints.iter().map(|t| key(t)).collect();
        self.0.retain(|known, _| known.0 != name || present.contains(known));
        if taints.is_empty() {
            return;
        }
        let pods = cluster.store.on_node(name);
        for taint in taints {
            let since = *self.0.entry(key(taint)).or_insert_with(Instant::now);
            for pod in pods.iter().filter(|p| !p.head.deleting) {
                let Some(seconds) = fit::toleration_seconds(&pod.value()["spec"], taint) else {
                    continue;
                };
                if since.elapsed() < Duration::from_secs(seconds.unsigned_abs()) {
                    continue;
                }
                let options = DeleteOptions {
                    uid: Some(pod.head.uid.to_string()),
                    ..DeleteOptions::default()
                };
                match ops::delete(
                    cluster,
                    Kind::Pods.resource(),
                    &pod.head.namespace,
                    &pod.head.name,
                    &options,
                ) {
                    Ok(_) => tracing::debug!(pod = %pod.head.name, %name, "evicted from a tainted node"),
                    Err(error) => tracing::debug!(%error, pod = %pod.head.name, "unable to evict"),
                }
            }
        }
    }
}
