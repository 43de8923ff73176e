//! Requests to a node's kubelet port, with the server's kubelet client certificate, and connections that become streams.
//!
//! Unlike the real server this one goes to loopback addresses, too: hosts under test live there.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::{Body, BodyError};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::Kind;
use crate::store::key;

/// A node that doesn't answer this long is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The real server reads no more of a node's error text.
const ERROR_LIMIT: usize = 50_000;

/// Where a node's kubelet listens: its best address and the port in its status.
fn endpoint(node: &Value) -> Option<(String, u16)> {
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?;
    let addresses = node["status"]["addresses"].as_array()?;
    let order = ["InternalIP", "ExternalIP", "Hostname"];
    let found = order
        .iter()
        .find_map(|kind| addresses.iter().find(|a| a["type"] == *kind))?;
    Some((found["address"].as_str()?.to_owned(), u16::try_from(port).ok()?))
}

/// Where the node of this name listens, or why that is not known.
fn locate(cluster: &Cluster, node: &str) -> Result<(String, u16)> {
    let found = cluster
        .store
        .get(Kind::Nodes, &key("", node))
        .ok_or_else(|| ApiError::not_found(Kind::Nodes.resource(), node))?;
    endpoint(&found.value()).ok_or_else(|| {
        let message = format!("no preferred addresses found or no kubelet port known for node \"{node}\"");
        ApiError::new(500, "InternalError", message)
    })
}

/// Connects, with TLS. The error is for people.
async fn dial(cluster: &Cluster, host: &str, port: u16) -> Result<TlsStream<TcpStream>, String> {
    let connect = async {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(cluster.node_tls()).connect(name, tcp).await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("i/o timeout".to_owned()),
    }
}

/// Sends a request with a path and query of its own to a node, and streams the answer.
pub async fn send(cluster: &Cluster, node: &str, mut request: Request<Body>) -> Result<Response<Body>> {
    let (host, port) = locate(cluster, node)?;
    let path = request.uri().clone();
    let failed = |what: &dyn std::fmt::Display| {
        let message = format!("error trying to reach service: Get \"https://{host}:{port}{path}\": {what}");
        ApiError::new(500, "InternalError", message)
    };
    let stream = dial(cluster, &host, port).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let shutdown = cluster.shutdown.clone();
    tokio::spawn(async move {
        // An error here is the body's error, too, and reported there.
        tokio::select! { _ = connection => {} _ = shutdown.cancelled() => {} }
    });
    if let Ok(value) = format!("{host}:{port}").parse() {
        request.headers_mut().insert(header::HOST, value);
    }
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    // The sender lives as long as the body: dropping it early would end the connection.
    Ok(passed_on(response, sender))
}

/// An answer without what belongs to the connection it came over; keeps `alive` until its body ends.
fn passed_on<T: Send + 'static>(response: Response<hyper::body::Incoming>, alive: T) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let body = body.map_err(BodyError::from).map_frame(move |frame| {
        let _alive = &alive;
        frame
    });
    Response::from_parts(parts, body.boxed_unsync())
}

/// What a node answered to a request for an upgrade.
pub enum Answered {
    /// 101: its headers, and the connection behind them.
    Switched(http::HeaderMap, Upgraded),
    /// A refusal, to be passed on as it is.
    Refused(Response<Body>),
}

/// Sends a request for an upgrade to a node. Its `Host` stays: the real server passes that of its own client on.
pub async fn upgrade(cluster: &Cluster, node: &str, request: Request<Body>) -> Result<Answered> {
    // The real server gives no reason for these.
    let failed = |message: String| ApiError::new(500, "", message);
    let (host, port) = locate(cluster, node)?;
    let dialing = |error| failed(format!("error dialing backend: dial tcp {host}:{port}: {error}"));
    let sending = |error: hyper::Error| failed(format!("error sending request: {error}"));
    let stream = dial(cluster, &host, port).await.map_err(dialing)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(sending)?;
    let shutdown = cluster.shutdown.clone();
    tokio::spawn(async move {
        // An error here is the answer's error, too, and reported there.
        tokio::select! { _ = connection.with_upgrades() => {} _ = shutdown.cancelled() => {} }
    });
    let mut response = sender.send_request(request).await.map_err(sending)?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(sending)?;
            let (parts, _) = response.into_parts();
            Ok(Answered::Switched(parts.headers, upgraded))
        }
        code if code.as_u16() < 400 => Err(failed(format!(
            "invalid upgrade response: status code {}",
            code.as_u16()
        ))),
        _ => Ok(Answered::Refused(passed_on(response, sender))),
    }
}

/// Passes a good answer on and turns a bad one into the error that the real server makes of it.
pub async fn checked(response: Response<Body>, about: &str) -> Result<Response<Body>> {
    let code = response.status().as_u16();
    if (200..300).contains(&code) {
        return Ok(response);
    }
    let limited = http_body_util::Limited::new(response.into_body(), ERROR_LIMIT);
    let text = limited
        .collect()
        .await
        .map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned())
        .unwrap_or_default();
    Err(match code {
        400 => ApiError::bad_request(text),
        404 => {
            let message = format!("the server could not find the requested resource ( {about})");
            ApiError::new(404, "NotFound", if text.is_empty() { message } else { text })
        }
        401 => ApiError::new(
            500,
            "InternalError",
            format!("the node refused the API server's certificate: {text}"),
        ),
        403 => ApiError::new(403, "Forbidden", text),
        501 => ApiError::new(501, "InternalError", text),
        _ => ApiError::new(500, "InternalError", format!("Internal error occurred: {text}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_internal_address_is_preferred() {
        let node = json!({"status": {"addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        assert_eq!(endpoint(&node), Some(("127.0.0.1".to_owned(), 10250)));
        assert_eq!(endpoint(&json!({"status": {}})), None);
    }
}
