//! Rows of nodes.

use serde_json::Value;

use super::{AGE, Column, NAME, age, name, or_none};

pub const COLUMNS: &[Column] = &[
    NAME,
    Column("Status", "string", false),
    Column("Roles", "string", false),
    AGE,
    Column("Version", "string", false),
    Column("Internal-IP", "string", true),
    Column("External-IP", "string", true),
    Column("OS-Image", "string", true),
    Column("Kernel-Version", "string", true),
    Column("Container-Runtime", "string", true),
];

pub fn cells(node: &Value) -> Vec<Value> {
    let ready = node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    let mut status = match ready.and_then(|c| c["status"].as_str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let info = &node["status"]["nodeInfo"];
    let unknown = |v: &Value| Value::from(v.as_str().filter(|s| !s.is_empty()).unwrap_or("<unknown>"));
    vec![
        name(node),
        status.into(),
        roles(node).into(),
        age(node),
        info["kubeletVersion"].as_str().unwrap_or_default().into(),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        unknown(&info["osImage"]),
        unknown(&info["kernelVersion"]),
        unknown(&info["containerRuntimeVersion"]),
    ]
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|r| !r.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

fn address(node: &Value, kind: &str) -> Value {
    let found = node["status"]["addresses"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|a| a["type"] == kind);
    or_none(found.map_or(&Value::Null, |a| &a["address"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cordoned_node_says_so() {
        let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/agent": "", "kubernetes.io/role": "agent"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let cells = cells(&node);
        assert_eq!(cells[1], "Ready,SchedulingDisabled");
        assert_eq!(cells[2], "agent");
        assert_eq!((&cells[5], &cells[6]), (&json!("10.0.0.1"), &json!("<none>")));
    }

    #[test]
    fn a_silent_node_is_not_ready() {
        let node = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        assert_eq!(cells(&node("Unknown"))[1], "NotReady");
        assert_eq!(cells(&json!({}))[1], "Unknown");
    }
}
