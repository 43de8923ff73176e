//! Events that controllers leave for people.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::ops;
use crate::resources::{Kind, Resource};
use crate::store::Head;
use crate::time;

/// Records an event about an object. A failure to do so changes nothing and is logged.
pub fn event(cluster: &Arc<Cluster>, resource: &Resource, about: &Head, component: &str, reason: &str, message: &str) {
    let warning = reason.starts_with("Failed") || reason.starts_with("NodeNot") || reason.starts_with("Backoff");
    let namespace = if about.namespace.is_empty() {
        "default"
    } else {
        &about.namespace
    };
    let now = time::now();
    let object: Value = json!({
        "metadata": {"name": format!("{}.{:016x}", about.name, fastrand::u64(..))},
        "involvedObject": {"kind": resource.name, "apiVersion": resource.api_version(), "namespace": about.namespace, "name": about.name,
            "uid": about.uid},
        "reason": reason, "message": message, "type": if warning { "Warning" } else { "Normal" },
        "source": {"component": component}, "reportingComponent": component, "reportingInstance": "",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1, "eventTime": null,
    });
    match ops::create(cluster, Kind::Events.resource(), namespace, object, false) {
        Ok(_) => {}
        // The namespace is going away, and the event's reader with it.
        Err(error) if error.code == 403 || error.code == 404 => {}
        Err(error) => tracing::warn!(%error, %reason, "unable to record an event"),
    }
}
