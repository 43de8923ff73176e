//! When the leases of nodes were renewed, by a watch of their own.

use super::test::Test;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// The renewals of some nodes' leases in a span of time.
#[derive(Debug)]
pub struct Renewals {
    began: Instant,
    ended: Instant,
    /// By node, in order.
    times: BTreeMap<String, Vec<Instant>>,
}

impl Renewals {
    /// Watches the leases of these nodes for so long.
    pub async fn watch(test: &Test, nodes: &[String], span: Duration) -> Self {
        let leases = test.leases();
        let list = leases.list(&ListParams::default()).await.unwrap();
        let mut version = list.metadata.resource_version.unwrap();
        let began = Instant::now();
        let mut renewals = Self {
            began,
            ended: began + span,
            times: nodes.iter().map(|node| (node.clone(), Vec::new())).collect(),
        };
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        while Instant::now() < renewals.ended {
            // Watches end before 290 s, and may break: the next goes on where the last one was.
            let params = WatchParams::default().timeout(250);
            let mut events = leases.watch(&params, &version).await.unwrap().boxed();
            while let Ok(Some(event)) = tokio::time::timeout_at(renewals.ended, events.next()).await {
                let Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) = event else {
                    continue;
                };
                version = lease.metadata.resource_version.clone().unwrap();
                renewals.note(&lease, &mut last);
            }
        }
        renewals
    }

    fn note(&mut self, lease: &Lease, last: &mut BTreeMap<String, String>) {
        let node = lease.metadata.name.clone().unwrap();
        let Some(times) = self.times.get_mut(&node) else { return };
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let renewed = serde_json::to_string(&renewed).unwrap();
        if last.insert(node, renewed.clone()) != Some(renewed) {
            times.push(Instant::now());
        }
    }

    /// The longest time that a lease was not renewed, from the beginning to the end, and whose it was.
    pub fn longest_gap(&self) -> (Duration, String) {
        let gap = |times: &Vec<Instant>| {
            let all = std::iter::once(&self.began).chain(times).chain([&self.ended]);
            let all: Vec<_> = all.collect();
            all.windows(2).map(|pair| *pair[1] - *pair[0]).max().unwrap_or_default()
        };
        let gaps = self.times.iter().map(|(node, times)| (gap(times), node.clone()));
        gaps.max().unwrap()
    }

    /// Renewals in each tenth of an interval, whichever interval they fell into.
    pub fn tenths(&self, interval: Duration) -> [usize; 10] {
        let mut tenths = [0; 10];
        for time in self.times.values().flatten() {
            let into = (*time - self.began).as_secs_f64() % interval.as_secs_f64();
            let tenth = (into / interval.as_secs_f64() * 10.0) as usize;
            tenths[tenth.min(9)] += 1;
        }
        tenths
    }
}
