//! The little OpenAPI v3 that `kubectl apply`, `create` and `run` ask for: which kinds there are, and that their writes take
//! `fieldValidation`. There are no schemas, so `kubectl explain` has nothing to say.

use http::Response;
use serde_json::{Map, Value, json};

use super::respond::{self, Body};
use crate::resources::{RESOURCES, Resource, groups};

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// Answers below `/openapi/v3`; `None` when it is no such path (v2 is not served, which kubectl tolerates).
pub fn answer(path: &str) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/v3")?.trim_matches('/');
    if rest.is_empty() {
        let paths: Map<String, Value> = groups()
            .into_iter()
            .map(|(group, version)| {
                let path = path_of(group, version);
                let url = format!("/openapi/v3/{path}?hash=1");
                (path, json!({"serverRelativeURL": url}))
            })
            .collect();
        return Some(respond::value(&json!({"paths": paths})));
    }
    let (group, version) = groups()
        .into_iter()
        .find(|(group, version)| path_of(group, version) == rest)?;
    Some(respond::value(&document(group, version)))
}

fn document(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in RESOURCES.iter().filter(|r| r.group == group && r.version == version) {
        let base = path_of(group, version);
        let space = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        paths.insert(
            format!("/{base}{space}/{}", resource.plural),
            json!({"post": operation(resource, "post")}),
        );
        let one = json!({"put": operation(resource, "put"), "patch": operation(resource, "patch")});
        paths.insert(format!("/{base}{space}/{}/{{name}}", resource.plural), one);
        let name = format!(
            "io.k8s.api.{}.{}.{}",
            if group.is_empty() { "core" } else { group },
            version,
            resource.name
        );
        schemas.insert(
            name,
            json!({"type": "object", "x-kubernetes-group-version-kind": [gvk(resource)]}),
        );
    }
    json!({"openapi": "3.0.0", "info": {"title": "devcluster", "version": "v1"}, "paths": paths, "components": {"schemas": schemas}})
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.name})
}

fn operation(resource: &Resource, action: &str) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    json!({
        "operationId": format!("{action}{}", resource.name),
        "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(resource),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_name_kinds_and_field_validation() {
        let core = document("", "v1");
        let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Pod");
        assert!(
            patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
        assert!(answer("/openapi/v3").is_some() && answer("/openapi/v3/apis/apps/v1").is_some());
        assert!(answer("/openapi/v2").is_none() && answer("/openapi/v3/apis/none/v1").is_none());
    }
}
