//! Create, replace, patch, delete.

use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::respond::{self, Body};
use super::{Call, read, views};
use crate::error::{ApiError, Result};
use crate::ops::{self, DeleteOptions, Deleted, Propagation, Scope, Update, as_map};
use crate::patch::{self, PatchType, apply};
use crate::resources::Kind;

/// What the caller says about a write in the query.
pub(super) struct Options {
    pub(super) dry_run: bool,
    manager: String,
    force: bool,
}

impl Options {
    pub(super) fn of(call: &Call<'_>) -> Result<Options> {
        let dry_run = match call.query.get("dryRun") {
            None => false,
            Some("All") => true,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "dryRun: Unsupported value: \"{other}\": supported values: \"All\""
                )));
            }
        };
        let agent = call
            .headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("unknown");
        let manager = call
            .query
            .get("fieldManager")
            .unwrap_or_else(|| agent.split('/').next().unwrap_or("unknown"))
            .to_owned();
        Ok(Options {
            dry_run,
            manager,
            force: call.query.flag("force"),
        })
    }
}

/// POST to a collection.
pub async fn create(mut call: Call<'_>) -> Result<Response<Body>> {
    let options = Options::of(&call)?;
    let mut object = call.take_json().await?;
    let target = &call.target;
    if target.resource.is_view() && object["apiVersion"] == "events.k8s.io/v1" {
        object = views::event_to_core(object);
    }
    if target.resource.namespaced && target.namespace.is_empty() {
        return Err(ApiError::bad_request(
            "an object of this kind is created in a namespace: the path has none",
        ));
    }
    let resource = target.resource.kind.resource();
    let stored = ops::create(call.cluster, resource, target.namespace, object, options.dry_run)?;
    read::object(&call, StatusCode::CREATED, &stored)
}

/// The part of the object that the path writes.
fn scope(call: &Call<'_>) -> Result<Scope> {
    match call.target.subresource {
        "" => Ok(Scope::Whole),
        sub if !call.target.resource.subresources.contains(&sub) => Err(ApiError::no_route()),
        "status" => Ok(Scope::Status),
        "resize" => Ok(Scope::Resize),
        "ephemeralcontainers" => Ok(Scope::EphemeralContainers),
        "finalize" => Ok(Scope::Whole),
        _ => Err(ApiError::no_route()),
    }
}

fn update<'a>(call: &'a Call<'_>, scope: Scope, dry_run: bool, narrow: bool) -> Update<'a> {
    let target = &call.target;
    Update {
        resource: target.resource.kind.resource(),
        namespace: target.namespace,
        name: target.name,
        scope,
        dry_run,
        narrow,
    }
}

/// PUT. A lease, as the real server has it, may be created by it.
pub async fn replace(mut call: Call<'_>) -> Result<Response<Body>> {
    let options = Options::of(&call)?;
    let scope = scope(&call)?;
    let mut object = call.take_json().await?;
    if call.target.resource.is_view() {
        object = views::event_to_core(object);
    }
    let resource = call.target.resource.kind.resource();
    ops::check_type(resource, &mut object)?;
    let stored = ops::update(call.cluster, &update(&call, scope, options.dry_run, false), |current| {
        *current = object.clone();
        Ok(())
    });
    match stored {
        Err(error) if error.code == 404 && resource.kind == Kind::Leases && object["metadata"]["uid"].is_null() => {
            // The version of one that is gone stands in nobody's way.
            ops::metadata(&mut object).remove("resourceVersion");
            let stored = ops::create(call.cluster, resource, call.target.namespace, object, options.dry_run)?;
            read::object(&call, StatusCode::CREATED, &stored)
        }
        stored => read::object(&call, StatusCode::OK, &stored?),
    }
}

/// PATCH in its four forms.
pub async fn patch(mut call: Call<'_>) -> Result<Response<Body>> {
    let options = Options::of(&call)?;
    let scope = scope(&call)?;
    let content_type = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let kind = PatchType::from_content_type(content_type)?;
    let mut patch = call.take_json().await?;
    if kind != PatchType::Json && call.target.resource.is_view() {
        patch = views::event_to_core(patch);
    }
    if kind == PatchType::Apply {
        return apply(&call, scope, &options, patch);
    }
    let narrow = scope == Scope::Status && kind != PatchType::Json;
    if narrow && let Some(map) = patch.as_object_mut() {
        map.retain(|field, _| field == "status" || field == "metadata");
    }
    let stored = ops::update(call.cluster, &update(&call, scope, options.dry_run, narrow), |object| {
        // Another writer may be faster, and then this runs again.
        patch::patch(kind, object, patch.clone())
    })?;
    read::object(&call, StatusCode::OK, &stored)
}

/// Server-side apply: creates what is absent.
fn apply(call: &Call<'_>, scope: Scope, options: &Options, mut config: Value) -> Result<Response<Body>> {
    if call.query.get("fieldManager").is_none() {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let target = &call.target;
    let resource = target.resource.kind.resource();
    ops::check_type(resource, &mut config)?;
    let meta = as_map(as_map(&mut config).entry("metadata").or_insert(Value::Null));
    meta.entry("name").or_insert_with(|| json!(target.name));
    let manager = apply::Manager {
        name: &options.manager,
        force: options.force,
        subresource: target.subresource,
        api_version: &resource.api_version(),
    };
    let key = crate::store::key(target.namespace, target.name);
    if call.cluster.store.get(resource.kind, &key).is_none()
        && scope == Scope::Whole
        && config["metadata"]["uid"].is_null()
    {
        let mut fresh = config.clone();
        apply::record(&mut fresh, &config, &manager);
        match ops::create(call.cluster, resource, target.namespace, fresh, options.dry_run) {
            Err(error) if error.reason == "AlreadyExists" => {}
            stored => return read::object(call, StatusCode::CREATED, &stored?),
        }
    }
    let stored = ops::update(call.cluster, &update(call, scope, options.dry_run, false), |object| {
        apply::apply(resource, object, config.clone(), &manager)
    })?;
    read::object(call, StatusCode::OK, &stored)
}

/// `DeleteOptions` from the body and the query; the query wins where both speak, as with the real server.
async fn delete_options(call: &mut Call<'_>) -> Result<DeleteOptions> {
    let body = call.take_json().await?;
    delete_options_of(call, &body)
}

/// `DeleteOptions` from what may be a part of the body, and the query.
pub(super) fn delete_options_of(call: &Call<'_>, body: &Value) -> Result<DeleteOptions> {
    let own = Options::of(call)?;
    let dry_run = own.dry_run || body["dryRun"].as_array().is_some_and(|d| d.iter().any(|v| v == "All"));
    let policy = call
        .query
        .get("propagationPolicy")
        .or(body["propagationPolicy"].as_str())
        .unwrap_or_default();
    let orphan = policy == "Orphan" || body["orphanDependents"] == true;
    let text = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    Ok(DeleteOptions {
        grace: call
            .query
            .number("gracePeriodSeconds")
            .map_err(ApiError::bad_request)?
            .or(body["gracePeriodSeconds"].as_i64()),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation: if orphan {
            Propagation::Orphan
        } else {
            Propagation::Background
        },
        dry_run,
    })
}

/// DELETE of one object. Pods come back as they were; other kinds that are gone as a `Status`.
pub async fn delete(mut call: Call<'_>) -> Result<Response<Body>> {
    let options = delete_options(&mut call).await?;
    let target = &call.target;
    let resource = target.resource.kind.resource();
    match ops::delete(call.cluster, resource, target.namespace, target.name, &options)? {
        Deleted::Gone(stored) if resource.kind != Kind::Pods => Ok(respond::value(&json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": target.name, "group": resource.group, "kind": resource.plural, "uid": stored.head.uid},
        }))),
        deleted => read::object(&call, StatusCode::OK, deleted.stored()),
    }
}

/// DELETE of a selection. Answers with what it selected.
pub async fn delete_collection(mut call: Call<'_>) -> Result<Response<Body>> {
    let options = delete_options(&mut call).await?;
    let filter = read::filter(&call)?;
    let resource = call.target.resource.kind.resource();
    let (page, revision) = call.cluster.store.list(resource.kind, &filter, None, 0);
    let mut items = Vec::with_capacity(page.items.len());
    for stored in page.items {
        match ops::delete(
            call.cluster,
            resource,
            &stored.head.namespace,
            &stored.head.name,
            &options,
        ) {
            Ok(deleted) => items.push(deleted.stored().value()),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(respond::value(&json!({
        "kind": format!("{}List", resource.name), "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": revision.to_string()}, "items": items,
    })))
}
