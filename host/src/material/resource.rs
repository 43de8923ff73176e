//! Resources of containers as text: `resourceFieldRef`.

use super::view;
use crate::pod::admission;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A node's `status.allocatable`.
pub type Allocatable = BTreeMap<String, String>;

/// A resource in an environment variable of `container`.
///
/// A limit that a container does not have is that of the whole pod (KEP-2837), else what the node has to give. That
/// does not hold for an init container that is named by another one.
///
/// # Errors
/// The kubelet's message for a container or resource that there isn't.
pub fn in_env(
    reference: &view::ResourceRef<'_>,
    pod: &view::Pod<'_>,
    container: &view::Container<'_>,
    allocatable: &Allocatable,
) -> Result<String, String> {
    let ceiling = |name: &str| {
        let of_node = allocatable.get(name)?;
        let of_pod = pod.spec.resources.limits.get(name).map(|limit| text(limit));
        match of_pod {
            Some(limit) if matches!(name, "cpu" | "memory") && !is_zero(limit) => Some(limit),
            _ => Some(&**of_node),
        }
    };
    let name = &*reference.container_name;
    if name.is_empty() {
        return extract(reference, &container.resources, ceiling);
    }
    if let Some(container) = pod.spec.containers.iter().find(|container| container.name == name) {
        return extract(reference, &container.resources, ceiling);
    }
    extract(reference, &find(pod, name)?.resources, |_| None)
}

/// A resource in a file. A limit that the container does not have is what the node has to give.
///
/// # Errors
/// As with [`in_env`].
pub fn in_file(
    reference: &view::ResourceRef<'_>,
    pod: &view::Pod<'_>,
    allocatable: &Allocatable,
) -> Result<String, String> {
    let container = find(pod, &reference.container_name)?;
    let ceiling = |name: &str| allocatable.get(name).map(String::as_str);
    extract(reference, &container.resources, ceiling)
}

fn find<'p, 'a>(pod: &'p view::Pod<'a>, name: &str) -> Result<&'p view::Container<'a>, String> {
    let mut all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    all.find(|container| container.name == name)
        .ok_or_else(|| format!("container {name} not found"))
}

fn extract<'c>(
    reference: &view::ResourceRef<'_>,
    resources: &'c view::Resources<'_>,
    ceiling: impl FnOnce(&str) -> Option<&'c str>,
) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource : {}", reference.resource);
    let (kind, name) = reference.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    if !known && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let amount = match kind {
        "limits" => {
            let own = resources.limits.get(name).map(|limit| text(limit));
            own.filter(|limit| !known || !is_zero(limit))
                .or_else(|| if known { ceiling(name) } else { None })
        }
        "requests" => resources.requests.get(name).map(|request| text(request)),
        _ => return Err(unsupported()),
    };
    let amount = amount.map_or(0, |amount| admission::number(name, amount));
    let divisor = reference.divisor.map(text).filter(|divisor| !is_zero(divisor));
    let divisor = admission::number(name, divisor.unwrap_or("1"));
    // In floating point, as the kubelet rounds.
    Ok(format!("{}", (amount as f64 / divisor as f64).ceil() as i64))
}

/// A quantity, written as a text or a number.
fn text(quantity: &RawValue) -> &str {
    quantity.get().trim_matches('"')
}

fn is_zero(quantity: &str) -> bool {
    // The scale of cpu is the finer one.
    admission::number("cpu", quantity) == 0
}
