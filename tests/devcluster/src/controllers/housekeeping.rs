//! Pods of nodes that no longer exist, and events that nobody will read any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::ops::{self, DeleteOptions};
use crate::resources::Kind;
use crate::store::key;
use crate::time;

const LONGEST_TICK: Duration = Duration::from_secs(20);
/// The real server keeps events for an hour, too.
const EVENT_LIFE: f64 = 3600.0;
const EVENT_TICK: Duration = Duration::from_secs(300);

/// Runs until the cluster shuts down.
pub async fn run(cluster: Arc<Cluster>, grace: Duration) {
    let mut tick = tokio::time::interval((grace / 4).clamp(Duration::from_millis(10), LONGEST_TICK));
    let mut event_tick = tokio::time::interval(EVENT_TICK);
    let mut missing = HashMap::new();
    loop {
        tokio::select! {
            _ = tick.tick() => collect_pods(&cluster, &mut missing, grace),
            _ = event_tick.tick() => collect_events(&cluster),
            () = cluster.shutdown.cancelled() => return,
        }
    }
}

/// Removes, by force, the pods of nodes that have been gone for longer than the grace.
fn collect_pods(cluster: &Arc<Cluster>, missing: &mut HashMap<Box<str>, Instant>, grace: Duration) {
    let nodes = cluster.store.nodes_with_pods();
    let gone: Vec<Box<str>> = nodes
        .into_iter()
        .filter(|n| cluster.store.get(Kind::Nodes, &key("", n)).is_none())
        .collect();
    missing.retain(|node, _| gone.contains(node));
    for node in gone {
        let since = *missing.entry(node.clone()).or_insert_with(Instant::now);
        if since.elapsed() < grace {
            continue;
        }
        for pod in cluster.store.on_node(&node) {
            let options = DeleteOptions {
                grace: Some(0),
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
                Ok(_) => tracing::debug!(pod = %pod.head.name, %node, "removed a pod of a node that is gone"),
                Err(error) => {
                    tracing::debug!(%error, pod = %pod.head.name, "unable to remove a pod of a node that is gone")
                }
            }
        }
    }
}

fn collect_events(cluster: &Arc<Cluster>) {
    for event in cluster.store.all(Kind::Events, "") {
        let object = event.value();
        let last = [&object["lastTimestamp"], &object["metadata"]["creationTimestamp"]]
            .into_iter()
            .find_map(|t| t.as_str());
        if last.is_some_and(|last| time::age_seconds(last) > EVENT_LIFE) {
            // Renewed or gone by now: both are fine.
            let _ = cluster.store.remove(Kind::Events, &event.head.key(), event.revision);
        }
    }
}
