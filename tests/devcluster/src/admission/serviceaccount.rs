//! The ServiceAccount admission: every pod has an account, and its token mounted unless somebody said no.

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::ops::{member, random_suffix};
use crate::resources::Kind;
use crate::store::key;

/// The ConfigMap with the cluster's CA certificate, present in every namespace.
pub const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Sets the account and mounts its token.
pub fn admit(cluster: &Cluster, pod: &mut Value) -> Result<()> {
    let meta = &pod["metadata"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
    let mirror = meta["annotations"]["kubernetes.io/config.mirror"].is_string();
    if mirror {
        return Ok(());
    }
    let spec = member(pod, "spec");
    let account = match spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "" => "default".to_owned(),
        own => own.to_owned(),
    };
    spec.insert("serviceAccountName".into(), account.as_str().into());
    spec.insert("serviceAccount".into(), account.as_str().into());
    let Some(found) = cluster.store.get(Kind::ServiceAccounts, &key(&namespace, &account)) else {
        let why =
            format!("error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found");
        return Err(ApiError::forbidden(Kind::Pods.resource(), &name, why));
    };
    let wanted = match spec.get("automountServiceAccountToken").and_then(Value::as_bool) {
        Some(own) => own,
        None => found.value()["automountServiceAccountToken"].as_bool().unwrap_or(true),
    };
    if wanted {
        mount_token(spec);
    }
    Ok(())
}

fn mount_token(spec: &mut Map<String, Value>) {
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = volumes
        .filter_map(|v| v["name"].as_str())
        .find(|name| name.starts_with("kube-api-access-"));
    let (name, present) = match existing {
        Some(name) => (name.to_owned(), true),
        None => (format!("kube-api-access-{}", random_suffix(5)), false),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().all(|m| m["mountPath"] != MOUNT_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if !mounted || present {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": ROOT_CA_CONFIG_MAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"mountPath": MOUNT_PATH, "name": "own"}]}]}});
        mount_token(member(&mut pod, "spec"));
        let spec = &pod["spec"];
        assert!(
            spec["volumes"][0]["name"]
                .as_str()
                .unwrap()
                .starts_with("kube-api-access-")
        );
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0]["name"],
            spec["volumes"][0]["name"]
        );
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        let once = pod.clone();
        mount_token(member(&mut pod, "spec"));
        assert_eq!(pod, once);
    }
}
