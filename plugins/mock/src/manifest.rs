//! From a pod's manifest to what the engine keeps of it.

use crate::{
    annotations::{Behaviours, Defaults},
    dice,
    engine::spec::{ContainerSpec, ExitCodes, Kind, PodSpec, RestartAction, RestartPolicy, RestartRule, Template},
    ip_pool::Cidr,
    span::Span,
};
use outrigger_plugin::{PodRequest, ProviderError, Result};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

/// As much of a `v1.Pod` as matters here. Decoding this costs a fraction of what the whole type does.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
    #[serde(default)]
    ephemeral_containers: Vec<Container>,
    #[serde(default)]
    restart_policy: RestartPolicy,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    host_network: bool,
    #[serde(default = "default_grace")]
    termination_grace_period_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    stdin: bool,
    restart_policy: Option<RestartPolicy>,
    #[serde(default)]
    restart_policy_rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    action: String,
    exit_codes: ExitCodes,
}

impl Rule {
    fn simulated(self, container: &str) -> Result<RestartRule> {
        match &*self.action {
            "Restart" => Ok(RestartRule {
                action: RestartAction::Restart,
                exit_codes: self.exit_codes,
            }),
            action => Err(ProviderError::unsupported(format!(
                "container {container}: restartPolicyRules with the action {action} are not simulated"
            ))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    container_port: u16,
    /// TCP without it.
    protocol: Option<String>,
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

fn default_grace() -> u64 {
    30
}

/// What a provider's config says of all its pods.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The seed.
    pub seed: u64,
    /// How pods behave without annotations.
    pub defaults: Defaults,
    /// Where addresses come from.
    pub ranges: Vec<Cidr>,
}

/// Reads a pod.
pub fn read(request: &PodRequest, around: &Surroundings) -> Result<PodSpec> {
    let Manifest { metadata, spec } = request.manifest()?;
    let mut behaviours = Behaviours::read(&metadata.annotations, &around.defaults)?;
    let init = spec
        .init_containers
        .into_iter()
        .map(|container| match container.restart_policy {
            Some(RestartPolicy::Always) => (Kind::Sidecar, container),
            _ => (Kind::Init, container),
        });
    let regular = spec.containers.into_iter().map(|container| (Kind::Regular, container));
    let ephemeral = spec
        .ephemeral_containers
        .into_iter()
        .map(|container| (Kind::Ephemeral, container));
    let containers = init
        .chain(regular)
        .chain(ephemeral)
        .map(|(kind, container)| {
            Ok(ContainerSpec {
                restart_rules: container
                    .restart_policy_rules
                    .into_iter()
                    .map(|rule| rule.simulated(&container.name))
                    .collect::<Result<_>>()?,
                behaviour: behaviours.take(&container.name, kind)?,
                resources: fingerprint([&container.resources, &spec.resources]),
                restarts: request.restart_counts.get(&container.name).copied().unwrap_or(0),
                ended: request.ended.get(&container.name).cloned().map(Box::new),
                restart_policy: container.restart_policy,
                ports: container
                    .ports
                    .iter()
                    .filter(|port| port.is_tcp())
                    .map(|port| port.container_port)
                    .collect(),
                stdin: container.stdin,
                name: container.name,
                image: container.image,
                kind,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let behaviour = behaviours.pod().clone();
    behaviours.finish()?;
    Ok(PodSpec {
        start_delay: start_delay(request, around.seed, behaviour.start_delay, behaviour.start_jitter),
        vanish_after: if request.restart_counts.is_empty() {
            behaviour.vanish_after
        } else {
            // Made again after it vanished: once is enough.
            Span::Never
        },
        identity: request.identity.clone(),
        containers,
        template: Template {
            restart_policy: spec.restart_policy,
            grace: Duration::from_secs(spec.termination_grace_period_seconds),
            ranges: if spec.host_network {
                Vec::new()
            } else {
                around.ranges.clone()
            },
            behaviour,
        },
    })
}

/// Changes when the resources of the container or of the whole pod do; 0 for none.
fn fingerprint(of: [&Resources; 2]) -> u64 {
    let lists = of
        .into_iter()
        .flat_map(|resources| [&resources.requests, &resources.limits]);
    if lists.clone().all(BTreeMap::is_empty) {
        return 0;
    }
    let texts: Vec<String> = lists
        .flat_map(|list| {
            let amounts = list.iter().map(|(name, amount)| format!("{name}={amount}"));
            amounts.chain(["|".to_owned()])
        })
        .collect();
    dice::hash(0, texts.iter().map(String::as_str))
}

fn start_delay(request: &PodRequest, seed: u64, delay: Span, jitter: Span) -> Span {
    let (Some(delay), Some(jitter)) = (delay.finite(), jitter.finite()) else {
        return Span::Never;
    };
    let identity = &request.identity;
    let chance = dice::fraction(dice::hash(seed, [&*identity.namespace, &*identity.name, "start"]));
    Span::Lasts(delay + jitter.mul_f64(chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_that_is_not_simulated_is_named_to_the_user() {
        let read = |action: &str| {
            let rule = json!({ "action": action, "exitCodes": { "operator": "In", "values": [1] } });
            let app = json!({ "name": "app", "restartPolicy": "Never", "restartPolicyRules": [rule] });
            let identity = json!({ "cluster": "", "node": "", "namespace": "ns", "name": "p", "uid": "u" });
            let request = json!({ "identity": identity, "pod": { "spec": { "containers": [app] } } });
            let request: PodRequest = serde_json::from_str(&request.to_string()).unwrap();
            let around = Surroundings {
                seed: 0,
                defaults: Defaults::new(crate::behaviour::Behaviour::default()),
                ranges: Vec::new(),
            };
            read(&request, &around)
        };
        assert_eq!(read("Restart").unwrap().containers[0].restart_rules.len(), 1);
        let error = read("RestartAllContainers").unwrap_err();
        assert!(
            error.message.contains("app") && error.message.contains("RestartAllContainers"),
            "{error}"
        );
    }
}
