//! Which lists merge, and by what: the part of the API's schema that patches need, for the kinds served here.
//!
//! Facts from the `patchStrategy`/`patchMergeKey` and `listType`/`listMapKey` marks of the published API types. A list that is
//! not named here is atomic (taints, tolerations, command, container statuses, ...).

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Elements are maps, told apart by these keys (strategic merge uses the first alone).
    Map(&'static [&'static str]),
}

/// Looks up a list by the names of its parent and of itself.
pub fn list(parent: &str, field: &str) -> List {
    match (parent, field) {
        (_, "containers" | "initContainers" | "ephemeralContainers") => List::Map(&["name"]),
        (_, "env" | "volumes" | "imagePullSecrets" | "resourceClaims" | "schedulingGates") => List::Map(&["name"]),
        ("", "secrets") => List::Map(&["name"]),
        (_, "volumeMounts") => List::Map(&["mountPath"]),
        (_, "volumeDevices") => List::Map(&["devicePath"]),
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => List::Map(&["containerPort", "protocol"]),
        ("spec", "ports") => List::Map(&["port", "protocol"]),
        (_, "hostAliases") => List::Map(&["ip"]),
        (_, "topologySpreadConstraints") => List::Map(&["topologyKey", "whenUnsatisfiable"]),
        ("status", "conditions") => List::Map(&["type"]),
        ("status", "podIPs" | "hostIPs") => List::Map(&["ip"]),
        ("status", "addresses") => List::Map(&["type"]),
        ("metadata", "ownerReferences") => List::Map(&["uid"]),
        ("metadata", "finalizers") => List::Set,
        ("spec", "podCIDRs") => List::Set,
        _ => List::Atomic,
    }
}
