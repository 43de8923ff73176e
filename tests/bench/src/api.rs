//! Plain Kubernetes API: requests whose bodies are bytes, over kube's client.

use crate::error::Error;
use crate::error::Result;
use bytes::Bytes;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use kube::Config;
use kube::client::Body;
use kube::client::ConfigExt;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceBuilder;

/// A server that is this slow is out of order, not slow.
const TIMEOUT: Duration = Duration::from_secs(60);
const TRIES: u32 = 5;

/// Verb and resource of a write, as the API server's metrics name them.
pub type Write = (&'static str, &'static str);

/// A client that counts its own writes. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    writes: Arc<Mutex<BTreeMap<Write, u64>>>,
}

impl Client {
    /// A client with connections of its own. Nothing is sent yet.
    pub async fn connect(kubeconfig: &Path) -> Result<Self> {
        let fault = |reason: String| Error::Kubeconfig {
            path: kubeconfig.to_owned(),
            reason,
        };
        let parsed = Kubeconfig::read_from(kubeconfig).map_err(|error| fault(error.to_string()))?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(parsed, &options);
        let config = config.await.map_err(|error| fault(error.to_string()))?;
        Ok(Self {
            kube: client(&config).map_err(|error| fault(error.to_string()))?,
            writes: Arc::default(),
        })
    }

    /// What this client has written so far, tries that failed included.
    pub fn writes(&self) -> BTreeMap<Write, u64> {
        self.writes.lock().clone()
    }

    /// Sends a request once and reads the answer.
    pub async fn once(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let what = || format!("{method} {path}");
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(|error| Error::Transport {
                what: what(),
                reason: error.to_string(),
            })?;
        let exchange = async {
            let answer = self.kube.send(request).await.map_err(|error| error.to_string())?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {TIMEOUT:?}")))
            .map_err(|reason: String| Error::Transport { what: what(), reason })
    }

    /// `GET path`, as text.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let (status, body) = self.once(Method::GET, path, "application/json", Bytes::new()).await?;
        success("GET", path, status, body)
    }

    /// `GET path`, decoded; `None` where there is nothing.
    pub async fn find(&self, path: &str) -> Result<Option<serde_json::Value>> {
        let (status, body) = self.once(Method::GET, path, "application/json", Bytes::new()).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = success("GET", path, status, body)?;
        let value = serde_json::from_slice(&body).map_err(|error| Error::Malformed {
            what: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Some(value))
    }

    /// Creates an object; one that exists is fine, since a repeated try may meet its own first one.
    pub async fn create(&self, resource: &'static str, path: &str, body: Bytes) -> Result<()> {
        self.created(resource, path, body).await.map(drop)
    }

    /// Creates an object and gives the answer; nothing where one exists.
    pub async fn created(&self, resource: &'static str, path: &str, body: Bytes) -> Result<Option<Bytes>> {
        const EXISTS: StatusCode = StatusCode::CONFLICT;
        let written = self.write(Method::POST, resource, path, "application/json", body, EXISTS);
        let (status, answer) = written.await?;
        Ok((status != EXISTS).then_some(answer))
    }

    /// Replaces an object, at the version in its body, and gives the answer.
    pub async fn replace(&self, resource: &'static str, path: &str, body: Bytes) -> Result<Bytes> {
        let written = self.write(Method::PUT, resource, path, "application/json", body, StatusCode::OK);
        written.await.map(|(_, answer)| answer)
    }

    /// Patches by strategic merge; an object that is gone is fine.
    pub async fn patch(&self, resource: &'static str, path: &str, body: Bytes) -> Result<()> {
        const STRATEGIC: &str = "application/strategic-merge-patch+json";
        self.write(Method::PATCH, resource, path, STRATEGIC, body, StatusCode::NOT_FOUND)
            .await
            .map(drop)
    }

    /// Deletes an object with these options; one that is gone is fine.
    pub async fn delete(&self, resource: &'static str, path: &str, options: Bytes) -> Result<()> {
        self.write(
            Method::DELETE,
            resource,
            path,
            "application/json",
            options,
            StatusCode::NOT_FOUND,
        )
        .await
        .map(drop)
    }

    /// Gives the answer: a success, or the status that is fine as well.
    async fn write(
        &self,
        method: Method,
        resource: &'static str,
        path: &str,
        content_type: &str,
        body: Bytes,
        fine: StatusCode,
    ) -> Result<(StatusCode, Bytes)> {
        let verb = match method {
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            _ => "DELETE",
        };
        let mut tries = 0;
        loop {
            tries += 1;
            *self.writes.lock().entry((verb, resource)).or_default() += 1;
            let outcome = self.once(method.clone(), path, content_type, body.clone()).await;
            let again = match &outcome {
                Ok((status, _)) if status.is_success() || *status == fine => return outcome,
                Ok((status, _)) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
                Err(_) => true,
            };
            if !again || tries == TRIES {
                let (status, body) = outcome?;
                return success(verb, path, status, body).map(|body| (status, body));
            }
            // A server that can't answer now is given the time it usually asks for.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A watch of the collection at `path` (with a query) from this resource version on.
    pub fn watch(&self, path: String, version: &str) -> Watch {
        Watch {
            client: self.clone(),
            path,
            version: version.to_owned(),
            body: None,
            buffer: Vec::with_capacity(1 << 16),
            given: 0..0,
            last: Vec::new(),
        }
    }
}

fn success(verb: &str, path: &str, status: StatusCode, body: Bytes) -> Result<Bytes> {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    if status.is_success() {
        return Ok(body);
    }
    let message = serde_json::from_slice(&body).map_or_else(
        |_| String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        |status: Status| status.message,
    );
    Err(Error::Refused {
        what: format!("{verb} {path}"),
        status: status.as_u16(),
        message,
    })
}

/// As lean as kube's client can be: no retries, no tracing, no limits.
fn client(config: &Config) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// The events of a watch, each a line of JSON, for ever.
///
/// An API server that is short of CPU hangs up on watches whose events it can't hand over within its time budget, so a
/// stream that ends is opened again from the last event's resource version.
pub struct Watch {
    client: Client,
    path: String,
    /// Where the stream began.
    version: String,
    body: Option<Body>,
    buffer: Vec<u8>,
    /// Where in the buffer the line is that was handed out last.
    given: Range<usize>,
    /// That line, once it has left the buffer.
    last: Vec<u8>,
}

impl Watch {
    /// The next event.
    pub async fn next(&mut self) -> Result<&[u8]> {
        let mut searched = self.given.end;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let start = self.given.end;
                self.given = start..searched + at + 1;
                return Ok(&self.buffer[start..searched + at]);
            }
            if !self.given.is_empty() {
                self.last.clear();
                self.last.extend_from_slice(&self.buffer[self.given.clone()]);
                self.buffer.drain(..self.given.end);
                self.given = 0..0;
            }
            searched = self.buffer.len();
            if !self.fill().await {
                self.reopen().await?;
                searched = 0;
            }
        }
    }

    /// Reads more of the stream; false at its end.
    async fn fill(&mut self) -> bool {
        let Some(body) = &mut self.body else { return false };
        let Some(Ok(frame)) = body.frame().await else {
            return false;
        };
        if let Some(data) = frame.data_ref() {
            self.buffer.extend_from_slice(data);
        }
        true
    }

    async fn reopen(&mut self) -> Result<()> {
        if let Some(version) = version_of(&self.last) {
            self.version = version;
        }
        // What is left is half an event, which comes again.
        self.buffer.clear();
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let path = format!(
            "{}{separator}watch=1&resourceVersion={}&timeoutSeconds=86400",
            self.path, self.version
        );
        let failed = |reason: String| Error::Transport {
            what: format!("watch {path}"),
            reason,
        };
        let request = Request::get(&path)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| failed(error.to_string()))?;
        let answer = self
            .client
            .kube
            .send(request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let body = answer.into_body();
        if !status.is_success() {
            let text = body.collect().await.map_err(|error| failed(error.to_string()))?;
            return success("watch", &path, status, text.to_bytes()).map(drop);
        }
        self.body = Some(body);
        Ok(())
    }
}

/// The resource version of the object in an event, if there is one.
fn version_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        object: Object<'a>,
    }
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        resource_version: &'a str,
    }
    let event: Event<'_> = serde_json::from_slice(line).ok()?;
    Some(event.object.metadata.resource_version.to_owned())
}
