use super::*;
use crate::config::NodeDefaults;
use crate::config::Taint;
use crate::config::TaintEffect;

fn config() -> NodeConfig {
    let mut node = NodeConfig::new("vk", "mock-a");
    node.labels.insert("team".into(), "blue".into());
    node.annotations.insert("note".into(), "n".into());
    node.taints.push(Taint {
        key: "gpu".into(),
        value: String::new(),
        effect: TaintEffect::NoExecute,
    });
    node
}

fn desired() -> DesiredNode {
    DesiredNode::new(&config(), "mock", &NodeDescription::default())
}

fn live() -> Value {
    let mut live = desired().object(json!({}));
    live["metadata"]["resourceVersion"] = json!("9");
    live["metadata"]["labels"]["theirs"] = json!("x");
    live["spec"]["unschedulable"] = json!(true);
    live["spec"]["taints"].as_array_mut().unwrap().push(json!({
        "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-23T06:00:00Z",
    }));
    live
}

#[test]
fn a_node_carries_every_default() {
    let node = desired().object(json!({}));
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels["type"], "virtual-kubelet");
    assert_eq!(labels["kubernetes.io/hostname"], "vk");
    assert_eq!(labels["kubernetes.io/os"], "linux");
    assert_eq!(labels["beta.kubernetes.io/arch"], labels["kubernetes.io/arch"]);
    assert_eq!(
        labels["node.kubernetes.io/exclude-from-external-load-balancers"],
        "true"
    );
    assert_eq!(labels["team"], "blue");
    assert_eq!(node["spec"]["providerID"], "outrigger://mock-a/vk");
    assert_eq!(
        node["spec"]["taints"],
        json!([
            { "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" },
            { "key": "gpu", "value": "", "effect": "NoExecute" },
        ])
    );
}

#[test]
fn a_name_that_no_label_can_hold_is_no_hostname() {
    let node = |length| {
        DesiredNode::new(
            &NodeConfig::new("n".repeat(length), "mock"),
            "mock",
            &NodeDescription::default(),
        )
    };
    assert!(node(63).labels.contains_key("kubernetes.io/hostname"));
    assert!(!node(64).labels.contains_key("kubernetes.io/hostname"));
    assert_eq!(node(64).labels["kubernetes.io/os"], "linux");
}

#[test]
fn every_default_can_be_switched_off() {
    let mut node = NodeConfig::new("vk", "mock");
    node.defaults = NodeDefaults {
        taint: false,
        type_label: false,
        exclude_from_load_balancers: false,
        kubernetes_labels: false,
    };
    let desired = DesiredNode::new(&node, "mock", &NodeDescription::default());
    assert!(desired.labels.is_empty() && desired.taints.is_empty());
    assert_eq!(desired.provider_id, "outrigger://mock/vk");
}

#[test]
fn the_configuration_wins_over_the_provider_and_that_over_defaults() {
    let description = NodeDescription {
        operating_system: "windows".into(),
        labels: BTreeMap::from([("team".into(), "red".into()), ("type".into(), "special".into())]),
        ..NodeDescription::default()
    };
    let desired = DesiredNode::new(&config(), "mock", &description);
    assert_eq!(desired.labels["team"], "blue");
    assert_eq!(desired.labels["type"], "special");
    assert_eq!(desired.labels["kubernetes.io/os"], "windows");
}

#[test]
fn additions_of_others_are_no_drift() {
    assert_eq!(desired().drift(&live()), None);
}

#[test]
fn repair_touches_our_keys_only() {
    let mut live = live();
    live["metadata"]["labels"]["type"] = json!("other");
    live["metadata"]["labels"].as_object_mut().unwrap().remove("team");
    live["spec"]["taints"].as_array_mut().unwrap().remove(0);
    let drift = desired().drift(&live).unwrap();
    assert_eq!(
        drift.to_string(),
        "label team, label type, taint virtual-kubelet.io/provider"
    );
    let patch = drift.repair(&live);
    assert_eq!(
        patch,
        json!({
            "metadata": { "resourceVersion": "9", "labels": { "team": "blue", "type": "virtual-kubelet" } },
            "spec": { "taints": [
                { "key": "gpu", "value": "", "effect": "NoExecute" },
                { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-11-23T06:00:00Z" },
                { "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" },
            ] },
        })
    );
}

#[test]
fn our_taint_with_another_value_is_replaced_and_not_doubled() {
    let mut live = live();
    live["spec"]["taints"][0]["value"] = json!("other");
    let patch = desired().drift(&live).unwrap().repair(&live);
    let taints = patch["spec"]["taints"].as_array().unwrap();
    let ours: Vec<_> = taints.iter().filter(|taint| taint["key"] == PROVIDER_TAINT).collect();
    assert_eq!(
        ours,
        [&json!({ "key": PROVIDER_TAINT, "value": "mock", "effect": "NoSchedule" })]
    );
    assert_eq!(taints.len(), 3);
}

#[test]
fn a_taint_without_a_value_equals_one_with_an_empty_value() {
    let mut live = live();
    live["spec"]["taints"][1].as_object_mut().unwrap().remove("value");
    assert_eq!(desired().drift(&live), None);
}

#[test]
fn the_provider_id_is_set_once_and_never_changed() {
    let mut live = live();
    live["spec"].as_object_mut().unwrap().remove("providerID");
    let patch = desired().drift(&live).unwrap().repair(&live);
    assert_eq!(patch["spec"], json!({ "providerID": "outrigger://mock-a/vk" }));
    live["spec"]["providerID"] = json!("other://x");
    assert_eq!(desired().drift(&live), None);
    assert_eq!(desired().foreign_provider_id(&live), Some("other://x"));
}
