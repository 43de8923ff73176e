//! The strategic merge patch of `/status`.
//!
//! Lists that merge by key (`conditions` by type, `podIPs` and `hostIPs` by ip) keep the entries that a patch does not
//! name: other owners' conditions on purpose, but an address that is gone must be deleted by name. Lists of container
//! statuses are replaced whole. The UID in the body makes the API server answer 409 when the pod was recreated.

use super::{
    conditions,
    model::{Condition, ContainerStatus, Ip, Phase, PodStatus},
};
use serde::Serialize;

/// Whether the API server's status already says what `desired` says, as far as it is ours.
pub fn is_current(desired: &PodStatus, current: &PodStatus) -> bool {
    let conditions = desired
        .conditions
        .iter()
        .all(|condition| current.condition(&condition.kind) == Some(condition));
    conditions
        && gone(desired, current).next().is_none()
        && desired.phase == current.phase
        && desired.observed_generation == current.observed_generation
        && desired.reason == current.reason
        && desired.message == current.message
        && desired.host_ip == current.host_ip
        && desired.host_ips == current.host_ips
        && desired.pod_ip == current.pod_ip
        && desired.pod_ips == current.pod_ips
        && desired.start_time == current.start_time
        && desired.init_container_statuses == current.init_container_statuses
        && desired.container_statuses == current.container_statuses
        && desired.ephemeral_container_statuses == current.ephemeral_container_statuses
}

/// The patch that leads from `current` to `desired`; only what differs is in it. With a version it is refused where the object
/// has another one.
pub fn body(
    uid: &str,
    version: Option<u64>,
    desired: &PodStatus,
    current: &PodStatus,
) -> Result<Vec<u8>, serde_json::Error> {
    let status = StatusPatch {
        phase: (desired.phase != current.phase).then_some(desired.phase),
        observed_generation: (desired.observed_generation != current.observed_generation)
            .then_some(desired.observed_generation),
        reason: text(&desired.reason, &current.reason),
        message: text(&desired.message, &current.message),
        host_ip: text(&desired.host_ip, &current.host_ip),
        pod_ip: text(&desired.pod_ip, &current.pod_ip),
        qos_class: text(&desired.qos_class, &current.qos_class),
        host_ips: addresses(&desired.host_ips, &current.host_ips),
        pod_ips: addresses(&desired.pod_ips, &current.pod_ips),
        start_time: (desired.start_time != current.start_time).then_some(desired.start_time.as_deref()),
        conditions: conditions(desired, current),
        init_container_statuses: changed(&desired.init_container_statuses, &current.init_container_statuses),
        container_statuses: changed(&desired.container_statuses, &current.container_statuses),
        ephemeral_container_statuses: changed(
            &desired.ephemeral_container_statuses,
            &current.ephemeral_container_statuses,
        ),
    };
    serde_json::to_vec(&Patch {
        metadata: Metadata {
            uid,
            resource_version: version.map(|version| version.to_string()),
        },
        status,
    })
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: Metadata<'a>,
    status: StatusPatch<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

/// A field that does not differ is left out; an inner `None` is null, which takes the old value back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Option<&'a str>>,
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    host_ip: Option<Option<&'a str>>,
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pod_ip: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos_class: Option<Option<&'a str>>,
    #[serde(rename = "hostIPs", skip_serializing_if = "Vec::is_empty")]
    host_ips: Vec<Address<'a>>,
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pod_ips: Vec<Address<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<ConditionEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_container_statuses: Option<&'a [ContainerStatus]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_statuses: Option<&'a [ContainerStatus]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral_container_statuses: Option<&'a [ContainerStatus]>,
}

/// An entry of a list that merges by address.
#[derive(Serialize)]
struct Address<'a> {
    #[serde(rename = "$patch", skip_serializing_if = "Option::is_none")]
    directive: Option<&'static str>,
    ip: &'a str,
}

/// An entry of a list that merges by type.
#[derive(Serialize)]
#[serde(untagged)]
enum ConditionEntry<'a> {
    Is(ConditionPatch<'a>),
    Gone {
        #[serde(rename = "$patch")]
        directive: &'static str,
        #[serde(rename = "type")]
        kind: &'a str,
    },
}

/// A condition as it is. A merge keeps what is not named: an old reason or message is taken back by
/// name.
#[derive(Serialize)]
struct ConditionPatch<'a> {
    #[serde(flatten)]
    condition: &'a Condition,
    #[serde(rename = "reason", skip_serializing_if = "Option::is_none")]
    no_reason: Option<()>,
    #[serde(rename = "message", skip_serializing_if = "Option::is_none")]
    no_message: Option<()>,
}

fn text<'a>(desired: &'a str, current: &str) -> Option<Option<&'a str>> {
    (desired != current).then_some((!desired.is_empty()).then_some(desired))
}

fn changed<'a>(desired: &'a [ContainerStatus], current: &[ContainerStatus]) -> Option<&'a [ContainerStatus]> {
    (desired != current).then_some(desired)
}

fn conditions<'a>(desired: &'a PodStatus, current: &'a PodStatus) -> Vec<ConditionEntry<'a>> {
    let differs = |condition: &&Condition| current.condition(&condition.kind) != Some(condition);
    let patch = |condition: &'a Condition| {
        debug_assert!(conditions::is_ours(&condition.kind));
        let old = current.condition(&condition.kind);
        let taken_back = |new: &str, old: Option<&String>| new.is_empty() && old.is_some_and(|old| !old.is_empty());
        ConditionEntry::Is(ConditionPatch {
            condition,
            no_reason: taken_back(&condition.reason, old.map(|old| &old.reason)).then_some(()),
            no_message: taken_back(&condition.message, old.map(|old| &old.message)).then_some(()),
        })
    };
    let gone = gone(desired, current).map(|condition| ConditionEntry::Gone {
        directive: "delete",
        kind: &condition.kind,
    });
    desired
        .conditions
        .iter()
        .filter(differs)
        .map(patch)
        .chain(gone)
        .collect()
}

/// Conditions of ours that stand in the API server and are not true any more.
fn gone<'a>(desired: &'a PodStatus, current: &'a PodStatus) -> impl Iterator<Item = &'a Condition> {
    let ours = current
        .conditions
        .iter()
        .filter(|condition| conditions::comes_and_goes(&condition.kind));
    ours.filter(|condition| desired.condition(&condition.kind).is_none())
}

fn addresses<'a>(desired: &'a [Ip], current: &'a [Ip]) -> Vec<Address<'a>> {
    if desired == current {
        return Vec::new();
    }
    let gone = current.iter().filter(|old| !desired.contains(old));
    let kept = desired.iter().map(|new| Address {
        directive: None,
        ip: &new.ip,
    });
    kept.chain(gone.map(|old| Address {
        directive: Some("delete"),
        ip: &old.ip,
    }))
    .collect()
}
