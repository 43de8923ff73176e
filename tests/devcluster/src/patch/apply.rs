//! Server-side apply in a simple form.
//!
//! What a manager applied is recorded in `metadata.managedFields` as the real server writes it (`FieldsV1`). Applying merges
//! the configuration into the object by the list keys of the schema, removes what the same manager applied before and no
//! longer names (unless another one applied it, too), and refuses a value that another manager applied differently, unless
//! forced. Simpler than the real thing: ownership is tracked among appliers alone, so that an update or patch neither owns a
//! field nor takes one away.

use serde_json::{Map, Value, json};

use super::schema::{self, List};
use crate::error::{ApiError, Cause, Result};
use crate::ops::{as_map, metadata};
use crate::resources::Resource;
use crate::time;

/// Who applies.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a> {
    /// `fieldManager`.
    pub name: &'a str,
    /// Take fields over from others.
    pub force: bool,
    /// Subresource of the request, or empty.
    pub subresource: &'a str,
    /// Of the configuration.
    pub api_version: &'a str,
}

impl Manager<'_> {
    fn is(&self, entry: &Value) -> bool {
        entry["manager"] == self.name
            && entry["operation"] == "Apply"
            && entry["subresource"].as_str().unwrap_or_default() == self.subresource
    }
}

/// Applies `config` to `object`.
pub fn apply(resource: &Resource, object: &mut Value, mut config: Value, manager: &Manager<'_>) -> Result<()> {
    if let Some(meta) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let fresh = fields_of(&config);
    let (own, others): (Vec<&Value>, Vec<&Value>) = entries.iter().partition(|e| manager.is(e));
    let mut causes = Vec::new();
    for other in others.iter().filter(|e| e["operation"] == "Apply") {
        let name = other["manager"].as_str().unwrap_or_default();
        conflicts(
            &fresh,
            &other["fieldsV1"],
            object,
            &config,
            String::new(),
            name,
            &mut causes,
        );
    }
    if !causes.is_empty() && !manager.force {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let list: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.message, c.field)).collect();
        let message = format!(
            "Apply failed with {} conflict{}: {}",
            causes.len(),
            if causes.len() == 1 { "" } else { "s" },
            list.join(", ")
        );
        let mut error = ApiError::conflict(resource, &name, "");
        error.message = message;
        error.causes = causes;
        return Err(error);
    }
    for old in own {
        let kept: Vec<&Value> = others.iter().map(|e| &e["fieldsV1"]).chain([&fresh]).collect();
        remove_dropped(object, &old["fieldsV1"], &kept);
    }
    merge("", "", object, config.clone());
    record(object, &config, manager);
    Ok(())
}

/// Notes what `manager` applied.
pub fn record(object: &mut Value, config: &Value, manager: &Manager<'_>) {
    let mut entry = json!({"manager": manager.name, "operation": "Apply", "apiVersion": manager.api_version, "fieldsType": "FieldsV1",
        "fieldsV1": fields_of(config), "time": time::now()});
    if !manager.subresource.is_empty() {
        entry["subresource"] = json!(manager.subresource);
    }
    let list = metadata(object).entry("managedFields").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|e| manager.is(e)) {
        // Only a change of the set makes the entry newer: applying the same again changes nothing.
        Some(old) if old["fieldsV1"] == entry["fieldsV1"] => {}
        Some(old) => *old = entry,
        None => list.push(entry),
    }
}

/// The set of fields in a configuration, without those that identify the object.
fn fields_of(config: &Value) -> Value {
    let mut set = fields("", config);
    let map = as_map(&mut set);
    for identity in ["f:apiVersion", "f:kind"] {
        map.remove(identity);
    }
    if let Some(meta) = map.get_mut("f:metadata").and_then(Value::as_object_mut) {
        for identity in [
            "f:name",
            "f:namespace",
            "f:uid",
            "f:resourceVersion",
            "f:creationTimestamp",
            "f:managedFields",
        ] {
            meta.remove(identity);
        }
        if meta.is_empty() {
            map.remove("f:metadata");
        }
    }
    set
}

fn fields(parent: &str, value: &Value) -> Value {
    let Some(map) = value.as_object() else { return json!({}) };
    let mut set = Map::new();
    for (name, inner) in map {
        let below = match (inner, schema::list(parent, name)) {
            (Value::Array(items), List::Map(keys)) => {
                let mut set = Map::new();
                for item in items {
                    let mut below = fields(name, item);
                    as_map(&mut below).insert(".".into(), json!({}));
                    set.insert(format!("k:{}", identity(item, keys)), below);
                }
                Value::Object(set)
            }
            (Value::Array(items), List::Set) => items.iter().map(|i| (format!("v:{i}"), json!({}))).collect(),
            (Value::Array(_), List::Atomic) => json!({}),
            _ => fields(name, inner),
        };
        set.insert(format!("f:{name}"), below);
    }
    Value::Object(set)
}

/// The keys of a list element as JSON; a port without a protocol is a TCP port.
fn identity(item: &Value, keys: &[&str]) -> String {
    let value = |key: &str| match &item[key] {
        Value::Null if key == "protocol" => json!("TCP"),
        other => other.clone(),
    };
    Value::Object(keys.iter().map(|key| ((*key).to_owned(), value(key))).collect()).to_string()
}

fn same_element(a: &Value, b: &Value, keys: &[&str]) -> bool {
    identity(a, keys) == identity(b, keys)
}

fn is_leaf(set: &Value) -> bool {
    set.as_object().is_none_or(|m| m.keys().all(|k| k == "."))
}

/// Finds what a path element of a set names in an object.
fn step<'a>(object: &'a Value, element: &str) -> Option<&'a Value> {
    match element.split_once(':')? {
        ("f", name) => object.get(name),
        ("k", identity) => {
            let wanted: Value = serde_json::from_str(identity).ok()?;
            object.as_array()?.iter().find(|item| element_is(item, &wanted))
        }
        ("v", value) => {
            let wanted: Value = serde_json::from_str(value).ok()?;
            object.as_array()?.iter().find(|item| **item == wanted)
        }
        _ => None,
    }
}

fn element_is(item: &Value, wanted: &Value) -> bool {
    let keys: Vec<&str> = wanted
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect();
    same_element(item, wanted, &keys)
}

fn conflicts(
    mine: &Value,
    theirs: &Value,
    object: &Value,
    config: &Value,
    path: String,
    manager: &str,
    causes: &mut Vec<Cause>,
) {
    for (element, below) in mine.as_object().into_iter().flatten().filter(|(e, _)| *e != ".") {
        let Some(owned) = theirs.get(element) else { continue };
        let (Some(now), Some(wanted)) = (step(object, element), step(config, element)) else {
            continue;
        };
        let name = element.split_once(':').map_or("", |(_, name)| name);
        let path = if element.starts_with("f:") {
            format!("{path}.{name}")
        } else {
            format!("{path}[{name}]")
        };
        if is_leaf(below) && is_leaf(owned) {
            if now != wanted && !element.starts_with("k:") {
                let message = format!("conflict with \"{manager}\"");
                causes.push(Cause {
                    field: path,
                    reason: "FieldManagerConflict",
                    message,
                });
            }
        } else {
            conflicts(below, owned, now, wanted, path, manager, causes);
        }
    }
}

/// Removes from `object` what `old` names and none of `kept` does.
fn remove_dropped(object: &mut Value, old: &Value, kept: &[&Value]) {
    for (element, below) in old.as_object().into_iter().flatten().filter(|(e, _)| *e != ".") {
        let inner: Vec<&Value> = kept.iter().filter_map(|set| set.get(element)).collect();
        let Some((kind, name)) = element.split_once(':') else {
            continue;
        };
        let parent = kind == "f" && !is_leaf(below);
        if inner.is_empty() && !parent {
            match (kind, &mut *object) {
                ("f", Value::Object(map)) => {
                    map.remove(name);
                }
                ("k", Value::Array(list)) => {
                    let wanted: Value = serde_json::from_str(name).unwrap_or_default();
                    list.retain(|item| !element_is(item, &wanted));
                }
                ("v", Value::Array(list)) => {
                    let wanted: Value = serde_json::from_str(name).unwrap_or_default();
                    list.retain(|item| *item != wanted);
                }
                _ => {}
            }
        } else if let Some(target) = step_mut(object, element) {
            remove_dropped(target, below, &inner);
            // A map that held nothing else goes with what it held.
            let hollow = target.as_object().is_some_and(Map::is_empty) || target.as_array().is_some_and(Vec::is_empty);
            if parent
                && hollow
                && inner.is_empty()
                && let Some(map) = object.as_object_mut()
            {
                map.remove(name);
            }
        }
    }
}

fn step_mut<'a>(object: &'a mut Value, element: &str) -> Option<&'a mut Value> {
    match element.split_once(':')? {
        ("f", name) => object.get_mut(name),
        ("k", identity) => {
            let wanted: Value = serde_json::from_str(identity).ok()?;
            object.as_array_mut()?.iter_mut().find(|item| element_is(item, &wanted))
        }
        _ => None,
    }
}

fn merge(parent: &str, name: &str, target: &mut Value, config: Value) {
    match config {
        Value::Object(config) => {
            let target = as_map(target);
            for (key, value) in config {
                if !value.is_null() {
                    merge(name, &key, target.entry(key.as_str()).or_insert(Value::Null), value);
                }
            }
        }
        Value::Array(items) => {
            let strategy = schema::list(parent, name);
            let list = match target {
                Value::Array(list) if strategy != List::Atomic => list,
                _ => {
                    *target = Value::Array(items);
                    return;
                }
            };
            for item in items {
                let found = match strategy {
                    List::Map(keys) => list.iter_mut().find(|old| same_element(old, &item, keys)),
                    _ => list.iter_mut().find(|old| **old == item),
                };
                match found {
                    Some(old) => merge(parent, name, old, item),
                    None => list.push(item),
                }
            }
        }
        scalar => *target = scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Kind;

    fn manager(name: &'static str, force: bool) -> Manager<'static> {
        Manager {
            name,
            force,
            subresource: "",
            api_version: "v1",
        }
    }

    fn applied(object: &mut Value, config: Value, by: Manager<'_>) -> Result<()> {
        apply(Kind::Pods.resource(), object, config, &by)
    }

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}})
    }

    #[test]
    fn what_is_no_longer_named_goes() {
        let mut object = pod();
        applied(&mut object, json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"containers": [{"name": "s", "image": "i"}]}}), manager("m", false)).unwrap();
        assert_eq!(object["spec"]["containers"].as_array().unwrap().len(), 2);
        applied(
            &mut object,
            json!({"metadata": {"labels": {"a": "1"}}}),
            manager("m", false),
        )
        .unwrap();
        assert_eq!(object["metadata"]["labels"], json!({"a": "1"}));
        assert_eq!(object["spec"]["containers"], json!([{"name": "a", "image": "x"}]));
    }

    #[test]
    fn others_are_respected_unless_forced() {
        let mut object = pod();
        applied(
            &mut object,
            json!({"metadata": {"labels": {"a": "1"}}}),
            manager("m", false),
        )
        .unwrap();
        applied(
            &mut object,
            json!({"metadata": {"labels": {"a": "1"}}}),
            manager("n", false),
        )
        .unwrap();
        let refused = applied(
            &mut object,
            json!({"metadata": {"labels": {"a": "2"}}}),
            manager("n", false),
        )
        .unwrap_err();
        assert_eq!((refused.code, refused.causes[0].reason), (409, "FieldManagerConflict"));
        assert!(refused.message.contains(".metadata.labels.a"), "{}", refused.message);
        applied(
            &mut object,
            json!({"metadata": {"labels": {"a": "2"}}}),
            manager("n", true),
        )
        .unwrap();
        assert_eq!(object["metadata"]["labels"]["a"], "2");
        // Dropped by one, still wanted by the other.
        applied(&mut object, json!({"metadata": {}}), manager("n", false)).unwrap();
        assert_eq!(object["metadata"]["labels"]["a"], "2");
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let mut object = pod();
        let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1"}}, "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}});
        applied(&mut object, config.clone(), manager("m", false)).unwrap();
        let once = object.clone();
        applied(&mut object, config, manager("m", false)).unwrap();
        assert_eq!(object, once);
        let set = &object["metadata"]["managedFields"][0]["fieldsV1"];
        assert!(set.get("f:apiVersion").is_none());
        let ports = &set["f:spec"]["f:containers"][r#"k:{"name":"a"}"#]["f:ports"];
        assert!(
            ports.get(r#"k:{"containerPort":80,"protocol":"TCP"}"#).is_some(),
            "{set}"
        );
    }
}
