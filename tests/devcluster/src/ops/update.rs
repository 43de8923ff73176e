//! Updates: read, edit, restore what the edit may not touch, write if nobody was faster.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::metadata;
use crate::admission;
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::{Kind, Resource};
use crate::store::{Draft, Refused, Stored, key};

/// Attempts of an edit that named no revision, before the conflict is the caller's.
const ATTEMPTS: usize = 16;

/// Metadata that only the server writes.
const SYSTEM_FIELDS: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
];

/// What part of an object a path writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything but the status, where that has a path of its own.
    Whole,
    /// The status, and labels, annotations, finalizers and owners.
    Status,
    /// `pods/resize`: the containers' resources.
    Resize,
    /// `pods/ephemeralcontainers`.
    EphemeralContainers,
}

/// Which object is edited, and how.
#[derive(Debug)]
pub struct Update<'a> {
    /// Its resource.
    pub resource: &'static Resource,
    /// Its namespace, or empty.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The part that the edit may write.
    pub scope: Scope,
    /// Store nothing.
    pub dry_run: bool,
    /// The edit is known to touch metadata and status alone: spares the copy that protects the rest.
    pub narrow: bool,
}

/// Edits an object. `edit` gets its current state, may run again when another writer was faster, and must then start over
/// from what it gets. An edit that changes nothing writes nothing.
pub fn update(
    cluster: &Arc<Cluster>,
    what: &Update<'_>,
    mut edit: impl FnMut(&mut Value) -> Result<()>,
) -> Result<Arc<Stored>> {
    let Update {
        resource,
        namespace,
        name,
        ..
    } = *what;
    let key = key(namespace, name);
    for _ in 0..ATTEMPTS {
        let current = cluster
            .store
            .get(resource.kind, &key)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        let mut object = current.value();
        let old = if what.narrow { Value::Null } else { object.clone() };
        let system: Vec<Option<Value>> = SYSTEM_FIELDS
            .iter()
            .map(|f| object.get("metadata").and_then(|m| m.get(f)).cloned())
            .collect();
        edit(&mut object)?;
        check_preconditions(resource, name, &current, &object)?;
        restore(what, &mut object, &old, system);
        if what.scope == Scope::Whole && resource.generation && object.get("spec") != old.get("spec") {
            let next = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            metadata(&mut object).insert("generation".into(), json!(next));
        }
        if matches!(what.scope, Scope::Resize | Scope::EphemeralContainers) && object["spec"] != old["spec"] {
            let next = object["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            metadata(&mut object).insert("generation".into(), json!(next));
        }
        admission::update(resource, what.scope, &old, &mut object)?;
        let finished = deletion_is_complete(&object);
        let draft = Draft::new(resource.kind, object);
        if !finished && draft.same_as(&current) {
            return Ok(current);
        }
        if what.dry_run {
            return Ok(Arc::new(draft.preview()));
        }
        let written = if finished {
            cluster.store.remove(resource.kind, &key, current.revision)
        } else {
            cluster.store.replace(resource.kind, current.revision, draft)
        };
        match written {
            Ok(stored) => {
                if finished {
                    super::delete::collect(
                        cluster,
                        &stored.head.uid,
                        &stored.head.namespace,
                        super::Propagation::Background,
                    );
                }
                return Ok(stored);
            }
            Err(Refused::Stale) => {}
            Err(refused) => return Err((refused, resource, name).into()),
        }
    }
    Err(ApiError::modified(resource, name))
}

/// `uid` and `resourceVersion` in the body of a write are conditions.
fn check_preconditions(resource: &Resource, name: &str, current: &Stored, object: &Value) -> Result<()> {
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    let text = |field: &str| meta.get(field).and_then(Value::as_str).filter(|s| !s.is_empty());
    if let Some(found) = text("name").filter(|n| *n != name) {
        let message = format!("the name of the object ({found}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    if let Some(uid) = text("uid").filter(|uid| **uid != *current.head.uid) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            current.head.uid
        );
        return Err(ApiError::conflict(resource, name, why));
    }
    match text("resourceVersion").filter(|version| *version != "0") {
        Some(version) if version.parse() != Ok(current.revision) => Err(ApiError::modified(resource, name)),
        None if resource.kind == Kind::Leases => Err(ApiError::unconditional(resource, name)),
        _ => Ok(()),
    }
}

/// Undoes what the edit did outside of its scope.
fn restore(what: &Update<'_>, object: &mut Value, old: &Value, system: Vec<Option<Value>>) {
    let meta = metadata(object);
    for (field, value) in SYSTEM_FIELDS.iter().zip(system) {
        match value {
            Some(value) => meta.insert((*field).into(), value),
            None => meta.remove(*field),
        };
    }
    if what.narrow {
        return;
    }
    let Some(old) = old.as_object() else { return };
    match what.scope {
        Scope::Whole if what.resource.has_status() => put_back(object, old, |field| field == "status"),
        Scope::Whole => {}
        Scope::Status => put_back(object, old, |field| field != "status" && field != "metadata"),
        Scope::Resize => {
            let wanted = resources_of(object);
            put_back(object, old, |field| field != "metadata");
            apply_resources(object, &wanted);
        }
        Scope::EphemeralContainers => {
            let wanted = object["spec"]["ephemeralContainers"].take();
            put_back(object, old, |field| field != "metadata");
            super::member(object, "spec").insert("ephemeralContainers".into(), wanted);
        }
    }
}

fn put_back(object: &mut Value, old: &Map<String, Value>, protected: impl Fn(&str) -> bool) {
    let map = super::as_map(object);
    map.retain(|field, _| !protected(field) || old.contains_key(field));
    for (field, value) in old.iter().filter(|(field, _)| protected(field)) {
        map.insert(field.clone(), value.clone());
    }
}

fn resources_of(object: &Value) -> Vec<(Value, Value)> {
    let containers = object["spec"]["containers"].as_array().into_iter().flatten();
    containers
        .map(|c| (c["name"].clone(), c["resources"].clone()))
        .collect()
}

fn apply_resources(object: &mut Value, wanted: &[(Value, Value)]) {
    for container in object["spec"]["containers"].as_array_mut().into_iter().flatten() {
        if let Some((_, resources)) = wanted.iter().find(|(name, _)| *name == container["name"])
            && let Some(map) = container.as_object_mut()
        {
            map.insert("resources".into(), resources.clone());
        }
    }
}

/// An object that only waited for its finalizers goes when the last one is taken away.
fn deletion_is_complete(object: &Value) -> bool {
    let meta = &object["metadata"];
    meta["deletionTimestamp"].is_string()
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
        && object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}
