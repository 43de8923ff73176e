//! The configuration file as serde reads it: what passed [`walk`](super::walk), with nothing filled in yet.
//!
//! Unknown fields are refused here too, so that a field which the table knows and these structs forgot can't be lost.

use super::NotReadyAfter;
use super::Sha256Digest;
use super::duration::DurationText;
use super::duration::PositiveDuration;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A list whose items may have been unfit; those are `None`, so that the others keep their index.
pub(super) type Items<T> = Vec<Option<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    pub(super) cluster: Cluster,
    pub(super) log: Log,
    pub(super) plugins: Plugins,
    pub(super) providers: Items<Provider>,
    pub(super) nodes: Items<Node>,
    pub(super) kubelet: Kubelet,
    pub(super) on_shutdown: Option<OnShutdown>,
    #[serde(deserialize_with = "text")]
    pub(super) shutdown_timeout: Option<DurationText>,
    pub(super) orphans: Orphans,
    pub(super) events: Events,
    pub(super) intervals: Intervals,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Cluster {
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) id: Option<String>,
    pub(super) node_certificates: Option<PathBuf>,
    pub(super) watches_per_node_up_to: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) level: Option<String>,
    pub(super) format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plugins {
    pub(super) directories: Option<Items<PathBuf>>,
    pub(super) load: Option<PluginLoad>,
    pub(super) allow: Option<Items<Allowed>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PluginLoad {
    Memory,
    Path,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Allowed {
    pub(super) name: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) sha256: Option<Sha256Digest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Provider {
    pub(super) name: Option<String>,
    pub(super) plugin: Option<String>,
    pub(super) path: Option<PathBuf>,
    #[serde(deserialize_with = "text")]
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) required: Option<bool>,
    pub(super) config: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Node {
    pub(super) name: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) count: Option<u16>,
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) taints: Items<Taint>,
    pub(super) defaults: NodeDefaults,
    pub(super) capacity: BTreeMap<String, String>,
    #[serde(rename = "providerID")]
    pub(super) provider_id: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) not_ready_after: Option<NotReadyAfter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Taint {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) effect: Option<TaintEffect>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct NodeDefaults {
    pub(super) taint: Option<bool>,
    pub(super) type_label: Option<bool>,
    pub(super) exclude_from_load_balancers: Option<bool>,
    pub(super) kubernetes_labels: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Kubelet {
    pub(super) listen: Option<IpAddr>,
    #[serde(rename = "clientCAFile")]
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) verify_clients: Option<bool>,
    pub(super) authentication: Authentication,
    pub(super) authorization: Authorization,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    #[serde(rename = "serverTLSBootstrap")]
    pub(super) server_tls_bootstrap: Option<bool>,
    pub(super) cert_directory: Option<PathBuf>,
    pub(super) extend_web_sockets: Option<bool>,
    pub(super) shared_listener: Option<u16>,
    #[serde(rename = "clusterDNS")]
    pub(super) cluster_dns: Option<Vec<IpAddr>>,
    pub(super) cluster_domain: Option<String>,
    pub(super) resolv_conf: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Authentication {
    pub(super) anonymous: Anonymous,
    pub(super) webhook: TokenWebhook,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Anonymous {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokenWebhook {
    pub(super) enabled: Option<bool>,
    #[serde(rename = "cacheTTL", deserialize_with = "text")]
    pub(super) cache_ttl: Option<PositiveDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Authorization {
    pub(super) webhook: AccessWebhook,
    pub(super) sessions_require_create: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessWebhook {
    #[serde(rename = "cacheAuthorizedTTL", deserialize_with = "text")]
    pub(super) cache_authorized_ttl: Option<PositiveDuration>,
    #[serde(rename = "cacheUnauthorizedTTL", deserialize_with = "text")]
    pub(super) cache_unauthorized_ttl: Option<PositiveDuration>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnShutdown {
    Keep,
    Cordon,
    Deregister,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Orphans {
    pub(super) dry_run: Option<bool>,
    #[serde(deserialize_with = "text")]
    pub(super) after: Option<DurationText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Events {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Intervals {
    #[serde(deserialize_with = "text")]
    pub(super) ping: Option<PositiveDuration>,
    #[serde(deserialize_with = "text")]
    pub(super) ping_timeout: Option<PositiveDuration>,
    #[serde(deserialize_with = "text")]
    pub(super) status_report: Option<PositiveDuration>,
    #[serde(deserialize_with = "text")]
    pub(super) status_resend: Option<PositiveDuration>,
}

/// A value that is written as a text and has a syntax of its own.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: ToString>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| D::Error::custom(error.to_string()))
    })
    .transpose()
}
