//! What the server adds to objects and refuses in them, between a request and the store.

mod pod_defaults;
mod pod_status;
pub mod quantity;
mod serviceaccount;
mod validate;
mod workload_defaults;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::ops::{self, Scope, as_map, member, metadata};
use crate::resources::{Kind, Resource};

pub use serviceaccount::ROOT_CA_CONFIG_MAP;

/// Completes and checks an object that is about to be created.
pub fn create(cluster: &Cluster, resource: &Resource, object: &mut Value) -> Result<()> {
    match resource.kind {
        Kind::Pods => {
            serviceaccount::admit(cluster, object)?;
            pod_defaults::pod(object);
            let status = json!({"phase": "Pending", "qosClass": quantity::qos_class(&object["spec"])});
            as_map(object).insert("status".into(), status);
        }
        Kind::Namespaces => namespace(object),
        Kind::Nodes => {
            member(object, "spec");
            member(object, "status");
        }
        Kind::Events => event(object),
        Kind::Services => workload_defaults::service(cluster, object),
        Kind::Deployments => workload_defaults::deployment(object),
        Kind::ReplicaSets => workload_defaults::replica_set(object),
        Kind::Jobs => workload_defaults::job(object),
        Kind::Secrets => secret(object),
        _ => {}
    }
    if resource.has_status() && !matches!(resource.kind, Kind::Pods | Kind::Nodes | Kind::Namespaces) {
        as_map(object).insert("status".into(), workload_defaults::empty_status(resource.kind));
    }
    validate::create(resource, object)
}

/// Completes and checks an object that is about to be replaced; `old` is null for an edit of the status alone.
pub fn update(resource: &Resource, scope: Scope, old: &Value, object: &mut Value) -> Result<()> {
    match (resource.kind, scope) {
        (Kind::Pods, Scope::Status) => pod_status::validate(resource, object),
        (Kind::Pods, Scope::Whole) => {
            pod_defaults::pod(object);
            validate::pod_update(resource, old, object)
        }
        (Kind::Deployments, Scope::Whole) => {
            workload_defaults::deployment(object);
            validate::update(resource, object)
        }
        (Kind::ReplicaSets, Scope::Whole) => {
            workload_defaults::replica_set(object);
            validate::update(resource, object)
        }
        (Kind::Nodes, Scope::Whole) => validate::node_update(resource, old, object),
        (Kind::Secrets, _) => {
            secret(object);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    member(object, "spec").insert("finalizers".into(), json!(["kubernetes"]));
    let meta = metadata(object);
    as_map(meta.entry("labels").or_insert(Value::Null)).insert("kubernetes.io/metadata.name".into(), name);
    as_map(object).insert("status".into(), json!({"phase": "Active"}));
}

fn event(object: &mut Value) {
    let map = as_map(object);
    for field in ["source", "involvedObject"] {
        map.entry(field).or_insert_with(|| json!({}));
    }
    for field in ["reportingComponent", "reportingInstance"] {
        map.entry(field).or_insert_with(|| json!(""));
    }
}

/// Moves `stringData` into `data`, as the real server does on every write.
fn secret(object: &mut Value) {
    use base64::Engine as _;
    let map = as_map(object);
    map.entry("type").or_insert_with(|| json!("Opaque"));
    let Some(Value::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = as_map(map.entry("data").or_insert(Value::Null));
    for (key, value) in plain {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

/// Gives a namespace what its controllers would: the default ServiceAccount and the cluster's CA certificate.
pub fn furnish_namespace(cluster: &Arc<Cluster>, namespace: &str) {
    let account = json!({"metadata": {"name": "default"}});
    let ca = json!({
        "metadata": {"name": ROOT_CA_CONFIG_MAP, "annotations": {"kubernetes.io/description":
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or \
             kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."}},
        "data": {"ca.crt": cluster.ca_pem()},
    });
    for (kind, object) in [(Kind::ServiceAccounts, account), (Kind::ConfigMaps, ca)] {
        match ops::create(cluster, kind.resource(), namespace, object, false) {
            Ok(_) => {}
            Err(ApiError { code: 409, .. }) => {}
            Err(error) => tracing::warn!(%namespace, %error, "unable to furnish a namespace"),
        }
    }
}
