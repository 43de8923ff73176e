//! The four patch types.

pub mod apply;
mod schema;
mod strategic;

use serde_json::Value;

use crate::error::{ApiError, Result};

/// How the body of a PATCH is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// From the `Content-Type` of the request.
    pub fn from_content_type(content_type: &str) -> Result<PatchType> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(PatchType::Json),
            "application/merge-patch+json" => Ok(PatchType::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
            "application/apply-patch+yaml" => Ok(PatchType::Apply),
            other => Err(ApiError::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format ({other}) - accepted media types include: application/json-patch+json, \
                     application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
                ),
            )),
        }
    }
}

/// Applies a JSON, merge or strategic merge patch to `object` in place.
pub fn patch(kind: PatchType, object: &mut Value, patch: Value) -> Result<()> {
    match kind {
        PatchType::Json => json(object, patch),
        PatchType::Merge | PatchType::Apply => {
            expect_map(&patch)?;
            merge(object, patch);
            Ok(())
        }
        PatchType::Strategic => {
            expect_map(&patch)?;
            strategic::merge(object, patch)
        }
    }
}

fn expect_map(patch: &Value) -> Result<()> {
    if patch.is_object() {
        Ok(())
    } else {
        Err(ApiError::bad_request("the patch must be a JSON object"))
    }
}

fn json(object: &mut Value, patch: Value) -> Result<()> {
    let operations: json_patch::Patch = serde_json::from_value(patch)
        .map_err(|e| ApiError::bad_request(format!("unable to decode JSON patch: {e}")))?;
    json_patch::patch(object, &operations).map_err(|e| {
        ApiError::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {e}"),
        )
    })
}

/// RFC 7386: maps merge, null removes, everything else replaces.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_follows_the_rfc() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        merge(
            &mut object,
            json!({"a": {"b": null, "d": {"e": null, "f": 1}}, "l": [3]}),
        );
        assert_eq!(object, json!({"a": {"c": 2, "d": {"f": 1}}, "l": [3]}));
    }

    #[test]
    fn json_patch_operations_and_their_failures() {
        let mut object = json!({"a": [1]});
        patch(
            PatchType::Json,
            &mut object,
            json!([{"op": "add", "path": "/a/-", "value": 2}, {"op": "test", "path": "/a/0", "value": 1}]),
        )
        .unwrap();
        assert_eq!(object, json!({"a": [1, 2]}));
        let refused = patch(
            PatchType::Json,
            &mut object,
            json!([{"op": "test", "path": "/a/0", "value": 9}]),
        )
        .unwrap_err();
        assert_eq!(refused.code, 422);
        assert_eq!(
            patch(PatchType::Json, &mut object, json!({"op": 1})).unwrap_err().code,
            400
        );
    }

    #[test]
    fn content_types_name_the_patch() {
        assert_eq!(
            PatchType::from_content_type("application/merge-patch+json; charset=utf-8").unwrap(),
            PatchType::Merge
        );
        assert_eq!(PatchType::from_content_type("application/json").unwrap_err().code, 415);
    }
}
