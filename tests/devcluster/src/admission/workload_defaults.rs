//! Defaults of the kinds that make pods, and of services.

use serde_json::{Map, Value, json};

use super::pod_defaults::template_spec;
use crate::cluster::Cluster;
use crate::ops::{as_map, member};
use crate::resources::Kind;

fn or(map: &mut Map<String, Value>, field: &str, value: Value) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value);
    }
}

fn template(spec: &mut Map<String, Value>) {
    let template = as_map(spec.entry("template").or_insert(Value::Null));
    as_map(template.entry("metadata").or_insert(Value::Null))
        .entry("creationTimestamp")
        .or_insert(Value::Null);
    template_spec(as_map(template.entry("spec").or_insert(Value::Null)));
}

/// Completes a Deployment.
pub fn deployment(object: &mut Value) {
    let spec = member(object, "spec");
    or(spec, "replicas", json!(1));
    or(spec, "revisionHistoryLimit", json!(10));
    or(spec, "progressDeadlineSeconds", json!(600));
    or(spec, "strategy", json!({"type": "RollingUpdate"}));
    let strategy = as_map(spec.entry("strategy").or_insert(Value::Null));
    or(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
        let rolling = as_map(strategy.entry("rollingUpdate").or_insert(Value::Null));
        or(rolling, "maxSurge", json!("25%"));
        or(rolling, "maxUnavailable", json!("25%"));
    }
    template(spec);
}

/// Completes a ReplicaSet.
pub fn replica_set(object: &mut Value) {
    let spec = member(object, "spec");
    or(spec, "replicas", json!(1));
    template(spec);
}

/// Completes a Job: its selector and the labels that its pods get follow from its UID.
pub fn job(object: &mut Value) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (uid, name) = (text(&object["metadata"]["uid"]), text(&object["metadata"]["name"]));
    let spec = member(object, "spec");
    // With a number of completions the default is one pod at a time, and without both, one pod in all.
    if spec.get("completions").is_none_or(Value::is_null) && spec.get("parallelism").is_none_or(Value::is_null) {
        or(spec, "completions", json!(1));
    }
    or(spec, "parallelism", json!(1));
    or(spec, "backoffLimit", json!(6));
    or(spec, "completionMode", json!("NonIndexed"));
    or(spec, "suspend", json!(false));
    or(spec, "manualSelector", json!(false));
    or(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    if spec.get("manualSelector") == Some(&json!(false)) {
        spec.remove("manualSelector");
        spec.insert(
            "selector".into(),
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
        );
        let template = as_map(spec.entry("template").or_insert(Value::Null));
        let labels = as_map(template.entry("metadata").or_insert(Value::Null))
            .entry("labels")
            .or_insert(Value::Null);
        for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
            as_map(labels).insert(key.to_owned(), value.as_str().into());
            as_map(labels).insert(format!("batch.kubernetes.io/{key}"), value.as_str().into());
        }
    }
    template(spec);
}

/// Completes a Service and gives it an address, which leads nowhere: there is no service network here.
pub fn service(cluster: &Cluster, object: &mut Value) {
    let spec = member(object, "spec");
    or(spec, "type", json!("ClusterIP"));
    or(spec, "sessionAffinity", json!("None"));
    or(spec, "internalTrafficPolicy", json!("Cluster"));
    or(spec, "ipFamilies", json!(["IPv4"]));
    or(spec, "ipFamilyPolicy", json!("SingleStack"));
    if spec.get("type") != Some(&json!("ExternalName")) {
        or(spec, "clusterIP", cluster.next_service_ip().into());
        let ip = spec.get("clusterIP").cloned().unwrap_or_default();
        or(spec, "clusterIPs", json!([ip]));
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let port = as_map(port);
        or(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        or(port, "targetPort", number);
    }
}

/// The status of a new object.
pub fn empty_status(kind: Kind) -> Value {
    match kind {
        Kind::ReplicaSets => json!({"replicas": 0}),
        Kind::Services => json!({"loadBalancer": {}}),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_selects_its_own_pods() {
        let mut job =
            json!({"metadata": {"uid": "u", "name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never"}}}});
        super::job(&mut job);
        assert_eq!(job["spec"]["completions"], 1);
        assert_eq!(
            job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
            "u"
        );
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
        assert_eq!(job["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    }

    #[test]
    fn a_deployment_rolls_by_default() {
        let mut object = json!({"spec": {"template": {"spec": {"containers": []}}}});
        deployment(&mut object);
        assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        assert_eq!(object["spec"]["replicas"], 1);
    }
}
