//! What the engine has to know of a pod to simulate it: all that is kept of a manifest.

use crate::{behaviour::Behaviour, ip_pool::Cidr, span::Span};
use outrigger_plugin::{PodIdentity, Termination};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};
use std::{
    ops::Deref,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// A pod to simulate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Who it is.
    pub identity: PodIdentity,
    /// Init containers in order, then regular ones, then ephemeral ones.
    pub containers: Vec<ContainerSpec>,
    /// Until it starts, jitter included.
    pub start_delay: Span,
    /// Until it vanishes.
    pub vanish_after: Span,
    /// What it has in common with others.
    #[serde(flatten)]
    pub template: Template,
}

/// What is the same for all pods of a template, beside their containers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// What restarts its containers.
    pub restart_policy: RestartPolicy,
    /// The grace period it ends with by itself, when only sidecars are left.
    pub grace: Duration,
    /// Where its addresses come from; none for a pod on the node's network.
    pub ranges: Vec<Cidr>,
    /// How it behaves.
    pub behaviour: Shared,
}

/// A container to simulate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What kind it is of.
    pub kind: Kind,
    /// What restarts it, where it says so itself.
    pub restart_policy: Option<RestartPolicy>,
    /// What restarts it whatever its policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_rules: Vec<RestartRule>,
    /// Stands for its resources: changes with them.
    pub resources: u64,
    /// The restart count of its first run.
    pub restarts: u32,
    /// How it had ended for good before its pod was made again: it is not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Box<Termination>>,
    /// The TCP ports that it declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// It has an input.
    #[serde(default)]
    pub stdin: bool,
    /// How it behaves.
    pub behaviour: Shared,
}

/// The kinds of containers, in the order in which a pod has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Runs to its end before the next starts.
    Init,
    /// An init container that runs on beside the regular ones (KEP-753).
    Sidecar,
    /// What the pod is for.
    Regular,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// However it ended.
    #[default]
    Always,
    /// When it failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended with the code starts again.
    pub fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// An entry of `restartPolicyRules` (KEP-5307).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartRule {
    /// What happens.
    pub action: RestartAction,
    /// After which ends.
    pub exit_codes: ExitCodes,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartAction {
    /// The container is started again.
    Restart,
}

/// Exit codes that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitCodes {
    /// Whether it is for those listed, or for all others.
    pub operator: Operator,
    /// The list.
    pub values: Vec<i32>,
}

/// How a list is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Those in it.
    In,
    /// Those not in it.
    NotIn,
}

impl RestartRule {
    /// Whether a container that ended with the code starts again for this.
    pub fn restarts(&self, exit_code: i32) -> bool {
        let listed = self.exit_codes.values.contains(&exit_code);
        match (self.action, self.exit_codes.operator) {
            (RestartAction::Restart, Operator::In) => listed,
            (RestartAction::Restart, Operator::NotIn) => !listed,
        }
    }
}

/// A behaviour: shared by thousands of pods in memory, written out for each that is not plain.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared(pub Arc<Behaviour>);

/// What most pods do, wherever they come from.
static PLAIN: LazyLock<Shared> = LazyLock::new(|| Shared(Arc::default()));

impl Deref for Shared {
    type Target = Behaviour;

    fn deref(&self) -> &Behaviour {
        &self.0
    }
}

impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self == &*PLAIN {
            return serializer.serialize_map(Some(0))?.end();
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let behaviour = Behaviour::deserialize(deserializer)?;
        Ok(if behaviour == **PLAIN {
            PLAIN.clone()
        } else {
            Self(Arc::new(behaviour))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        annotations::Defaults,
        engine::container::Container,
        manifest::{self, Surroundings},
    };
    use outrigger_plugin::{PodRequest, Timestamp};
    use serde_json::{json, value::to_raw_value};

    fn rule(operator: &str, values: &[i32]) -> RestartRule {
        let rule = json!({"action": "Restart", "exitCodes": {"operator": operator, "values": values}});
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_rule_is_for_its_exit_codes() {
        for (rule, code, expected) in [
            (rule("In", &[3, 42]), 42, true),
            (rule("In", &[3, 42]), 1, false),
            (rule("NotIn", &[0]), 1, true),
            (rule("NotIn", &[0]), 0, false),
        ] {
            assert_eq!(rule.restarts(code), expected, "{rule:?} after {code}");
        }
    }

    #[test]
    fn a_rule_starts_a_container_again_that_its_policy_would_leave() {
        let ended = |code: i32| {
            let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
            let app = json!({"name": "app", "restartPolicy": "Never", "restartPolicyRules": rules});
            let behaviour = Behaviour {
                run_time: Span::seconds(1),
                exit_code: Some(code),
                ..Behaviour::default()
            };
            let mut container = Container::new(only_container(&app, behaviour));
            container.start(Timestamp(0));
            container.step(Timestamp(1_000), None, RestartPolicy::Never, false);
            container
        };
        assert!(ended(42).is_running());
        assert_eq!(ended(42).restarts, 1);
        assert!(!ended(1).is_running());
    }

    fn only_container(container: &serde_json::Value, behaviour: Behaviour) -> ContainerSpec {
        let text = |text: &str| text.to_owned();
        let request = PodRequest {
            identity: PodIdentity {
                cluster: text("c"),
                node: text("n"),
                namespace: text("ns"),
                name: text("p"),
                uid: text("u"),
            },
            pod: to_raw_value(&json!({"spec": {"containers": [container]}})).unwrap(),
            materials: Default::default(),
            restart_counts: Default::default(),
            ended: Default::default(),
        };
        let around = Surroundings {
            seed: 0,
            defaults: Defaults::new(behaviour),
            ranges: Vec::new(),
        };
        manifest::read(&request, &around).unwrap().containers.remove(0)
    }
}
