//! The state that requests and controllers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::error::ApiError;
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::ops;
use crate::resources::Kind;
use crate::store::{self, Store};

/// How often an open watch that asked for them gets a bookmark.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// Everything that a request needs.
#[derive(Debug)]
pub struct Cluster {
    /// The objects.
    pub store: Store,
    /// Who may ask.
    pub tokens: Tokens,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// What was asked.
    pub metrics: Metrics,
    /// How often watches are given bookmarks.
    pub bookmarks: Duration,
    /// Ends watches, log streams and controllers.
    pub shutdown: CancellationToken,
    ca_pem: String,
    nodes: Arc<ClientConfig>,
    service_ips: AtomicU32,
}

/// What a cluster is made of.
#[derive(Debug)]
pub struct Parts {
    /// Limits of the store.
    pub store: store::Config,
    /// The administrator's token is in here.
    pub tokens: Tokens,
    /// How often watches are given bookmarks.
    pub bookmarks: Duration,
    /// PEM, shown to pods.
    pub ca_pem: String,
    /// How kubelet ports are spoken to.
    pub nodes: Arc<ClientConfig>,
}

impl Cluster {
    /// A cluster with its four namespaces and the Service of its API.
    pub fn new(parts: Parts) -> Result<Arc<Cluster>, ApiError> {
        let cluster = Arc::new(Cluster {
            store: Store::new(parts.store),
            tokens: parts.tokens,
            faults: Faults::default(),
            metrics: Metrics::default(),
            bookmarks: parts.bookmarks,
            shutdown: CancellationToken::new(),
            ca_pem: parts.ca_pem,
            nodes: parts.nodes,
            service_ips: AtomicU32::new(1),
        });
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let namespace = json!({"metadata": {"name": name}});
            ops::create(&cluster, Kind::Namespaces.resource(), "", namespace, false)?;
        }
        // The address is for show, as all of the service network: pods are told of it.
        let service = json!({
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
        });
        ops::create(&cluster, Kind::Services.resource(), "default", service, false)?;
        Ok(cluster)
    }

    /// The CA certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// TLS towards kubelet ports.
    pub fn node_tls(&self) -> Arc<ClientConfig> {
        self.nodes.clone()
    }

    /// The next address of the service range 10.96.0.0/12.
    pub fn next_service_ip(&self) -> String {
        let offset = self.service_ips.fetch_add(1, Ordering::Relaxed) & 0x000f_ffff;
        std::net::Ipv4Addr::from(0x0a60_0000 | offset).to_string()
    }
}
