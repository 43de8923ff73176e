//! `/metrics/cadvisor`: the few of cAdvisor's metrics that can be told of containers which run somewhere else. There is
//! no cgroup, file system or network interface of theirs here, and no machine.

use super::exposition::Epoch;
use super::exposition::Page;
use super::exposition::Seconds;
use super::sample::ContainerSample;
use super::sample::PodSample;
use super::sample::Sample;

pub(super) fn text(sample: &Sample) -> String {
    let containers = || {
        let pods = sample.pods.iter();
        pods.flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
    };
    let mut page = Page::default();
    let name = "container_cpu_usage_seconds_total";
    page.family(name, "counter", "CPU time used in core-seconds");
    for (pod, container) in containers() {
        let usage = &container.usage.usage;
        if let Some(cpu) = usage.cpu_core_nanoseconds {
            let labels = labels(pod, container);
            let labels: Vec<_> = labels.into_iter().chain([("cpu", "total")]).collect();
            page.sample(name, &labels, Seconds(cpu), Some(usage.time.0));
        }
    }
    let name = "container_memory_working_set_bytes";
    page.family(name, "gauge", "Working set in bytes");
    for (pod, container) in containers() {
        let usage = &container.usage.usage;
        if let Some(memory) = usage.memory_working_set_bytes {
            page.sample(name, &labels(pod, container), memory, Some(usage.time.0));
        }
    }
    let name = "container_start_time_seconds";
    page.family(name, "gauge", "Start in seconds since 1970");
    for (pod, container) in containers() {
        let started = Epoch(container.usage.started_at.0);
        page.sample(name, &labels(pod, container), started, None);
    }
    page.into_text()
}

fn labels<'a>(pod: &'a PodSample, container: &'a ContainerSample) -> [(&'static str, &'a str); 5] {
    [
        ("container", &container.usage.container),
        ("image", &container.image),
        ("name", &container.id),
        ("namespace", &pod.namespace),
        ("pod", &pod.name),
    ]
}
