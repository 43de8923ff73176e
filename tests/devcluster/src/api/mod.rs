//! The HTTP face.

mod admin;
mod discovery;
mod negotiate;
mod openapi;
mod protobuf;
mod query;
mod read;
mod respond;
mod reviews;
mod route;
mod streams;
mod subresources;
mod views;
mod watch;
mod write;

use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use crate::auth::User;
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::faults::{Action, Subject};
use crate::metrics::Labels;
use query::Query;
pub use respond::{Body, BodyError};
use route::{Route, Target};

/// The real server's limit of a request's body.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A request for a resource.
struct Call<'a> {
    cluster: &'a Arc<Cluster>,
    target: Target<'a>,
    query: Query,
    raw_query: Option<&'a str>,
    headers: http::HeaderMap,
    method: Method,
    body: Option<Incoming>,
    /// The connection, for requests that want to make something else of it.
    upgrade: Option<OnUpgrade>,
}

impl Call<'_> {
    /// Reads the body, once; an empty one is null.
    async fn take_json(&mut self) -> Result<Value> {
        match self.body.take() {
            Some(body) => read_json(&self.headers, body).await,
            None => Ok(Value::Null),
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is withheld by a fault switch")]
pub struct AnswerLost;

/// Answers one request. `certified` is the user of the connection's client certificate.
pub async fn handle(
    cluster: Arc<Cluster>,
    certified: Option<User>,
    request: Request<Incoming>,
) -> Result<Response<Body>, AnswerLost> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let path = parts.uri.path();
    let query = Query::of(&parts.uri);
    if discovery::is_open(path) {
        return Ok(respond::text("ok"));
    }
    let Some(user) = authenticate(&cluster, certified, &parts.headers) else {
        return Ok(respond::error(&ApiError::new(401, "Unauthorized", "Unauthorized")));
    };
    let target = match route::route(path) {
        Some(Route::Resource(target)) => target,
        Some(Route::Other) => {
            let answer = boxed(other(&cluster, user, &parts.method, path, &query, &parts.headers, body)).await;
            return Ok(answer.unwrap_or_else(|e| respond::error(&e)));
        }
        None => return Ok(respond::error(&ApiError::no_route())),
    };
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let verb = route::verb(&parts.method, &target, &query, content_type);
    let (resource, subresource) = (target.resource, target.subresource);
    let subject = Subject {
        verb,
        resource: resource.plural,
        subresource,
        namespace: target.namespace,
        name: target.name,
    };
    let fault = cluster.faults.meet(subject).await;
    let refused = match &fault {
        Some(Action::Status { code, retry_after }) => Some(injected(*code, *retry_after)),
        Some(Action::Conflict) => Some(ApiError::modified(resource, target.name)),
        _ => None,
    };
    let answer = match refused {
        Some(error) => Err(error),
        None => {
            let headers = parts.headers;
            boxed(dispatch(
                Call {
                    cluster: &cluster,
                    target,
                    query,
                    raw_query: parts.uri.query(),
                    headers,
                    method: parts.method,
                    body: Some(body),
                    upgrade,
                },
                verb,
            ))
            .await
        }
    };
    let response = answer.unwrap_or_else(|e| respond::error(&e));
    let code = response.status().as_u16();
    cluster.metrics.count(Labels {
        verb,
        group: resource.group,
        version: resource.version,
        resource: resource.plural,
        subresource,
        code,
    });
    match fault {
        Some(Action::LoseAnswer) => Err(AnswerLost),
        _ => Ok(response),
    }
}

/// One box per request keeps the futures small, and their borrows out of the connection's type.
fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(future)
}

fn authenticate(cluster: &Cluster, certified: Option<User>, headers: &http::HeaderMap) -> Option<User> {
    match headers.get(header::AUTHORIZATION) {
        None => certified,
        Some(value) => {
            let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
            cluster.tokens.user(token.trim()).map(|(user, _)| user)
        }
    }
}

fn injected(code: u16, retry_after: Option<u64>) -> ApiError {
    let (reason, message) = match code {
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later",
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted",
        ),
        403 => ("Forbidden", "forbidden by a fault switch"),
        404 => ("NotFound", "the server could not find the requested resource"),
        409 => ("Conflict", "conflict by a fault switch"),
        410 => ("Expired", "the provided resource version is too old"),
        _ => (
            "InternalError",
            "an error on the server (\"fault switch\") has prevented the request from succeeding",
        ),
    };
    ApiError {
        retry_after,
        ..ApiError::new(code, reason, message)
    }
}

async fn dispatch(call: Call<'_>, verb: &'static str) -> Result<Response<Body>> {
    match (verb, call.target.subresource) {
        ("GET", "" | "status" | "resize" | "ephemeralcontainers") => read::get(&call),
        ("GET", "scale") => subresources::get_scale(&call),
        ("LIST", "") => read::list(&call),
        ("WATCH", "") => watch::start(&call),
        ("POST", "") if call.target.name.is_empty() => write::create(call).await,
        ("POST", "binding") => subresources::bind(call).await,
        ("POST", "eviction") => subresources::evict(call).await,
        ("POST", "token") => subresources::token(call).await,
        ("PUT" | "PATCH", "scale") => subresources::set_scale(call, verb == "PUT").await,
        ("PUT", _) if !call.target.name.is_empty() => write::replace(call).await,
        ("PATCH" | "APPLY", _) if !call.target.name.is_empty() => write::patch(call).await,
        ("DELETE", "") => write::delete(call).await,
        ("DELETECOLLECTION", "") => write::delete_collection(call).await,
        ("CONNECT", "log") => subresources::log(call).await,
        ("CONNECT", "proxy") => subresources::node_proxy(call).await,
        ("CONNECT", "exec" | "attach" | "portforward") => streams::connect(call).await,
        _ => Err(ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    }
}

/// What is no resource: discovery, reviews, metrics, fault switches.
async fn other(
    cluster: &Arc<Cluster>,
    user: User,
    method: &Method,
    path: &str,
    query: &Query,
    headers: &http::HeaderMap,
    body: Incoming,
) -> Result<Response<Body>> {
    if path.starts_with("/_devcluster/") {
        return admin::handle(cluster, method, path, query, body).await;
    }
    if method == Method::POST {
        let review = read_json(headers, body).await?;
        let (kind, answer) = reviews::answer(cluster, &user, path, review)?;
        let (group, version) = (kind.0, "v1");
        cluster.metrics.count(Labels {
            verb: "POST",
            group,
            version,
            resource: kind.1,
            subresource: "",
            code: 201,
        });
        return Ok(respond::json(StatusCode::CREATED, answer.to_string()));
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(ApiError::no_route());
    }
    match path {
        "/metrics" => Ok(respond::text(cluster.metrics.render(&cluster.store))),
        _ => discovery::answer(path)
            .or_else(|| openapi::answer(path))
            .ok_or_else(ApiError::no_route),
    }
}

/// Reads a body within the limit.
async fn read_body(body: Incoming) -> Result<bytes::Bytes> {
    let collected = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            return ApiError::new(
                413,
                "RequestEntityTooLarge",
                format!("request is too large: the limit is {BODY_LIMIT} bytes"),
            );
        }
        ApiError::bad_request(format!("unable to read the body of the request: {error}"))
    })?;
    Ok(collected.to_bytes())
}

/// Reads a body that is JSON, or YAML or protobuf when the header says so. An empty one is null.
async fn read_json(headers: &http::HeaderMap, body: Incoming) -> Result<Value> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let bytes = read_body(body).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if content_type.contains("protobuf") {
        return protobuf::decode(&bytes);
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(value),
        Err(_) if content_type.contains("yaml") => {
            serde_yaml::from_slice(&bytes).map_err(|e| ApiError::bad_request(format!("unable to decode YAML: {e}")))
        }
        Err(error) => Err(ApiError::bad_request(format!("unable to decode JSON: {error}"))),
    }
}
