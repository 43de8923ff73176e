//! Creation: names, system fields, admission, defaults, validation.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{DeleteOptions, check_type, metadata};
use crate::admission;
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::{Kind, Resource};
use crate::store::{Draft, Refused, Stored, key};
use crate::{ids, time};

/// Attempts at a free generated name.
const NAME_ATTEMPTS: usize = 8;

/// Creates an object. `namespace` is the one of the request's path; with `dry_run` nothing is stored.
pub fn create(
    cluster: &Arc<Cluster>,
    resource: &'static Resource,
    namespace: &str,
    mut object: Value,
    dry_run: bool,
) -> Result<Arc<Stored>> {
    check_type(resource, &mut object)?;
    prepare(cluster, resource, namespace, &mut object)?;
    let generated = metadata(&mut object)
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty();
    let base = object["metadata"]["generateName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for _ in 0..NAME_ATTEMPTS {
        let mut candidate = if generated { object.clone() } else { object.take() };
        if generated {
            metadata(&mut candidate).insert("name".into(), format!("{base}{}", random_suffix(5)).into());
        }
        admission::create(cluster, resource, &mut candidate)?;
        let name = candidate["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let draft = Draft::new(resource.kind, candidate);
        if dry_run {
            return match cluster.store.get(resource.kind, &key(namespace, &name)) {
                Some(_) => Err(ApiError::exists(resource, &name)),
                None => Ok(Arc::new(draft.preview())),
            };
        }
        match cluster.store.insert(resource.kind, draft) {
            Ok(stored) => {
                created(cluster, resource, &stored);
                return Ok(stored);
            }
            Err(_) if generated => {}
            Err(_) => return Err(ApiError::exists(resource, &name)),
        }
    }
    Err(ApiError::exists(resource, &base))
}

/// Checks where the object goes and sets what only the server may set.
fn prepare(cluster: &Cluster, resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
    let meta = metadata(object);
    let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if resource.namespaced {
        match meta.get("namespace").and_then(Value::as_str).unwrap_or_default() {
            "" => {
                meta.insert("namespace".into(), namespace.into());
            }
            own if own == namespace => {}
            _ => {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::bad_request(message));
            }
        }
        let space = Kind::Namespaces.resource();
        let found = cluster
            .store
            .get(Kind::Namespaces, namespace)
            .ok_or_else(|| ApiError::not_found(space, namespace))?;
        if found.head.field("status.phase") == "Terminating" {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            return Err(ApiError::forbidden(resource, &name, why));
        }
    } else {
        meta.remove("namespace");
    }
    if meta
        .get("resourceVersion")
        .and_then(Value::as_str)
        .is_some_and(|rv| !rv.is_empty())
    {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
        "resourceVersion",
    ] {
        meta.remove(field);
    }
    meta.insert("uid".into(), ids::uid().into());
    meta.insert("creationTimestamp".into(), time::now().into());
    if resource.generation {
        meta.insert("generation".into(), json!(1));
    }
    Ok(())
}

/// What follows from a creation: a namespace gets its furniture, an object whose owner is gone already goes, too.
fn created(cluster: &Arc<Cluster>, resource: &Resource, stored: &Stored) {
    if resource.kind == Kind::Namespaces {
        admission::furnish_namespace(cluster, &stored.head.name);
    }
    if !stored.head.owners.is_empty() && owner_is_gone(cluster, &stored.value()) {
        let options = DeleteOptions {
            uid: Some(stored.head.uid.to_string()),
            ..DeleteOptions::default()
        };
        // It may be gone already; then there is nothing to collect.
        let _ = super::delete(
            cluster,
            resource.kind.resource(),
            &stored.head.namespace,
            &stored.head.name,
            &options,
        );
    }
}

fn owner_is_gone(cluster: &Cluster, object: &Value) -> bool {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let mut known = owners.filter_map(|owner| {
        let kind = Kind::ALL
            .into_iter()
            .find(|k| k.resource().name == owner["kind"].as_str().unwrap_or_default())?;
        let space = if kind.resource().namespaced { namespace } else { "" };
        let found = cluster
            .store
            .get(kind, &key(space, owner["name"].as_str().unwrap_or_default()));
        Some(found.is_none_or(|f| *f.head.uid != *owner["uid"].as_str().unwrap_or_default()))
    });
    // Owners of kinds that are not served here can't be judged, and count as present.
    let first = known.next();
    first == Some(true) && known.all(|gone| gone)
}

/// Random characters as generated names have them: no vowels, nothing easily confused.
pub fn random_suffix(length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..length)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}

impl From<(Refused, &Resource, &str)> for ApiError {
    fn from((refused, resource, name): (Refused, &Resource, &str)) -> ApiError {
        match refused {
            Refused::Stale => ApiError::modified(resource, name),
            Refused::Missing => ApiError::not_found(resource, name),
            Refused::Exists => ApiError::exists(resource, name),
        }
    }
}
