//! Resource use: what the pods are declared to use, and a little for the node itself.

use crate::{
    protocol::{Reply, Request},
    provider::{Mock, surprise},
    span::between,
};
use outrigger_plugin::{Call, Result, Stats, StatsSummary, Timestamp, Usage, request::StatsRequest};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// What a node without pods uses: metrics-server takes nothing for a fault.
const NODE_NANOCORES: u64 = 20_000_000;
const NODE_BYTES: u64 = 128 << 20;

/// CPU time that nodes have used, as the sum of what their containers used between two looks: it never goes back, as
/// the sum of those that run would when one ends.
pub struct NodeTimes {
    started: Timestamp,
    nodes: Mutex<HashMap<String, (Timestamp, u64)>>,
}

impl Default for NodeTimes {
    fn default() -> Self {
        Self {
            started: Timestamp::now(),
            nodes: Mutex::default(),
        }
    }
}

impl NodeTimes {
    fn look(&self, node: &str, nanocores: u64, now: Timestamp) -> u64 {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, used) = nodes.entry(node.to_owned()).or_insert((self.started, 0));
        let passed = u64::try_from(between(*last, now).as_millis()).unwrap_or(u64::MAX);
        *used = used.saturating_add((nanocores / 1_000).saturating_mul(passed));
        *last = now;
        *used
    }
}

impl Stats for Mock {
    async fn stats(&self, _call: Call, request: StatsRequest) -> Result<StatsSummary> {
        let node = request.node.clone();
        let containers = match self.backend.ask(Request::Usage { node }).await? {
            Reply::Usage(containers) => containers,
            other => return Err(surprise(&other)),
        };
        let sum = |of: fn(&Usage) -> Option<u64>| {
            containers
                .iter()
                .filter_map(|container| of(&container.usage))
                .fold(0_u64, u64::saturating_add)
        };
        let now = Timestamp::now();
        let nanocores = NODE_NANOCORES.saturating_add(sum(|usage| usage.cpu_nanocores));
        let node = Usage {
            time: now,
            cpu_core_nanoseconds: Some(self.node_times.look(&request.node, nanocores, now)),
            cpu_nanocores: Some(nanocores),
            memory_working_set_bytes: Some(NODE_BYTES.saturating_add(sum(|usage| usage.memory_working_set_bytes))),
        };
        Ok(StatsSummary { node, containers })
    }
}
