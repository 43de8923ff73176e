//! Tables: what `kubectl get` prints. Columns and cells as the real server's printers make them.

mod duration;
mod node;
mod pod;
mod workload;

use serde_json::{Value, json};

use crate::resources::{Kind, Resource};

pub use duration::human;

/// A column: name, type, whether only `-o wide` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Column(pub &'static str, pub &'static str, pub bool);

const NAME: Column = Column("Name", "string", false);
const AGE: Column = Column("Age", "string", false);

/// Columns and how a row's cells are made.
type Printer = (&'static [Column], fn(&Value) -> Vec<Value>);

fn printer(kind: Kind) -> Printer {
    match kind {
        Kind::Pods => (pod::COLUMNS, pod::cells),
        Kind::Nodes => (node::COLUMNS, node::cells),
        Kind::Deployments => (workload::DEPLOYMENT, workload::deployment),
        Kind::ReplicaSets => (workload::REPLICA_SET, workload::replica_set),
        Kind::Jobs => (workload::JOB, workload::job),
        Kind::Events => (EVENT, event),
        Kind::Namespaces => (NAMESPACE, |o| vec![name(o), o["status"]["phase"].clone(), age(o)]),
        Kind::Leases => (LEASE, |o| vec![name(o), text(&o["spec"]["holderIdentity"]), age(o)]),
        Kind::Services => (SERVICE, service),
        Kind::ConfigMaps => (DATA, |o| {
            vec![name(o), json!(size(&o["data"]) + size(&o["binaryData"])), age(o)]
        }),
        Kind::Secrets => (SECRET, |o| {
            vec![name(o), text(&o["type"]), json!(size(&o["data"])), age(o)]
        }),
        Kind::ServiceAccounts => (SERVICE_ACCOUNT, |o| {
            vec![name(o), json!(o["secrets"].as_array().map_or(0, Vec::len)), age(o)]
        }),
        Kind::RoleBindings | Kind::ClusterRoleBindings => (BINDING, |o| {
            let role = format!(
                "{}/{}",
                o["roleRef"]["kind"].as_str().unwrap_or_default(),
                o["roleRef"]["name"].as_str().unwrap_or_default()
            );
            vec![name(o), role.into(), age(o)]
        }),
        Kind::Roles | Kind::ClusterRoles => (CREATED, |o| vec![name(o), o["metadata"]["creationTimestamp"].clone()]),
    }
}

/// Renders objects as a `Table`. `include` is `includeObject`: None, Object, or (by default) Metadata.
pub fn render(resource: &Resource, objects: &[Value], meta: Value, beta: bool, include: Option<&str>) -> Value {
    let (columns, cells) = printer(resource.kind);
    let version = if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" };
    let definitions: Vec<Value> = columns
        .iter()
        .map(|Column(name, kind, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut row = json!({"cells": cells(object)});
            match include {
                Some("None") => {}
                Some("Object") => row["object"] = object.clone(),
                _ => {
                    row["object"] =
                        json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": object["metadata"]})
                }
            }
            if resource.kind == Kind::Pods
                && let Some(conditions) = pod::row_conditions(object)
            {
                row["conditions"] = conditions;
            }
            row
        })
        .collect();
    json!({"kind": "Table", "apiVersion": version, "metadata": meta, "columnDefinitions": definitions, "rows": rows})
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// A string, or an empty one.
fn text(value: &Value) -> Value {
    value.as_str().unwrap_or_default().into()
}

/// A string, or `<none>`.
fn or_none(value: &Value) -> Value {
    value.as_str().filter(|s| !s.is_empty()).unwrap_or("<none>").into()
}

fn age(object: &Value) -> Value {
    since(&object["metadata"]["creationTimestamp"])
}

/// Time since a timestamp in the words of kubectl.
fn since(when: &Value) -> Value {
    match when.as_str() {
        Some(when) => human(crate::time::age_seconds(when)).into(),
        None => "<unknown>".into(),
    }
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, |m| m.len())
}

/// `a=b,c=d`, or `<none>`.
fn labels(map: &Value) -> Value {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        "<none>".into()
    } else {
        pairs.join(",").into()
    }
}

const NAMESPACE: &[Column] = &[NAME, Column("Status", "string", false), AGE];
const LEASE: &[Column] = &[NAME, Column("Holder", "string", false), AGE];
const DATA: &[Column] = &[NAME, Column("Data", "string", false), AGE];
const SECRET: &[Column] = &[
    NAME,
    Column("Type", "string", false),
    Column("Data", "string", false),
    AGE,
];
const SERVICE_ACCOUNT: &[Column] = &[NAME, Column("Secrets", "string", false), AGE];
const BINDING: &[Column] = &[NAME, Column("Role", "string", false), AGE];
const CREATED: &[Column] = &[NAME, Column("Created At", "date", false)];

const SERVICE: &[Column] = &[
    NAME,
    Column("Type", "string", false),
    Column("Cluster-IP", "string", false),
    Column("External-IP", "string", false),
    Column("Port(s)", "string", false),
    AGE,
    Column("Selector", "string", true),
];

fn service(object: &Value) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| format!("{}/{}", p["port"], p["protocol"].as_str().unwrap_or("TCP")))
        .collect();
    let ports = if ports.is_empty() {
        "<none>".to_owned()
    } else {
        ports.join(",")
    };
    let selector = labels(&spec["selector"]);
    vec![
        name(object),
        text(&spec["type"]),
        or_none(&spec["clusterIP"]),
        "<none>".into(),
        ports.into(),
        age(object),
        selector,
    ]
}

const EVENT: &[Column] = &[
    Column("Last Seen", "string", false),
    Column("Type", "string", false),
    Column("Reason", "string", false),
    Column("Object", "string", false),
    Column("Subobject", "string", true),
    Column("Source", "string", true),
    Column("Message", "string", false),
    Column("First Seen", "string", true),
    Column("Count", "string", true),
    Column("Name", "string", true),
];

fn event(object: &Value) -> Vec<Value> {
    let first = [&object["firstTimestamp"], &object["eventTime"]]
        .into_iter()
        .find(|v| v.is_string())
        .unwrap_or(&Value::Null);
    let series = &object["series"];
    let last = [&series["lastObservedTime"], &object["lastTimestamp"], first]
        .into_iter()
        .find(|v| v.is_string())
        .unwrap_or(&Value::Null);
    let count = [&series["count"], &object["count"]]
        .into_iter()
        .find_map(Value::as_i64)
        .unwrap_or(1);
    let about = &object["involvedObject"];
    let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
    let target = format!("{kind}/{}", about["name"].as_str().unwrap_or_default());
    let component = [&object["source"]["component"], &object["reportingComponent"]];
    let component = component
        .into_iter()
        .filter_map(Value::as_str)
        .find(|c| !c.is_empty())
        .unwrap_or_default();
    let source = match object["source"]["host"].as_str().filter(|h| !h.is_empty()) {
        Some(host) => format!("{component}, {host}"),
        None => component.to_owned(),
    };
    let message = object["message"].as_str().unwrap_or_default().trim();
    vec![
        since(last),
        text(&object["type"]),
        text(&object["reason"]),
        target.into(),
        text(&about["fieldPath"]),
        source.into(),
        message.into(),
        since(first),
        count.to_string().into(),
        name(object),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in Kind::ALL {
            let object = json!({"metadata": {"name": "x", "creationTimestamp": crate::time::now()}});
            let (columns, cells) = printer(kind);
            assert_eq!(columns.len(), cells(&object).len(), "{kind:?}");
        }
    }

    #[test]
    fn rows_carry_metadata_unless_told_otherwise() {
        let object = json!({"metadata": {"name": "x"}, "status": {"phase": "Active"}});
        let table = render(
            Kind::Namespaces.resource(),
            std::slice::from_ref(&object),
            json!({}),
            false,
            None,
        );
        assert_eq!(table["rows"][0]["cells"], json!(["x", "Active", "<unknown>"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let table = render(
            Kind::Namespaces.resource(),
            std::slice::from_ref(&object),
            json!({}),
            true,
            Some("Object"),
        );
        assert_eq!(table["rows"][0]["object"], object);
        assert_eq!(table["apiVersion"], "meta.k8s.io/v1beta1");
    }
}
