//! A way to the API server on which things go wrong as they do in life: TLS ends here and begins anew, so that requests
//! can be refused and watches ended, and not only connections cut.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::Kubeconfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What is wrong at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// New connections are closed at once.
    Refused,
    /// Nothing comes through in either direction, and nobody is told.
    HalfOpen,
    /// Every request is answered 429, to be tried again after a second.
    Busy,
    /// Every request is answered 503.
    Broken,
    /// Every request waits this long.
    Slow(Duration),
    /// Every watch ends this long after it began.
    ShortWatches(Duration),
    /// Every watch asks for a past that the server no longer knows: the answer is its own 410.
    Forgotten,
    /// Every write of a pod's status is answered 404.
    Amnesia,
    /// Every request for a token waits this long.
    SlowTokens(Duration),
    /// Every Node that is created is there at once, and answered this much later.
    SlowNodes(Duration),
}

impl Trouble {
    /// Its name, without how long it takes.
    fn name(self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    trouble: Trouble,
    /// Connections that began earlier are cut.
    generation: u64,
    /// On connections that began earlier nothing comes through any more, for good.
    frozen: u64,
}

/// How often each trouble has met somebody: a connection or a request.
type Met = Arc<Mutex<BTreeMap<String, usize>>>;

fn meets(met: &Met, trouble: Trouble) {
    *met.lock().unwrap().entry(trouble.name()).or_default() += 1;
}

/// The way; it ends when this is dropped.
#[derive(Debug)]
pub struct TroubledWay {
    state: watch::Sender<State>,
    met: Met,
    kubeconfig: PathBuf,
    accepting: AbortHandle,
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

type Forward = dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Response<Incoming>, legacy::Error>> + Send + Sync;

#[derive(Clone)]
struct Upstream {
    server: Uri,
    met: Met,
    forward: Arc<Forward>,
}

impl TroubledWay {
    /// A way to the cluster of this kubeconfig, for whoever it names; the kubeconfig of the way is in `directory`.
    pub async fn start(kubeconfig: &Path, directory: &Path) -> Self {
        let mut file = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(file.clone(), &Default::default())
            .await
            .unwrap();
        // Who asks is told by the requests that pass.
        config.auth_info = Default::default();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let client = legacy::Client::builder(TokioExecutor::new())
            .build(config.rustls_https_connector_with_connector(connector).unwrap());
        let met = Met::default();
        let upstream = Upstream {
            met: Arc::clone(&met),
            server: config.cluster_url.clone(),
            forward: Arc::new(move |request| Box::pin(client.request(request))),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key)
            .unwrap();
        let state = watch::Sender::new(State::default());
        let accepting = tokio::spawn(accept(listener, Arc::new(tls).into(), state.clone(), upstream)).abort_handle();

        for cluster in &mut file.clusters {
            let cluster = cluster.cluster.as_mut().unwrap();
            cluster.server = Some(format!("https://{address}"));
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
        let authority = directory.join("troubled-way-ca.pem");
        std::fs::write(&authority, certificate.cert.pem()).unwrap();
        for cluster in &mut file.clusters {
            cluster.cluster.as_mut().unwrap().certificate_authority = Some(authority.display().to_string());
        }
        let own = directory.join("troubled-way.kubeconfig");
        std::fs::write(&own, serde_yaml::to_string(&file).unwrap()).unwrap();
        Self {
            state,
            met,
            kubeconfig: own,
            accepting,
        }
    }

    /// For whoever is to go this way.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// How often a trouble of that kind has met somebody: connections or requests.
    pub fn met(&self, trouble: Trouble) -> usize {
        let met = self.met.lock().unwrap();
        met.get(&trouble.name()).copied().unwrap_or_default()
    }

    /// Makes trouble, or ends it.
    pub fn set(&self, trouble: Trouble) {
        self.state.send_modify(|state| state.trouble = trouble);
    }

    /// Lets nothing more come through on the connections that there are, for good, and nobody be told: as behind a load balancer
    /// whose backend has vanished. New connections are as ever.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.frozen += 1);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

impl Drop for TroubledWay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: watch::Sender<State>, upstream: Upstream) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.borrow().trouble == Trouble::Refused {
            meets(&upstream.met, Trouble::Refused);
        } else {
            tokio::spawn(serve(stream, tls.clone(), state.subscribe(), upstream.clone()));
        }
    }
}

/// Serves a connection until it ends or is cut. While the way is half open nothing is polled, so nothing moves.
async fn serve(stream: TcpStream, tls: TlsAcceptor, mut state: watch::Receiver<State>, upstream: Upstream) {
    let began = *state.borrow_and_update();
    let current = state.clone();
    let met = Arc::clone(&upstream.met);
    let serving = async {
        let Ok(stream) = tls.accept(stream).await else { return };
        let service = service_fn(|request| {
            let (state, upstream) = (current.clone(), upstream.clone());
            async move { Ok::<_, Infallible>(answer(request, state, upstream).await) }
        });
        // How it ends is of no interest here.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    };
    let mut serving = pin!(serving);
    loop {
        let now = *state.borrow_and_update();
        if now.generation != began.generation {
            return;
        }
        if now.trouble == Trouble::HalfOpen {
            meets(&met, Trouble::HalfOpen);
        }
        let frozen = now.trouble == Trouble::HalfOpen || now.frozen != began.frozen;
        tokio::select! {
            () = serving.as_mut(), if !frozen => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

async fn answer(mut request: Request<Incoming>, state: watch::Receiver<State>, upstream: Upstream) -> Response<Body> {
    let trouble = state.borrow().trouble;
    let path = request.uri().path().to_owned();
    let creates_node = request.method() == Method::POST && path == "/api/v1/nodes";
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let meets = || meets(&upstream.met, trouble);
    match trouble {
        Trouble::Busy | Trouble::Broken | Trouble::Slow(_) => meets(),
        Trouble::ShortWatches(_) | Trouble::Forgotten if is_watch => meets(),
        _ => {}
    }
    match trouble {
        Trouble::Busy => return refuse(StatusCode::TOO_MANY_REQUESTS),
        Trouble::Broken => return refuse(StatusCode::SERVICE_UNAVAILABLE),
        Trouble::Slow(delay) => tokio::time::sleep(delay).await,
        Trouble::Amnesia if path.contains("/pods/") && path.ends_with("/status") => {
            meets();
            return refuse(StatusCode::NOT_FOUND);
        }
        Trouble::SlowTokens(delay) if path.ends_with("/token") => tokio::time::sleep(delay).await,
        _ => {}
    }
    let mut target = request.uri().to_string();
    if is_watch && trouble == Trouble::Forgotten {
        target = long_ago(&target);
    }
    let server = upstream.server.to_string();
    *request.uri_mut() = format!("{}{target}", server.trim_end_matches('/')).parse().unwrap();
    request.headers_mut().remove(header::HOST);
    let Ok(answer) = (upstream.forward)(request.map(|body| body.boxed_unsync())).await else {
        return refuse(StatusCode::BAD_GATEWAY);
    };
    if let Trouble::SlowNodes(delay) = trouble
        && creates_node
    {
        tokio::time::sleep(delay).await;
    }
    let Trouble::ShortWatches(life) = trouble else {
        return answer.map(|body| body.boxed_unsync());
    };
    if !is_watch {
        return answer.map(|body| body.boxed_unsync());
    }
    answer.map(|body| {
        let end = Box::pin(tokio::time::sleep(life));
        StreamBody::new(
            body.into_data_stream()
                .map(|data| data.map(hyper::body::Frame::data))
                .take_until(end),
        )
        .boxed_unsync()
    })
}

/// The same watch from the first resource version of all.
fn long_ago(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts = query.split('&').map(|part| match part.starts_with("resourceVersion=") {
        true => "resourceVersion=1",
        false => part,
    });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

fn refuse(status: StatusCode) -> Response<Body> {
    let text = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status.as_u16(), "message": "a bad day",
    });
    let never = |never: Infallible| match never {};
    let mut answer = Response::new(Full::new(Bytes::from(text.to_string())).map_err(never).boxed_unsync());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
