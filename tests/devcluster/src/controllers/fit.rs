//! Whether a pod fits a node: pure functions over their JSON.

use serde_json::Value;

use crate::admission::quantity;

/// What a node has room for, and what is taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Load {
    /// Thousandths of a core.
    pub cpu: i128,
    /// Thousandths of a byte, as quantities are read.
    pub memory: i128,
    /// Pods.
    pub pods: i128,
}

impl Load {
    /// What a pod takes.
    pub fn of_pod(spec: &Value) -> Load {
        Load {
            cpu: quantity::request(spec, "cpu"),
            memory: quantity::request(spec, "memory"),
            pods: 1,
        }
    }

    /// What a node offers; a resource that it doesn't name is absent, but pods are 110 as with the kubelet.
    pub fn of_node(node: &Value) -> Load {
        let get = |name: &str| quantity::milli(&node["status"]["allocatable"][name]);
        Load {
            cpu: get("cpu").unwrap_or(0),
            memory: get("memory").unwrap_or(0),
            pods: get("pods").map_or(110, |m| m / 1000),
        }
    }

    /// Adds.
    pub fn add(&mut self, other: &Load) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    /// Takes away.
    pub fn remove(&mut self, other: &Load) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        self.pods -= other.pods;
    }
}

fn tolerates(tolerations: &Value, taint: &Value) -> bool {
    tolerations.as_array().into_iter().flatten().any(|t| {
        let effect = t["effect"].as_str().unwrap_or_default();
        let key = t["key"].as_str().unwrap_or_default();
        let value = |v: &Value| v["value"].as_str().unwrap_or_default().to_owned();
        (effect.is_empty() || taint["effect"] == effect)
            && match t["operator"].as_str().unwrap_or("Equal") {
                "Exists" => key.is_empty() || taint["key"] == key,
                _ => taint["key"] == key && value(t) == value(taint),
            }
    })
}

/// The longest time that a pod stays under a NoExecute taint: `None` for ever, zero when it doesn't tolerate it.
pub fn toleration_seconds(spec: &Value, taint: &Value) -> Option<i64> {
    let matching = spec["tolerations"].as_array().into_iter().flatten();
    let matching: Vec<&Value> = matching
        .filter(|t| tolerates(&Value::Array(vec![(*t).clone()]), taint))
        .collect();
    if matching.is_empty() {
        return Some(0);
    }
    matching
        .iter()
        .map(|t| t["tolerationSeconds"].as_i64().map(|s| s.max(0)))
        .collect::<Option<Vec<i64>>>()?
        .into_iter()
        .min()
}

/// Why a node is no place for a pod, in the words of the real scheduler; `None` when it is one.
pub fn refusal(spec: &Value, need: &Load, node: &Value, offer: &Load, used: &Load) -> Option<String> {
    let unschedulable = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    if node["spec"]["unschedulable"] == true && !tolerates(&spec["tolerations"], &unschedulable) {
        return Some("node(s) were unschedulable".into());
    }
    for taint in node["spec"]["taints"].as_array().into_iter().flatten() {
        let hard = taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute";
        if hard && !tolerates(&spec["tolerations"], taint) {
            let text = |field: &str| taint[field].as_str().unwrap_or_default();
            return Some(format!(
                "node(s) had untolerated taint {{{}: {}}}",
                text("key"),
                text("value")
            ));
        }
    }
    let ready = node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True");
    if !ready {
        return Some("node(s) were not ready".into());
    }
    let labels = &node["metadata"]["labels"];
    let selected = spec["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(k, v)| labels.get(k) == Some(v));
    if !selected || !affinity_allows(spec, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".into());
    }
    if used.pods + need.pods > offer.pods {
        return Some("Too many pods".into());
    }
    if need.cpu > 0 && used.cpu + need.cpu > offer.cpu {
        return Some("Insufficient cpu".into());
    }
    if need.memory > 0 && used.memory + need.memory > offer.memory {
        return Some("Insufficient memory".into());
    }
    None
}

fn affinity_allows(spec: &Value, node: &Value) -> bool {
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let Some(terms) = terms.as_array() else { return true };
    terms.iter().any(|term| {
        let list = |field: &str| term[field].as_array().cloned().unwrap_or_default();
        let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
        let label = |key: &str| node["metadata"]["labels"][key].as_str();
        let field = |key: &str| {
            if key == "metadata.name" {
                node["metadata"]["name"].as_str()
            } else {
                None
            }
        };
        // A term without any requirement matches nothing.
        (!expressions.is_empty() || !fields.is_empty())
            && expressions
                .iter()
                .all(|e| meets(e, label(e["key"].as_str().unwrap_or_default())))
            && fields
                .iter()
                .all(|e| meets(e, field(e["key"].as_str().unwrap_or_default())))
    })
}

fn meets(expression: &Value, found: Option<&str>) -> bool {
    let values: Vec<&str> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => found.is_some_and(|f| values.contains(&f)),
        "NotIn" => found.is_none_or(|f| !values.contains(&f)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => matches!((number(found), number(values.first().copied())), (Some(a), Some(b)) if a > b),
        "Lt" => matches!((number(found), number(values.first().copied())), (Some(a), Some(b)) if a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Value {
        json!({"metadata": {"name": "n", "labels": {"type": "virtual-kubelet"}}, "spec": {"taints": [{"key": "p", "value": "mock", "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2"}, "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn verdict(spec: Value, node: &Value, used: Load) -> Option<String> {
        refusal(&spec, &Load::of_pod(&spec), node, &Load::of_node(node), &used)
    }

    #[test]
    fn taints_selectors_and_room_decide() {
        let tolerant = json!([{"key": "p", "operator": "Exists"}]);
        assert!(
            verdict(json!({}), &node(), Load::default())
                .unwrap()
                .contains("untolerated taint {p: mock}")
        );
        assert_eq!(
            verdict(json!({"tolerations": tolerant}), &node(), Load::default()),
            None
        );
        let selecting = |value: &str| json!({"tolerations": tolerant, "nodeSelector": {"type": value}});
        assert_eq!(verdict(selecting("virtual-kubelet"), &node(), Load::default()), None);
        assert!(verdict(selecting("x"), &node(), Load::default()).is_some());
        let full = Load {
            pods: 2,
            ..Load::default()
        };
        assert_eq!(
            verdict(json!({"tolerations": tolerant}), &node(), full).as_deref(),
            Some("Too many pods")
        );
        let hungry = json!({"tolerations": tolerant, "containers": [{"resources": {"requests": {"cpu": "1100m"}}}]});
        assert_eq!(
            verdict(hungry, &node(), Load::default()).as_deref(),
            Some("Insufficient cpu")
        );
        let mut cordoned = node();
        cordoned["spec"]["unschedulable"] = json!(true);
        assert_eq!(
            verdict(json!({"tolerations": tolerant}), &cordoned, Load::default()).as_deref(),
            Some("node(s) were unschedulable")
        );
        let mut silent = node();
        silent["status"]["conditions"][0]["status"] = json!("Unknown");
        assert_eq!(
            verdict(json!({"tolerations": tolerant}), &silent, Load::default()).as_deref(),
            Some("node(s) were not ready")
        );
    }

    #[test]
    fn affinity_by_label_and_by_name() {
        let by = |term: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
        assert!(affinity_allows(
            &by(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})),
            &node()
        ));
        assert!(!affinity_allows(
            &by(json!({"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}]})),
            &node()
        ));
        assert!(!affinity_allows(&by(json!({})), &node()));
    }

    #[test]
    fn tolerations_have_an_end() {
        let taint = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        let spec = |seconds: Value| json!({"tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]});
        assert_eq!(toleration_seconds(&spec(json!(300)), &taint), Some(300));
        assert_eq!(toleration_seconds(&spec(Value::Null), &taint), None);
        assert_eq!(toleration_seconds(&json!({}), &taint), Some(0));
    }
}
