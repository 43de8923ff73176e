//! Binding a pod to a node, and the one condition that the scheduler owns.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Scope, Update, as_map, member, update};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::Kind;
use crate::store::{Draft, Refused, Stored, key};
use crate::time;

/// Which pod goes where.
#[derive(Debug)]
pub struct Binding<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub name: &'a str,
    /// Where it is given, only that very pod.
    pub uid: Option<&'a str>,
    /// The node.
    pub node: &'a str,
    /// Store nothing.
    pub dry_run: bool,
}

/// Puts a pod on a node, as `pods/binding` does.
pub fn bind(cluster: &Arc<Cluster>, binding: &Binding<'_>) -> Result<Arc<Stored>> {
    let Binding {
        namespace,
        name,
        uid,
        node,
        dry_run,
    } = *binding;
    let resource = Kind::Pods.resource();
    let key = key(namespace, name);
    loop {
        let current = cluster
            .store
            .get(Kind::Pods, &key)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        if let Some(uid) = uid.filter(|uid| !uid.is_empty() && **uid != *current.head.uid) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                current.head.uid
            );
            return Err(ApiError::conflict(resource, name, why));
        }
        let bound = current.head.field("spec.nodeName");
        if !bound.is_empty() {
            let why = format!("pod {name} is already assigned to node \"{bound}\"");
            return Err(ApiError::conflict(resource, name, why));
        }
        let mut pod = current.value();
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let why = format!("pod {name} is being deleted, cannot be assigned to a host");
            return Err(ApiError::conflict(resource, name, why));
        }
        member(&mut pod, "spec").insert("nodeName".into(), node.into());
        set_condition(&mut pod, json!({"type": "PodScheduled", "status": "True"}));
        let draft = Draft::new(Kind::Pods, pod);
        if dry_run {
            return Ok(Arc::new(draft.preview()));
        }
        match cluster.store.replace(Kind::Pods, current.revision, draft) {
            Err(Refused::Stale) => {}
            Err(refused) => return Err((refused, resource, name).into()),
            Ok(stored) => return Ok(stored),
        }
    }
}

/// Sets a condition of a pod through its status.
pub fn set_pod_condition(
    cluster: &Arc<Cluster>,
    namespace: &str,
    name: &str,
    condition: &Value,
) -> Result<Arc<Stored>> {
    let resource = Kind::Pods.resource();
    let what = Update {
        resource,
        namespace,
        name,
        scope: Scope::Status,
        dry_run: false,
        narrow: true,
    };
    update(cluster, &what, |pod| {
        set_condition(pod, condition.clone());
        Ok(())
    })
}

/// Adds or changes a condition; its transition time moves with its status alone.
pub fn set_condition(object: &mut Value, mut condition: Value) {
    let status = member(object, "status");
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let found = list.iter_mut().find(|c| c["type"] == condition["type"]);
    let since = match &found {
        Some(old) if old["status"] == condition["status"] => old["lastTransitionTime"].clone(),
        _ => time::now().into(),
    };
    as_map(&mut condition).insert("lastTransitionTime".into(), since);
    match found {
        Some(slot) => {
            for (field, value) in as_map(&mut condition) {
                as_map(slot).insert(field.clone(), value.take());
            }
        }
        None => list.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_time_moves_with_the_status() {
        let mut node = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then", "lastHeartbeatTime": "h"}]}});
        set_condition(&mut node, json!({"type": "Ready", "status": "True", "reason": "x"}));
        assert_eq!(
            node["status"]["conditions"][0],
            json!({"type": "Ready", "status": "True", "reason": "x", "lastTransitionTime": "then", "lastHeartbeatTime": "h"})
        );
        set_condition(&mut node, json!({"type": "Ready", "status": "False"}));
        assert_ne!(node["status"]["conditions"][0]["lastTransitionTime"], "then");
        set_condition(&mut node, json!({"type": "New", "status": "True"}));
        assert_eq!(node["status"]["conditions"].as_array().unwrap().len(), 2);
    }
}
