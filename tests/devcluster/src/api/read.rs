//! Get and list.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::negotiate::{self, Form};
use super::respond::{self, Body};
use super::{Call, views};
use crate::error::{ApiError, Result};
use crate::resources::Resource;
use crate::store::{Fields, Filter, Labels, Stored, key};
use crate::table;

/// One object.
pub fn get(call: &Call<'_>) -> Result<Response<Body>> {
    let target = &call.target;
    let stored = call
        .cluster
        .store
        .get(target.resource.kind, &key(target.namespace, target.name))
        .ok_or_else(|| ApiError::not_found(target.resource, target.name))?;
    object(call, StatusCode::OK, &stored)
}

/// An object in the form that the client wants.
pub fn object(call: &Call<'_>, code: StatusCode, stored: &Arc<Stored>) -> Result<Response<Body>> {
    let resource = call.target.resource;
    Ok(match negotiate::form(&call.headers)? {
        Form::Whole if resource.is_view() => respond::json(code, views::event_to_new(stored.value()).to_string()),
        Form::Whole => respond::json(code, stored.object()),
        Form::Partial => respond::json(code, views::partial(&stored.value()).to_string()),
        Form::Table { beta } => {
            let objects = [stored.value()];
            let meta = json!({"resourceVersion": stored.revision.to_string()});
            respond::json(
                code,
                table::render(resource, &objects, meta, beta, call.query.get("includeObject")).to_string(),
            )
        }
    })
}

/// The selection of a list, watch or collection delete.
pub fn filter(call: &Call<'_>) -> Result<Filter> {
    let kind = call.target.resource.kind;
    let offered = |field: &str| kind.selectable().iter().any(|(name, _)| *name == field);
    let text = call.query.get("fieldSelector").unwrap_or_default();
    let renamed = if call.target.resource.is_view() {
        text.replace("regarding.", "involvedObject.")
    } else {
        text.to_owned()
    };
    let mut fields = Fields::parse(&renamed, offered).map_err(ApiError::bad_request)?;
    if !call.target.name.is_empty() {
        // A watch on one object's path.
        fields =
            Fields::parse(&format!("metadata.name={}", call.target.name), offered).map_err(ApiError::bad_request)?;
    }
    let labels = Labels::parse(call.query.get("labelSelector").unwrap_or_default()).map_err(ApiError::bad_request)?;
    Ok(Filter {
        namespace: call.target.namespace.to_owned(),
        labels,
        fields,
    })
}

/// Where a paged list goes on: behind a key, shown under the first page's revision, so that a watch started from any page
/// misses nothing. Later pages show the present, not that revision: there are no snapshots.
fn continuation(token: &str) -> Option<(u64, Box<str>)> {
    let decoded: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    Some((decoded["rv"].as_u64()?, decoded["start"].as_str()?.into()))
}

fn continue_token(revision: u64, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

/// A list, or a page of it.
pub fn list(call: &Call<'_>) -> Result<Response<Body>> {
    let resource = call.target.resource;
    let store = &call.cluster.store;
    let filter = filter(call)?;
    let limit = call
        .query
        .number::<usize>("limit")
        .map_err(ApiError::bad_request)?
        .unwrap_or(0);
    let resume = match call.query.get("continue") {
        None => None,
        Some(token) => {
            let found = continuation(token).ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
            if found.0 < store.oldest(resource.kind) {
                let message = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";
                return Err(ApiError::expired(message));
            }
            Some(found)
        }
    };
    let (page, now) = store.list(resource.kind, &filter, resume.as_ref().map(|(_, key)| &**key), limit);
    check_revision(call, now)?;
    let revision = resume.map_or(now, |(revision, _)| revision);
    let mut meta = json!({"resourceVersion": revision.to_string()});
    if let Some(next) = &page.next {
        meta["continue"] = continue_token(revision, next).into();
        if let Some(remaining) = page.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
    }
    Ok(match negotiate::form(&call.headers)? {
        Form::Table { beta } => {
            let objects: Vec<Value> = page.items.iter().map(|s| s.value()).collect();
            respond::value(&table::render(
                resource,
                &objects,
                meta,
                beta,
                call.query.get("includeObject"),
            ))
        }
        Form::Partial => {
            let items: Vec<Value> = page.items.iter().map(|s| views::partial(&s.value())).collect();
            respond::value(
                &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}),
            )
        }
        Form::Whole => respond::json(StatusCode::OK, whole(resource, &meta, &page.items)),
    })
}

fn whole(resource: &Resource, meta: &Value, items: &[Arc<Stored>]) -> Vec<u8> {
    let size: usize = items.iter().map(|s| s.object().len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{meta},"items":["#,
        resource.name,
        resource.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    for (at, stored) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if resource.is_view() {
            out.extend_from_slice(views::event_to_new(stored.value()).to_string().as_bytes());
        } else {
            out.extend_from_slice(&stored.object());
        }
    }
    out.extend_from_slice(b"]}");
    out
}

/// `resourceVersion` of a list: at least that one, or exactly that one, which only the newest can be.
fn check_revision(call: &Call<'_>, now: u64) -> Result<()> {
    let Some(wanted) = call
        .query
        .number::<u64>("resourceVersion")
        .map_err(ApiError::bad_request)?
        .filter(|rv| *rv > 0)
    else {
        return Ok(());
    };
    if wanted > now {
        let message = format!("Too large resource version: {wanted}, current: {now}");
        let mut error = ApiError {
            retry_after: Some(1),
            ..ApiError::new(504, "Timeout", message)
        };
        error.causes.push(crate::error::Cause {
            field: String::new(),
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".into(),
        });
        return Err(error);
    }
    if call.query.get("resourceVersionMatch") == Some("Exact") && wanted < now {
        return Err(ApiError::expired(format!(
            "The resourceVersion for the provided list is too old: {wanted} ({now})"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_are_read_back() {
        assert_eq!(continuation(&continue_token(7, "ns/a")), Some((7, "ns/a".into())));
        assert_eq!(continuation("nonsense"), None);
    }
}
