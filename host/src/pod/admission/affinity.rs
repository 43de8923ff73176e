//! Whether a node is one of those that a pod asks for: `nodeSelector` and required node affinity.

use super::super::support::Spec;
use crate::node::Terms;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Affinity<'a> {
    #[serde(borrow)]
    node_affinity: NodeAffinity<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeAffinity<'a> {
    #[serde(borrow, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<Selector<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Selector<'a> {
    #[serde(borrow)]
    node_selector_terms: Vec<Term<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Term<'a> {
    #[serde(borrow)]
    match_expressions: Vec<Requirement<'a>>,
    #[serde(borrow)]
    match_fields: Vec<Requirement<'a>>,
}

#[derive(Deserialize)]
struct Requirement<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    operator: Cow<'a, str>,
    #[serde(borrow, default)]
    values: Vec<Cow<'a, str>>,
}

/// Whether the node of this name is one that the pod asks for.
pub fn matches(pod: &Spec<'_>, node: &Terms, name: &str) -> bool {
    let selected = pod
        .node_selector
        .iter()
        .all(|(key, value)| node.labels.get(&**key).is_some_and(|label| label == &**value));
    selected && matches_required(pod, node, name)
}

fn matches_required(pod: &Spec<'_>, node: &Terms, name: &str) -> bool {
    let Some(affinity) = pod.affinity else { return true };
    // The API server has checked it; a form that is newer than this host must not fail pods.
    let Ok(affinity) = serde_json::from_str::<Option<Affinity<'_>>>(affinity.get()) else {
        return true;
    };
    let Some(required) = affinity.unwrap_or_default().node_affinity.required else {
        return true;
    };
    required.node_selector_terms.iter().any(|term| term.holds(node, name))
}

impl Term<'_> {
    /// An empty term selects nothing.
    fn holds(&self, node: &Terms, name: &str) -> bool {
        let some = !self.match_expressions.is_empty() || !self.match_fields.is_empty();
        some && self.match_expressions.iter().all(|wanted| wanted.holds(&node.labels))
            && self.match_fields.iter().all(|wanted| wanted.names(name))
    }
}

impl Requirement<'_> {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&*self.key);
        let listed = || label.is_some_and(|label| self.values.iter().any(|value| value == label));
        match &*self.operator {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            "Gt" => self.numbers(label).is_some_and(|(label, value)| label > value),
            "Lt" => self.numbers(label).is_some_and(|(label, value)| label < value),
            _ => false,
        }
    }

    fn numbers(&self, label: Option<&String>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }

    /// Of fields, `metadata.name` alone can be asked for.
    fn names(&self, name: &str) -> bool {
        let listed = self.key == "metadata.name" && self.values.iter().any(|value| value == name);
        match &*self.operator {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::support;
    use serde_json::{Value, json};

    fn fits(spec: Value) -> bool {
        let raw = json!({ "spec": spec }).to_string();
        let labels = [("zone", "a"), ("cores", "8")];
        let node = Terms {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..Terms::default()
        };
        matches(&support::read(raw.as_bytes()).unwrap(), &node, "vk-0")
    }

    fn required(terms: Value) -> bool {
        let selector = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } });
        fits(json!({ "affinity": { "nodeAffinity": selector } }))
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> bool {
        required(json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]))
    }

    #[test]
    fn every_pair_of_a_node_selector_must_be_there() {
        assert!(fits(json!({ "nodeSelector": { "zone": "a" } })));
        assert!(!fits(json!({ "nodeSelector": { "zone": "a", "rack": "7" } })));
        assert!(!fits(json!({ "nodeSelector": { "zone": "b" } })));
    }

    #[test]
    fn every_operator_means_what_the_scheduler_takes_it_for() {
        for (key, operator, values, expected) in [
            ("zone", "In", &["b", "a"][..], true),
            ("zone", "In", &["b"], false),
            ("rack", "In", &["7"], false),
            ("zone", "NotIn", &["a"], false),
            ("zone", "NotIn", &["b"], true),
            ("rack", "NotIn", &["7"], true),
            ("zone", "Exists", &[], true),
            ("rack", "Exists", &[], false),
            ("zone", "DoesNotExist", &[], false),
            ("rack", "DoesNotExist", &[], true),
            ("cores", "Gt", &["7"], true),
            ("cores", "Gt", &["8"], false),
            ("cores", "Lt", &["9"], true),
            ("zone", "Lt", &["9"], false),
            ("rack", "Gt", &["0"], false),
            ("zone", "Resembles", &["a"], false),
        ] {
            assert_eq!(
                expression(key, operator, values),
                expected,
                "{key} {operator} {values:?}"
            );
        }
    }

    #[test]
    fn one_term_is_enough_and_all_of_it_must_hold() {
        let zone = |zone: &str| json!({ "key": "zone", "operator": "In", "values": [zone] });
        let name = |name: &str| json!([{ "key": "metadata.name", "operator": "In", "values": [name] }]);
        assert!(required(
            json!([{ "matchExpressions": [zone("b")] }, { "matchExpressions": [zone("a")] }])
        ));
        assert!(!required(json!([{ "matchExpressions": [zone("a"), zone("b")] }])));
        assert!(required(json!([{ "matchFields": name("vk-0") }])));
        assert!(!required(
            json!([{ "matchFields": name("vk-1"), "matchExpressions": [zone("a")] }])
        ));
        assert!(!required(json!([{}])), "an empty term selects nothing");
    }

    #[test]
    fn what_is_only_preferred_does_not_count() {
        let preferred =
            json!([{ "weight": 1, "preference": { "matchExpressions": [{ "key": "rack", "operator": "Exists" }] } }]);
        let affinity = json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": preferred } });
        assert!(fits(json!({ "affinity": affinity })));
        assert!(fits(json!({ "affinity": { "podAntiAffinity": {} } })));
        assert!(fits(json!({ "affinity": null })));
    }
}
