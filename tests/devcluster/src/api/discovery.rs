//! What there is: health, version, groups, resources. Old-style discovery, which every client accepts.

use http::Response;
use serde_json::{Value, json};

use super::respond::{self, Body};
use crate::resources::{RESOURCES, Resource, groups};

/// The Kubernetes minor version whose API is imitated.
pub const VERSION: (&str, &str) = ("1", "37");

/// Paths that are answered to anybody.
pub fn is_open(path: &str) -> bool {
    let base = path.split('/').nth(1).unwrap_or_default();
    matches!(base, "healthz" | "livez" | "readyz")
}

/// Answers a discovery path; `None` when it is none.
pub fn answer(path: &str) -> Option<Response<Body>> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let found = match segments.as_slice() {
        ["version"] => version(),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let list: Vec<Value> = groups()
                .into_iter()
                .filter(|(g, _)| !g.is_empty())
                .map(|(g, v)| group(g, v))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
        }
        ["api", "v1"] => resource_list("", "v1"),
        ["apis", name] => {
            let (name, version) = groups().into_iter().find(|(g, _)| g == name && !g.is_empty())?;
            let mut one = group(name, version);
            one["kind"] = json!("APIGroup");
            one["apiVersion"] = json!("v1");
            one
        }
        ["apis", name, version] => {
            let (name, version) = groups()
                .into_iter()
                .find(|(g, v)| g == name && v == version && !g.is_empty())?;
            resource_list(name, version)
        }
        _ => return None,
    };
    Some(respond::value(&found))
}

fn version() -> Value {
    let (major, minor) = VERSION;
    json!({"major": major, "minor": minor, "gitVersion": format!("v{major}.{minor}.0-devcluster"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, "amd64")})
}

fn group(name: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn resource_list(group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        describe(resource, &mut list);
    }
    let review = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": ["create"]});
    match group {
        "authentication.k8s.io" => list.extend([
            review("tokenreviews", "TokenReview", false),
            review("selfsubjectreviews", "SelfSubjectReview", false),
        ]),
        "authorization.k8s.io" => list.extend([
            review("subjectaccessreviews", "SubjectAccessReview", false),
            review("selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
            review("localsubjectaccessreviews", "LocalSubjectAccessReview", true),
        ]),
        _ => {}
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

fn describe(resource: &Resource, list: &mut Vec<Value>) {
    let mut entry = json!({"name": resource.plural, "singularName": resource.name.to_lowercase(), "namespaced": resource.namespaced,
        "kind": resource.name, "verbs": VERBS});
    if !resource.short.is_empty() {
        entry["shortNames"] = json!(resource.short);
    }
    if resource.in_all {
        entry["categories"] = json!(["all"]);
    }
    list.push(entry);
    let mut sub = |name: &str, kind: &str, group: Option<(&str, &str)>, verbs: &[&str]| {
        let mut entry = json!({"name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
            "kind": kind, "verbs": verbs});
        if let Some((group, version)) = group {
            entry["group"] = json!(group);
            entry["version"] = json!(version);
        }
        list.push(entry);
    };
    for name in resource.subresources {
        match *name {
            "scale" => sub(
                "scale",
                "Scale",
                Some(("autoscaling", "v1")),
                &["get", "patch", "update"],
            ),
            "finalize" => sub("finalize", resource.name, None, &["update"]),
            other => sub(other, resource.name, None, &["get", "patch", "update"]),
        }
    }
    match resource.plural {
        "pods" => {
            sub("binding", "Binding", None, &["create"]);
            sub("eviction", "Eviction", Some(("policy", "v1")), &["create"]);
            sub("log", "Pod", None, &["get"]);
            sub("attach", "PodAttachOptions", None, &["create", "get"]);
            sub("exec", "PodExecOptions", None, &["create", "get"]);
            sub("portforward", "PodPortForwardOptions", None, &["create", "get"]);
        }
        "nodes" => sub(
            "proxy",
            "NodeProxyOptions",
            None,
            &["create", "delete", "get", "patch", "update"],
        ),
        "serviceaccounts" => sub(
            "token",
            "TokenRequest",
            Some(("authentication.k8s.io", "v1")),
            &["create"],
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_lists_its_resources() {
        for (group, version) in groups() {
            let list = resource_list(group, version);
            assert!(!list["resources"].as_array().unwrap().is_empty(), "{group}");
        }
        assert!(
            answer("/apis/apps/v1").is_some()
                && answer("/apis/nonsense/v1").is_none()
                && answer("/elsewhere").is_none()
        );
    }
}
