//! Strategic merge: maps merge, lists with a merge key merge by it, directives delete and replace.
//!
//! Served directives: `$patch: delete|replace|merge` in maps and list elements, `$retainKeys`, `$deleteFromPrimitiveList/F` and
//! `$setElementOrder/F` (orders the elements that it names, leaves others where they are).

use serde_json::{Map, Value};

use super::schema::{self, List};
use crate::error::{ApiError, Result};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVE: &str = "$deleteFromPrimitiveList/";

/// Merges a patch into a whole object.
pub fn merge(target: &mut Value, patch: Value) -> Result<()> {
    value("", target, patch)
}

fn value(name: &str, target: &mut Value, patch: Value) -> Result<()> {
    match patch {
        Value::Object(patch) => map(name, target, patch),
        other => {
            *target = other;
            Ok(())
        }
    }
}

fn map(name: &str, target: &mut Value, mut patch: Map<String, Value>) -> Result<()> {
    match patch.remove(DIRECTIVE).as_ref().map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *target = Value::Object(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some(other) => return Err(unknown_directive(other)),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(Value::Array(keys)) = patch.remove(RETAIN) {
        target.retain(|key, _| keys.iter().any(|k| k == key));
    }
    let mut orders = Vec::new();
    for (key, change) in patch {
        if let Some(field) = key.strip_prefix(ORDER) {
            orders.push((field.to_owned(), change));
        } else if let Some(field) = key.strip_prefix(DELETE_PRIMITIVE) {
            let gone = change.as_array().cloned().unwrap_or_default();
            if let Some(Value::Array(list)) = target.get_mut(field) {
                list.retain(|item| !gone.contains(item));
            }
        } else if change.is_null() {
            target.remove(&key);
        } else if let Value::Array(items) = change {
            let slot = target.entry(key.as_str()).or_insert_with(|| Value::Array(Vec::new()));
            list(name, &key, slot, items)?;
        } else {
            value(&key, target.entry(key.as_str()).or_insert(Value::Null), change)?;
        }
    }
    for (field, order) in orders {
        if let (Some(Value::Array(list)), Value::Array(order)) = (target.get_mut(&field), order) {
            reorder(name, &field, list, &order);
        }
    }
    Ok(())
}

fn list(parent: &str, field: &str, slot: &mut Value, mut items: Vec<Value>) -> Result<()> {
    let strategy = schema::list(parent, field);
    let replace = items
        .iter()
        .position(|i| i.get(DIRECTIVE).is_some_and(|d| d == "replace"));
    if let Some(at) = replace {
        // The element says "replace the list by the others"; one that has more than the directive counts itself.
        if let Some(map) = items[at].as_object_mut() {
            map.remove(DIRECTIVE);
            if map.is_empty() {
                items.remove(at);
            }
        }
        *slot = Value::Array(items);
        return Ok(());
    }
    let Value::Array(target) = slot else {
        *slot = Value::Array(Vec::new());
        return list(parent, field, slot, items);
    };
    match strategy {
        List::Atomic => *target = items,
        List::Set => {
            for item in items {
                if !target.contains(&item) {
                    target.push(item);
                }
            }
        }
        List::Map(keys) => {
            for item in items {
                element(field, keys[0], target, item)?;
            }
        }
    }
    Ok(())
}

fn element(field: &str, key: &str, target: &mut Vec<Value>, mut item: Value) -> Result<()> {
    let Some(wanted) = item.get(key).cloned() else {
        let message = format!("map: {item} does not contain declared merge key: {key}");
        return Err(ApiError::new(422, "Invalid", message));
    };
    let directive = item.as_object_mut().and_then(|m| m.remove(DIRECTIVE));
    match directive.as_ref().map(|d| d.as_str().unwrap_or_default()) {
        Some("delete") => {
            target.retain(|t| t.get(key) != Some(&wanted));
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(unknown_directive(other)),
    }
    match target.iter_mut().find(|t| t.get(key) == Some(&wanted)) {
        Some(found) => value(field, found, item),
        None => {
            let mut fresh = Value::Null;
            value(field, &mut fresh, item)?;
            target.push(fresh);
            Ok(())
        }
    }
}

/// Sorts the elements that `order` names into that order, in the places that they hold together.
fn reorder(parent: &str, field: &str, list: &mut [Value], order: &[Value]) {
    let key = match schema::list(parent, field) {
        List::Map(keys) => keys[0],
        List::Set => "",
        List::Atomic => return,
    };
    let rank = |item: &Value| match key {
        "" => order.iter().position(|o| o == item),
        key => order
            .iter()
            .position(|o| o.get(key).is_some() && o.get(key) == item.get(key)),
    };
    let places: Vec<usize> = (0..list.len()).filter(|&at| rank(&list[at]).is_some()).collect();
    let mut named: Vec<Value> = places.iter().map(|&at| list[at].take()).collect();
    named.sort_by_key(|item| rank(item));
    for (at, item) in places.into_iter().zip(named) {
        list[at] = item;
    }
}

fn unknown_directive(directive: &str) -> ApiError {
    ApiError::bad_request(format!(
        "unknown patch directive \"{directive}\": expected delete, replace or merge"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, patch).unwrap();
        target
    }

    #[test]
    fn conditions_merge_by_type_and_statuses_are_replaced() {
        let target = json!({"status": {"conditions": [{"type": "A", "status": "True", "x": 1}, {"type": "B", "status": "True"}],
            "containerStatuses": [{"name": "a"}, {"name": "b"}]}});
        let patch = json!({"status": {"conditions": [{"type": "A", "status": "False"}, {"type": "C", "status": "True"}],
            "containerStatuses": [{"name": "b"}]}});
        let expected = json!({"status": {"conditions": [{"type": "A", "status": "False", "x": 1}, {"type": "B", "status": "True"},
            {"type": "C", "status": "True"}], "containerStatuses": [{"name": "b"}]}});
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn pod_ips_merge_by_ip_and_need_a_delete() {
        let target = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}});
        let both = merged(target.clone(), json!({"status": {"podIPs": [{"ip": "10.0.0.2"}]}}));
        assert_eq!(
            both["status"]["podIPs"],
            json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}])
        );
        let patch = json!({"status": {"podIPs": [{"$patch": "delete", "ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}});
        assert_eq!(merged(target, patch)["status"]["podIPs"], json!([{"ip": "10.0.0.2"}]));
    }

    #[test]
    fn taints_are_atomic() {
        let target = json!({"spec": {"taints": [{"key": "a"}], "unschedulable": true}});
        let patch = json!({"spec": {"taints": [{"key": "b"}], "unschedulable": null}});
        assert_eq!(merged(target, patch), json!({"spec": {"taints": [{"key": "b"}]}}));
    }

    #[test]
    fn nested_lists_know_their_parent() {
        let target = json!({"spec": {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1, "name": "p"}]}]}});
        let patch = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 2}], "env": [{"name": "E", "value": "1"}]}]}});
        let expected = json!({"spec": {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1, "name": "p", "hostPort": 2}],
            "env": [{"name": "E", "value": "1"}]}]}});
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn directives_replace_delete_retain_and_order() {
        let list = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let replaced = merged(
            list.clone(),
            json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}),
        );
        assert_eq!(replaced, json!({"spec": {"containers": [{"name": "c"}]}}));
        let ordered = merged(
            list.clone(),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}], "containers": [{"name": "c"}]}}),
        );
        assert_eq!(
            ordered,
            json!({"spec": {"containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}})
        );
        let map = merged(
            json!({"spec": {"strategy": {"type": "A", "rolling": {}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "B"}}}),
        );
        assert_eq!(map, json!({"spec": {"strategy": {"type": "B"}}}));
        let finalizers = json!({"metadata": {"finalizers": ["x", "y"]}});
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}});
        assert_eq!(
            merged(finalizers, patch),
            json!({"metadata": {"finalizers": ["y", "z"]}})
        );
        assert_eq!(
            merged(json!({"a": {"b": 1}}), json!({"a": {"$patch": "replace", "c": 2}})),
            json!({"a": {"c": 2}})
        );
    }

    #[test]
    fn faulty_patches_are_refused() {
        let mut target = json!({"spec": {"containers": []}});
        assert_eq!(
            merge(&mut target, json!({"spec": {"containers": [{"image": "x"}]}}))
                .unwrap_err()
                .code,
            422
        );
        assert_eq!(
            merge(&mut target, json!({"spec": {"$patch": "explode"}}))
                .unwrap_err()
                .code,
            400
        );
    }
}
