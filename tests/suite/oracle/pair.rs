//! A kubelet's node and a node of ours, on one cluster.

use super::case::Case;
use super::compare;
use super::course::Watch;
use crate::harness::Host;
use crate::harness::Oracle;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::object;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

/// What the pods are called on either node; of one length, so that what counts letters counts the same.
pub const THEIRS: &str = "on-a-kubelet";
pub const OURS: &str = "on-outrigger";

/// One question, answered by both nodes.
pub async fn same(name: &str, case: Case) {
    if let Some(pair) = Pair::new(&format!("or_{}", name.replace(' ', "_"))).await {
        pair.same(name, case).await;
    }
}

/// Both nodes. The host goes before the test.
pub struct Pair {
    _host: Host,
    pub oracle: &'static Oracle,
    pub test: Test,
}

impl Pair {
    /// Starts ours. Where there is no kubelet the test is skipped.
    pub async fn new(name: &str) -> Option<Self> {
        Self::with(name, json!({})).await
    }

    /// The same, with more in the host's file.
    pub async fn with(name: &str, config: Value) -> Option<Self> {
        let oracle = Oracle::get(name).await?;
        let test = Test::new(name).await;
        // As the kubelet is told, with as much room.
        let cluster = json!({ "kubelet": { "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local" } });
        let mut room = test
            .nodes()
            .get(&oracle.node)
            .await
            .unwrap()
            .status
            .unwrap()
            .capacity
            .unwrap();
        room.retain(|resource, _| ["cpu", "memory", "pods"].contains(&resource.as_str()));
        let host = test.start(&test.mock(json!({ "capacity": room })).with(cluster).with(config));
        test.node_ready(&test.node()).await;
        Some(Self {
            _host: host,
            oracle,
            test,
        })
    }

    /// Both names, each with its node: the kubelet's first.
    pub fn sides(&self) -> [(&'static str, String); 2] {
        [(THEIRS, self.oracle.node.clone()), (OURS, self.test.node())]
    }

    /// Makes the pod on both nodes.
    pub async fn create(&self, case: &Case) -> [Pod; 2] {
        self.create_more(case, "").await
    }

    /// Makes another pod on both nodes, with this behind its name.
    pub async fn create_more(&self, case: &Case, end: &str) -> [Pod; 2] {
        let mut created = Vec::new();
        for (name, node) in self.sides() {
            let mut pod = self.test.pod(&format!("{name}{end}"), case.pod.clone());
            pod["spec"]["nodeName"] = json!(node);
            for (key, value) in case.annotations().as_object().unwrap() {
                pod["metadata"]["annotations"][key] = value.clone();
            }
            created.push(self.test.create(pod).await);
        }
        created.try_into().unwrap()
    }

    /// Runs a pod on both and compares all that the API shows of it.
    pub async fn same(&self, name: &str, case: Case) {
        let watch = Watch::start(&self.test).await;
        self.create(&case).await;
        for (pod, _) in self.sides() {
            // It need not stay there.
            eventually(SOON, &format!("pod {pod} has been where it is compared"), || async {
                let (states, _) = watch.states(pod);
                let there = states.iter().any(|state| (case.until)(&object(state.clone())));
                there
                    .then_some(())
                    .ok_or_else(|| format!("{:?}", states.last().map(|last| &last["status"])))
            })
            .await;
        }
        if case.deleted {
            for (pod, _) in self.sides() {
                self.test.delete(pod, None).await;
            }
            for (pod, _) in self.sides() {
                eventually(SOON, &format!("pod {pod} is gone"), || async {
                    watch.states(pod).1.then_some(()).ok_or("it is not")
                })
                .await;
            }
        }
        compare::courses(&self.test, &watch, name, &case).await;
    }
}
