//! What callers are shown.
//!
//! | config | certificate |
//! |---|---|
//! | nothing | each node signs its own ([`self_signed`]), as a kubelet does: a stock API server does not verify it |
//! | `certFile`, `keyFile` | one for all nodes, read again when it changes ([`shown::Files`]) |
//! | `serverTLSBootstrap` | each node requests its own from the cluster ([`own`]), renews it at 70 to 90 % of its lifetime and when its addresses change; until the first is there it shows one that it signed itself |
//!
//! With `certDirectory` the nodes' own ones outlive the process ([`store`]). A certificate takes effect with the next
//! handshake; connections go on.

mod names;
mod own;
pub(super) mod pem;
mod self_signed;
pub(super) mod shown;
pub(super) mod store;

use super::Config;
use super::Error;
use names::Names;
use own::Own;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::server::ServerSessionMemoryCache;
use std::net::IpAddr;
use std::sync::Arc;
use store::Store;
use tokio::sync::watch;

/// Where certificates come from, for all nodes.
pub(super) enum Source {
    /// One for all.
    Files(Arc<shown::Files>),
    /// Each node has its own.
    Own {
        store: Option<Store>,
        /// From the cluster; else the nodes sign them themselves.
        requested: bool,
    },
}

/// Keeps one node's certificate in order.
pub(super) struct Keeper(Option<Own>);

impl Keeper {
    /// For ever, if there is anything to do. May be dropped at any time.
    pub(super) async fn keep(self, addresses: watch::Receiver<Vec<IpAddr>>) {
        if let Some(own) = self.0 {
            own.keep(addresses).await;
        }
    }
}

/// Sessions of a node's callers that can be resumed: there is room for all of them from the start, and there may be a
/// thousand nodes. API servers and metrics-server are few.
const RESUMABLE: usize = 16;

/// The TLS side of one node's port.
pub(super) fn build(config: &Config) -> Result<(ServerConfig, Keeper), Error> {
    let access = &config.access;
    let (shown, own): (Arc<dyn ResolvesServerCert>, _) = match access.source() {
        Source::Files(files) => (files.shown(), None),
        Source::Own { store, requested } => {
            let own = Own::build(
                &Names::new(&config.node, &config.addresses),
                access.crypto(),
                store.clone(),
                requested.then(|| access.clients().clone()),
                own::Timing::default(),
            )?;
            (own.shown(), Some(own))
        }
    };
    let mut tls = ServerConfig::builder_with_provider(access.crypto())
        .with_safe_default_protocol_versions()
        .map_err(Error::Certificate)?
        .with_client_cert_verifier(access.ask())
        .with_cert_resolver(shown);
    tls.session_storage = ServerSessionMemoryCache::new(RESUMABLE);
    Ok((tls, Keeper(own)))
}
