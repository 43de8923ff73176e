//! The little validation that there is: names, required fields, and what may not change. The rest of the real server's rules
//! is left out: this server accepts more than a real one would.

use serde_json::{Value, json};

use crate::error::{ApiError, Cause, Result};
use crate::resources::{Kind, Resource};

/// Checks a complete object before it is created.
pub fn create(resource: &Resource, object: &Value) -> Result<()> {
    let mut causes = Vec::new();
    let meta = &object["metadata"];
    match meta["name"].as_str().unwrap_or_default() {
        "" => causes.push(Cause::required("metadata.name", "name or generateName is required")),
        name => causes.extend(name_fault(resource.kind, name)),
    }
    labels(&meta["labels"], "metadata.labels", &mut causes);
    match resource.kind {
        Kind::Pods => pod_spec(&object["spec"], "spec", &mut causes),
        Kind::Deployments | Kind::ReplicaSets | Kind::Jobs => {
            pod_spec(&object["spec"]["template"]["spec"], "spec.template.spec", &mut causes);
            workload(resource.kind, &object["spec"], &mut causes);
        }
        _ => {}
    }
    finish(resource, object, causes)
}

/// Checks a workload after an update.
pub fn update(resource: &Resource, object: &Value) -> Result<()> {
    let mut causes = Vec::new();
    pod_spec(&object["spec"]["template"]["spec"], "spec.template.spec", &mut causes);
    workload(resource.kind, &object["spec"], &mut causes);
    finish(resource, object, causes)
}

fn finish(resource: &Resource, object: &Value, causes: Vec<Cause>) -> Result<()> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        resource,
        object["metadata"]["name"].as_str().unwrap_or_default(),
        causes,
    ))
}

/// DNS-1123: labels for namespaces, subdomains for the rest; RBAC names are path segments.
fn name_fault(kind: Kind, name: &str) -> Option<Cause> {
    if matches!(
        kind,
        Kind::Roles | Kind::RoleBindings | Kind::ClusterRoles | Kind::ClusterRoleBindings
    ) {
        let bad = name == "." || name == ".." || name.contains(['/', '%']);
        return bad.then(|| {
            Cause::invalid(
                "metadata.name",
                &json!(name),
                "may not be '.', '..', or contain '/' or '%'",
            )
        });
    }
    let label = matches!(kind, Kind::Namespaces | Kind::Services);
    let (limit, what) = if label { (63, "label") } else { (253, "subdomain") };
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (c == '.' && !label);
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let parts_ok = name
        .split('.')
        .all(|part| part.starts_with(edge) && part.ends_with(edge));
    if name.len() > limit {
        return Some(Cause::invalid(
            "metadata.name",
            &json!(name),
            format!("must be no more than {limit} bytes"),
        ));
    }
    if name.chars().all(good) && parts_ok {
        return None;
    }
    let detail = format!(
        "a lowercase RFC 1123 {what} must consist of lower case alphanumeric characters, '-'{}, and must start and end with an alphanumeric character",
        if label { "" } else { " or '.'" }
    );
    Some(Cause::invalid("metadata.name", &json!(name), detail))
}

fn labels(labels: &Value, field: &str, causes: &mut Vec<Cause>) {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let word = |s: &str| s.len() <= 63 && s.starts_with(edge) && s.ends_with(edge) && s.chars().all(inner);
    for (key, value) in labels.as_object().into_iter().flatten() {
        if !word(key.rsplit('/').next().unwrap_or_default()) {
            causes.push(Cause::invalid(
                field,
                &json!(key),
                "name part must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
        match value.as_str() {
            Some(text) if text.is_empty() || word(text) => {}
            _ => causes.push(Cause::invalid(
                field,
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'",
            )),
        }
    }
}

fn pod_spec(spec: &Value, at: &str, causes: &mut Vec<Cause>) {
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        causes.push(Cause::required(format!("{at}.containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            match container["name"].as_str().unwrap_or_default() {
                "" => causes.push(Cause::required(format!("{at}.name"), "")),
                name if seen.contains(&name) => {
                    causes.push(Cause {
                        field: format!("{at}.name"),
                        reason: "FieldValueDuplicate",
                        message: format!("Duplicate value: \"{name}\""),
                    });
                }
                name => {
                    seen.push(name);
                    if name.contains('.') || name_fault(Kind::Namespaces, name).is_some() {
                        let detail =
                            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'";
                        causes.push(Cause::invalid(format!("{at}.name"), &json!(name), detail));
                    }
                }
            }
            if container["image"].as_str().unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("{at}.image"), ""));
            }
        }
    }
    match spec["restartPolicy"].as_str() {
        None | Some("Always" | "OnFailure" | "Never") => {}
        Some(other) => causes.push(Cause {
            field: format!("{at}.restartPolicy"),
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: \"{other}\": supported values: \"Always\", \"OnFailure\", \"Never\""),
        }),
    }
}

fn workload(kind: Kind, spec: &Value, causes: &mut Vec<Cause>) {
    if kind == Kind::Jobs {
        if spec["completionMode"] == "Indexed" {
            let detail = "a development API server runs jobs without indexes only";
            causes.push(Cause::forbidden("spec.completionMode", detail));
        }
        if spec["template"]["spec"]["restartPolicy"] == "Always" {
            causes.push(Cause {
                field: "spec.template.spec.restartPolicy".into(),
                reason: "FieldValueNotSupported",
                message: "Unsupported value: \"Always\": supported values: \"OnFailure\", \"Never\"".into(),
            });
        }
        return;
    }
    let wanted = spec["selector"]["matchLabels"].as_object();
    if wanted.is_none_or(|m| m.is_empty())
        && spec["selector"]["matchExpressions"]
            .as_array()
            .is_none_or(Vec::is_empty)
    {
        causes.push(Cause::required("spec.selector", ""));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if wanted
        .into_iter()
        .flatten()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
}

/// A pod's spec is fixed but for images, the active deadline, added tolerations and a few more.
pub fn pod_update(resource: &Resource, old: &Value, new: &Value) -> Result<()> {
    let masked = |object: &Value| {
        let mut spec = object["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(map) = container.as_object_mut() {
                    map.remove("image");
                }
            }
        }
        if let Some(map) = spec.as_object_mut() {
            for field in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "schedulingGates",
                "nodeSelector",
            ] {
                map.remove(field);
            }
        }
        spec
    };
    let mut causes = Vec::new();
    if masked(old) != masked(new) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                      `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                      `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
    let kept = new["spec"]["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
    if old["spec"]["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|t| !kept.contains(t))
    {
        causes.push(Cause::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    pod_spec(&new["spec"], "spec", &mut causes);
    finish(resource, new, causes)
}

/// A node's providerID is set once.
pub fn node_update(resource: &Resource, old: &Value, new: &Value) -> Result<()> {
    let id = |node: &Value| node["spec"]["providerID"].as_str().unwrap_or_default().to_owned();
    if !id(old).is_empty() && id(old) != id(new) {
        let detail = "node updates may not change providerID except from \"\" to valid";
        return finish(resource, new, vec![Cause::forbidden("spec.providerID", detail)]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(object: Value, kind: Kind) -> Vec<String> {
        match create(kind.resource(), &object) {
            Ok(()) => Vec::new(),
            Err(error) => error.causes.into_iter().map(|c| c.field).collect(),
        }
    }

    #[test]
    fn required_fields_and_names_are_checked() {
        let good = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        assert!(fields(good, Kind::Pods).is_empty());
        assert_eq!(
            fields(json!({"metadata": {}, "spec": {}}), Kind::Pods),
            ["metadata.name", "spec.containers"]
        );
        let twins =
            json!({"metadata": {"name": "A_b"}, "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "c"}]}});
        assert_eq!(
            fields(twins, Kind::Pods),
            ["metadata.name", "spec.containers[1].name", "spec.containers[1].image"]
        );
        assert_eq!(
            fields(json!({"metadata": {"name": "system:x"}}), Kind::ClusterRoles),
            [""; 0]
        );
        assert_eq!(
            fields(json!({"metadata": {"name": "a".repeat(254)}}), Kind::ConfigMaps),
            ["metadata.name"]
        );
        assert_eq!(
            fields(
                json!({"metadata": {"name": "a", "labels": {"k": "not ok"}}}),
                Kind::ConfigMaps
            ),
            ["metadata.labels"]
        );
    }

    #[test]
    fn a_pods_spec_is_fixed_but_for_its_image() {
        let pod = |image: &str, command: &str| json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": image, "command": [command]}]}});
        let resource = Kind::Pods.resource();
        assert!(pod_update(resource, &pod("i", "x"), &pod("j", "x")).is_ok());
        assert_eq!(
            pod_update(resource, &pod("i", "x"), &pod("i", "y")).unwrap_err().code,
            422
        );
    }

    #[test]
    fn selectors_have_to_match_their_template() {
        let set = |label: &str| {
            json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": label}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
        };
        assert!(fields(set("b"), Kind::ReplicaSets).is_empty());
        assert_eq!(fields(set("c"), Kind::ReplicaSets), ["spec.template.metadata.labels"]);
    }
}
