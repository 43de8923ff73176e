//! Binding, eviction, scale, tokens, and what is asked of the node: logs and its proxy.

use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::respond::{self, Body};
use super::{Call, write};
use crate::auth;
use crate::error::{ApiError, Result};
use crate::node_client;
use crate::ops::{self, Scope, Update, member};
use crate::resources::Kind;
use crate::store::{Stored, key};
use crate::time;

fn success(code: StatusCode) -> Response<Body> {
    respond::json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code.as_u16()})
            .to_string(),
    )
}

pub(super) fn stored(call: &Call<'_>) -> Result<std::sync::Arc<Stored>> {
    let target = &call.target;
    let found = call
        .cluster
        .store
        .get(target.resource.kind, &key(target.namespace, target.name));
    found.ok_or_else(|| ApiError::not_found(target.resource, target.name))
}

/// POST `pods/binding`.
pub async fn bind(mut call: Call<'_>) -> Result<Response<Body>> {
    let body = call.take_json().await?;
    let node = body["target"]["name"].as_str().filter(|n| !n.is_empty());
    let node = node.ok_or_else(|| ApiError::bad_request("a binding needs target.name"))?;
    let binding = ops::Binding {
        namespace: call.target.namespace,
        name: call.target.name,
        uid: body["metadata"]["uid"].as_str(),
        node,
        dry_run: write::Options::of(&call)?.dry_run,
    };
    ops::bind(call.cluster, &binding)?;
    Ok(success(StatusCode::CREATED))
}

/// POST `pods/eviction`: a deletion with the options in the body. There are no disruption budgets here.
pub async fn evict(mut call: Call<'_>) -> Result<Response<Body>> {
    let body = call.take_json().await?;
    let options = write::delete_options_of(&call, &body["deleteOptions"])?;
    ops::delete(
        call.cluster,
        Kind::Pods.resource(),
        call.target.namespace,
        call.target.name,
        &options,
    )?;
    Ok(success(StatusCode::CREATED))
}

fn scale_of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let labels = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten();
    let selector: Vec<String> = labels
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    let meta =
        ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"].map(|f| (f.to_owned(), meta[f].clone()));
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": Value::Object(meta.into_iter().collect()),
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",")}})
}

/// GET `scale`.
pub fn get_scale(call: &Call<'_>) -> Result<Response<Body>> {
    Ok(respond::value(&scale_of(&stored(call)?.value())))
}

/// PUT or PATCH `scale`.
pub async fn set_scale(mut call: Call<'_>, whole: bool) -> Result<Response<Body>> {
    let content_type = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let body = call.take_json().await?;
    let target = &call.target;
    let (resource, namespace, name) = (target.resource, target.namespace, target.name);
    let what = Update {
        resource,
        namespace,
        name,
        scope: Scope::Whole,
        dry_run: call.query.get("dryRun").is_some(),
        narrow: false,
    };
    let written = ops::update(call.cluster, &what, |object| {
        let mut scale = scale_of(object);
        if whole {
            scale = body.clone();
        } else {
            crate::patch::patch(
                crate::patch::PatchType::from_content_type(&content_type)?,
                &mut scale,
                body.clone(),
            )?;
        }
        let Some(replicas) = scale["spec"]["replicas"].as_i64().filter(|r| *r >= 0) else {
            return Err(ApiError::new(
                422,
                "Invalid",
                "Scale is invalid: spec.replicas: must be a number of 0 or more",
            ));
        };
        if let Some(rv) = scale["metadata"]["resourceVersion"]
            .as_str()
            .filter(|rv| !rv.is_empty())
        {
            ops::metadata(object).insert("resourceVersion".into(), rv.into());
        }
        member(object, "spec").insert("replicas".into(), replicas.into());
        Ok(())
    })?;
    Ok(respond::value(&scale_of(&written.value())))
}

/// POST `serviceaccounts/token`.
pub async fn token(mut call: Call<'_>) -> Result<Response<Body>> {
    let mut body = call.take_json().await?;
    let account = stored(&call)?;
    let spec = &body["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(3600);
    if seconds < 600 {
        return Err(ApiError::new(
            422,
            "Invalid",
            "TokenRequest is invalid: spec.expirationSeconds: may not specify a duration less than 10 minutes",
        ));
    }
    let bound = spec["boundObjectRef"].clone();
    if bound["kind"] == "Pod" {
        let name = bound["name"].as_str().unwrap_or_default();
        let pod = call.cluster.store.get(Kind::Pods, &key(call.target.namespace, name));
        let pod = pod.ok_or_else(|| ApiError::not_found(Kind::Pods.resource(), name))?;
        if bound["uid"]
            .as_str()
            .is_some_and(|uid| !uid.is_empty() && *uid != *pod.head.uid)
        {
            let why = "the UID in the bound object reference does not match the UID in record";
            return Err(ApiError::conflict(Kind::Pods.resource(), name, why));
        }
    }
    let audiences = spec["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let request = auth::TokenRequest {
        namespace: call.target.namespace,
        account: call.target.name,
        account_uid: &account.head.uid,
        audiences,
        seconds,
        bound: &bound,
    };
    let issued = call.cluster.tokens.issue(request);
    let (token, expires) =
        issued.map_err(|e| ApiError::new(500, "InternalError", format!("unable to issue a token: {e}")))?;
    member(&mut body, "status").extend([
        ("token".to_owned(), token.into()),
        ("expirationTimestamp".to_owned(), time::format(expires).into()),
    ]);
    let spec = member(&mut body, "spec");
    spec.insert("expirationSeconds".into(), json!(seconds));
    spec.entry("audiences")
        .or_insert_with(|| json!([auth::DEFAULT_AUDIENCE]));
    let meta = ops::metadata(&mut body);
    meta.insert("name".into(), call.target.name.into());
    meta.insert("namespace".into(), call.target.namespace.into());
    meta.insert("creationTimestamp".into(), time::now().into());
    let map = ops::as_map(&mut body);
    map.insert("kind".into(), "TokenRequest".into());
    map.insert("apiVersion".into(), "authentication.k8s.io/v1".into());
    Ok(respond::json(StatusCode::CREATED, body.to_string()))
}

/// GET `pods/log`: asks the pod's node, as the real server does.
pub async fn log(call: Call<'_>) -> Result<Response<Body>> {
    if call.method != Method::GET {
        return Err(ApiError::new(405, "MethodNotAllowed", "logs are read with GET"));
    }
    let found = stored(&call)?;
    let pod = found.value();
    let container = match call.query.get("container") {
        Some(name) if has_container(&pod, name) => name.to_owned(),
        Some(name) => {
            return Err(ApiError::bad_request(format!(
                "container {name} is not valid for pod {}",
                call.target.name
            )));
        }
        None => only_container(&pod)?,
    };
    let node = found.head.field("spec.nodeName");
    if node.is_empty() {
        // The real server answers with nothing at all for a pod that is not scheduled.
        return Ok(respond::text(""));
    }
    let path = log_path(&call, &container);
    let request = Request::get(path)
        .body(respond::full(""))
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    let response = node_client::send(call.cluster, node, request).await?;
    let response = node_client::checked(response, &format!("pods \"{}\"", call.target.name)).await?;
    Ok(response)
}

fn log_path(call: &Call<'_>, container: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in [
        "follow",
        "previous",
        "timestamps",
        "sinceSeconds",
        "sinceTime",
        "tailLines",
        "limitBytes",
        "stream",
    ] {
        if let Some(value) = call.query.get(name) {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let path = format!(
        "/containerLogs/{}/{}/{container}",
        call.target.namespace, call.target.name
    );
    if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &str> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    lists
        .into_iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .filter_map(|c| c["name"].as_str())
}

pub(super) fn has_container(pod: &Value, name: &str) -> bool {
    containers(pod).any(|c| c == name)
}

fn only_container(pod: &Value) -> Result<String> {
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            if !init.is_empty() {
                message = format!("{message} or one of the init containers: [{}]", init.join(" "));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

/// Any method on `nodes/NAME/proxy/...`.
pub async fn node_proxy(mut call: Call<'_>) -> Result<Response<Body>> {
    stored(&call)?;
    if call.target.resource.kind != Kind::Nodes {
        return Err(ApiError::no_route());
    }
    let body = match call.body.take() {
        Some(body) => super::read_body(body).await?,
        None => bytes::Bytes::new(),
    };
    let path = match call.raw_query {
        Some(query) => format!("/{}?{query}", call.target.rest),
        None => format!("/{}", call.target.rest),
    };
    let mut request = Request::builder().method(call.method.clone()).uri(path);
    for name in [header::ACCEPT, header::CONTENT_TYPE] {
        if let Some(value) = call.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let request = request
        .body(respond::full(body))
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    node_client::send(call.cluster, call.target.name, request).await
}
