//! Request counters under the real server's names, so that a bench reads both in the same way.

use std::collections::BTreeMap;
use std::fmt::Write;

use parking_lot::Mutex;

use crate::resources::{Kind, Resource};
use crate::store::Store;

/// What a request is counted under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels {
    /// As the real server says it: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, DELETECOLLECTION, CONNECT.
    pub verb: &'static str,
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural name; empty for what is no resource.
    pub resource: &'static str,
    /// E.g. `status`.
    pub subresource: &'static str,
    /// HTTP status.
    pub code: u16,
}

/// All counters.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Labels, u64>>,
}

impl Metrics {
    /// Counts one request. A watch counts when it starts.
    pub fn count(&self, labels: Labels) {
        *self.requests.lock().entry(labels).or_default() += 1;
    }

    /// How many requests match: by verb and resource (`pods`, or `pods/status`), whatever their code.
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let all = self.requests.lock();
        let matching = all
            .iter()
            .filter(|(l, _)| l.verb == verb && l.resource == resource && l.subresource == subresource);
        matching.map(|(_, count)| count).sum()
    }

    /// The text of `/metrics`.
    pub fn render(&self, store: &Store) -> String {
        let mut out = String::with_capacity(4096);
        out.push_str("# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.\n");
        out.push_str("# TYPE apiserver_request_total counter\n");
        for (l, count) in self.requests.lock().iter() {
            let Labels {
                verb,
                group,
                version,
                resource,
                subresource,
                code,
            } = l;
            // Writing to a string can't fail.
            let _ = writeln!(
                out,
                "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",\
                 scope=\"\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\"}} {count}"
            );
        }
        out.push_str("# HELP apiserver_storage_objects Number of stored objects by resource.\n# TYPE apiserver_storage_objects gauge\n");
        for kind in Kind::ALL {
            let _ = writeln!(
                out,
                "apiserver_storage_objects{{resource=\"{}\"}} {}",
                qualified(kind.resource()),
                store.count(kind)
            );
        }
        out.push_str("# HELP apiserver_longrunning_requests Open watches by resource.\n# TYPE apiserver_longrunning_requests gauge\n");
        for kind in Kind::ALL {
            let resource = kind.resource();
            let _ = writeln!(
                out,
                "apiserver_longrunning_requests{{group=\"{}\",resource=\"{}\",verb=\"WATCH\"}} {}",
                resource.group,
                resource.plural,
                store.watchers(kind)
            );
        }
        out.push_str("# HELP devcluster_watchers_ended_total Watches that ended while an event was due: the client had left or was too slow.\n");
        let _ = writeln!(
            out,
            "# TYPE devcluster_watchers_ended_total counter\ndevcluster_watchers_ended_total {}",
            store.cut_off()
        );
        out
    }
}

fn qualified(resource: &Resource) -> String {
    resource.qualified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Config;

    #[test]
    fn requests_are_counted_by_label() {
        let metrics = Metrics::default();
        let labels = Labels {
            verb: "PATCH",
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "status",
            code: 200,
        };
        metrics.count(labels.clone());
        metrics.count(Labels { code: 409, ..labels });
        assert_eq!(metrics.requests("PATCH", "pods/status"), 2);
        assert_eq!(metrics.requests("PATCH", "pods"), 0);
        let text = metrics.render(&Store::new(Config::default()));
        assert!(text.contains("code=\"409\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"\",subresource=\"status\",verb=\"PATCH\",version=\"v1\"} 1"));
        assert!(text.contains("apiserver_storage_objects{resource=\"deployments.apps\"} 0"));
    }
}
