//! An API server made up, on a real socket.

use crate::cluster::Clients;
use crate::cluster::connect;
use crate::config::ClusterConfig;
use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::net::TcpListener;

/// What the host asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// With its query.
    pub path: String,
    pub body: Value,
}

impl Asked {
    /// A TokenReview or SubjectAccessReview with that answer.
    pub fn reviewed(&self, status: Value) -> Reply {
        let mut review = self.body.clone();
        review["status"] = status;
        Reply::Json(201, review)
    }

    pub fn is_token_review(&self) -> bool {
        self.path.ends_with("/tokenreviews")
    }
}

pub enum Reply {
    Json(u16, Value),
    /// A watch: each value is a line as it comes.
    Lines(UnboundedReceiver<Value>),
}

impl Reply {
    pub fn failure(status: u16, message: &str) -> Self {
        Self::Json(
            status,
            json!({ "kind": "Status", "status": "Failure", "code": status, "message": message }),
        )
    }
}

type Answer = dyn Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync;

/// Runs as long as the test does.
pub struct Api {
    pub clients: Clients,
    asked: Arc<Mutex<Vec<Asked>>>,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Api {
    pub async fn start(answer: impl Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        tokio::spawn(serve(listener, Arc::new(answer), Arc::clone(&asked)));
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "k", "cluster": { "server": format!("http://127.0.0.1:{port}") } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        });
        std::fs::write(kubeconfig.path(), text.to_string()).unwrap();
        let config = ClusterConfig {
            kubeconfig: vec![kubeconfig.path().to_owned()],
            ..ClusterConfig::default()
        };
        Self {
            clients: connect(&config).await.unwrap(),
            asked,
            _kubeconfig: kubeconfig,
        }
    }

    /// With answers that are there at once.
    pub async fn answering(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |asked| {
            let reply = answer(&asked);
            Box::pin(async { reply })
        })
        .await
    }

    /// Lets everybody do everything, and knows no token.
    pub async fn permissive() -> Self {
        Self::answering(|asked| asked.reviewed(json!({ "allowed": !asked.is_token_review() }))).await
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, answer: Arc<Answer>, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
            async move {
                let path = request.uri().path_and_query().unwrap().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                // Asked for by the way when requests fail in a row: no question of the server's.
                if path == "/readyz" {
                    return Ok(write(Reply::failure(503, "not ready")));
                }
                let question = Asked { path, body };
                asked.lock().unwrap().push(question.clone());
                Ok::<_, Infallible>(write(answer(question).await))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn write(reply: Reply) -> Response<BoxBody<Bytes, Infallible>> {
    let line = |value: Value| Ok(Frame::data(Bytes::from(format!("{value}\n"))));
    let (status, body) = match reply {
        Reply::Json(status, value) => (
            status,
            BodyExt::boxed(StreamBody::new(futures::stream::iter([line(value)]))),
        ),
        Reply::Lines(lines) => (200, BodyExt::boxed(StreamBody::new(lines.map(line)))),
    };
    Response::builder().status(status).body(body).unwrap()
}
