//! What a request asks for, in the words of authorization.
//!
//! As the kubelet has it (`GetRequestAttributes` of Kubernetes 1.37, with KEP-2862, fine-grained kubelet API
//! authorization): every path is a subresource of the node, and the method is the verb. Some paths may be asked for under
//! the name of their own or as `proxy`, which is everything else.
//!
//! One thing differs. With a kubelet `get` on `nodes/proxy` is enough to run commands in containers, since WebSockets
//! begin with a GET. Here what acts on a container takes `create`, whatever the method; the API server has every verb
//! (`system:kubelet-api-admin`).

use http::Method;

/// What to ask the API server about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The verb; empty for methods that have none, which nobody but holders of `*` may use.
    pub verb: &'static str,
    /// Subresources of `nodes`: the caller may, if it may for one of them. They are asked in this order.
    pub subresources: &'static [&'static str],
}

/// First part of a path, and its subresources.
const FINE_GRAINED: &[(&str, &[&str])] = &[
    ("/pods", &["pods", "proxy"]),
    ("/allocatedPods", &["pods", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
    ("/statusz", &["statusz"]),
    ("/flagz", &["configz"]),
];
const ALL_ELSE: &[&str] = &["proxy"];

/// Those that act on a container.
const SESSIONS: [&str; 4] = ["/exec", "/attach", "/portForward", "/run"];

impl Attributes {
    /// Of a request for a path that was [cleaned](super::clean).
    pub(super) fn of(method: &Method, path: &str, sessions_need_create: bool) -> Self {
        let is_below = |known: &str| {
            path.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let known = FINE_GRAINED.iter().find(|(known, _)| is_below(known));
        let acts = sessions_need_create && SESSIONS.into_iter().any(is_below);
        Self {
            verb: if acts { "create" } else { verb(method) },
            subresources: known.map_or(ALL_ELSE, |(_, subresources)| *subresources),
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Attributes {
        Attributes::of(&Method::GET, path, true)
    }

    #[test]
    fn paths_have_their_subresources() {
        for (path, subresources) in [
            ("/pods", "pods proxy"),
            ("/pods/", "pods proxy"),
            ("/runningpods/", "pods proxy"),
            ("/runningpods", "pods proxy"),
            ("/allocatedPods", "pods proxy"),
            ("/healthz", "healthz proxy"),
            ("/healthz/ping", "healthz proxy"),
            ("/configz", "configz proxy"),
            ("/flagz", "configz"),
            ("/statusz", "statusz"),
            ("/stats", "stats"),
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/metrics/resource", "metrics"),
            ("/logs/", "log"),
            ("/checkpoint/a/b/c", "checkpoint"),
            ("/containerLogs/a/b/c", "proxy"),
            ("/exec/a/b/c", "proxy"),
            ("/debug/pprof", "proxy"),
            ("/", "proxy"),
            ("", "proxy"),
            ("*", "proxy"),
            // No tricks with beginnings, letters or encodings.
            ("/podsandmore", "proxy"),
            ("/metricsx", "proxy"),
            ("/Metrics", "proxy"),
            ("/metrics%2fcadvisor", "proxy"),
            ("//metrics", "proxy"),
            ("/x/metrics", "proxy"),
            ("/logs%", "proxy"),
        ] {
            assert_eq!(get(path).subresources.join(" "), subresources, "{path}");
            assert_eq!(
                get(path).verb,
                if path.starts_with("/exec") { "create" } else { "get" },
                "{path}"
            );
        }
    }

    #[test]
    fn methods_are_verbs() {
        for (method, verb) in [
            ("GET", "get"),
            ("POST", "create"),
            ("PUT", "update"),
            ("PATCH", "patch"),
            ("DELETE", "delete"),
            ("HEAD", ""),
            ("OPTIONS", ""),
            ("get", ""),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Attributes::of(&method, "/pods", true).verb, verb);
            assert_eq!(Attributes::of(&method, "/exec/a/b/c", true).verb, "create");
            assert_eq!(Attributes::of(&method, "/exec/a/b/c", false).verb, verb);
        }
    }

    #[test]
    fn whatever_acts_on_a_container_takes_create() {
        for path in [
            "/exec/a/b/c",
            "/attach/a/b/c",
            "/portForward/a/b",
            "/run/a/b/c",
            "/exec",
        ] {
            assert_eq!(get(path).verb, "create", "{path}");
        }
        for path in ["/containerLogs/a/b/c", "/execute/a/b/c", "/runningpods", "/pods"] {
            assert_eq!(get(path).verb, "get", "{path}");
        }
    }
}
