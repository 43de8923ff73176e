//! What a provider tells of resource use, put together with the pods it is about.

use bytes::Bytes;
use outrigger_plugin::ContainerUsage;
use outrigger_plugin::StatsSummary;
use outrigger_plugin::Usage;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One look at a node.
pub(super) struct Sample {
    pub node: Usage,
    /// By namespace and name.
    pub pods: Vec<PodSample>,
}

/// A pod of the node that uses something.
pub(super) struct PodSample {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// As its status has it.
    pub started: Option<String>,
    /// By name.
    pub containers: Vec<ContainerSample>,
    /// The sum over its containers.
    pub total: Usage,
}

pub(super) struct ContainerSample {
    pub usage: ContainerUsage,
    pub image: String,
    /// The runtime's id.
    pub id: String,
}

/// The parts of a `v1.Pod` that statistics and metrics want to know.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::server) struct Pod {
    metadata: Metadata,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    uid: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    start_time: Option<String>,
    container_statuses: Vec<Container>,
    init_container_statuses: Vec<Container>,
    ephemeral_container_statuses: Vec<Container>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
    #[serde(rename = "containerID")]
    container_id: String,
    state: State,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<serde::de::IgnoredAny>,
}

/// How many containers are in which state.
#[derive(Default)]
pub(in crate::server) struct States {
    pub running: i64,
    pub exited: i64,
    /// Made, or to be made, and not running yet.
    pub created: i64,
}

impl Pod {
    /// Reads what it needs; a pod that can't be read is as one without anything.
    pub(in crate::server) fn read(raw: &[u8]) -> Self {
        serde_json::from_slice(raw).unwrap_or_default()
    }

    pub(in crate::server) fn states(&self) -> States {
        let mut states = States::default();
        for Container { state, .. } in self.containers() {
            match state {
                State { running: Some(_), .. } => states.running += 1,
                State {
                    terminated: Some(_), ..
                } => states.exited += 1,
                _ => states.created += 1,
            }
        }
        states
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        let Status {
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
            ..
        } = &self.status;
        let regular = container_statuses.iter().chain(init_container_statuses);
        regular.chain(ephemeral_container_statuses)
    }
}

impl Sample {
    /// Keeps what is told of pods that the node has: a provider may serve several nodes, and clusters.
    pub(super) fn new(node: &str, told: StatsSummary, pods: &[Bytes]) -> Self {
        let pods = pods.iter().map(|raw| Pod::read(raw));
        let known: BTreeMap<String, Pod> = pods.map(|pod| (pod.metadata.uid.clone(), pod)).collect();
        let mut found: BTreeMap<(String, String, String), PodSample> = BTreeMap::new();
        for usage in told.containers {
            let identity = &usage.identity;
            let Some(pod) = known.get(&identity.uid).filter(|_| identity.node == node) else {
                continue;
            };
            let (namespace, name, uid) = (&identity.namespace, &identity.name, &identity.uid);
            let key = (namespace.clone(), name.clone(), uid.clone());
            let sample = found.entry(key).or_insert_with(|| PodSample {
                namespace: namespace.clone(),
                name: name.clone(),
                uid: uid.clone(),
                started: pod.status.start_time.clone(),
                containers: Vec::new(),
                total: Usage::default(),
            });
            add(&mut sample.total, &usage.usage);
            let status = pod.containers().find(|container| container.name == usage.container);
            sample.containers.push(ContainerSample {
                image: status.map_or_else(String::new, |status| status.image.clone()),
                id: status.map_or_else(String::new, |status| status.container_id.clone()),
                usage,
            });
        }
        let mut pods: Vec<PodSample> = found.into_values().collect();
        for pod in &mut pods {
            pod.containers.sort_by(|a, b| a.usage.container.cmp(&b.usage.container));
        }
        Self { node: told.node, pods }
    }
}

/// What is unknown of one container is left out of the sum, whose time is that of the newest part.
fn add(total: &mut Usage, part: &Usage) {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    total.time = total.time.max(part.time);
    total.cpu_core_nanoseconds = sum(total.cpu_core_nanoseconds, part.cpu_core_nanoseconds);
    total.cpu_nanocores = sum(total.cpu_nanocores, part.cpu_nanocores);
    total.memory_working_set_bytes = sum(total.memory_working_set_bytes, part.memory_working_set_bytes);
}
