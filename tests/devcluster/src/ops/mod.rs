//! What can be done to objects, whoever asks: the HTTP face and the controllers use the same four verbs.

mod bind;
mod create;
mod delete;
mod update;

pub use bind::{Binding, bind, set_condition, set_pod_condition};
pub use create::{create, random_suffix};
pub use delete::{DeleteOptions, Deleted, Propagation, delete};
pub use update::{Scope, Update, update};

use serde_json::{Map, Value};

use crate::error::{ApiError, Result};
use crate::resources::Resource;

/// The metadata of an object as a map, made when absent.
pub(crate) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    member(object, "metadata")
}

/// A member of an object as a map, made when it is absent or something else.
pub(crate) fn member<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    as_map(as_map(object).entry(name).or_insert(Value::Null))
}

/// The value as a map, replaced by an empty one when it is something else.
pub(crate) fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made a map above"),
    }
}

/// Fills `apiVersion` and `kind` in, or refuses an object of another type.
pub(crate) fn check_type(resource: &Resource, object: &mut Value) -> Result<()> {
    let Some(map) = object.as_object_mut() else {
        return Err(ApiError::bad_request("the body of the request must be a JSON object"));
    };
    for (field, expected) in [
        ("apiVersion", resource.api_version()),
        ("kind", resource.name.to_owned()),
    ] {
        match map.get(field).and_then(Value::as_str) {
            None | Some("") => {
                map.insert(field.into(), expected.into());
            }
            Some(found) if found == expected => {}
            Some(found) => {
                let (expected, name) = (&expected, resource.name);
                let message =
                    format!("the {field} in the data ({found}) does not match the expected one ({expected}) of {name}");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    Ok(())
}
