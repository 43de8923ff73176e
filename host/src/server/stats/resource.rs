//! `/metrics/resource`: what the metrics-server and so kubectl top and autoscalers read (the kubelet's
//! resource metrics endpoint, KEP-727).
//!
//! The metrics-server takes a zero for a gap: a node with one is left out, and a single container with one takes its
//! whole pod away. So what is zero or unknown is not written, and of a container either all or nothing. Its labels are
//! found by name, so each sample of a container has all three.

use super::exposition::Epoch;
use super::exposition::Page;
use super::exposition::Seconds;
use super::sample::ContainerSample;
use super::sample::PodSample;
use super::sample::Sample;
use outrigger_plugin::Usage;

/// CPU time in nanoseconds and working set in bytes, both more than nothing.
fn complete(usage: &Usage) -> Option<(u64, u64)> {
    let cpu = usage.cpu_core_nanoseconds.filter(|cpu| *cpu > 0)?;
    let memory = usage.memory_working_set_bytes.filter(|memory| *memory > 0)?;
    Some((cpu, memory))
}

/// The page; without a sample, one that says that there was an error.
pub(super) fn text(sample: Option<&Sample>) -> String {
    let mut page = Page::default();
    if let Some(sample) = sample {
        node(&mut page, &sample.node);
        containers(&mut page, sample);
        pods(&mut page, sample);
    }
    let failed = u8::from(sample.is_none());
    let help = "1 if there was an error while getting the metrics, 0 otherwise";
    page.family("resource_scrape_error", "gauge", help);
    page.sample("resource_scrape_error", &[], failed, None);
    page.family("scrape_error", "gauge", "The same by its former name");
    page.sample("scrape_error", &[], failed, None);
    page.into_text()
}

fn node(page: &mut Page, usage: &Usage) {
    let Some((cpu, memory)) = complete(usage) else { return };
    let time = Some(usage.time.0);
    let name = "node_cpu_usage_seconds_total";
    page.family(name, "counter", "CPU time used by the node in core-seconds");
    page.sample(name, &[], Seconds(cpu), time);
    let name = "node_memory_working_set_bytes";
    page.family(name, "gauge", "Working set of the node in bytes");
    page.sample(name, &[], memory, time);
}

fn containers(page: &mut Page, sample: &Sample) {
    let complete: Vec<_> = sample
        .pods
        .iter()
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
        .filter_map(|(pod, container)| Some((labels(pod, container), container, complete(&container.usage.usage)?)))
        .collect();
    let name = "container_start_time_seconds";
    page.family(name, "gauge", "Start of the container in seconds since 1970");
    for (labels, container, _) in &complete {
        page.sample(name, labels, Epoch(container.usage.started_at.0), None);
    }
    let name = "container_cpu_usage_seconds_total";
    page.family(name, "counter", "CPU time used by the container in core-seconds");
    for (labels, container, (cpu, _)) in &complete {
        page.sample(name, labels, Seconds(*cpu), Some(container.usage.usage.time.0));
    }
    let name = "container_memory_working_set_bytes";
    page.family(name, "gauge", "Working set of the container in bytes");
    for (labels, container, (_, memory)) in &complete {
        page.sample(name, labels, memory, Some(container.usage.usage.time.0));
    }
}

fn labels<'a>(pod: &'a PodSample, container: &'a ContainerSample) -> [(&'static str, &'a str); 3] {
    [
        ("container", &container.usage.container),
        ("namespace", &pod.namespace),
        ("pod", &pod.name),
    ]
}

fn pods(page: &mut Page, sample: &Sample) {
    let complete: Vec<_> = sample
        .pods
        .iter()
        .filter_map(|pod| Some((pod, complete(&pod.total)?)))
        .collect();
    let name = "pod_cpu_usage_seconds_total";
    page.family(name, "counter", "CPU time used by the pod in core-seconds");
    for (pod, (cpu, _)) in &complete {
        page.sample(name, &pod_labels(pod), Seconds(*cpu), Some(pod.total.time.0));
    }
    let name = "pod_memory_working_set_bytes";
    page.family(name, "gauge", "Working set of the pod in bytes");
    for (pod, (_, memory)) in &complete {
        page.sample(name, &pod_labels(pod), memory, Some(pod.total.time.0));
    }
}

fn pod_labels(pod: &PodSample) -> [(&'static str, &str); 2] {
    [("namespace", &pod.namespace), ("pod", &pod.name)]
}
