//! Tiny versions of the controllers that a pod meets. Each is level-triggered: it looks at what is, not at what happened.
//!
//! | controller | does | leaves out |
//! |---|---|---|
//! | scheduler | node selector and affinity, taints, cordon, Ready, cpu, memory, pod count; the emptiest node wins | pod affinity, spreading, preemption, volumes, other resources |
//! | node lifecycle | Ready Unknown without a renewed lease, the taints that follow, their evictions | zones, rate limits |
//! | ReplicaSet | as many pods as asked for | minReadySeconds, adoption |
//! | Deployment | rolls with surge and unavailability, or recreates; revisions | pausing, deadlines, proportional scaling |
//! | Job | parallelism, completions, backoff limit, deadline, suspension, replacement policy | indexes, failure policies, back-off between pods |
//! | namespace | removes contents, then the namespace | |
//! | housekeeping | pods of vanished nodes, events older than an hour | |

mod deployment;
mod eviction;
mod feed;
mod fit;
mod housekeeping;
mod job;
mod namespace;
mod node_lifecycle;
mod record;
mod replicaset;
mod scheduler;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Which controllers run, and how patient they are.
#[derive(Debug, Clone)]
pub struct Controllers {
    /// Binds pending pods to nodes.
    pub scheduler: bool,
    /// Marks nodes whose lease is old.
    pub node_lifecycle: bool,
    /// Runs ReplicaSets, Deployments and Jobs.
    pub workloads: bool,
    /// Removes pods of nodes that are gone.
    pub pod_gc: bool,
    /// A lease that was not renewed for this long makes its node's Ready condition Unknown (40 s).
    pub node_grace: Duration,
    /// A pod whose node is gone for this long is removed (40 s).
    pub pod_gc_grace: Duration,
}

impl Default for Controllers {
    fn default() -> Self {
        Controllers {
            scheduler: true,
            node_lifecycle: true,
            workloads: true,
            pod_gc: true,
            node_grace: Duration::from_secs(40),
            pod_gc_grace: Duration::from_secs(40),
        }
    }
}

/// Starts what is switched on. Namespaces are emptied in any case: their deletion would never end otherwise.
pub fn spawn(cluster: &Arc<Cluster>, config: &Controllers) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![tokio::spawn(namespace::run(cluster.clone()))];
    if config.scheduler {
        tasks.push(tokio::spawn(scheduler::run(cluster.clone())));
    }
    if config.node_lifecycle {
        tasks.push(tokio::spawn(node_lifecycle::run(cluster.clone(), config.node_grace)));
    }
    if config.workloads {
        tasks.push(tokio::spawn(workloads::run(cluster.clone())));
    }
    if config.pod_gc {
        tasks.push(tokio::spawn(housekeeping::run(cluster.clone(), config.pod_gc_grace)));
    }
    tasks
}
