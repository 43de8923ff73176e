//! Pods as the host reads them: borrowed views over the raw JSON, with just the fields that the host acts on.
//!
//! A typed `v1.Pod` takes twenty kilobytes, its raw bytes two; so the bytes are kept, and read on use.

use super::status::model::{Phase, PodStatus, Resources};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The parts of an object that every event of a watch is read for, in one pass over its bytes.
#[derive(Deserialize)]
pub struct Head<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow, default)]
    pub spec: HeadSpec<'a>,
    #[serde(borrow, default)]
    pub status: HeadStatus<'a>,
}

/// What is kept of `spec` in a record.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct HeadSpec<'a> {
    #[serde(borrow, default)]
    pub restart_policy: Cow<'a, str>,
    #[serde(default)]
    pub termination_grace_period_seconds: Option<u64>,
    #[serde(default)]
    pub active_deadline_seconds: Option<u64>,
}

/// What is kept of `status` in a record.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct HeadStatus<'a> {
    #[serde(default)]
    pub phase: Phase,
    #[serde(borrow, default)]
    pub start_time: Option<Cow<'a, str>>,
}

/// `metadata` of a pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub resource_version: Cow<'a, str>,
    #[serde(default)]
    pub generation: i64,
    #[serde(borrow, default)]
    pub deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    pub deletion_grace_period_seconds: Option<u64>,
    /// Only to see whether there are any: an API server leaves an empty list out.
    #[serde(borrow, default)]
    pub finalizers: Option<&'a RawValue>,
    /// Only to see that they have changed.
    #[serde(borrow, default)]
    pub labels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub annotations: Option<&'a RawValue>,
    /// Only to cut it out of what is kept.
    #[serde(borrow, default)]
    pub managed_fields: Option<&'a RawValue>,
}

impl Metadata<'_> {
    /// A hash of labels and annotations as they were written, the same within one process.
    pub fn labels_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.labels.map(RawValue::get), self.annotations.map(RawValue::get)).hash(&mut hasher);
        hasher.finish()
    }
}

/// A pod, read as a whole.
#[derive(Deserialize)]
pub struct Pod<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow)]
    pub spec: Spec<'a>,
    #[serde(default)]
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow, default)]
    pub restart_policy: Cow<'a, str>,
    #[serde(default)]
    pub host_network: Option<bool>,
    #[serde(borrow, default)]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub init_containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub ephemeral_containers: Vec<Container<'a>>,
    #[serde(borrow, default)]
    pub readiness_gates: Vec<ReadinessGate<'a>>,
}

/// A container of any kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub image: Cow<'a, str>,
    #[serde(borrow, default)]
    pub restart_policy: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub restart_policy_rules: Vec<RestartRule<'a>>,
    #[serde(default)]
    pub resources: Resources,
}

/// An entry of `restartPolicyRules` of a container.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartRule<'a> {
    #[serde(borrow, default)]
    action: Cow<'a, str>,
    #[serde(borrow, default)]
    exit_codes: ExitCodes<'a>,
}

/// Which exit codes a rule is for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ExitCodes<'a> {
    #[serde(borrow)]
    operator: Cow<'a, str>,
    values: Vec<i32>,
}

/// An entry of `spec.readinessGates`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadinessGate<'a> {
    #[serde(borrow)]
    pub condition_type: Cow<'a, str>,
}

impl Container<'_> {
    /// An init container that goes on beside the regular ones (KEP-753).
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// Whether it is started again after it ended with that code in a pod of that policy: its own rules first, then its
    /// own policy (KEP-5307), then the pod's.
    pub fn restarts(&self, pod_policy: &str, exit_code: i32) -> bool {
        if self.restart_policy.is_some() && self.restart_policy_rules.iter().any(|rule| rule.restarts(exit_code)) {
            return true;
        }
        match self.restart_policy.as_deref().unwrap_or(pod_policy) {
            "Never" => false,
            "OnFailure" => exit_code != 0,
            _ => true,
        }
    }
}

impl Spec<'_> {
    /// Whether a rule of one container starts all of them again, those that had ended for good among them.
    pub fn restarts_together(&self) -> bool {
        let containers = self.containers.iter().chain(&self.init_containers);
        let mut rules = containers.flat_map(|container| &container.restart_policy_rules);
        rules.any(|rule| rule.action == "RestartAllContainers")
    }
}

impl RestartRule<'_> {
    fn restarts(&self, exit_code: i32) -> bool {
        let listed = self.exit_codes.values.contains(&exit_code);
        let matches = match &*self.exit_codes.operator {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        matches && matches!(&*self.action, "Restart" | "RestartAllContainers")
    }
}

impl HeadSpec<'_> {
    /// The grace period of a normal stop: the manifest's, 30 s without one.
    pub fn grace_seconds(&self) -> u64 {
        self.termination_grace_period_seconds.unwrap_or(30)
    }
}

/// A grace period as a time to wait. The API takes any number of seconds, and times end somewhere: this one after ten years.
pub fn grace(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(10 * 365 * 24 * 3600))
}

/// Reads a pod as a whole.
pub fn pod(raw: &[u8]) -> Result<Pod<'_>, serde_json::Error> {
    serde_json::from_slice(raw)
}

/// Reads a pod's head.
pub fn head(raw: &[u8]) -> Result<Head<'_>, serde_json::Error> {
    serde_json::from_slice(raw)
}

/// Which pod an object is, and in which version.
#[derive(Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub uid: Cow<'a, str>,
    pub resource_version: Cow<'a, str>,
}

/// Reads only that, and no further than to it: of the events that a host sees, half are echoes of its own writes, which
/// it knows already. `None` where it can't be read like that.
pub fn key(raw: &[u8]) -> Option<Key<'_>> {
    let mut key = Key {
        uid: Cow::Borrowed(""),
        resource_version: Cow::Borrowed(""),
    };
    // Ends early, so its outcome says nothing.
    let _ = serde_json::Deserializer::from_slice(raw).deserialize_map(KeyVisitor(&mut key, Depth::Object));
    (!key.uid.is_empty() && !key.resource_version.is_empty()).then_some(key)
}

/// A string, copied only where it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where a [`KeyVisitor`] is.
enum Depth {
    Object,
    Metadata,
}

/// Fills in a [`Key`] and fails as soon as it is full.
struct KeyVisitor<'k, 'a>(&'k mut Key<'a>, Depth);

impl<'a> Visitor<'a> for KeyVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with metadata")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(key, depth) = self;
        while let Some(Text(name)) = map.next_key()? {
            match (&depth, &*name) {
                (Depth::Object, "metadata") => {
                    map.next_value_seed(KeyVisitor(key, Depth::Metadata))?;
                    return Err(A::Error::custom("the rest is of no interest"));
                }
                (Depth::Metadata, "uid") => key.uid = map.next_value::<Text<'a>>()?.0,
                (Depth::Metadata, "resourceVersion") => key.resource_version = map.next_value::<Text<'a>>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if !key.uid.is_empty() && !key.resource_version.is_empty() {
                return Err(A::Error::custom("the rest is of no interest"));
            }
        }
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for KeyVisitor<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// A copy of the object without `metadata.managedFields`, which is a third of it and of no use here.
pub fn without_managed_fields(raw: &[u8], head: &Head<'_>) -> Vec<u8> {
    let Some(range) = head
        .metadata
        .managed_fields
        .and_then(|fields| range_within(raw, fields.get().as_bytes()))
    else {
        return raw.to_vec();
    };
    let mut kept = Vec::with_capacity(raw.len() - range.len() + 2);
    kept.extend_from_slice(&raw[..range.start]);
    kept.extend_from_slice(b"[]");
    kept.extend_from_slice(&raw[range.end..]);
    kept
}

/// Where `part`, a slice borrowed from `whole`, stands in it.
fn range_within(whole: &[u8], part: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = br#"{"metadata":{"name":"a","namespace":"b","uid":"u","managedFields":[{"x":"\"]"}],"labels":{}},"spec":{"containers":[]}}"#;

    #[test]
    fn managed_fields_are_cut_and_the_rest_is_untouched() {
        let head = head(RAW).unwrap();
        let kept = without_managed_fields(RAW, &head);
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["metadata"]["managedFields"], serde_json::json!([]));
        assert_eq!(kept["metadata"]["name"], "a");
        assert!(kept["metadata"]["labels"].is_object());
    }

    #[test]
    fn a_key_is_read_without_the_rest() {
        let raw = br#"{"kind":"Pod","metadata":{"labels":{"uid":"no"},"uid":"u1","resourceVersion":"7",broken"#;
        let found = key(raw).unwrap();
        assert_eq!((&*found.uid, &*found.resource_version), ("u1", "7"));
        for raw in [
            &b"{}"[..],
            b"",
            b"[]",
            br#"{"metadata":{"uid":"u"}}"#,
            br#"{"metadata":[]}"#,
        ] {
            assert_eq!(key(raw), None);
        }
    }

    #[test]
    fn escaped_strings_are_read_as_well() {
        let raw = br#"{"metadata":{"name":"a\u0062"},"spec":{"containers":[{"name":"c\"d"}]}}"#;
        let pod = pod(raw).unwrap();
        assert_eq!(pod.metadata.name, "ab");
        assert_eq!(pod.spec.containers[0].name, "c\"d");
    }
}
