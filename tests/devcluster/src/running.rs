//! Starting a cluster, and what its owner holds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::cluster::{BOOKMARK_INTERVAL, Cluster, Parts};
use crate::controllers::{self, Controllers};
use crate::error::ApiError;
use crate::faults::Faults;
use crate::kubeconfig::{self, Files};
use crate::resources::Kind;
use crate::store::{self, Stored};
use crate::tls::{self, Authority, KUBELET_CLIENT};
use crate::{ops, server};

/// Why a cluster could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This server never listens where others could reach it.
    #[error("unable to listen on {0}: a development API server serves loopback addresses only; use 127.0.0.1 or ::1")]
    NotLoopback(IpAddr),
    /// The port is taken, most often.
    #[error("unable to listen on {address}; choose another port, or 0 for a free one")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The directory or a file in it could not be written.
    #[error("unable to write {path}; choose another directory")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Random bytes for the token.
    #[error("unable to make a token")]
    Token(#[source] rustls::Error),
    /// The first namespaces.
    #[error("unable to create the first objects")]
    Furnish(#[source] ApiErrorText),
}

/// An API error in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApiErrorText(String);

impl From<ApiError> for ApiErrorText {
    fn from(error: ApiError) -> Self {
        ApiErrorText(error.to_string())
    }
}

/// Entry point: [`DevCluster::builder`].
#[derive(Debug)]
pub struct DevCluster;

impl DevCluster {
    /// A cluster with all controllers on a free port of 127.0.0.1, with TLS, its files in a directory that goes with it.
    pub fn builder() -> Builder {
        Builder {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            dir: None,
            plain_http: false,
            store: store::Config::default(),
            bookmarks: BOOKMARK_INTERVAL,
            controllers: Controllers::default(),
        }
    }
}

/// What a cluster will be like.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    address: IpAddr,
    port: u16,
    dir: Option<PathBuf>,
    plain_http: bool,
    store: store::Config,
    bookmarks: Duration,
    controllers: Controllers,
}

impl Builder {
    /// Address to listen on; refused at start unless it is a loopback address.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Port to listen on; 0 takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Directory for kubeconfig and certificates, created for its owner alone; without it a temporary one.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// No TLS (for benches). The token is needed all the same.
    pub fn plain_http(mut self, plain: bool) -> Self {
        self.plain_http = plain;
        self
    }

    /// Events kept per resource for watches from an earlier revision (20,000).
    pub fn history(mut self, events: usize) -> Self {
        self.store.history = events;
        self
    }

    /// Events that may wait for one watcher before it is cut off (20,000).
    pub fn watch_queue(mut self, events: usize) -> Self {
        self.store.watch_queue = events.max(1);
        self
    }

    /// How often watches that asked for them get a bookmark (60 s).
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.bookmarks = interval.max(Duration::from_millis(1));
        self
    }

    /// Which controllers run, and how patient they are.
    pub fn controllers(mut self, controllers: Controllers) -> Self {
        self.controllers = controllers;
        self
    }

    /// Starts it on the current tokio runtime.
    pub async fn start(self) -> Result<Running, StartError> {
        if !self.address.is_loopback() {
            return Err(StartError::NotLoopback(self.address));
        }
        let address = SocketAddr::new(self.address, self.port);
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let authority = Authority::new()?;
        let kubelet_client = authority.client(KUBELET_CLIENT, "kubeadm:cluster-admins")?;
        let tls = match self.plain_http {
            true => None,
            false => Some(authority.server_config(server_names(address.ip()))?),
        };
        let cluster = Cluster::new(Parts {
            store: self.store,
            tokens: Tokens::new().map_err(StartError::Token)?,
            bookmarks: self.bookmarks,
            ca_pem: authority.pem().to_owned(),
            nodes: tls::node_client_config(&kubelet_client)?,
        })
        .map_err(|e| StartError::Furnish(e.into()))?;
        let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        let (files, temporary) = directory(self.dir)?;
        let token = cluster.tokens.admin();
        let config = kubeconfig::render(&url, tls.is_some().then_some(authority.pem()), token);
        for (path, text) in [
            (files.kubeconfig(), config.as_str()),
            (files.token(), token),
            (files.kubelet_client_ca(), authority.pem()),
            (files.kubelet_client_certificate(), &kubelet_client.certificate),
            (files.kubelet_client_key(), &kubelet_client.key),
        ] {
            kubeconfig::write_secret(&path, text).map_err(|source| StartError::Write { path, source })?;
        }
        let controllers = controllers::spawn(&cluster, &self.controllers);
        let server = tokio::spawn(server::run(cluster.clone(), listener, tls));
        let stop = cluster.shutdown.clone().drop_guard();
        Ok(Running {
            cluster,
            authority,
            url,
            address,
            files,
            tasks: controllers.into_iter().chain([server]).collect(),
            _stop: stop,
            _temporary: temporary,
        })
    }
}

fn server_names(ip: IpAddr) -> Vec<String> {
    let fixed = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "127.0.0.1",
        "::1",
    ];
    let mut names: Vec<String> = fixed.iter().map(|n| (*n).to_owned()).collect();
    let own = ip.to_string();
    if !names.contains(&own) {
        names.push(own);
    }
    names
}

fn directory(wanted: Option<PathBuf>) -> Result<(Files, Option<TempDir>), StartError> {
    let write = |path: PathBuf| move |source| StartError::Write { path, source };
    match wanted {
        Some(dir) => {
            kubeconfig::private_dir(&dir).map_err(write(dir.clone()))?;
            let dir = dir.canonicalize().map_err(write(dir.clone()))?;
            Ok((Files { dir }, None))
        }
        None => {
            let dir = tempfile::Builder::new()
                .prefix("devcluster-")
                .tempdir()
                .map_err(write(std::env::temp_dir()))?;
            Ok((
                Files {
                    dir: dir.path().to_owned(),
                },
                Some(dir),
            ))
        }
    }
}

/// A running cluster. Dropping it ends it; [`Running::shutdown`] also waits for the end.
#[derive(Debug)]
pub struct Running {
    authority: Authority,
    cluster: Arc<Cluster>,
    url: String,
    address: SocketAddr,
    files: Files,
    tasks: Vec<JoinHandle<()>>,
    _stop: tokio_util::sync::DropGuard,
    _temporary: Option<TempDir>,
}

impl Running {
    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.kubeconfig()
    }

    /// A client certificate for a user and its group, as the cluster's signer would issue it.
    ///
    /// # Errors
    /// When no key or certificate can be made.
    pub fn client_certificate(&self, user: &str, group: &str) -> Result<tls::Identity, tls::Error> {
        self.authority.client(user, group)
    }

    /// All files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// E.g. `https://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The administrator's bearer token.
    pub fn token(&self) -> &str {
        self.cluster.tokens.admin()
    }

    /// The cluster's CA certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.cluster.ca_pem()
    }

    /// The fault switches.
    pub fn faults(&self) -> &Faults {
        &self.cluster.faults
    }

    /// Ends all open watches of a kind; returns how many.
    pub fn drop_watches(&self, kind: Kind) -> usize {
        self.cluster.store.drop_watches(kind)
    }

    /// Makes every revision up to now 410 Gone for watches of a kind.
    pub fn forget_history(&self, kind: Kind) {
        self.cluster.store.forget_history(kind);
    }

    /// Lists of a kind show the present state until this is called with `false`.
    pub fn freeze_lists(&self, kind: Kind, frozen: bool) {
        self.cluster.store.freeze(kind, frozen);
    }

    /// How often `verb` (as in the metrics: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE) was asked of `resource`
    /// (`pods`, `pods/status`).
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.cluster.metrics.requests(verb, resource)
    }

    /// The text of `/metrics`.
    pub fn metrics(&self) -> String {
        self.cluster.metrics.render(&self.cluster.store)
    }

    /// Open watches of a kind.
    pub fn watchers(&self, kind: Kind) -> usize {
        self.cluster.store.watchers(kind)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.cluster.store.count(kind)
    }

    /// An object as it is stored, without a request; `namespace` is empty for cluster-scoped kinds.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        self.cluster
            .store
            .get(kind, &store::key(namespace, name))
            .map(|s| s.value())
    }

    /// All objects of a kind, in a namespace or (empty) everywhere, without a request.
    pub fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        self.cluster
            .store
            .all(kind, namespace)
            .iter()
            .map(|s| s.value())
            .collect()
    }

    /// Creates an object as a request would, without one.
    pub fn create(&self, kind: Kind, namespace: &str, object: Value) -> Result<Value, ApiErrorText> {
        let created: Arc<Stored> = ops::create(&self.cluster, kind.resource(), namespace, object, false)?;
        Ok(created.value())
    }

    /// Ends when this does; for tasks that live beside the cluster.
    pub fn stopped(&self) -> CancellationToken {
        self.cluster.shutdown.clone()
    }

    /// Stops serving and waits until everything has ended.
    pub async fn shutdown(mut self) {
        self.cluster.shutdown.cancel();
        for task in self.tasks.drain(..) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task of the cluster failed");
            }
        }
    }
}
