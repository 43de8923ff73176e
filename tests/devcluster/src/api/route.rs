//! From path and method to what is asked for.

use http::Method;

use super::query::Query;
use crate::resources::{self, Resource};

/// A request for a resource.
#[derive(Debug)]
pub struct Target<'a> {
    /// Which.
    pub resource: &'static Resource,
    /// Namespace of the path, or empty.
    pub namespace: &'a str,
    /// Name, or empty for the collection.
    pub name: &'a str,
    /// E.g. `status`, or empty.
    pub subresource: &'static str,
    /// What stands behind a `proxy` subresource.
    pub rest: &'a str,
}

/// What a path means.
#[derive(Debug)]
pub enum Route<'a> {
    /// A resource, one object of it, or a subresource.
    Resource(Target<'a>),
    /// Anything else: discovery, reviews, health, metrics.
    Other,
}

/// Subresources with a handler; others are 404.
const SUBRESOURCES: [&str; 13] = [
    "status",
    "scale",
    "resize",
    "ephemeralcontainers",
    "finalize",
    "log",
    "exec",
    "attach",
    "portforward",
    "binding",
    "eviction",
    "proxy",
    "token",
];

/// Reads a path. `None` when it looks like a resource but is none.
pub fn route(path: &str) -> Option<Route<'_>> {
    let trimmed = path.trim_start_matches('/');
    let mut parts = trimmed.splitn(4, '/');
    let (group, version, rest) = match parts.next() {
        Some("api") => {
            let (Some(version), Some(_)) = (parts.next(), parts.next()) else {
                return Some(Route::Other);
            };
            ("", version, trimmed.get("api/".len() + version.len() + 1..)?)
        }
        Some("apis") => {
            let (Some(group), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
                return Some(Route::Other);
            };
            (group, version, rest)
        }
        _ => return Some(Route::Other),
    };
    if matches!(group, "authentication.k8s.io" | "authorization.k8s.io") {
        return Some(Route::Other);
    }
    let (namespace, rest) = split_namespace(rest);
    let mut parts = rest.splitn(4, '/');
    let plural = parts.next()?;
    let resource = resources::find(group, version, plural)?;
    let name = parts.next().unwrap_or_default();
    let subresource = match parts.next() {
        None | Some("") => "",
        Some(found) => SUBRESOURCES.into_iter().find(|known| *known == found)?,
    };
    if resource.namespaced && namespace.is_empty() && !name.is_empty() {
        return None;
    }
    if !resource.namespaced && !namespace.is_empty() {
        return None;
    }
    Some(Route::Resource(Target {
        resource,
        namespace,
        name,
        subresource,
        rest: parts.next().unwrap_or_default(),
    }))
}

/// Takes `namespaces/NS/` off; a namespace itself (and its status) keeps it.
fn split_namespace(rest: &str) -> (&str, &str) {
    let Some(inner) = rest.strip_prefix("namespaces/") else {
        return ("", rest);
    };
    match inner.split_once('/') {
        None | Some((_, "" | "status" | "finalize")) => ("", rest),
        Some((namespace, rest)) => (namespace, rest),
    }
}

/// The verb, in the words of the real server's metrics.
pub fn verb(method: &Method, target: &Target<'_>, query: &Query, content_type: &str) -> &'static str {
    let connects = matches!(target.subresource, "log" | "proxy" | "exec" | "attach" | "portforward");
    match (method, target.name.is_empty()) {
        (_, false) if connects => "CONNECT",
        (&Method::GET | &Method::HEAD, _) if query.flag("watch") => "WATCH",
        (&Method::GET | &Method::HEAD, true) => "LIST",
        (&Method::GET | &Method::HEAD, false) => "GET",
        (&Method::POST, _) => "POST",
        (&Method::PUT, _) => "PUT",
        (&Method::PATCH, _) if content_type.starts_with("application/apply-patch") => "APPLY",
        (&Method::PATCH, _) => "PATCH",
        (&Method::DELETE, true) => "DELETECOLLECTION",
        (&Method::DELETE, false) => "DELETE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> (String, String, String, String, String) {
        match route(path) {
            Some(Route::Resource(t)) => {
                let own = |s: &str| s.to_owned();
                (
                    own(t.resource.plural),
                    own(t.namespace),
                    own(t.name),
                    own(t.subresource),
                    own(t.rest),
                )
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    fn parts(a: &str, b: &str, c: &str, d: &str, e: &str) -> (String, String, String, String, String) {
        (a.into(), b.into(), c.into(), d.into(), e.into())
    }

    #[test]
    fn paths_are_read() {
        assert_eq!(target("/api/v1/pods"), parts("pods", "", "", "", ""));
        assert_eq!(
            target("/api/v1/namespaces/d/pods/p/status"),
            parts("pods", "d", "p", "status", "")
        );
        assert_eq!(target("/api/v1/namespaces/d"), parts("namespaces", "", "d", "", ""));
        assert_eq!(
            target("/api/v1/namespaces/d/status"),
            parts("namespaces", "", "d", "status", "")
        );
        assert_eq!(
            target("/api/v1/nodes/n/proxy/pods/x"),
            parts("nodes", "", "n", "proxy", "pods/x")
        );
        assert_eq!(
            target("/apis/apps/v1/namespaces/d/deployments"),
            parts("deployments", "d", "", "", "")
        );
        assert_eq!(target("/apis/events.k8s.io/v1/events"), parts("events", "", "", "", ""));
        assert!(matches!(route("/api/v1"), Some(Route::Other)));
        assert!(matches!(route("/apis/apps/v1"), Some(Route::Other)));
        assert!(matches!(route("/healthz"), Some(Route::Other)));
        assert!(route("/api/v1/gadgets").is_none());
        assert!(route("/api/v1/pods/p").is_none());
        assert!(route("/api/v1/namespaces/d/pods/p/nonsense").is_none());
    }
}
