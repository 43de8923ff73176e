//! Fields of the pod as text: `fieldRef`.

use super::{quote, view};
use outrigger_plugin::{Part, Value};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

/// A field in an environment variable. `host_ips` are the node's addresses, primary first.
///
/// # Errors
/// The kubelet's message for a path that it does not know.
pub fn in_env(pod: &view::Pod<'_>, path: &str, host_ips: &[IpAddr]) -> Result<Value, String> {
    let now = |text: &str| Ok(Value::Now(text.to_owned()));
    match path {
        // The second is how the first API clients wrote it.
        "spec.nodeName" | "spec.host" => now(&pod.spec.node_name),
        "spec.serviceAccountName" => now(&pod.spec.service_account_name),
        "status.hostIP" => Ok(Value::Now(primary(host_ips)?)),
        "status.hostIPs" => Ok(Value::Now(all(host_ips)?)),
        "status.podIP" if pod.spec.host_network => Ok(Value::Now(primary(host_ips)?)),
        "status.podIPs" if pod.spec.host_network => Ok(Value::Now(all(host_ips)?)),
        "status.podIP" => Ok(Value::Late(vec![Part::PodIp])),
        "status.podIPs" => Ok(Value::Late(vec![Part::PodIps])),
        "spec.restartPolicy" | "spec.schedulerName" | "status.phase" => Err(unsupported(path)),
        _ => match subscript(path) {
            Some(("metadata.annotations" | "metadata.labels", _)) => in_file(pod, path).map(Value::Now),
            Some(_) => Err(format!("field label does not support subscript: {path}")),
            None if path.starts_with("metadata.") => {
                let text = in_file(pod, path).map_err(|_| format!("field label not supported: {path}"));
                text.map(Value::Now)
            }
            None => Err(format!("field label not supported: {path}")),
        },
    }
}

/// A field in a file: of `metadata` only, and never late.
///
/// # Errors
/// The kubelet's message for a path that it does not know.
pub fn in_file(pod: &view::Pod<'_>, path: &str) -> Result<String, String> {
    let metadata = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.annotations" => read(metadata.annotations),
            "metadata.labels" => read(metadata.labels),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.get(key).map(|value| value.to_string()).unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => metadata.name.to_string(),
        "metadata.namespace" => metadata.namespace.to_string(),
        "metadata.uid" => metadata.uid.to_string(),
        "metadata.annotations" => lines(&read(metadata.annotations)),
        "metadata.labels" => lines(&read(metadata.labels)),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> String {
    format!("unsupported fieldPath: {path}")
}

/// `metadata.labels['key']`: the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

type Map<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

fn read(raw: Option<&RawValue>) -> Map<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

/// `key="value"` on a line each, sorted by key, without a newline at the end.
fn lines(map: &Map<'_>) -> String {
    let mut text = String::new();
    for (key, value) in map {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(key);
        text.push('=');
        quote::push(&mut text, value);
    }
    text
}

fn primary(host_ips: &[IpAddr]) -> Result<String, String> {
    let ip = host_ips.first().ok_or("host IP unknown; known addresses: []")?;
    Ok(ip.to_string())
}

fn all(host_ips: &[IpAddr]) -> Result<String, String> {
    primary(host_ips)?;
    let all: Vec<_> = host_ips.iter().map(ToString::to_string).collect();
    Ok(all.join(","))
}
