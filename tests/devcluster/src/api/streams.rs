//! `exec`, `attach` and `portforward` of a pod: the connection goes through to the pod's node.
//!
//! As the real server does since 1.36 for a node that declares `ExtendWebSocketsToKubelet`: the request is passed on with its
//! headers, the query in the kubelet's words, and after 101 every byte in both directions, until either side ends; then both are
//! closed. For other nodes the real server speaks SPDY to the node whatever the client speaks, which is not done here: a node
//! refuses what it doesn't know, and `kubectl` then asks for SPDY itself.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::Call;
use super::respond::{self, Body};
use super::subresources::{has_container, stored};
use crate::error::{ApiError, Result};
use crate::node_client::{self, Answered};

/// Bytes that are passed on at a time.
const BUFFER: usize = 32 << 10;
/// For the end of TLS.
const CLOSE: Duration = Duration::from_secs(5);

/// GET or POST of `pods/exec`, `pods/attach`, `pods/portforward`.
pub async fn connect(mut call: Call<'_>) -> Result<Response<Body>> {
    if call.method != Method::GET && call.method != Method::POST {
        let message = "the server does not allow this method on the requested resource";
        return Err(ApiError::new(405, "MethodNotAllowed", message));
    }
    let found = stored(&call)?;
    let path = node_path(&call, &found.value())?;
    let node = found.head.field("spec.nodeName");
    if node.is_empty() {
        let message = format!("pod {} does not have a host assigned", call.target.name);
        return Err(ApiError::bad_request(message));
    }
    let Some(client) = call.upgrade.take().filter(|_| wants_upgrade(&call.headers)) else {
        return Err(ApiError::bad_request("Upgrade request required"));
    };
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(path)
        .body(respond::full(""))
        .map_err(|e| ApiError::bad_request(e.to_string()))?;
    *request.headers_mut() = std::mem::take(&mut call.headers);
    for name in [header::AUTHORIZATION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    // Callers are on this machine.
    let caller = HeaderValue::from_static("127.0.0.1");
    request.headers_mut().append("x-forwarded-for", caller);
    match node_client::upgrade(call.cluster, node, request).await? {
        Answered::Refused(response) => Ok(response),
        Answered::Switched(headers, node) => {
            tokio::spawn(relay(client, node, call.cluster.shutdown.clone()));
            let mut response = Response::new(respond::full(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

fn wants_upgrade(headers: &http::HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .any(|line| line.to_ascii_lowercase().contains("upgrade"))
}

/// Path and query as the kubelet has them.
fn node_path(call: &Call<'_>, pod: &Value) -> Result<String> {
    let target = &call.target;
    let asked = Asked(call.raw_query.unwrap_or_default());
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = match target.subresource {
        "portforward" => {
            if let Some(ports) = asked.ports()? {
                query.append_pair("port", &ports);
            }
            format!("/portForward/{}/{}", target.namespace, target.name)
        }
        subresource => {
            let container = container(pod, target.name, asked.first("container").as_deref())?;
            if subresource == "exec" {
                query.extend_pairs(asked.all("command").map(|word| ("command", word)));
            }
            for (theirs, ours) in [
                ("stderr", "error"),
                ("stdin", "input"),
                ("stdout", "output"),
                ("tty", "tty"),
            ] {
                if asked.flag(theirs) {
                    query.append_pair(ours, "1");
                }
            }
            format!("/{subresource}/{}/{}/{container}", target.namespace, target.name)
        }
    };
    let query = query.finish();
    Ok(if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    })
}

/// The container that is meant, as the real server finds it. The client's annotation for a default is the client's affair.
fn container(pod: &Value, name: &str, asked: Option<&str>) -> Result<String> {
    match asked {
        Some(asked) if !asked.is_empty() => match has_container(pod, asked) {
            true => Ok(asked.to_owned()),
            false => Err(ApiError::bad_request(format!(
                "container {asked} is not valid for pod {name}"
            ))),
        },
        _ => match pod["spec"]["containers"].as_array().map(Vec::as_slice) {
            Some([only]) => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
            _ => {
                let lists = ["initContainers", "containers", "ephemeralContainers"];
                let names: Vec<&str> = lists.into_iter().flat_map(|list| names(pod, list)).collect();
                let names = names.join(" ");
                let message = format!("a container name must be specified for pod {name}, choose one of: [{names}]");
                Err(ApiError::bad_request(message))
            }
        },
    }
}

fn names<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    let list = pod["spec"][list].as_array();
    list.into_iter().flatten().filter_map(|c| c["name"].as_str())
}

/// The client's query, in the words of the API.
struct Asked<'a>(&'a str);

impl Asked<'_> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = String> {
        form_urlencoded::parse(self.0.as_bytes())
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn first(&self, name: &'static str) -> Option<String> {
        self.all(name).next()
    }

    /// Absent, `0` and `false` in any case are no; everything else is yes, even nothing.
    fn flag(&self, name: &'static str) -> bool {
        self.first(name)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    fn ports(&self) -> Result<Option<String>> {
        let mut ports = Vec::new();
        for list in self.all("ports") {
            for port in list.split(',') {
                let parsed: u16 = port.parse().map_err(|_| {
                    let message = format!("cannot convert to []int32: parsing \"{port}\": invalid syntax");
                    ApiError::bad_request(message)
                })?;
                ports.push(parsed.to_string());
            }
        }
        Ok((!ports.is_empty()).then(|| ports.join(",")))
    }
}

/// Passes bytes both ways until either side ends.
async fn relay(client: OnUpgrade, node: Upgraded, shutdown: CancellationToken) {
    let client = match client.await {
        Ok(client) => client,
        Err(error) => return tracing::debug!(%error, "a client left before its connection was switched"),
    };
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_node, mut to_node) = tokio::io::split(TokioIo::new(node));
    tokio::select! {
        () = pass(&mut from_client, &mut to_node) => {}
        () = pass(&mut from_node, &mut to_client) => {}
        () = shutdown.cancelled() => {}
    }
    let closed = async { tokio::join!(to_client.shutdown(), to_node.shutdown()) };
    // Whoever doesn't take the end of TLS gets the end of TCP.
    let _ = tokio::time::timeout(CLOSE, closed).await;
}

/// Ends with the source, or when either fails: what a stream's end means is known to the two ends only.
async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let written = async {
            to.write_all(&buffer[..read]).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_are_read_as_the_real_server_does() {
        let asked = Asked("stdin=true&stdout=1&stderr=FALSE&tty=0&empty=&x=yes&command=a&command=b%20c&command=");
        let flags = ["stdin", "stdout", "stderr", "tty", "empty", "x", "absent"].map(|name| asked.flag(name));
        assert_eq!(flags, [true, true, false, false, true, true, false]);
        assert_eq!(asked.all("command").collect::<Vec<_>>(), ["a", "b c", ""]);
    }

    #[test]
    fn ports_become_one_list() {
        assert_eq!(
            Asked("ports=80,443&ports=1").ports().unwrap().as_deref(),
            Some("80,443,1")
        );
        assert_eq!(Asked("").ports().unwrap(), None);
        for bad in ["ports=", "ports=x", "ports=65536", "ports=1,,2"] {
            assert_eq!(Asked(bad).ports().unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn the_container_is_found_or_asked_for() {
        let one = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container(&one, "p", None).unwrap(), "c");
        assert_eq!(container(&one, "p", Some("")).unwrap(), "c");
        assert_eq!(container(&one, "p", Some("i")).unwrap(), "i");
        let error = container(&one, "p", Some("x")).unwrap_err();
        assert_eq!(
            (error.code, &*error.message),
            (400, "container x is not valid for pod p")
        );
        let many = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
            "ephemeralContainers": [{"name": "e"}]}});
        let error = container(&many, "p", None).unwrap_err();
        let message = "a container name must be specified for pod p, choose one of: [i a b e]";
        assert_eq!(error.message, message);
    }
}
