//! The kubelet's own admission: what makes a pod fail at once on this node, with the kubelet's reasons.
//!
//! It matters for pods that were bound without the scheduler (`spec.nodeName` in the manifest), and where two schedulers
//! or a change of the node's capacity cross each other. Only what the kubelet itself would refuse fails a pod, since its
//! controller replaces it at once; what a provider can't carry holds it ([`super::support`]). A refusal is final, so it is
//! made only by a Node that was read after the pod was seen.
//!
//! Source: kubelet `predicateAdmitHandler` and `scheduler.AdmissionCheck`, in their order. Left out, since a virtual node's
//! pods do not share one machine: host ports that are taken (`NodePorts`), and making room for critical pods by killing
//! others, which the scheduler's preemption does.

mod affinity;
mod amounts;
mod taints;

pub use amounts::{Requests, number};

use super::support::Spec;
use crate::node::Terms;
use std::borrow::Cow;

/// Why a pod is refused: reason and message of its status.
pub type Rejection = (Cow<'static, str>, String);

/// What the pods of a node take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// How many there are.
    pub pods: u64,
    /// What they ask for.
    pub requests: Requests,
}

impl Used {
    /// One pod more.
    pub fn add(&mut self, requests: &Requests) {
        self.pods += 1;
        self.requests.add(requests);
    }

    /// One pod less.
    pub fn remove(&mut self, requests: &Requests) {
        self.pods = self.pods.saturating_sub(1);
        self.requests.remove(requests);
    }
}

/// Judges a pod that asks for `requests` by what its node, of that name, says of itself. `used` is what the other pods of
/// the node take, those that have ended apart.
pub fn reject(pod: &Spec<'_>, requests: &Requests, node: &Terms, name: &str, used: &Used) -> Option<Rejection> {
    let os = pod.operating_system();
    if !os.is_empty() && !node.operating_system.is_empty() && os != node.operating_system {
        let message = "Failed to admit pod as the OS field doesn't match node OS".to_owned();
        return Some(("PodOSNotSupported".into(), message));
    }
    if let Some((resource, requested, used, capacity)) = lacking(requests, node, used) {
        let message = format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        );
        return Some((format!("OutOf{resource}").into(), message));
    }
    if !affinity::matches(pod, node, name) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Some(("NodeAffinity".into(), message.to_owned()));
    }
    if !taints::tolerates(pod, node) {
        let message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        return Some(("TaintToleration".into(), message.to_owned()));
    }
    None
}

/// The first resource that does not suffice: its name, what is asked for, what is used and what there is.
fn lacking<'a>(requests: &'a Requests, node: &Terms, used: &Used) -> Option<(&'a str, u64, u64, u64)> {
    let capacity = |resource: &str| {
        let quantity = node.allocatable.get(resource)?;
        Some(number(resource, quantity))
    };
    let pods = capacity("pods").unwrap_or(u64::MAX);
    if used.pods >= pods {
        return Some(("pods", 1, used.pods, pods));
    }
    requests.iter().find_map(|(resource, requested)| {
        let available = match capacity(resource) {
            Some(available) => available,
            // Counted by somebody else for the whole cluster, says the kubelet of those.
            None if is_extended(resource) => return None,
            None => 0,
        };
        let used = used.requests.get(resource);
        (requested > available.saturating_sub(used)).then_some((resource, requested, used, available))
    })
}

/// Whether it is a resource of a vendor, not one of Kubernetes itself.
fn is_extended(resource: &str) -> bool {
    resource.contains('/') && !resource.contains("kubernetes.io/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{node::Taint, pod::support};
    use serde_json::{Value, json};

    /// A node with 2 of 3 pods and half of its 2 cores and 4 KiB in use.
    fn verdict(spec: Value) -> Option<(String, String)> {
        let raw = json!({"metadata": {"name": "p"}, "spec": spec}).to_string();
        let map = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let node = Terms {
            labels: map(&[("zone", "a")]),
            allocatable: map(&[("pods", "3"), ("cpu", "2"), ("memory", "4Ki"), ("example.com/gpu", "1")]),
            operating_system: "linux".to_owned(),
            taints: vec![Taint {
                key: "maintenance".into(),
                value: String::new(),
                effect: "NoExecute".into(),
            }],
        };
        let other = json!({"spec": container(json!({"cpu": "500m", "memory": "1Ki"}))}).to_string();
        let other = Requests::of(&support::read(other.as_bytes()).unwrap());
        let mut used = Used::default();
        used.add(&other);
        used.add(&other);
        let spec = support::read(raw.as_bytes()).unwrap();
        reject(&spec, &Requests::of(&spec), &node, "vk", &used).map(|(reason, message)| (reason.into_owned(), message))
    }

    fn container(requests: Value) -> Value {
        json!({
            "containers": [{"name": "c", "resources": {"requests": requests}}],
            "tolerations": [{"key": "maintenance", "operator": "Exists"}],
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut spec = container(json!({}));
        spec[field] = value;
        spec
    }

    #[test]
    fn what_fits_is_admitted() {
        let mut spec = container(json!({"cpu": "1", "memory": "2Ki", "example.com/unknown": "7"}));
        spec["nodeSelector"] = json!({"zone": "a"});
        spec["os"] = json!({"name": "linux"});
        assert_eq!(verdict(spec), None);
    }

    #[test]
    fn what_does_not_fit_fails_with_the_kubelets_reason() {
        for (spec, reason) in [
            (with("os", json!({"name": "windows"})), "PodOSNotSupported"),
            (container(json!({"cpu": "1001m"})), "OutOfcpu"),
            (container(json!({"memory": "2049"})), "OutOfmemory"),
            (container(json!({"ephemeral-storage": "1"})), "OutOfephemeral-storage"),
            (container(json!({"example.com/gpu": "2"})), "OutOfexample.com/gpu"),
            (container(json!({"hugepages-2Mi": "2Mi"})), "OutOfhugepages-2Mi"),
            (with("nodeSelector", json!({"zone": "b"})), "NodeAffinity"),
            (with("nodeSelector", json!({"rack": "7"})), "NodeAffinity"),
            (with("tolerations", json!([])), "TaintToleration"),
        ] {
            assert_eq!(
                verdict(spec.clone()).map(|(reason, _)| reason).as_deref(),
                Some(reason),
                "{spec}"
            );
        }
    }

    #[test]
    fn the_message_counts_as_the_kubelets_does() {
        let (_, message) = verdict(container(json!({"cpu": "1500m"}))).unwrap();
        let expected = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_full_node_takes_no_pod_however_small() {
        let node = Terms {
            allocatable: [("pods".to_owned(), "1".to_owned())].into(),
            ..Terms::default()
        };
        let spec = support::read(br#"{"spec":{}}"#).unwrap();
        let mut used = Used::default();
        let verdict = |used: &Used| reject(&spec, &Requests::default(), &node, "vk", used);
        assert_eq!(verdict(&used), None);
        used.add(&Requests::default());
        let (reason, message) = verdict(&used).unwrap();
        assert_eq!(reason, "OutOfpods");
        assert_eq!(
            message,
            "Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
        );
        used.remove(&Requests::default());
        assert_eq!(verdict(&used), None);
    }
}
