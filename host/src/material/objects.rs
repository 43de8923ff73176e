//! What [`resolve`](super::resolve) is given and what it gives.

use super::{
    Notice,
    model::{ConfigMapData, PodCertificate, SecretData, ServiceLinks},
    token::Token,
    wants::{PodCertificateSpec, TokenSpec, TrustBundleSpec},
};
use outrigger_plugin::{Dns, Materials, Support};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The objects that one pod may refer to, as they are known now. Names are those of the pod's own namespace.
pub trait Objects {
    /// A ConfigMap.
    fn config_map(&self, name: &str) -> Found<Arc<ConfigMapData>>;
    /// A Secret.
    fn secret(&self, name: &str) -> Found<Arc<SecretData>>;
    /// What a ConfigMap that is missing now held last, for a pod that runs with that: a kubelet leaves it what it has.
    fn last_config_map(&self, _name: &str) -> Option<Arc<ConfigMapData>> {
        None
    }
    /// The same of a Secret.
    fn last_secret(&self, _name: &str) -> Option<Arc<SecretData>> {
        None
    }
    /// A token bound to this pod.
    fn token(&self, spec: &TokenSpec) -> Found<Arc<Token>>;
    /// The PEM texts (`spec.trustBundle`) of the ClusterTrustBundles that `spec` selects, in any order. None selected
    /// is [`Found::Missing`] or an empty list, alike.
    fn trust_bundles(&self, spec: &TrustBundleSpec) -> Found<Vec<Arc<str>>>;
    /// The key and certificate issued to this pod for that place.
    fn pod_certificate(&self, spec: &PodCertificateSpec) -> Found<Arc<PodCertificate>>;
    /// The variables of the pod's namespace's Services and of `default/kubernetes`; of the latter alone unless
    /// `namespace`. Never [`Found::Missing`]: no Services give no variables.
    fn service_links(&self, namespace: bool) -> Found<Arc<ServiceLinks>>;
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// It is this.
    Here(T),
    /// It does not exist.
    Missing,
    /// Not known yet: an answer is on its way.
    Unknown,
    /// It can't be read, and why: forbidden, for example. Without object content.
    Unavailable(String),
}

/// What a pod's materials depend on beside objects.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What the provider declares.
    pub support: &'a Support,
    /// The node's addresses, primary first: `status.hostIP` and `hostIPs`.
    pub host_ips: &'a [IpAddr],
    /// The node's `status.allocatable`: what a container without a limit may take.
    pub allocatable: &'a BTreeMap<String, String>,
    /// `kubelet.clusterDNS`.
    pub cluster_dns: &'a [IpAddr],
    /// `kubelet.clusterDomain`; may be empty.
    pub cluster_domain: &'a str,
    /// What `dnsPolicy: Default` gives, where the operator says so (`kubelet.resolvConf`). `None` leaves it to the
    /// backend.
    pub node_dns: Option<&'a Dns>,
}

/// A pod that can be made.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the provider is given.
    pub materials: Materials,
    /// What a person should hear of.
    pub notices: Vec<Notice>,
    /// What a person should hear of if an image of the pod can't be pulled.
    pub if_pull_fails: Option<Notice>,
}
