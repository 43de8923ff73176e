//! What the store keeps of an object: its JSON bytes and the few fields that selectors and indexes ask for.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::resources::Kind;

/// The parsed part of an object. Everything else stays bytes.
#[derive(Debug, Default)]
pub struct Head {
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// The fields that a field selector may name for this kind, but for those that the object leaves out.
    pub fields: Box<[(&'static str, Box<str>)]>,
    /// The `uid` of each owner reference.
    pub owners: Box<[Box<str>]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether the object has a condition Ready that is True.
    pub ready: bool,
}

impl Head {
    /// Reads the head out of a whole object.
    pub fn of(kind: Kind, object: &Value) -> Head {
        let meta = &object["metadata"];
        let text = |v: &Value| Box::<str>::from(v.as_str().unwrap_or_default());
        let labels = match meta["labels"].as_object() {
            Some(map) => map.iter().map(|(k, v)| (k.as_str().into(), text(v))).collect(),
            None => Box::default(),
        };
        let owners = match meta["ownerReferences"].as_array() {
            Some(list) => list.iter().map(|o| text(&o["uid"])).collect(),
            None => Box::default(),
        };
        let fields = kind
            .selectable()
            .iter()
            .filter_map(|(name, pointer)| match object.pointer(pointer)? {
                Value::String(s) if s.is_empty() => None,
                Value::String(s) => Some((*name, s.as_str().into())),
                Value::Null => None,
                other => Some((*name, other.to_string().into())),
            })
            .collect();
        Head {
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            uid: text(&meta["uid"]),
            labels,
            fields,
            owners,
            deleting: meta["deletionTimestamp"].is_string(),
            ready: is_ready(object),
        }
    }

    /// The value of a selectable field; what it counts as when the object leaves it out.
    pub fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            _ => {
                let found = self.fields.iter().find(|(k, _)| *k == name);
                found.map_or_else(|| left_out(name), |(_, value)| value)
            }
        }
    }

    /// The value of a label, if the object has it.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// The key under which the object is stored: `namespace/name`, or the name alone. Its order is etcd's.
    pub fn key(&self) -> Box<str> {
        key(&self.namespace, &self.name)
    }
}

/// The real server knows numbers and flags that are left out from no others, and selects by them as text.
fn left_out(field: &str) -> &'static str {
    match field {
        "spec.unschedulable" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Joins a namespace (may be empty) and a name into a store key.
pub fn key(namespace: &str, name: &str) -> Box<str> {
    if namespace.is_empty() {
        return name.into();
    }
    let mut key = String::with_capacity(namespace.len() + name.len() + 1);
    key.push_str(namespace);
    key.push('/');
    key.push_str(name);
    key.into()
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It came into being, or into a watcher's selection.
    Added,
    /// It was written again.
    Modified,
    /// It is gone, or left a watcher's selection.
    Deleted,
}

impl Change {
    /// The `type` of a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

const REVISION_FIELD: &[u8] = br#"{"metadata":{"resourceVersion":""#;

/// An object that is serialized but has no revision yet, so that the store's lock is held for a copy only.
#[derive(Debug)]
pub struct Draft {
    pub(super) head: Arc<Head>,
    /// Everything after the digits of the revision, from the closing quote on.
    tail: Vec<u8>,
}

impl Draft {
    /// Serializes `object`. Its own `resourceVersion` is ignored: the store gives the next one.
    pub fn new(kind: Kind, object: Value) -> Draft {
        let head = Arc::new(Head::of(kind, &object));
        Draft {
            head,
            tail: tail(object),
        }
    }

    /// True when the object would be stored unchanged.
    pub fn same_as(&self, stored: &Stored) -> bool {
        stored.tail() == self.tail.as_slice()
    }

    /// The object as it would be stored, for dry runs.
    pub fn preview(self) -> Stored {
        self.commit(Change::Added, 0)
    }

    pub(super) fn commit(self, change: Change, revision: u64) -> Stored {
        Stored::encode(self.head, &self.tail, change, revision)
    }
}

/// Serializes everything behind the revision's digits: the rest of the metadata first, then the rest of the object.
fn tail(mut object: Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    out.push(b'"');
    let mut meta = object
        .as_object_mut()
        .and_then(|o| o.remove("metadata"))
        .unwrap_or_default();
    if let Some(map) = meta.as_object_mut() {
        map.remove("resourceVersion");
        splice(&mut out, &meta);
    }
    out.push(b'}');
    splice(&mut out, &object);
    out.push(b'}');
    out
}

/// Appends the members of a map to an object that is already open and not empty.
fn splice(out: &mut Vec<u8>, map: &Value) {
    if map.as_object().is_none_or(|m| m.is_empty()) {
        return;
    }
    let comma = out.len();
    // Writing JSON values to memory can't fail: keys are strings and the writer is a vector.
    let _ = serde_json::to_writer(&mut *out, map);
    out[comma] = b',';
    out.pop();
}

/// An object at one revision, with the watch event line that announced it in the same allocation.
#[derive(Debug)]
pub struct Stored {
    /// The parsed part.
    pub head: Arc<Head>,
    /// The `resourceVersion`.
    pub revision: u64,
    /// What the event line says.
    pub change: Change,
    line: Bytes,
    object_at: usize,
    tail_at: usize,
}

impl Stored {
    fn encode(head: Arc<Head>, tail: &[u8], change: Change, revision: u64) -> Stored {
        let mut line = Vec::with_capacity(tail.len() + 96);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(change.as_str().as_bytes());
        line.extend_from_slice(br#"","object":"#);
        let object_at = line.len();
        line.extend_from_slice(REVISION_FIELD);
        line.extend_from_slice(revision.to_string().as_bytes());
        let tail_at = line.len();
        line.extend_from_slice(tail);
        line.extend_from_slice(b"}\n");
        Stored {
            head,
            revision,
            change,
            line: line.into(),
            object_at,
            tail_at,
        }
    }

    /// The same object at another revision, as a deletion announces it.
    pub(super) fn at_revision(&self, change: Change, revision: u64) -> Stored {
        Stored::encode(self.head.clone(), self.tail(), change, revision)
    }

    fn tail(&self) -> &[u8] {
        &self.line[self.tail_at..self.line.len() - 2]
    }

    /// The object's JSON.
    pub fn object(&self) -> Bytes {
        self.line.slice(self.object_at..self.line.len() - 2)
    }

    /// The object's JSON, decoded.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.line[self.object_at..self.line.len() - 2]).unwrap_or_default()
    }

    /// The watch event line that announces this object as `change`; shared unless the watcher sees another change than
    /// the one that happened (the object entered or left its selection).
    pub fn line(&self, change: Change) -> Bytes {
        if change == self.change {
            return self.line.clone();
        }
        Stored::encode(self.head.clone(), self.tail(), change, self.revision).line
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "ns", "uid": "u1", "resourceVersion": "77", "labels": {"app": "x"},
                "ownerReferences": [{"uid": "o1"}]},
            "spec": {"nodeName": "n1"}, "status": {"phase": "Pending"}})
    }

    #[test]
    fn head_has_what_selectors_ask_for() {
        let head = Head::of(Kind::Pods, &pod());
        assert_eq!(head.field("spec.nodeName"), "n1");
        assert_eq!(head.field("status.phase"), "Pending");
        assert_eq!(head.field("metadata.name"), "a");
        assert_eq!(head.field("status.podIP"), "");
        assert_eq!(head.label("app"), Some("x"));
        assert_eq!(&*head.owners[0], "o1");
        assert_eq!(&*head.key(), "ns/a");
    }

    #[test]
    fn line_and_object_share_bytes_and_carry_the_revision() {
        let stored = Draft::new(Kind::Pods, pod()).commit(Change::Added, 42);
        let mut expected = pod();
        expected["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(stored.value(), expected);
        let line: Value = serde_json::from_slice(&stored.line(Change::Added)).unwrap();
        assert_eq!(line, json!({"type": "ADDED", "object": expected}));
        let other: Value = serde_json::from_slice(&stored.line(Change::Deleted)).unwrap();
        assert_eq!(other["type"], "DELETED");
        assert!(stored.line(Change::Added).ends_with(b"\n"));
    }

    #[test]
    fn unchanged_is_noticed_whatever_the_revision() {
        let stored = Draft::new(Kind::Pods, pod()).commit(Change::Added, 42);
        assert!(Draft::new(Kind::Pods, stored.value()).same_as(&stored));
        let mut changed = stored.value();
        changed["status"]["phase"] = json!("Running");
        assert!(!Draft::new(Kind::Pods, changed).same_as(&stored));
        assert_eq!(
            stored.at_revision(Change::Deleted, 50).value()["metadata"]["resourceVersion"],
            "50"
        );
    }

    #[test]
    fn an_object_with_little_in_it_is_still_json() {
        let stored = Draft::new(Kind::ConfigMaps, json!({"metadata": {}})).commit(Change::Added, 1);
        assert_eq!(stored.value(), json!({"metadata": {"resourceVersion": "1"}}));
    }
}
