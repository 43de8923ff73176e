//! The provider's section of the host's config.

use crate::{
    behaviour::{Behaviour, CallBehaviour},
    ip_pool::Cidr,
    quantity::Quantity,
    span::Span,
    support,
};
use outrigger_plugin::{Level, NodeDescription, ProviderError, Result, Support};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// Config of the mock provider. All of it has defaults: pods that run at once, for ever, in this process.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// All chance comes from here: the same seed, pods and calls give the same course.
    pub seed: u64,
    /// Where the pods live.
    pub backend: BackendConfig,
    /// How pods behave whose annotations don't say otherwise.
    pub pods: Behaviour,
    /// The call that lists all pods.
    pub list: CallBehaviour,
    /// The call that asks whether the backend works.
    pub ping: CallBehaviour,
    /// What a command in a container (`kubectl exec`) is.
    pub exec: ExecConfig,
    /// Where `exec: local-process` has its folders; `outrigger-mock-<user id>` in the system's directory for temporary
    /// files without it. Only this user may have access.
    pub scratch: Option<PathBuf>,
    /// Where pods get their addresses from, at most one range of each family.
    pub ips: Vec<Cidr>,
    /// What each virtual node offers, by resource name as Kubernetes quantities. What is not named here has a default:
    /// cpu 100000, memory 409600Gi, ephemeral-storage 1Pi, pods 100000.
    pub capacity: BTreeMap<String, String>,
    /// Changes that later.
    pub capacity_change: Option<CapacityChange>,
    /// Fields of a pod that hold it: short for `support: {<field>: refused}`.
    pub refuse: Vec<String>,
    /// What the mock says of fields of a pod, in place of its own declarations.
    pub support: BTreeMap<String, Level>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            backend: BackendConfig::default(),
            pods: Behaviour::default(),
            list: CallBehaviour::default(),
            ping: CallBehaviour::default(),
            exec: ExecConfig::default(),
            scratch: None,
            ips: vec![Cidr::default()],
            capacity: BTreeMap::new(),
            capacity_change: None,
            refuse: Vec::new(),
            support: BTreeMap::new(),
        }
    }
}

/// Where the pods live.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "kind", deny_unknown_fields, rename_all = "camelCase")]
pub enum BackendConfig {
    /// In the provider: they end with the host.
    Memory {},
    /// In a process of their own, `outrigger-mock-backend`, that outlives the host.
    External {
        /// Path of the process's Unix socket.
        socket: PathBuf,
    },
}

impl Default for BackendConfig {
    fn default() -> Self {
        Self::Memory {}
    }
}

/// What a command in a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExecConfig {
    /// It prints itself, then its input, and ends with 0.
    #[default]
    Echo,
    /// It runs on the host's machine, as the host's user, in a folder of the container: exit codes, signals, terminals
    /// and files are real. For tests alone: whoever may exec into a pod may do there what the host may.
    LocalProcess,
}

/// A later change of what the nodes offer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CapacityChange {
    /// From the provider's start until then.
    pub after: Span,
    /// What is offered then, as in `capacity`, which it completes.
    pub capacity: BTreeMap<String, String>,
}

const DEFAULT_CAPACITY: [(&str, &str); 4] = [
    ("cpu", "100000"),
    ("memory", "409600Gi"),
    ("ephemeral-storage", "1Pi"),
    ("pods", "100000"),
];

impl Config {
    /// What its schema can't show: the key at fault and what was expected of it, as an error.
    pub fn check(&self) -> Result<()> {
        let fault = |key: &str, expected: &str| Err(ProviderError::invalid(format!("config field {key}: {expected}")));
        if let Err((key, expected)) = self.pods.check() {
            return fault(&format!("pods.{key}"), expected);
        }
        for (name, call) in [("list", &self.list), ("ping", &self.ping)] {
            if let Err((key, expected)) = call.check() {
                return fault(&format!("{name}.{key}"), expected);
            }
        }
        let of_ipv4 = self.ips.iter().filter(|range| range.is_ipv4()).count();
        if of_ipv4 > 1 || self.ips.len() - of_ipv4 > 1 {
            return fault("ips", "expected at most one range of IPv4 and one of IPv6");
        }
        let later = self.capacity_change.iter().flat_map(|change| &change.capacity);
        for (resource, amount) in self.capacity.iter().chain(later) {
            if let Err(expected) = amount.parse::<Quantity>() {
                return fault(&format!("capacity.{resource}"), &expected);
            }
        }
        for key in self.refuse.iter().chain(self.support.keys()) {
            if !support::is_known(key) {
                return fault(
                    "support",
                    &format!(
                        "there is no field {key}; expected a key such as {}",
                        support::examples()
                    ),
                );
            }
        }
        Ok(())
    }

    /// What this provider says of a pod's fields.
    pub fn declared(&self) -> Support {
        let mut declared = support::default_support();
        for (key, level) in &self.support {
            declared = declared.with(key, *level);
        }
        declared.with_all(self.refuse.iter().map(String::as_str), Level::Refused)
    }

    /// How a node looks: before the change of capacity, or after it.
    pub fn node(&self, changed: bool) -> NodeDescription {
        let mut capacity: BTreeMap<_, _> = DEFAULT_CAPACITY
            .map(|(resource, amount)| (resource.to_owned(), amount.to_owned()))
            .into();
        capacity.extend(self.capacity.clone());
        if let Some(change) = self.capacity_change.as_ref().filter(|_| changed) {
            capacity.extend(change.capacity.clone());
        }
        NodeDescription {
            capacity,
            ..NodeDescription::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: serde_json::Value) -> Result<Config, String> {
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.message)?;
        Ok(config)
    }

    #[test]
    fn nothing_is_needed() {
        let config = read(json!({})).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.node(false).capacity["pods"], "100000");
    }

    #[test]
    fn faults_name_their_field() {
        for (config, expected) in [
            (json!({"podz": {}}), "unknown field `podz`"),
            (json!({"pods": {"runtime": "5s"}}), "unknown field `runtime`"),
            (json!({"pods": {"runTime": 5}}), "expected a duration"),
            (json!({"pods": {"backOff": "0"}}), "pods.backOff"),
            (
                json!({"pods": {"create": {"failureRate": 2}}}),
                "pods.create.failureRate",
            ),
            (json!({"ping": {"failureRate": -1}}), "ping.failureRate"),
            (json!({"ips": ["10.0.0.0/8", "11.0.0.0/8"]}), "config field ips"),
            (json!({"ips": ["10.0.0.0"]}), "expected a range"),
            (json!({"capacity": {"cpu": "many"}}), "capacity.cpu"),
            (json!({"refuse": ["hostNetwerk"]}), "there is no field hostNetwerk"),
            (json!({"backend": {"kind": "external"}}), "missing field `socket`"),
            (
                json!({"backend": {"kind": "memory", "socket": "/x"}}),
                "unknown field `socket`",
            ),
            (json!({"backend": {"kind": "disk"}}), "unknown variant `disk`"),
            (json!({"exec": "remote"}), "unknown variant `remote`"),
            (json!({"pods": {"logLineBytes": 65_537}}), "pods.logLineBytes"),
        ] {
            let error = read(config.clone()).unwrap_err();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn fields_can_be_refused_and_supported() {
        let config = read(json!({
            "refuse": ["hostNetwork", "volumes.brandNew"],
            "support": {"volumes.emptyDir": "supported"},
        }))
        .unwrap();
        let declared = config.declared();
        assert_eq!(declared.level("hostNetwork"), Level::Refused);
        assert_eq!(declared.level("volumes.emptyDir"), Level::Supported);
        assert_eq!(declared.level("volumes.hostPath"), Level::Ignored);
    }

    #[test]
    fn the_change_completes_the_capacity() {
        let change = json!({"after": "1s", "capacity": {"cpu": "1"}});
        let config = read(json!({"capacity": {"pods": "5"}, "capacityChange": change})).unwrap();
        assert_eq!(config.node(false).capacity["cpu"], "100000");
        assert_eq!(config.node(true).capacity["cpu"], "1");
        assert_eq!(config.node(true).capacity["pods"], "5");
    }
}
