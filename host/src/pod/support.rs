//! Which fields of its manifest a pod uses that not every provider can carry, and what follows from it.
//!
//! Keys are those of `outrigger_plugin::support::field`. A volume of a kind that nobody knew when this was written is
//! found as well, since a volume's kind is simply its other key.

use outrigger_plugin::{Level, Support};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// What a provider's declarations mean for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs; these fields are left out.
    Runs { ignored: Vec<String> },
    /// It is held because of these fields.
    Refused { fields: Vec<String> },
}

/// Reads what a pod is judged by, in one pass.
pub fn read(raw: &[u8]) -> Result<Spec<'_>, serde_json::Error> {
    Ok(serde_json::from_slice::<Manifest<'_>>(raw)?.spec)
}

/// Judges a pod by its manifest.
pub fn judge(spec: &Spec<'_>, support: &Support) -> Verdict {
    let used = used(spec);
    let at = |level: Level| {
        let mut fields: Vec<String> = used
            .fields
            .iter()
            .filter(|field| support.level(&field.key) == level)
            .map(Used::to_string)
            .collect();
        fields.dedup();
        fields
    };
    let refused = at(Level::Refused);
    if !refused.is_empty() {
        return Verdict::Refused { fields: refused };
    }
    Verdict::Runs {
        ignored: at(Level::Ignored),
    }
}

/// A field in use: its key and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Used {
    key: Cow<'static, str>,
    /// The volume or container that uses it; empty for a field of the pod.
    at: String,
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.at.is_empty() {
            f.write_str(&self.key)
        } else {
            write!(f, "{} ({})", self.key, self.at)
        }
    }
}

#[derive(Default)]
struct Uses {
    fields: BTreeSet<Used>,
}

impl Uses {
    fn pod(&mut self, key: &'static str, used: bool) {
        if used {
            self.fields.insert(Used {
                key: key.into(),
                at: String::new(),
            });
        }
    }

    fn at(&mut self, key: impl Into<Cow<'static, str>>, at: &str, used: bool) {
        if used {
            self.fields.insert(Used {
                key: key.into(),
                at: at.to_owned(),
            });
        }
    }
}

#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

/// `spec` of a pod, as far as a pod is judged by it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec<'a> {
    /// `spec.nodeSelector`.
    #[serde(borrow)]
    pub node_selector: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    volumes: Vec<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow)]
    pub(super) containers: Vec<Container<'a>>,
    #[serde(borrow)]
    pub(super) init_containers: Vec<Container<'a>>,
    /// `spec.affinity`, read only where a node has labels to match.
    #[serde(borrow)]
    pub(super) affinity: Option<&'a RawValue>,
    /// `spec.tolerations`, read only where a node has taints that matter.
    #[serde(borrow)]
    pub(super) tolerations: Option<&'a RawValue>,
    /// `spec.overhead`.
    #[serde(borrow)]
    pub(super) overhead: Option<&'a RawValue>,
    #[serde(borrow)]
    ephemeral_containers: Vec<Container<'a>>,
    #[serde(rename = "hostNetwork")]
    host_network: bool,
    #[serde(rename = "hostPID")]
    host_pid: bool,
    #[serde(rename = "hostIPC")]
    host_ipc: bool,
    host_users: Option<bool>,
    host_aliases: Vec<IgnoredAny>,
    #[serde(borrow)]
    hostname: Cow<'a, str>,
    #[serde(borrow)]
    hostname_override: Cow<'a, str>,
    #[serde(borrow)]
    subdomain: Cow<'a, str>,
    #[serde(rename = "setHostnameAsFQDN")]
    fqdn: bool,
    #[serde(borrow)]
    dns_config: Map<'a>,
    #[serde(borrow)]
    dns_policy: Cow<'a, str>,
    image_pull_secrets: Vec<IgnoredAny>,
    #[serde(borrow)]
    runtime_class_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) resources: Map<'a>,
    resource_claims: Vec<IgnoredAny>,
    #[serde(borrow)]
    security_context: Map<'a>,
    share_process_namespace: bool,
    #[serde(borrow)]
    os: Os<'a>,
    eviction_responders: Vec<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Os<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Spec<'_> {
    /// `spec.os.name`; empty where none is named.
    pub fn operating_system(&self) -> &str {
        &self.os.name
    }
}

pub(super) type Map<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    env: Vec<Env<'a>>,
    #[serde(borrow)]
    env_from: Vec<Map<'a>>,
    liveness_probe: Option<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
    startup_probe: Option<IgnoredAny>,
    #[serde(borrow)]
    lifecycle: Map<'a>,
    ports: Vec<Port>,
    #[serde(borrow)]
    pub(super) resources: Map<'a>,
    restart_policy_rules: Vec<IgnoredAny>,
    #[serde(borrow)]
    restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    security_context: Map<'a>,
    stdin: bool,
    tty: bool,
    volume_devices: Vec<IgnoredAny>,
    #[serde(borrow)]
    working_dir: Cow<'a, str>,
}

impl Container<'_> {
    /// An init container that goes on beside the regular ones (KEP-753).
    pub(super) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Env<'a> {
    #[serde(borrow)]
    value_from: Map<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    host_port: i32,
}

fn used(spec: &Spec<'_>) -> Uses {
    let mut uses = Uses::default();
    for volume in &spec.volumes {
        let name = volume
            .get("name")
            .and_then(|name| serde_json::from_str::<Cow<'_, str>>(name.get()).ok());
        for kind in volume.keys().filter(|key| *key != "name") {
            uses.at(format!("volumes.{kind}"), name.as_deref().unwrap_or_default(), true);
        }
    }
    uses.pod("initContainers", !spec.init_containers.is_empty());
    uses.pod("ephemeralContainers", !spec.ephemeral_containers.is_empty());
    uses.pod("hostNetwork", spec.host_network);
    uses.pod("hostPID", spec.host_pid);
    uses.pod("hostIPC", spec.host_ipc);
    uses.pod("hostUsers", spec.host_users == Some(false));
    uses.pod("hostAliases", !spec.host_aliases.is_empty());
    uses.pod("hostname", !spec.hostname.is_empty());
    uses.pod("hostnameOverride", !spec.hostname_override.is_empty());
    uses.pod("subdomain", !spec.subdomain.is_empty());
    uses.pod("setHostnameAsFQDN", spec.fqdn);
    uses.pod("dnsConfig", !spec.dns_config.is_empty());
    uses.pod("dnsPolicy.None", spec.dns_policy == "None");
    uses.pod("imagePullSecrets", !spec.image_pull_secrets.is_empty());
    uses.pod("runtimeClassName", !spec.runtime_class_name.is_empty());
    uses.pod("resources", !spec.resources.is_empty());
    uses.pod("resourceClaims", !spec.resource_claims.is_empty());
    uses.pod("securityContext", !spec.security_context.is_empty());
    uses.pod("shareProcessNamespace", spec.share_process_namespace);
    uses.pod("os.windows", spec.os.name == "windows");
    uses.pod("evictionResponders", !spec.eviction_responders.is_empty());
    for container in &spec.init_containers {
        let sidecar = container.is_sidecar();
        uses.at("initContainers.sidecar", &container.name, sidecar);
        uses.at(
            "container.restartPolicy",
            &container.name,
            container.restart_policy.is_some() && !sidecar,
        );
    }
    for container in &spec.containers {
        uses.at(
            "container.restartPolicy",
            &container.name,
            container.restart_policy.is_some(),
        );
    }
    for container in spec
        .containers
        .iter()
        .chain(&spec.init_containers)
        .chain(&spec.ephemeral_containers)
    {
        of_container(&mut uses, container);
    }
    uses
}

fn of_container(uses: &mut Uses, container: &Container<'_>) {
    let at = &*container.name;
    for source in container.env.iter().flat_map(|env| env.value_from.keys()) {
        uses.at(format!("env.{source}"), at, true);
    }
    for source in container
        .env_from
        .iter()
        .flat_map(BTreeMap::keys)
        .filter(|key| *key != "prefix")
    {
        uses.at(format!("envFrom.{source}"), at, true);
    }
    uses.at("livenessProbe", at, container.liveness_probe.is_some());
    uses.at("readinessProbe", at, container.readiness_probe.is_some());
    uses.at("startupProbe", at, container.startup_probe.is_some());
    for hook in container.lifecycle.keys() {
        uses.at(format!("lifecycle.{hook}"), at, true);
    }
    uses.at(
        "ports.hostPort",
        at,
        container.ports.iter().any(|port| port.host_port != 0),
    );
    uses.at("resources.limits", at, container.resources.contains_key("limits"));
    uses.at("resources.claims", at, container.resources.contains_key("claims"));
    uses.at("restartPolicyRules", at, !container.restart_policy_rules.is_empty());
    uses.at("container.securityContext", at, !container.security_context.is_empty());
    let privileged = container
        .security_context
        .get("privileged")
        .is_some_and(|value| value.get() == "true");
    uses.at("container.securityContext.privileged", at, privileged);
    uses.at("stdin", at, container.stdin);
    uses.at("tty", at, container.tty);
    uses.at("volumeDevices", at, !container.volume_devices.is_empty());
    uses.at("workingDir", at, !container.working_dir.is_empty());
}

/// Whether an ignored field needs no word: the token volume that the API server adds to every pod.
pub fn is_injected(field: &str) -> bool {
    field.starts_with("volumes.projected (kube-api-access-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_plugin::support::field;

    fn keys(spec: serde_json::Value) -> Vec<String> {
        let raw = serde_json::to_vec(&serde_json::json!({ "spec": spec })).unwrap();
        used(&read(&raw).unwrap()).fields.iter().map(Used::to_string).collect()
    }

    #[test]
    fn a_plain_pod_uses_nothing() {
        let spec = serde_json::json!({
            "containers": [{"name": "c", "image": "i", "resources": {}, "env": [{"name": "A", "value": "1"}]}],
            "securityContext": {}, "dnsPolicy": "ClusterFirst", "enableServiceLinks": true,
        });
        assert_eq!(keys(spec), Vec::<String>::new());
    }

    #[test]
    fn volumes_are_named_with_their_kind_also_one_from_the_future() {
        let spec = serde_json::json!({ "containers": [], "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "x"}},
            {"name": "new", "quantumFoam": {}},
        ]});
        assert_eq!(
            keys(spec),
            ["volumes.persistentVolumeClaim (data)", "volumes.quantumFoam (new)"]
        );
    }

    /// One manifest for each key of the SDK's table, so that no declared field goes unnoticed.
    #[test]
    fn every_declared_field_is_found() {
        let container = |extra: serde_json::Value| {
            let mut container = serde_json::json!({"name": "c", "image": "i"});
            container
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            serde_json::json!({ "containers": [container] })
        };
        for key in field::all() {
            let spec = if let Some(kind) = key.strip_prefix("volumes.") {
                serde_json::json!({"containers": [], "volumes": [{"name": "v", kind: {}}]})
            } else if let Some(source) = key.strip_prefix("env.") {
                container(serde_json::json!({"env": [{"name": "A", "valueFrom": {source: {}}}]}))
            } else if let Some(source) = key.strip_prefix("envFrom.") {
                container(serde_json::json!({"envFrom": [{source: {}, "prefix": "P"}]}))
            } else if let Some(hook) = key.strip_prefix("lifecycle.") {
                let what = if hook == "stopSignal" {
                    "SIGINT".into()
                } else {
                    serde_json::json!({})
                };
                container(serde_json::json!({"lifecycle": {hook: what}}))
            } else {
                match key {
                    "ports.hostPort" => container(serde_json::json!({"ports": [{"containerPort": 1, "hostPort": 1}]})),
                    "resources.limits" => container(serde_json::json!({"resources": {"limits": {"cpu": "1"}}})),
                    "resources.claims" => container(serde_json::json!({"resources": {"claims": [{"name": "x"}]}})),
                    "restartPolicyRules" => container(serde_json::json!({key: [{}]})),
                    "container.restartPolicy" => container(serde_json::json!({"restartPolicy": "Never"})),
                    "container.securityContext" => container(serde_json::json!({"securityContext": {"runAsUser": 1}})),
                    "container.securityContext.privileged" => {
                        container(serde_json::json!({"securityContext": {"privileged": true}}))
                    }
                    "stdin" | "tty" => container(serde_json::json!({key: true})),
                    "volumeDevices" => container(serde_json::json!({key: [{"name": "d", "devicePath": "/d"}]})),
                    "workingDir" => container(serde_json::json!({key: "/w"})),
                    "livenessProbe" | "readinessProbe" | "startupProbe" => container(serde_json::json!({key: {}})),
                    "initContainers.sidecar" => serde_json::json!({"containers": [],
                        "initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
                    "initContainers" | "ephemeralContainers" => {
                        serde_json::json!({"containers": [], key: [{"name": "x"}]})
                    }
                    "hostUsers" => serde_json::json!({"containers": [], key: false}),
                    "hostNetwork" | "hostPID" | "hostIPC" | "setHostnameAsFQDN" | "shareProcessNamespace" => {
                        serde_json::json!({"containers": [], key: true})
                    }
                    "hostname" | "hostnameOverride" | "subdomain" | "runtimeClassName" => {
                        serde_json::json!({"containers": [], key: "x"})
                    }
                    "dnsConfig" => serde_json::json!({"containers": [], key: {"searches": ["x"]}}),
                    "resources" => serde_json::json!({"containers": [], key: {"limits": {"cpu": "1"}}}),
                    "securityContext" => serde_json::json!({"containers": [], key: {"runAsUser": 1}}),
                    "dnsPolicy.None" => serde_json::json!({"containers": [], "dnsPolicy": "None"}),
                    "os.windows" => serde_json::json!({"containers": [], "os": {"name": "windows"}}),
                    _ => serde_json::json!({"containers": [], key: [{}]}),
                }
            };
            let names = |found: &[String]| found.iter().any(|field| field.split(' ').next() == Some(key));
            let found = keys(spec.clone());
            assert!(names(&found), "{key}: {spec} gave {found:?}");
            // And it is one of the API's: what that does not know it does not keep.
            let typed: k8s_openapi::api::core::v1::PodSpec = serde_json::from_value(spec.clone()).unwrap();
            let kept = keys(serde_json::to_value(typed).unwrap());
            assert!(names(&kept), "{key}: of {spec} the API keeps {kept:?}");
        }
    }

    #[test]
    fn refusal_wins_and_names_field_and_place() {
        let raw = br#"{"spec":{"containers":[{"name":"c","livenessProbe":{}}],"hostPID":true}}"#;
        let support = Support::none().with("hostPID", Level::Ignored);
        assert_eq!(
            judge(&read(raw).unwrap(), &support),
            Verdict::Refused {
                fields: vec!["livenessProbe (c)".into()]
            }
        );
        let support = support.with("livenessProbe", Level::Supported);
        assert_eq!(
            judge(&read(raw).unwrap(), &support),
            Verdict::Runs {
                ignored: vec!["hostPID".into()]
            }
        );
    }

    #[test]
    fn the_volume_that_the_api_server_adds_needs_no_word() {
        let raw = br#"{"spec":{"containers":[],"volumes":[{"name":"kube-api-access-x","projected":{}}]}}"#;
        let ignoring = Support::none().with("volumes.projected", Level::Ignored);
        let Verdict::Runs { ignored } = judge(&read(raw).unwrap(), &ignoring) else {
            panic!("held")
        };
        assert!(
            !ignored.is_empty() && ignored.iter().all(|field| is_injected(field)),
            "{ignored:?}"
        );
    }
}
