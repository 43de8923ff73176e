//! What a provider can carry of a pod's manifest.
//!
//! A provider declares every field and volume kind that not all backends can carry as [`Supported`](Level::Supported),
//! [`Ignored`](Level::Ignored) or [`Refused`](Level::Refused). The host finds the fields that a pod uses ([`field`])
//! and, before the provider ever sees the pod, holds it when one is refused: `Pending`, with an event and a status
//! that name the field. A field that nobody declared is refused, so that one which a newer Kubernetes brings is
//! never dropped silently.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a provider does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It does what Kubernetes documents.
    Supported,
    /// The pod runs as if the field were not there; one event per pod says so.
    Ignored,
    /// A pod that uses it is held.
    Refused,
}

/// A provider's declarations, by field key (see [`field`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Support {
    levels: BTreeMap<String, Level>,
}

impl Support {
    /// Everything refused.
    pub fn none() -> Self {
        Self::default()
    }

    /// Declares one field.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, level: Level) -> Self {
        self.levels.insert(key.into(), level);
        self
    }

    /// Declares several fields alike.
    #[must_use]
    pub fn with_all<'a>(mut self, keys: impl IntoIterator<Item = &'a str>, level: Level) -> Self {
        self.levels.extend(keys.into_iter().map(|key| (key.to_owned(), level)));
        self
    }

    /// What is declared for a field; [`Level::Refused`] when nothing is.
    pub fn level(&self, key: &str) -> Level {
        self.levels.get(key).copied().unwrap_or(Level::Refused)
    }

    /// All declarations, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Level)> {
        self.levels.iter().map(|(key, level)| (key.as_str(), *level))
    }
}

/// Keys of the fields that a provider declares. A key is the field's path in the pod's spec without indices; container
/// fields stand without `containers`, since they mean the same in each kind of container.
pub mod field {
    /// Volume kinds: `volumes.<kind>`, the name of the volume's source in the manifest. Kinds not listed here are
    /// asked for under the same pattern.
    pub const VOLUMES: &[&str] = &[
        "volumes.configMap",
        "volumes.secret",
        "volumes.downwardAPI",
        "volumes.projected",
        "volumes.emptyDir",
        "volumes.hostPath",
        "volumes.persistentVolumeClaim",
        "volumes.ephemeral",
        "volumes.csi",
        "volumes.image",
        "volumes.nfs",
        "volumes.iscsi",
        "volumes.fc",
        "volumes.azureFile",
        "volumes.azureDisk",
        "volumes.awsElasticBlockStore",
        "volumes.gcePersistentDisk",
        "volumes.cephfs",
        "volumes.cinder",
        "volumes.flexVolume",
        "volumes.flocker",
        "volumes.gitRepo",
        "volumes.glusterfs",
        "volumes.photonPersistentDisk",
        "volumes.portworxVolume",
        "volumes.quobyte",
        "volumes.rbd",
        "volumes.scaleIO",
        "volumes.storageos",
        "volumes.vsphereVolume",
    ];
    /// Sources of environment variables other than literal values.
    pub const ENV: &[&str] = &[
        "env.configMapKeyRef",
        "env.secretKeyRef",
        "env.fieldRef",
        "env.resourceFieldRef",
        "env.fileKeyRef",
        "envFrom.configMapRef",
        "envFrom.secretRef",
    ];
    /// Fields of containers.
    pub const CONTAINER: &[&str] = &[
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle.postStart",
        "lifecycle.preStop",
        "lifecycle.stopSignal",
        "ports.hostPort",
        "resources.limits",
        "resources.claims",
        "restartPolicyRules",
        "container.restartPolicy",
        "container.securityContext",
        "container.securityContext.privileged",
        "stdin",
        "tty",
        "volumeDevices",
        "workingDir",
    ];
    /// Fields of the pod's spec.
    pub const POD: &[&str] = &[
        "initContainers",
        "initContainers.sidecar",
        "ephemeralContainers",
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostUsers",
        "hostAliases",
        "hostname",
        "hostnameOverride",
        "subdomain",
        "setHostnameAsFQDN",
        "dnsConfig",
        "dnsPolicy.None",
        "imagePullSecrets",
        "runtimeClassName",
        "resources",
        "resourceClaims",
        "securityContext",
        "shareProcessNamespace",
        "os.windows",
        "evictionResponders",
    ];

    /// Every key of this module.
    pub fn all() -> impl Iterator<Item = &'static str> {
        [VOLUMES, ENV, CONTAINER, POD].into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_field_is_refused() {
        let support = Support::none().with("hostNetwork", Level::Ignored);
        assert_eq!(support.level("hostNetwork"), Level::Ignored);
        assert_eq!(support.level("volumes.brandNew"), Level::Refused);
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = field::all().collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
