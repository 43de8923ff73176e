//! A node as the rest of the host sees it.

use super::tenure::Tenure;
use outrigger_plugin::NodeCondition;
use outrigger_plugin::NodeDescription;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Who acts for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Another host does, or it is not known yet who.
    Waiting {
        /// The holder of the lease, if there is one.
        holder: Option<String>,
    },
    /// This host does. [`NodeHandle::may_act`] is the word that counts before a call that changes anything.
    Held,
    /// This host did, and could not renew in time or was replaced. It stays so until it holds the lease again or knows
    /// who does.
    Lost,
}

/// One virtual node, shared by the rooms of the host. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) port: u16,
    pub(super) tenure: Tenure,
    pub(super) ownership: watch::Sender<Ownership>,
    pub(super) uid: watch::Sender<Option<String>>,
    pub(super) addresses: watch::Sender<Vec<IpAddr>>,
    pub(super) annotations: watch::Sender<BTreeMap<String, String>>,
    pub(super) terms: watch::Sender<Option<Arc<Terms>>>,
    pub(super) wanted: watch::Sender<Wanted>,
}

/// What the Node in the API server says that decides which pods fit it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.allocatable`, as Kubernetes quantities.
    pub allocatable: BTreeMap<String, String>,
    /// `status.nodeInfo.operatingSystem`.
    pub operating_system: String,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
}

/// A taint of a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl Terms {
    /// Reads them from a Node; `None` before it has a status.
    pub fn of(node: &Value) -> Option<Self> {
        if !node["status"]["allocatable"].is_object() {
            return None;
        }
        Some(Self {
            labels: read(&node["metadata"]["labels"]),
            allocatable: read(&node["status"]["allocatable"]),
            operating_system: read(&node["status"]["nodeInfo"]["operatingSystem"]),
            taints: read(&node["spec"]["taints"]),
        })
    }
}

/// What is missing, or of another form than it ever was, counts as empty.
fn read<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// What the host and its provider want the Node to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wanted {
    /// By type; of the host's other rooms.
    pub(super) conditions: BTreeMap<String, NodeCondition>,
    /// The provider's word; `None` until it was asked.
    pub(super) description: Option<NodeDescription>,
}

impl NodeHandle {
    pub(super) fn new(name: String, provider: String, port: u16) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                provider,
                port,
                tenure: Tenure::default(),
                ownership: watch::Sender::new(Ownership::Waiting { holder: None }),
                uid: watch::Sender::new(None),
                addresses: watch::Sender::new(Vec::new()),
                annotations: watch::Sender::new(BTreeMap::new()),
                terms: watch::Sender::new(None),
                wanted: watch::Sender::new(Wanted::default()),
            }),
        }
    }

    /// The Node's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The provider's name in the configuration.
    pub fn provider(&self) -> &str {
        &self.shared.provider
    }

    /// Who acts for the node, and each change of that.
    pub fn ownership(&self) -> watch::Receiver<Ownership> {
        self.shared.ownership.subscribe()
    }

    /// Whether this host may make a call that changes something. It becomes false by time alone, 40 s after the last
    /// renewal was sent: ask right before each such call.
    pub fn may_act(&self) -> bool {
        self.shared.tenure.holds()
    }

    /// Which of this host's tenures it is: it changes with each that begins, also where one had ended before anybody noticed.
    pub fn tenure(&self) -> u64 {
        self.shared.tenure.count()
    }

    /// UID of the Node object, once it is registered.
    pub fn uid(&self) -> Option<String> {
        self.shared.uid.borrow().clone()
    }

    /// The node's own addresses, as in `status.addresses`; empty until they are known.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.shared.addresses.borrow().clone()
    }

    /// The same, and each change of them.
    pub fn watch_addresses(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.shared.addresses.subscribe()
    }

    /// The kubelet port.
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// What the Node says that decides which pods fit it; `None` until it has been seen with a status.
    pub fn terms(&self) -> Option<Arc<Terms>> {
        self.shared.terms.borrow().clone()
    }

    /// Adds or replaces a condition of the Node, until it is cleared.
    pub fn set_condition(&self, condition: NodeCondition) {
        self.shared.wanted.send_if_modified(|wanted| {
            let old = wanted.conditions.insert(condition.kind.clone(), condition.clone());
            old.as_ref() != Some(&condition)
        });
    }

    /// Removes a condition that [`set_condition`](Self::set_condition) added.
    pub fn clear_condition(&self, kind: &str) {
        self.shared
            .wanted
            .send_if_modified(|wanted| wanted.conditions.remove(kind).is_some());
    }

    /// The Node's annotations, and each change of them.
    pub fn annotations(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.shared.annotations.subscribe()
    }

    /// The provider's new word on how the node looks.
    pub fn describe(&self, description: NodeDescription) {
        self.shared.wanted.send_if_modified(|wanted| {
            let new = Some(description);
            let changed = wanted.description != new;
            wanted.description = new;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn terms_are_read_from_a_node_that_has_a_status() {
        let mut node = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "taints": [{ "key": "t", "effect": "NoExecute" }] } });
        assert_eq!(Terms::of(&node), None);
        node["status"] = json!({ "allocatable": { "cpu": "2" }, "nodeInfo": { "operatingSystem": "linux" } });
        let terms = Terms::of(&node).unwrap();
        assert_eq!(
            (terms.labels["a"].as_str(), terms.allocatable["cpu"].as_str()),
            ("b", "2")
        );
        assert_eq!(terms.operating_system, "linux");
        assert_eq!(
            (terms.taints[0].key.as_str(), terms.taints[0].value.as_str()),
            ("t", "")
        );
        node["spec"] = json!({ "taints": null });
        assert!(Terms::of(&node).unwrap().taints.is_empty());
    }

    fn condition(status: bool) -> NodeCondition {
        NodeCondition {
            kind: "OrphansHeld".into(),
            status: Some(status),
            reason: "TooMany".into(),
            message: String::new(),
        }
    }

    #[test]
    fn only_changes_wake_the_agent() {
        let handle = NodeHandle::new("vk".into(), "mock".into(), 10250);
        let mut wanted = handle.shared.wanted.subscribe();
        for (expected, action) in [
            (true, &(|| handle.set_condition(condition(true))) as &dyn Fn()),
            (false, &|| handle.set_condition(condition(true))),
            (true, &|| handle.set_condition(condition(false))),
            (true, &|| handle.clear_condition("OrphansHeld")),
            (false, &|| handle.clear_condition("OrphansHeld")),
            (true, &|| handle.describe(NodeDescription::default())),
            (false, &|| handle.describe(NodeDescription::default())),
        ] {
            action();
            assert_eq!(wanted.has_changed().unwrap(), expected);
            wanted.mark_unchanged();
        }
    }

    #[test]
    fn nobody_may_act_before_the_claim_is_held() {
        let handle = NodeHandle::new("vk".into(), "mock".into(), 10250);
        assert!(!handle.may_act());
        assert_eq!(*handle.ownership().borrow(), Ownership::Waiting { holder: None });
    }
}
