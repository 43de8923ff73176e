//! Taints that a pod has to tolerate where it runs.

use super::super::support::Spec;
use crate::node::{Taint, Terms};
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Toleration<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    operator: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow)]
    effect: Cow<'a, str>,
}

/// Whether the pod tolerates every taint of the node by which pods are driven away. As with the kubelet, those that only
/// keep the scheduler away do not count, and a toleration for some seconds is one.
pub fn tolerates(pod: &Spec<'_>, node: &Terms) -> bool {
    let mut taints = node
        .taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .peekable();
    if taints.peek().is_none() {
        return true;
    }
    let tolerations = pod.tolerations.map(|tolerations| tolerations.get()).unwrap_or("[]");
    // The API server has checked them; a form that is newer than this host must not fail pods.
    let Ok(tolerations) = serde_json::from_str::<Vec<Toleration<'_>>>(tolerations) else {
        return true;
    };
    taints.all(|taint| tolerations.iter().any(|toleration| toleration.covers(taint)))
}

impl Toleration<'_> {
    fn covers(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        effect
            && key
            && match &*self.operator {
                "" | "Equal" => self.value == taint.value,
                "Exists" => true,
                // KEP-5471.
                "Lt" => self.numbers(taint).is_some_and(|(taint, own)| taint < own),
                "Gt" => self.numbers(taint).is_some_and(|(taint, own)| taint > own),
                _ => false,
            }
    }

    fn numbers(&self, taint: &Taint) -> Option<(i64, i64)> {
        Some((taint.value.parse().ok()?, self.value.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::support;
    use serde_json::{Value, json};

    fn judged(effect: &str, tolerations: Value) -> bool {
        let raw = json!({ "spec": { "tolerations": tolerations } }).to_string();
        let taint = Taint {
            key: "level".into(),
            value: "5".into(),
            effect: effect.into(),
        };
        let node = Terms {
            taints: vec![taint],
            ..Terms::default()
        };
        tolerates(&support::read(raw.as_bytes()).unwrap(), &node)
    }

    #[test]
    fn only_a_taint_that_drives_pods_away_counts() {
        assert!(judged("NoSchedule", json!([])));
        assert!(judged("PreferNoSchedule", json!([])));
        assert!(!judged("NoExecute", json!([])));
        assert!(!judged("NoExecute", json!(null)));
    }

    #[test]
    fn tolerations_match_by_key_value_and_effect() {
        for (toleration, expected) in [
            (json!({"key": "level", "value": "5", "effect": "NoExecute"}), true),
            (json!({"key": "level", "operator": "Equal", "value": "5"}), true),
            (json!({"key": "level", "value": "6"}), false),
            (json!({"key": "level", "value": "5", "effect": "NoSchedule"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (
                json!({"key": "level", "operator": "Exists", "tolerationSeconds": 3}),
                true,
            ),
            (json!({"operator": "Exists"}), true),
            (json!({"key": "level", "operator": "Gt", "value": "4"}), true),
            (json!({"key": "level", "operator": "Lt", "value": "4"}), false),
            (json!({"key": "level", "operator": "Lt", "value": "many"}), false),
        ] {
            assert_eq!(judged("NoExecute", json!([toleration])), expected, "{toleration}");
        }
    }
}
