//! The defaults of a pod's spec, as anybody sees them with `kubectl get -o yaml`.

use serde_json::{Map, Value, json};

use crate::ops::{as_map, member};

fn or(map: &mut Map<String, Value>, field: &str, value: impl FnOnce() -> Value) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value());
    }
}

/// Completes a pod: its spec, and the tolerations that admission adds.
pub fn pod(object: &mut Value) {
    let spec = member(object, "spec");
    template_spec(spec);
    or(spec, "enableServiceLinks", || json!(true));
    or(spec, "priority", || json!(0));
    or(spec, "preemptionPolicy", || json!("PreemptLowerPriority"));
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = |t: &Value| {
            let effect = t["effect"].as_str().unwrap_or_default();
            let all = t["key"].as_str().unwrap_or_default().is_empty() && t["operator"] == "Exists";
            (t["key"] == key || all) && (effect.is_empty() || effect == "NoExecute")
        };
        if !list.iter().any(tolerated) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

/// Completes the spec of a pod or of a pod template.
pub fn template_spec(spec: &mut Map<String, Value>) {
    or(spec, "restartPolicy", || json!("Always"));
    or(spec, "dnsPolicy", || json!("ClusterFirst"));
    or(spec, "terminationGracePeriodSeconds", || json!(30));
    or(spec, "schedulerName", || json!("default-scheduler"));
    or(spec, "securityContext", || json!({}));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for each in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container(as_map(each));
        }
    }
    for each in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        volume(as_map(each));
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let pull = if is_latest(image) { "Always" } else { "IfNotPresent" };
    or(container, "imagePullPolicy", || json!(pull));
    or(container, "terminationMessagePath", || json!("/dev/termination-log"));
    or(container, "terminationMessagePolicy", || json!("File"));
    or(container, "resources", || json!({}));
    if let Some(limits) = container
        .get("resources")
        .and_then(|r| r.get("limits"))
        .and_then(Value::as_object)
        .cloned()
    {
        let resources = as_map(container.entry("resources").or_insert(Value::Null));
        let requests = as_map(resources.entry("requests").or_insert(Value::Null));
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        or(as_map(port), "protocol", || json!("TCP"));
    }
    for env in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef") {
            or(as_map(field), "apiVersion", || json!("v1"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            self::probe(as_map(probe));
        }
    }
}

/// No tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe(probe: &mut Map<String, Value>) {
    or(probe, "timeoutSeconds", || json!(1));
    or(probe, "periodSeconds", || json!(10));
    or(probe, "successThreshold", || json!(1));
    or(probe, "failureThreshold", || json!(3));
    if let Some(get) = probe.get_mut("httpGet").filter(|g| g.is_object()) {
        or(as_map(get), "path", || json!("/"));
        or(as_map(get), "scheme", || json!("HTTP"));
    }
    if let Some(grpc) = probe.get_mut("grpc").filter(|g| g.is_object()) {
        or(as_map(grpc), "service", || json!(""));
    }
}

fn volume(volume: &mut Map<String, Value>) {
    for kind in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(kind).filter(|s| s.is_object()) {
            or(as_map(source), "defaultMode", || json!(420));
        }
    }
    if let Some(path) = volume.get_mut("hostPath").filter(|s| s.is_object()) {
        or(as_map(path), "type", || json!(""));
    }
    let downward = ["/downwardAPI/items", "/projected/sources"];
    let mut whole = Value::Object(std::mem::take(volume));
    for pointer in downward {
        for item in whole
            .pointer_mut(pointer)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(token) = item.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
                or(as_map(token), "expirationSeconds", || json!(3600));
            }
            if let Some(field) = item.get_mut("fieldRef").filter(|f| f.is_object()) {
                or(as_map(field), "apiVersion", || json!("v1"));
            }
            for inner in item
                .pointer_mut("/downwardAPI/items")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(field) = inner.get_mut("fieldRef").filter(|f| f.is_object()) {
                    or(as_map(field), "apiVersion", || json!("v1"));
                }
            }
        }
    }
    if let Value::Object(map) = whole {
        *volume = map;
    }
    let sources = volume.keys().filter(|key| *key != "name").count();
    if sources == 0 {
        volume.insert("emptyDir".into(), json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pod_gets_what_kubectl_shows() {
        let mut pod = json!({"spec": {"containers": [{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1"}}, "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}]}});
        super::pod(&mut pod);
        let spec = &pod["spec"];
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["readinessProbe"]["failureThreshold"], 3);
        assert_eq!(container["readinessProbe"]["httpGet"]["scheme"], "HTTP");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
        let once = pod.clone();
        super::pod(&mut pod);
        assert_eq!(pod, once);
    }

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, latest) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("host:5000/nginx", true),
            ("host:5000/nginx:1", false),
            ("n@sha256:0", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }

    #[test]
    fn own_tolerations_are_respected() {
        let mut pod = json!({"spec": {"containers": [], "tolerations": [{"operator": "Exists"}]}});
        super::pod(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}
