//! A pod's manifest as materials need it, borrowed from its bytes.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// A pod.
#[derive(Deserialize)]
pub struct Pod<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow)]
    pub spec: Spec<'a>,
}

/// `metadata`. Labels and annotations are read only by those who ask for them.
#[derive(Deserialize)]
pub struct Metadata<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub annotations: Option<&'a RawValue>,
}

/// `spec`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow, default)]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub init_containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub ephemeral_containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub volumes: Vec<Volume<'a>>,
    #[serde(borrow, default)]
    pub node_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub service_account_name: Cow<'a, str>,
    #[serde(default)]
    pub host_network: bool,
    #[serde(default)]
    pub enable_service_links: Option<bool>,
    #[serde(default)]
    pub security_context: Option<Security>,
    #[serde(borrow, default)]
    pub image_pull_secrets: Vec<Named<'a>>,
    #[serde(borrow, default)]
    pub resources: Resources<'a>,
    #[serde(borrow, default)]
    pub dns_policy: Cow<'a, str>,
    #[serde(default)]
    pub dns_config: Option<DnsConfig>,
    #[serde(borrow, default)]
    pub hostname: Cow<'a, str>,
    #[serde(borrow, default)]
    pub hostname_override: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub subdomain: Cow<'a, str>,
    #[serde(rename = "setHostnameAsFQDN", default)]
    pub hostname_as_fqdn: Option<bool>,
    #[serde(default)]
    pub host_aliases: Vec<HostAlias>,
}

impl<'a> Spec<'a> {
    /// Containers of every kind, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container<'a>> {
        self.init_containers
            .iter()
            .chain(&self.containers)
            .chain(&self.ephemeral_containers)
    }
}

/// A container of any kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub env: Vec<EnvVar<'a>>,
    #[serde(borrow, default)]
    pub env_from: Vec<EnvFrom<'a>>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(borrow, default)]
    pub volume_mounts: Vec<VolumeMount<'a>>,
    #[serde(borrow, default)]
    pub resources: Resources<'a>,
    #[serde(default)]
    pub security_context: Option<Security>,
}

/// An entry of `env`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub value: Cow<'a, str>,
    #[serde(borrow, default)]
    pub value_from: Option<EnvSource<'a>>,
}

/// `valueFrom`: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvSource<'a> {
    #[serde(borrow, default)]
    pub field_ref: Option<FieldRef<'a>>,
    #[serde(borrow, default)]
    pub resource_field_ref: Option<ResourceRef<'a>>,
    #[serde(borrow, default)]
    pub config_map_key_ref: Option<KeyRef<'a>>,
    #[serde(borrow, default)]
    pub secret_key_ref: Option<KeyRef<'a>>,
    #[serde(borrow, default)]
    pub file_key_ref: Option<FileKeyRef<'a>>,
}

/// A key of a ConfigMap or Secret.
#[derive(Deserialize)]
pub struct KeyRef<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub key: Cow<'a, str>,
    #[serde(default)]
    pub optional: bool,
}

/// A key of an env file (KEP-3721).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileKeyRef<'a> {
    #[serde(borrow, default)]
    pub volume_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub key: Cow<'a, str>,
    #[serde(default)]
    pub optional: bool,
}

/// A field of the pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef<'a> {
    #[serde(borrow, default)]
    pub field_path: Cow<'a, str>,
}

/// A resource of a container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef<'a> {
    #[serde(borrow, default)]
    pub container_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub resource: Cow<'a, str>,
    #[serde(borrow, default)]
    pub divisor: Option<&'a RawValue>,
}

/// An entry of `envFrom`: one of the two.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvFrom<'a> {
    #[serde(borrow, default)]
    pub prefix: Cow<'a, str>,
    #[serde(borrow, default)]
    pub config_map_ref: Option<Named<'a>>,
    #[serde(borrow, default)]
    pub secret_ref: Option<Named<'a>>,
}

/// An object by its name.
#[derive(Deserialize)]
pub struct Named<'a> {
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(default)]
    pub optional: bool,
}

/// An entry of `volumeMounts`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    #[serde(borrow, default)]
    pub mount_path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub sub_path_expr: Cow<'a, str>,
}

/// `resources`. A quantity can be written as a text or a number.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Resources<'a> {
    #[serde(borrow)]
    pub limits: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow)]
    pub requests: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// `securityContext` of a pod or a container.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    pub run_as_user: Option<u32>,
    pub fs_group: Option<u32>,
}

/// `dnsConfig`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<DnsOption>,
}

/// An entry of `dnsConfig.options`.
#[derive(Deserialize)]
pub struct DnsOption {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub value: Option<String>,
}

/// An entry of `hostAliases`.
#[derive(Deserialize)]
pub struct HostAlias {
    #[serde(default)]
    pub ip: String,
    #[serde(default)]
    pub hostnames: Vec<String>,
}

/// A volume, of a kind that the host makes files for or of another one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub config_map: Option<KeysVolume<'a>>,
    #[serde(borrow, default)]
    pub secret: Option<KeysVolume<'a>>,
    #[serde(rename = "downwardAPI", borrow, default)]
    pub downward_api: Option<DownwardVolume<'a>>,
    #[serde(borrow, default)]
    pub projected: Option<ProjectedVolume<'a>>,
}

/// Files from the keys of a ConfigMap or Secret: a volume, or a source of a projected one. The users of this and the
/// other volumes are those of KEP-5936.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeysVolume<'a> {
    /// A Secret volume alone says `secretName`.
    #[serde(alias = "secretName", borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub items: Vec<KeyItem<'a>>,
    #[serde(default)]
    pub optional: bool,
    #[serde(default)]
    pub default_mode: Option<u32>,
    #[serde(default)]
    pub default_user: Option<u32>,
}

/// An entry of `items`.
#[derive(Deserialize)]
pub struct KeyItem<'a> {
    #[serde(borrow, default)]
    pub key: Cow<'a, str>,
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(default)]
    pub mode: Option<u32>,
    #[serde(default)]
    pub user: Option<u32>,
}

/// Files from fields of the pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DownwardVolume<'a> {
    #[serde(borrow, default)]
    pub items: Vec<DownwardItem<'a>>,
    #[serde(default)]
    pub default_mode: Option<u32>,
    #[serde(default)]
    pub default_user: Option<u32>,
}

/// A file from a field of the pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DownwardItem<'a> {
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(default)]
    pub mode: Option<u32>,
    #[serde(default)]
    pub user: Option<u32>,
    #[serde(borrow, default)]
    pub field_ref: Option<FieldRef<'a>>,
    #[serde(borrow, default)]
    pub resource_field_ref: Option<ResourceRef<'a>>,
}

/// Files from several sources.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectedVolume<'a> {
    /// Null where there are none.
    #[serde(borrow, default)]
    pub sources: Option<Vec<Source<'a>>>,
    #[serde(default)]
    pub default_mode: Option<u32>,
    #[serde(default)]
    pub default_user: Option<u32>,
}

/// A source of a projected volume: one of these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source<'a> {
    #[serde(borrow, default)]
    pub config_map: Option<KeysVolume<'a>>,
    #[serde(borrow, default)]
    pub secret: Option<KeysVolume<'a>>,
    #[serde(rename = "downwardAPI", borrow, default)]
    pub downward_api: Option<DownwardVolume<'a>>,
    #[serde(borrow, default)]
    pub service_account_token: Option<TokenSource<'a>>,
    #[serde(borrow, default)]
    pub cluster_trust_bundle: Option<TrustBundleSource<'a>>,
    #[serde(borrow, default)]
    pub pod_certificate: Option<CertificateSource<'a>>,
}

/// `serviceAccountToken`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSource<'a> {
    #[serde(borrow, default)]
    pub audience: Cow<'a, str>,
    #[serde(default)]
    pub expiration_seconds: Option<u64>,
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(default)]
    pub user: Option<u32>,
}

/// `clusterTrustBundle` (KEP-3257).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustBundleSource<'a> {
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub signer_name: Option<Cow<'a, str>>,
    #[serde(default)]
    pub label_selector: Option<Selector>,
    #[serde(default)]
    pub optional: bool,
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(default)]
    pub user: Option<u32>,
}

/// A `metav1.LabelSelector`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<Expression>,
}

/// An entry of `matchExpressions`.
#[derive(Deserialize)]
pub struct Expression {
    pub key: String,
    pub operator: String,
    #[serde(default)]
    pub values: Vec<String>,
}

/// `podCertificate` (KEP-4317).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSource<'a> {
    #[serde(borrow, default)]
    pub signer_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub key_type: Cow<'a, str>,
    #[serde(default)]
    pub max_expiration_seconds: Option<u64>,
    #[serde(default)]
    pub user_annotations: BTreeMap<String, String>,
    #[serde(borrow, default)]
    pub credential_bundle_path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub key_path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub certificate_chain_path: Cow<'a, str>,
    #[serde(default)]
    pub user: Option<u32>,
}

/// Reads a pod.
pub fn pod(raw: &[u8]) -> Result<Pod<'_>, serde_json::Error> {
    serde_json::from_slice(raw)
}
