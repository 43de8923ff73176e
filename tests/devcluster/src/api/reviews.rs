//! Reviews: who a token belongs to, who may do what. Whoever is known may do everything.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::auth::User;
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::ops::as_map;

/// Group and plural name, for the metrics.
type Reviewed = (&'static str, &'static str);

/// Answers a POST to one of the review resources.
pub fn answer(cluster: &Arc<Cluster>, user: &User, path: &str, mut review: Value) -> Result<(Reviewed, Value)> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, resource) = match segments.as_slice() {
        ["apis", group, "v1", resource] => (*group, *resource),
        [
            "apis",
            "authorization.k8s.io",
            "v1",
            "namespaces",
            _,
            "localsubjectaccessreviews",
        ] => ("authorization.k8s.io", "localsubjectaccessreviews"),
        _ => return Err(ApiError::no_route()),
    };
    let allowed = json!({"allowed": true, "reason": "development API server: every known caller may do everything"});
    let (reviewed, kind, status): (Reviewed, &str, Value) = match (group, resource) {
        ("authentication.k8s.io", "tokenreviews") => {
            let status = token_status(cluster, &review["spec"]);
            (("authentication.k8s.io", "tokenreviews"), "TokenReview", status)
        }
        ("authentication.k8s.io", "selfsubjectreviews") => (
            ("authentication.k8s.io", "selfsubjectreviews"),
            "SelfSubjectReview",
            json!({"userInfo": user.info()}),
        ),
        ("authorization.k8s.io", "subjectaccessreviews") => {
            let status = subject_status(&review["spec"], allowed);
            (
                ("authorization.k8s.io", "subjectaccessreviews"),
                "SubjectAccessReview",
                status,
            )
        }
        ("authorization.k8s.io", "localsubjectaccessreviews") => {
            let status = subject_status(&review["spec"], allowed);
            (
                ("authorization.k8s.io", "localsubjectaccessreviews"),
                "LocalSubjectAccessReview",
                status,
            )
        }
        ("authorization.k8s.io", "selfsubjectaccessreviews") => (
            ("authorization.k8s.io", "selfsubjectaccessreviews"),
            "SelfSubjectAccessReview",
            allowed,
        ),
        _ => return Err(ApiError::no_route()),
    };
    let map = as_map(&mut review);
    map.insert("kind".into(), kind.into());
    map.insert("apiVersion".into(), format!("{}/v1", reviewed.0).into());
    map.entry("metadata")
        .or_insert_with(|| json!({"creationTimestamp": null}));
    map.insert("status".into(), status);
    Ok((reviewed, review))
}

fn token_status(cluster: &Cluster, spec: &Value) -> Value {
    let wanted: Vec<&str> = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some((user, audiences)) = cluster.tokens.user(spec["token"].as_str().unwrap_or_default()) else {
        return json!({"authenticated": false, "user": {}, "error": "invalid bearer token"});
    };
    let shared: Vec<&String> = audiences
        .iter()
        .filter(|a| wanted.is_empty() || wanted.contains(&a.as_str()))
        .collect();
    if shared.is_empty() {
        return json!({"authenticated": false, "user": {}, "error": format!("token audiences {audiences:?} is invalid for the target audiences {wanted:?}")});
    }
    json!({"authenticated": true, "user": user.info(), "audiences": shared})
}

/// Anonymous callers are the ones that are not known.
fn subject_status(spec: &Value, allowed: Value) -> Value {
    let user = spec["user"].as_str().unwrap_or_default();
    let groups = spec["groups"].as_array().into_iter().flatten();
    let anonymous = user == "system:anonymous" || groups.into_iter().any(|g| g == "system:unauthenticated");
    if anonymous || user.is_empty() {
        json!({"allowed": false, "reason": "the caller is not known"})
    } else {
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_callers_are_refused() {
        let allowed = json!({"allowed": true});
        assert_eq!(
            subject_status(&json!({"user": "system:anonymous"}), allowed.clone())["allowed"],
            false
        );
        assert_eq!(
            subject_status(
                &json!({"user": "a", "groups": ["system:unauthenticated"]}),
                allowed.clone()
            )["allowed"],
            false
        );
        assert_eq!(subject_status(&json!({"user": "a"}), allowed)["allowed"], true);
    }
}
