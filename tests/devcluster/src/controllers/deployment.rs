//! Deployments: one ReplicaSet per template, and a roll from the old ones to the new one.

use std::sync::Arc;

use serde_json::{Value, json};

use super::record;
use super::workloads::{ended, owner, remove, set_status};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::ops::{self, Scope, Update, as_map, member, metadata, set_condition};
use crate::resources::Kind;
use crate::store::{Stored, key};

const NAME: &str = "deployment-controller";
const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// A ReplicaSet of the deployment, with what its pods say.
struct Set {
    stored: Arc<Stored>,
    object: Value,
    wanted: i64,
    pods: i64,
    ready: i64,
}

impl Set {
    fn revision(&self) -> i64 {
        self.object["metadata"]["annotations"][REVISION]
            .as_str()
            .and_then(|r| r.parse().ok())
            .unwrap_or(0)
    }
}

/// A template without the hash that its ReplicaSet added.
fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// FNV-1a over the template, in the alphabet of generated names.
fn hash(template: &Value) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let start = 0xcbf2_9ce4_8422_2325u64;
    let mut hash = template
        .to_string()
        .bytes()
        .fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut out = String::new();
    for _ in 0..10 {
        out.push(char::from(ALPHABET[(hash % ALPHABET.len() as u64) as usize]));
        hash /= ALPHABET.len() as u64;
    }
    out
}

/// `25%` of the replicas, rounded up or down, or a plain number.
fn share(value: &Value, replicas: i64, up: bool) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let exact = percent * replicas;
            if up { (exact + 99) / 100 } else { exact / 100 }
        }
        _ => 0,
    }
}

/// Moves the deployment one step on.
pub fn reconcile(cluster: &Arc<Cluster>, stored: &Stored) -> Result<()> {
    if stored.head.deleting {
        return Ok(());
    }
    let object = stored.value();
    let template = bare(&object["spec"]["template"]);
    let mut old = sets(cluster, stored);
    let new = match old.iter().position(|s| bare(&s.object["spec"]["template"]) == template) {
        Some(at) => old.remove(at),
        None => new_set(cluster, stored, &object, &template, &old)?,
    };
    let new = current_revision(cluster, stored, new, &old)?;
    if object["spec"]["paused"] != true {
        roll(cluster, stored, &object, &new, &old)?;
    }
    let (new, old): (Vec<Set>, Vec<Set>) = sets(cluster, stored)
        .into_iter()
        .partition(|s| s.stored.head.uid == new.stored.head.uid);
    forget(cluster, &object, &old)?;
    let (Some(new), replicas) = (new.first(), object["spec"]["replicas"].as_i64().unwrap_or(1)) else {
        return Ok(());
    };
    set_status(cluster, Kind::Deployments, stored, |deployment| {
        report(deployment, replicas, new, &old)
    })
}

fn sets(cluster: &Cluster, stored: &Stored) -> Vec<Set> {
    let owned = cluster
        .store
        .owned_by(Kind::ReplicaSets, &stored.head.uid)
        .into_iter()
        .filter(|s| !s.head.deleting);
    owned
        .map(|stored| {
            let pods = cluster.store.owned_by(Kind::Pods, &stored.head.uid);
            let active: Vec<_> = pods.iter().filter(|p| !p.head.deleting && !ended(p)).collect();
            let object = stored.value();
            Set {
                wanted: object["spec"]["replicas"].as_i64().unwrap_or(0),
                pods: active.len() as i64,
                ready: active.iter().filter(|p| p.head.ready).count() as i64,
                stored,
                object,
            }
        })
        .collect()
}

fn new_set(cluster: &Arc<Cluster>, stored: &Stored, object: &Value, template: &Value, old: &[Set]) -> Result<Set> {
    let hash = hash(template);
    let revision = old.iter().map(Set::revision).max().unwrap_or(0) + 1;
    let mut template = template.clone();
    let labels = as_map(metadata(&mut template).entry("labels").or_insert(Value::Null));
    labels.insert(HASH_LABEL.into(), hash.as_str().into());
    let labels = Value::Object(labels.clone());
    let mut selector = object["spec"]["selector"].clone();
    member(&mut selector, "matchLabels").insert(HASH_LABEL.into(), hash.as_str().into());
    let name = format!("{}-{hash}", stored.head.name);
    let set = json!({
        "metadata": {"name": name, "labels": labels, "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [owner(Kind::Deployments, stored)]},
        "spec": {"replicas": 0, "selector": selector, "template": template},
    });
    let resource = Kind::ReplicaSets.resource();
    let made = match ops::create(cluster, resource, &stored.head.namespace, set, false) {
        Ok(made) => made,
        // Made by an earlier attempt.
        Err(error) if error.code == 409 => {
            let key = key(&stored.head.namespace, &name);
            cluster
                .store
                .get(Kind::ReplicaSets, &key)
                .ok_or_else(|| ApiError::not_found(resource, &name))?
        }
        Err(error) => return Err(error),
    };
    Ok(Set {
        object: made.value(),
        stored: made,
        wanted: 0,
        pods: 0,
        ready: 0,
    })
}

/// The set of the present template carries the newest revision, also when it is an old one that came back.
fn current_revision(cluster: &Arc<Cluster>, stored: &Stored, new: Set, old: &[Set]) -> Result<Set> {
    let newest = old.iter().map(Set::revision).max().unwrap_or(0);
    let revision = if new.revision() > newest {
        new.revision()
    } else {
        newest + 1
    };
    for (kind, target) in [(Kind::ReplicaSets, &*new.stored), (Kind::Deployments, stored)] {
        let head = &target.head;
        let what = Update {
            resource: kind.resource(),
            namespace: &head.namespace,
            name: &head.name,
            scope: Scope::Whole,
            dry_run: false,
            narrow: false,
        };
        ops::update(cluster, &what, |object| {
            let annotations = as_map(metadata(object).entry("annotations").or_insert(Value::Null));
            annotations.insert(REVISION.into(), revision.to_string().into());
            Ok(())
        })?;
    }
    Ok(new)
}

fn scale(cluster: &Arc<Cluster>, stored: &Stored, set: &Set, to: i64) -> Result<()> {
    if set.wanted == to {
        return Ok(());
    }
    let head = &set.stored.head;
    let resource = Kind::ReplicaSets.resource();
    let what = Update {
        resource,
        namespace: &head.namespace,
        name: &head.name,
        scope: Scope::Whole,
        dry_run: false,
        narrow: false,
    };
    ops::update(cluster, &what, |object| {
        member(object, "spec").insert("replicas".into(), to.into());
        Ok(())
    })?;
    let direction = if to > set.wanted { "up" } else { "down" };
    let message = format!(
        "Scaled {direction} replica set {} from {} to {to}",
        head.name, set.wanted
    );
    record::event(
        cluster,
        Kind::Deployments.resource(),
        &stored.head,
        NAME,
        "ScalingReplicaSet",
        &message,
    );
    Ok(())
}

fn roll(cluster: &Arc<Cluster>, stored: &Stored, object: &Value, new: &Set, old: &[Set]) -> Result<()> {
    let spec = &object["spec"];
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let old_wanted: i64 = old.iter().map(|s| s.wanted).sum();
    if spec["strategy"]["type"] == "Recreate" {
        for set in old {
            scale(cluster, stored, set, 0)?;
        }
        // Pods that are still stopping count: the new ones start when the old are gone.
        let left = old.iter().any(|s| {
            cluster
                .store
                .owned_by(Kind::Pods, &s.stored.head.uid)
                .iter()
                .any(|p| !ended(p))
        });
        return if left {
            Ok(())
        } else {
            scale(cluster, stored, new, replicas)
        };
    }
    let rolling = &spec["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], replicas, true);
    let mut missing = share(&rolling["maxUnavailable"], replicas, false);
    if surge == 0 && missing == 0 {
        missing = 1;
    }
    if new.wanted > replicas || old_wanted == 0 {
        scale(cluster, stored, new, replicas)?;
    } else if new.wanted < replicas {
        let room = (replicas + surge - old_wanted - new.wanted).max(0);
        scale(cluster, stored, new, (new.wanted + room).min(replicas))?;
    }
    let available = new.ready + old.iter().map(|s| s.ready).sum::<i64>();
    let mut spare = (available - (replicas - missing)).max(0);
    for set in old.iter().filter(|s| s.wanted > 0) {
        // Pods of an old set that are not ready serve nobody: they go first, and cost no availability.
        let idle = (set.wanted - set.ready).max(0);
        let ready = (set.wanted - idle).min(spare);
        spare -= ready;
        scale(cluster, stored, set, set.wanted - idle - ready)?;
    }
    Ok(())
}

/// Old sets beyond the history limit go once they are empty.
fn forget(cluster: &Arc<Cluster>, object: &Value, old: &[Set]) -> Result<()> {
    let limit = usize::try_from(object["spec"]["revisionHistoryLimit"].as_i64().unwrap_or(10)).unwrap_or(0);
    let mut empty: Vec<&Set> = old.iter().filter(|s| s.wanted == 0 && s.pods == 0).collect();
    empty.sort_by_key(|s| std::cmp::Reverse(s.revision()));
    empty
        .into_iter()
        .skip(limit)
        .try_for_each(|set| remove(cluster, Kind::ReplicaSets, &set.stored))
}

fn report(deployment: &mut Value, replicas: i64, new: &Set, old: &[Set]) {
    let pods = new.pods + old.iter().map(|s| s.pods).sum::<i64>();
    let ready = new.ready + old.iter().map(|s| s.ready).sum::<i64>();
    let generation = deployment["metadata"]["generation"].clone();
    let status = member(deployment, "status");
    status.insert("observedGeneration".into(), generation);
    let counts = [
        ("replicas", pods),
        ("updatedReplicas", new.pods),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
        ("unavailableReplicas", (replicas - ready).max(0)),
    ];
    for (field, count) in counts {
        if count > 0 {
            status.insert(field.into(), count.into());
        } else {
            status.remove(field);
        }
    }
    let missing = share(
        &deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
        replicas,
        false,
    );
    let (text, reason, message) = match ready >= replicas - missing {
        true => (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        ),
        false => (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    };
    set_condition(
        deployment,
        json!({"type": "Available", "status": text, "reason": reason, "message": message}),
    );
    let done = new.pods == replicas && new.ready == replicas && pods == new.pods;
    let name = &new.stored.head.name;
    let (reason, message) = match done {
        true => (
            "NewReplicaSetAvailable",
            format!("ReplicaSet \"{name}\" has successfully progressed."),
        ),
        false => ("ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing.")),
    };
    set_condition(
        deployment,
        json!({"type": "Progressing", "status": "True", "reason": reason, "message": message}),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_documented() {
        assert_eq!((share(&json!("25%"), 3, true), share(&json!("25%"), 3, false)), (1, 0));
        assert_eq!((share(&json!("25%"), 60, true), share(&json!(2), 60, false)), (15, 2));
    }

    #[test]
    fn the_hash_is_a_name_and_follows_the_template() {
        let (a, b) = (hash(&json!({"a": 1})), hash(&json!({"a": 2})));
        assert_ne!(a, b);
        assert_eq!(a.len(), 10);
        assert_eq!(
            bare(&json!({"metadata": {"labels": {HASH_LABEL: "x", "a": "b"}}})),
            json!({"metadata": {"labels": {"a": "b"}}})
        );
    }
}
