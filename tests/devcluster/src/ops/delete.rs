//! Deletion: grace for pods that run on a node, finalizers, preconditions, and what goes along.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Scope, Update, metadata, update};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::{Kind, Resource};
use crate::store::{Draft, Refused, Stored, key};
use crate::time;

/// What happens to the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They are deleted afterwards. Foreground deletion is served as this, too.
    #[default]
    Background,
    /// They stay, without the owner reference.
    Orphan,
}

/// `DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds of grace; `None` takes the pod's own.
    pub grace: Option<i64>,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// For dependents.
    pub propagation: Propagation,
    /// Store nothing.
    pub dry_run: bool,
}

/// How a deletion ended.
#[derive(Debug)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Stored>),
    /// The object is marked and will go: its node, or its finalizers, have a word yet.
    Going(Arc<Stored>),
}

impl Deleted {
    /// The object in its last state.
    pub fn stored(&self) -> &Arc<Stored> {
        match self {
            Deleted::Gone(stored) | Deleted::Going(stored) => stored,
        }
    }
}

/// Attempts against concurrent writers.
const ATTEMPTS: usize = 32;

/// Deletes an object, or starts its deletion.
pub fn delete(
    cluster: &Arc<Cluster>,
    resource: &'static Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted> {
    let key = key(namespace, name);
    for _ in 0..ATTEMPTS {
        let current = cluster
            .store
            .get(resource.kind, &key)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        check_preconditions(resource, name, &current, options)?;
        let object = current.value();
        let step = next_step(resource, &object, options.grace);
        if options.dry_run {
            return Ok(Deleted::Going(current));
        }
        let written = match step {
            Step::Keep => return Ok(Deleted::Going(current)),
            Step::Remove => cluster
                .store
                .remove(resource.kind, &key, current.revision)
                .map(Deleted::Gone),
            Step::Mark { grace } => {
                let marked = mark(resource, object, grace);
                cluster
                    .store
                    .replace(resource.kind, current.revision, Draft::new(resource.kind, marked))
                    .map(Deleted::Going)
            }
        };
        match written {
            Ok(Deleted::Gone(stored)) => {
                collect(cluster, &stored.head.uid, &stored.head.namespace, options.propagation);
                return Ok(Deleted::Gone(stored));
            }
            Ok(going) => return Ok(going),
            Err(Refused::Stale) => {}
            Err(refused) => return Err((refused, resource, name).into()),
        }
    }
    Err(ApiError::modified(resource, name))
}

fn check_preconditions(resource: &Resource, name: &str, current: &Stored, options: &DeleteOptions) -> Result<()> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| **uid != *current.head.uid) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            current.head.uid
        );
        return Err(ApiError::conflict(resource, name, why));
    }
    if let Some(rv) = options
        .resource_version
        .as_deref()
        .filter(|rv| rv.parse() != Ok(current.revision))
    {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {rv}, ResourceVersion in object meta: {}",
            current.revision
        );
        return Err(ApiError::conflict(resource, name, why));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Deletion is under way and this request doesn't hasten it.
    Keep,
    /// Nothing holds the object.
    Remove,
    /// Set or shorten the deadline.
    Mark { grace: i64 },
}

fn next_step(resource: &Resource, object: &Value, grace: Option<i64>) -> Step {
    let meta = &object["metadata"];
    let held = [&meta["finalizers"], &object["spec"]["finalizers"]];
    let held = held.iter().any(|list| list.as_array().is_some_and(|l| !l.is_empty()));
    if !meta["deletionTimestamp"].is_string() {
        return match (grace_of(resource, object, grace), held) {
            (0, false) => Step::Remove,
            (grace, _) => Step::Mark { grace },
        };
    }
    // As the real server's BeforeDelete: a deletion under way is hastened by a grace that the request names, and by nothing
    // else, whatever has become of the pod meanwhile.
    let running = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let wanted = grace.map_or(running, |named| named_grace(named).min(running));
    match (wanted, held) {
        (0, false) => Step::Remove,
        (wanted, _) if wanted < running => Step::Mark { grace: wanted },
        _ => Step::Keep,
    }
}

/// The grace that this deletion would have: none for anything but a pod that its node still has to stop.
fn grace_of(resource: &Resource, object: &Value, grace: Option<i64>) -> i64 {
    if resource.kind != Kind::Pods {
        return 0;
    }
    let bound = object["spec"]["nodeName"].as_str().is_some_and(|n| !n.is_empty());
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !bound || ended {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    named_grace(grace.unwrap_or(own))
}

/// A negative grace counts as one second.
fn named_grace(grace: i64) -> i64 {
    if grace < 0 { 1 } else { grace }
}

fn mark(resource: &Resource, mut object: Value, grace: i64) -> Value {
    let generation = object["metadata"]["generation"].as_i64();
    let left = match (
        object["metadata"]["deletionTimestamp"].as_str(),
        object["metadata"]["deletionGracePeriodSeconds"].as_i64(),
    ) {
        (Some(at), Some(old)) => Some(grace - old - time::age_seconds(at).round() as i64),
        _ => None,
    };
    // A deadline never moves into the past: of a grace that is over already a second is left, for the node to act in.
    let grace = if left.is_some_and(|left| left < 0) {
        grace.min(1)
    } else {
        grace
    };
    let meta = metadata(&mut object);
    let deadline = time::in_seconds(left.map_or(grace, |left| left.max(0)));
    meta.insert("deletionTimestamp".into(), deadline.into());
    meta.insert("deletionGracePeriodSeconds".into(), json!(grace));
    // That it is being deleted is new to its controllers once.
    if let Some(generation) = generation.filter(|_| left.is_none()) {
        meta.insert("generation".into(), json!(generation + 1));
    }
    if resource.kind == Kind::Namespaces {
        super::member(&mut object, "status").insert("phase".into(), "Terminating".into());
    }
    object
}

/// Deletes or orphans what the object with this uid owned. In the background: an owner may have thousands.
pub(super) fn collect(cluster: &Arc<Cluster>, uid: &str, namespace: &str, propagation: Propagation) {
    if uid.is_empty()
        || Kind::ALL
            .iter()
            .all(|kind| cluster.store.owned_by(*kind, uid).is_empty())
    {
        return;
    }
    let (cluster, uid, namespace) = (cluster.clone(), uid.to_owned(), namespace.to_owned());
    tokio::spawn(async move {
        for kind in Kind::ALL {
            for dependent in cluster.store.owned_by(kind, &uid) {
                tokio::task::yield_now().await;
                release(&cluster, kind.resource(), &dependent, &uid, propagation);
            }
        }
        tracing::debug!(%uid, %namespace, "dependents collected");
    });
}

/// Takes one owner away; a dependent without any owner left goes, unless it is to be orphaned.
fn release(
    cluster: &Arc<Cluster>,
    resource: &'static Resource,
    dependent: &Stored,
    uid: &str,
    propagation: Propagation,
) {
    let head = &dependent.head;
    let others = head.owners.iter().any(|owner| **owner != *uid);
    let outcome = if others || propagation == Propagation::Orphan {
        let what = Update {
            resource,
            namespace: &head.namespace,
            name: &head.name,
            scope: Scope::Whole,
            dry_run: false,
            narrow: false,
        };
        update(cluster, &what, |object| {
            if let Some(list) = metadata(object)
                .get_mut("ownerReferences")
                .and_then(Value::as_array_mut)
            {
                list.retain(|owner| owner["uid"] != uid);
            }
            Ok(())
        })
        .map(|_| ())
    } else {
        let options = DeleteOptions {
            uid: Some(head.uid.to_string()),
            ..DeleteOptions::default()
        };
        delete(cluster, resource, &head.namespace, &head.name, &options).map(|_| ())
    };
    match outcome {
        Err(error) if error.code != 404 && error.code != 409 => {
            tracing::warn!(%error, name = %head.name, "unable to collect a dependent");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(object: Value, grace: Option<i64>) -> Step {
        next_step(Kind::Pods.resource(), &object, grace)
    }

    #[test]
    fn only_pods_on_a_node_have_grace() {
        let bound = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}});
        assert_eq!(step(bound.clone(), None), Step::Mark { grace: 5 });
        assert_eq!(step(bound.clone(), Some(-1)), Step::Mark { grace: 1 });
        assert_eq!(step(bound.clone(), Some(0)), Step::Remove);
        assert_eq!(step(json!({"spec": {}}), None), Step::Remove);
        let ended = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Failed"}});
        assert_eq!(step(ended, None), Step::Remove);
        assert_eq!(next_step(Kind::ConfigMaps.resource(), &bound, None), Step::Remove);
    }

    #[test]
    fn grace_is_only_ever_shortened() {
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        assert_eq!(step(going.clone(), None), Step::Keep);
        assert_eq!(step(going.clone(), Some(60)), Step::Keep);
        assert_eq!(step(going.clone(), Some(10)), Step::Mark { grace: 10 });
        assert_eq!(step(going.clone(), Some(0)), Step::Remove);
        let short = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        assert_eq!(step(short, None), Step::Keep);
    }

    #[test]
    fn a_pod_that_has_ended_while_it_is_being_deleted_stays_until_its_node_removes_it() {
        for phase in ["Succeeded", "Failed"] {
            let ended = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30},
                "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}});
            assert_eq!(step(ended.clone(), None), Step::Keep);
            assert_eq!(step(ended.clone(), Some(60)), Step::Keep);
            assert_eq!(step(ended.clone(), Some(10)), Step::Mark { grace: 10 });
            assert_eq!(step(ended.clone(), Some(-1)), Step::Mark { grace: 1 });
            assert_eq!(step(ended, Some(0)), Step::Remove);
        }
    }

    #[test]
    fn a_grace_that_is_shortened_below_what_has_passed_leaves_a_second() {
        let going = json!({"metadata": {"deletionTimestamp": time::in_seconds(10), "deletionGracePeriodSeconds": 30}});
        let marked = mark(Kind::Pods.resource(), going, 5);
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 1);
        let deadline = marked["metadata"]["deletionTimestamp"].as_str().unwrap();
        assert!(time::age_seconds(deadline) < 5.0, "{deadline} is in the past");
    }

    #[test]
    fn finalizers_hold() {
        let held = json!({"metadata": {"finalizers": ["x"]}, "spec": {"nodeName": "n"}});
        assert_eq!(step(held.clone(), Some(0)), Step::Mark { grace: 0 });
        let going =
            json!({"metadata": {"finalizers": ["x"], "deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}});
        assert_eq!(step(going, Some(0)), Step::Keep);
    }
}
