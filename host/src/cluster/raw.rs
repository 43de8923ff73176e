//! Requests whose bodies stay bytes, and errors by what one can do about them.

use super::Client;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Limited;
use kube::client::Body;
use serde::Deserialize;
use std::fmt::Write;
use std::time::Duration;

/// How long an ordinary request may take, connecting and reading the answer included.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// More than any answer of an API server holds: objects end at about 3 MiB, and a page of a list has 500.
const MAX_ANSWER: usize = 2 << 30;

/// An answer of metadata alone, or as a whole from a server that can't do that.
const METADATA_OR_WHOLE: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Whatever a server asks for, it is asked again after this long.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// 200, 201 or 202.
    pub status: StatusCode,
    /// The object as JSON.
    pub body: Bytes,
}

impl Reply {
    /// Decodes the body.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(ApiError::Malformed)
    }
}

/// Why a request failed, classified by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 404.
    #[error("not found: {0}")]
    NotFound(String),
    /// 409 on a create: an object of that name exists.
    #[error("already exists: {0}")]
    AlreadyExists(String),
    /// 409: the object changed since it was read, or it is another one than the precondition names.
    #[error("conflict: {0}")]
    Conflict(String),
    /// 422: the API server refuses the object; repeating it unchanged is useless.
    #[error("invalid: {0}")]
    Invalid(String),
    /// 403.
    #[error("forbidden: {0}; allow it for the host's account (see configs/rbac.yaml)")]
    Forbidden(String),
    /// 401.
    #[error("unauthorized: {0}; check the credentials in the kubeconfig")]
    Unauthorized(String),
    /// 429.
    #[error("too many requests")]
    TooManyRequests {
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    /// 410: the resource version or the continue token is too old.
    #[error("gone: {0}")]
    Gone(String),
    /// Any other 4xx; repeating it unchanged is useless.
    #[error("refused with status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
    },
    /// 5xx.
    #[error("server error {status}: {message}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The server's words.
        message: String,
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    /// No answer: no connection, or it broke.
    #[error("unable to reach the API server: {}", .0)]
    Transport(String),
    /// No answer in time.
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    /// An answer that is no JSON of the expected kind.
    #[error("unable to read the API server's answer")]
    Malformed(#[source] serde_json::Error),
    /// The task that made the request panicked.
    #[error("{0}")]
    Panicked(String),
    /// A request that can't be written; a name with characters that no object has.
    #[error("unable to build request")]
    Request(#[source] http::Error),
}

impl ApiError {
    /// Whether repeating the unchanged request can help.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::TooManyRequests { .. }
                | Self::Server { .. }
                | Self::Transport(_)
                | Self::Timeout(_)
                | Self::Malformed(_)
                | Self::Unauthorized(_)
                | Self::Panicked(_)
        )
    }

    /// The least time to wait before a repetition, where the server named one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after } | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A short name of the class, by which repeated failures are recognised as one state.
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized(_) => "unauthorized",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Gone(_) => "gone",
            Self::Refused { .. } => "refused",
            Self::Server { .. } => "server",
            Self::Transport(_) => "transport",
            Self::Timeout(_) => "timeout",
            Self::Malformed(_) => "malformed",
            Self::Panicked(_) => "panicked",
            Self::Request(_) => "request",
        }
    }
}

/// The content types of a PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386: lists are replaced as a whole.
    Merge,
    /// Lists of known types are merged by their key.
    Strategic,
    /// RFC 6902.
    Json,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

/// `GET path`.
pub fn get(path: &str) -> Result<Request<Vec<u8>>, ApiError> {
    build(Method::GET, path, None, Vec::new())
}

/// `POST path` with a JSON body.
pub fn post(path: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
    build(Method::POST, path, Some("application/json"), body)
}

/// `PUT path` with a JSON body.
pub fn put(path: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
    build(Method::PUT, path, Some("application/json"), body)
}

/// `PATCH path` with a body of that kind.
pub fn patch(path: &str, kind: Patch, body: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
    build(Method::PATCH, path, Some(kind.content_type()), body)
}

/// `DELETE path` with JSON `DeleteOptions`. What was deleted is asked for in its shortest form.
pub fn delete(path: &str, options: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
    let mut request = build(Method::DELETE, path, Some("application/json"), options)?;
    request
        .headers_mut()
        .insert(header::ACCEPT, HeaderValue::from_static(METADATA_OR_WHOLE));
    Ok(request)
}

fn build(method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Result<Request<Vec<u8>>, ApiError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(body).map_err(ApiError::Request)
}

/// A path with its query, values percent-encoded.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (index, (key, value)) in query.iter().enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// Every class of [`ApiError`]; nothing is retried here. Dropping the future closes the connection, or its stream of a shared one: whether the server
/// acted on the request is then unknown. The time that a [limited](super::Clients) client makes it wait counts.
pub async fn send(client: &Client, request: Request<Vec<u8>>, timeout: Duration) -> Result<Reply, ApiError> {
    let exchange = async {
        let _turn = client.turn().await;
        let answer = client.send(request.map(Body::from)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(unread)?
            .to_bytes();
        if head.status.is_success() {
            Ok(Reply {
                status: head.status,
                body,
            })
        } else {
            Err(classify(head.status, &head.headers, &body))
        }
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
        client.unanswered();
        Err(ApiError::Timeout(timeout))
    })
}

/// Why a body was not read to its end: it broke, or it is too large.
fn unread(error: tower::BoxError) -> ApiError {
    match error.downcast::<ApiError>() {
        Ok(broken) => *broken,
        Err(other) => ApiError::Transport(chain(other.as_ref())),
    }
}

/// Turns an answer that is no success into its class.
pub(super) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ApiError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        message: String,
        reason: String,
        details: Option<Details>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Details {
        retry_after_seconds: u64,
    }
    let parsed: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: plain_text(body),
        ..Status::default()
    });
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .or_else(|| {
            parsed
                .details
                .map(|details| details.retry_after_seconds)
                .filter(|seconds| *seconds > 0)
        })
        .map(|seconds: u64| Duration::from_secs(seconds).min(LONGEST_WAIT));
    let message = parsed.message;
    match status.as_u16() {
        401 => ApiError::Unauthorized(message),
        403 => ApiError::Forbidden(message),
        404 => ApiError::NotFound(message),
        409 if parsed.reason == "AlreadyExists" => ApiError::AlreadyExists(message),
        409 => ApiError::Conflict(message),
        410 => ApiError::Gone(message),
        422 => ApiError::Invalid(message),
        429 => ApiError::TooManyRequests { retry_after },
        status @ 500.. => ApiError::Server {
            status,
            message,
            retry_after,
        },
        status => ApiError::Refused { status, message },
    }
}

/// The first line of a body that is no Status object: a proxy's page, most of the time.
fn plain_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// An error with its sources, each said once: the layers of an HTTP client repeat each other.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, body: &str) -> ApiError {
        classify(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn conflicts_of_two_kinds_are_told_apart() {
        let exists = status(
            409,
            r#"{"kind":"Status","reason":"AlreadyExists","message":"nodes \"a\" already exists"}"#,
        );
        assert!(matches!(exists, ApiError::AlreadyExists(message) if message.contains("nodes")));
        assert!(matches!(
            status(409, r#"{"reason":"Conflict","message":"m"}"#),
            ApiError::Conflict(_)
        ));
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let busy = classify(StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
        let starting = status(503, r#"{"message":"starting","details":{"retryAfterSeconds":3}}"#);
        assert_eq!(starting.retry_after(), Some(Duration::from_secs(3)));
        assert!(starting.is_retryable());
    }

    #[test]
    fn a_page_of_a_proxy_is_cut_to_its_first_line() {
        let error = status(502, "<html>bad gateway\n<body>much more</body>");
        assert_eq!(error.to_string(), "server error 502: <html>bad gateway");
    }

    #[test]
    fn what_can_not_help_is_not_retried() {
        for code in [400, 403, 404, 409, 410, 413, 415, 422] {
            assert!(!status(code, "{}").is_retryable(), "{code}");
        }
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(
            with_query(
                "/api/v1/pods",
                &[("fieldSelector", "spec.nodeName=a,b"), ("limit", "500")]
            ),
            "/api/v1/pods?fieldSelector=spec.nodeName%3Da%2Cb&limit=500"
        );
    }
}
