//! What the mock carries of a pod.

use outrigger_plugin::{Level, Support, support::field};

/// What the mock simulates.
const SIMULATED: &[&str] = &[
    "initContainers",
    "initContainers.sidecar",
    "ephemeralContainers",
    "hostNetwork",
    "container.restartPolicy",
    "restartPolicyRules",
    "resources.limits",
    "resources",
];

/// What the host resolves for it. It is supported as far as a pod waits for it as with any other provider; `showMaterials`
/// shows what came.
const MATERIALS: &[&str] = &[
    "volumes.configMap",
    "volumes.secret",
    "volumes.downwardAPI",
    "volumes.projected",
    "env.configMapKeyRef",
    "env.secretKeyRef",
    "env.fieldRef",
    "env.resourceFieldRef",
    "envFrom.configMapRef",
    "envFrom.secretRef",
    "imagePullSecrets",
    "hostAliases",
    "hostname",
    "hostnameOverride",
    "subdomain",
    "setHostnameAsFQDN",
    "dnsConfig",
    "dnsPolicy.None",
];

/// What a pod gets its content from that only a real container, or a real image, could give. A pod that uses one can't
/// work without, and ordinary workloads don't.
const IMPOSSIBLE: &[&str] = &["env.fileKeyRef", "volumes.image"];

/// The declarations of a mock with default config: what it simulates, and what the host resolves for it, is supported;
/// content that only a real container has is refused; what would need a real container to mean anything (other volumes,
/// probes, security) is ignored, so that ordinary workloads run.
pub fn default_support() -> Support {
    Support::none()
        .with_all(field::all(), Level::Ignored)
        .with_all(SIMULATED.iter().copied(), Level::Supported)
        .with_all(MATERIALS.iter().copied(), Level::Supported)
        .with_all(IMPOSSIBLE.iter().copied(), Level::Refused)
}

/// Whether a provider can declare such a field: a key of the SDK, or any kind of volume.
pub fn is_known(key: &str) -> bool {
    field::all().any(|known| known == key) || key.strip_prefix("volumes.").is_some_and(|kind| !kind.is_empty())
}

/// Some keys, to show what they look like.
pub fn examples() -> String {
    let some = [field::VOLUMES, field::ENV, field::CONTAINER, field::POD].map(|keys| keys[0]);
    some.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_declared() {
        let support = default_support();
        assert_eq!(support.iter().count(), field::all().count());
        assert_eq!(support.level("initContainers"), Level::Supported);
        assert_eq!(support.level("restartPolicyRules"), Level::Supported);
        assert_eq!(support.level("volumes.projected"), Level::Supported);
        assert_eq!(support.level("volumes.emptyDir"), Level::Ignored);
        assert_eq!(support.level("volumes.image"), Level::Refused);
    }

    #[test]
    fn the_named_keys_exist() {
        for key in SIMULATED.iter().chain(MATERIALS).chain(IMPOSSIBLE) {
            assert!(field::all().any(|known| known == *key), "{key}");
        }
    }
}
