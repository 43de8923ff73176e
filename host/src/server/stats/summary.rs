//! `/stats/summary`: the kubelet's `stats/v1alpha1` Summary. What nobody told is absent, never zero.

use super::sample::ContainerSample;
use super::sample::PodSample;
use super::sample::Sample;
use outrigger_plugin::Timestamp;
use outrigger_plugin::Usage;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Summary<'a> {
    node: Node<'a>,
    pods: Vec<Pod<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node<'a> {
    node_name: &'a str,
    start_time: String,
    #[serde(flatten)]
    usage: Parts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod<'a> {
    pod_ref: PodRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<&'a str>,
    containers: Vec<Container<'a>>,
    #[serde(flatten)]
    usage: Parts,
}

#[derive(Serialize)]
struct PodRef<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    name: &'a str,
    start_time: String,
    #[serde(flatten)]
    usage: Parts,
}

#[derive(Serialize)]
struct Parts {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_nano_cores: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    time: String,
    working_set_bytes: u64,
}

pub(super) fn summary<'a>(node: &'a str, started: Timestamp, sample: &'a Sample) -> Summary<'a> {
    Summary {
        node: Node {
            node_name: node,
            start_time: time(started),
            usage: parts(&sample.node),
        },
        pods: sample.pods.iter().map(pod).collect(),
    }
}

fn pod(pod: &PodSample) -> Pod<'_> {
    Pod {
        pod_ref: PodRef {
            name: &pod.name,
            namespace: &pod.namespace,
            uid: &pod.uid,
        },
        start_time: pod.started.as_deref(),
        containers: pod.containers.iter().map(container).collect(),
        usage: parts(&pod.total),
    }
}

fn container(ContainerSample { usage, .. }: &ContainerSample) -> Container<'_> {
    Container {
        name: &usage.container,
        start_time: time(usage.started_at),
        usage: parts(&usage.usage),
    }
}

fn parts(usage: &Usage) -> Parts {
    let (now, total) = (usage.cpu_nanocores, usage.cpu_core_nanoseconds);
    Parts {
        cpu: (now.is_some() || total.is_some()).then(|| Cpu {
            time: time(usage.time),
            usage_nano_cores: now,
            usage_core_nano_seconds: total,
        }),
        memory: usage.memory_working_set_bytes.map(|working_set_bytes| Memory {
            time: time(usage.time),
            working_set_bytes,
        }),
    }
}

/// RFC 3339 in whole seconds, as the API machinery writes times.
fn time(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
