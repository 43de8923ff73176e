//! What a pod refers to.

use std::collections::{BTreeMap, BTreeSet};

/// Exactly the objects that a pod's materials are made of, optional ones among them. They only change with its manifest:
/// names, audiences and volumes can't change, ephemeral containers can be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps of the pod's namespace, by name.
    pub config_maps: BTreeSet<String>,
    /// Secrets of the pod's namespace, by name, pull secrets among them.
    pub secrets: BTreeSet<String>,
    /// Tokens of the pod's own service account.
    pub tokens: BTreeSet<TokenSpec>,
    /// ClusterTrustBundles.
    pub trust_bundles: BTreeSet<TrustBundleSpec>,
    /// Certificates issued to the pod.
    pub pod_certificates: BTreeSet<PodCertificateSpec>,
    /// The Services of the pod's namespace are needed; `default/kubernetes` always is.
    pub service_links: bool,
    /// The node's allocatable resources are needed.
    pub node: bool,
}

/// A token to ask for with a TokenRequest that is bound to the pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenSpec {
    /// The service account.
    pub service_account: String,
    /// `audience`; empty means the API server's own.
    pub audience: String,
    /// `expirationSeconds`; the API server writes 3,600 where the manifest says nothing.
    pub expiration_seconds: u64,
}

/// Which ClusterTrustBundles a projection takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustBundleSpec {
    /// The one of this name.
    Named(String),
    /// Those of a signer whose labels match.
    Signed {
        /// `spec.signerName`.
        signer: String,
        /// Without one, none matches.
        selector: Option<LabelSelector>,
    },
}

/// A certificate to ask for with a PodCertificateRequest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodCertificateSpec {
    /// The volume that asks.
    pub volume: String,
    /// The index of the projected source in it: each has a certificate of its own.
    pub source: usize,
    /// The pod's service account.
    pub service_account: String,
    /// `signerName`.
    pub signer: String,
    /// `keyType`, for example `ED25519`.
    pub key_type: String,
    /// `maxExpirationSeconds`; the API server writes 86,400 where the manifest says nothing.
    pub max_expiration_seconds: Option<u64>,
    /// `userAnnotations`, passed to the signer.
    pub user_annotations: BTreeMap<String, String>,
}

/// A label selector, in a form of its own for each meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector {
    /// All of these must hold; none matches everything.
    pub requirements: Vec<Requirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: Operator,
    /// Sorted; for [`Operator::In`] and [`Operator::NotIn`].
    pub values: Vec<String>,
}

/// How a [`Requirement`] is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The label is one of the values.
    In,
    /// The label is none of the values, or not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let label = labels.get(&requirement.key);
            let listed = label.is_some_and(|label| requirement.values.contains(label));
            match requirement.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            }
        })
    }
}
