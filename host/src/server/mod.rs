//! The kubelet API of a virtual node: HTTPS on the node's kubelet port, for the API server and whoever else the cluster lets.
//!
//! | path | answer |
//! |---|---|
//! | `GET /healthz`, `/healthz/{check}` | `ok` |
//! | `GET /pods`, `/runningpods/` | the node's pods as a `v1.PodList`: as the API server has them, as the provider has them |
//! | `GET /containerLogs/{namespace}/{pod}/{container}` | a container's log, as `kubectl logs` asks for it |
//! | `GET, POST /exec/{namespace}/{pod}[/{uid}]/{container}`, `/attach/...`, `/portForward/{namespace}/{pod}[/{uid}]` | an upgrade to SPDY or WebSocket |
//! | `POST /run/{namespace}/{pod}[/{uid}]/{container}` | what a command prints |
//! | `GET /stats/summary`, `/metrics/resource`, `/metrics/cadvisor` | resource use |
//! | `GET /metrics`, `/metrics/probes` | what is counted |
//! | `GET /configz` | settings |
//! | `POST /checkpoint/...` | 501 |
//!
//! Every node has a [`Server`] with a port of its own, or several [share](Server::build_shared) one, each below
//! `/nodes/NAME`. Who may call and what callers are shown is an [`Access`]; what is served comes from a [`Backend`].

mod access;
mod activity;
mod answer;
mod backend;
mod configz;
mod connection;
mod front;
mod health;
mod lines;
mod logs;
mod measure;
mod pods;
mod query;
mod route;
mod service;
mod session;
mod socket;
mod stall;
mod stats;
mod status;
mod tls;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use backend::Backend;
pub use backend::BoxFuture;
pub use backend::Duplex;
pub use backend::Feature;
pub use backend::Forwarded;
pub use backend::LogSource;
pub use backend::LogStream;
pub use backend::PodView;
pub use backend::Process;
pub use backend::Reader;
pub use backend::Resize;
pub use backend::Writer;
pub use configz::Settings;
pub use front::Whereabouts;

use connection::Limits;
use front::Front;
use front::Several;
use service::Service;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Why a node's kubelet port can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file can't be read, or is no PEM.
    #[error("unable to read {what} {}: {reason}; give a readable PEM file", path.display())]
    Pem {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The authorities of kubelet.clientCAFile can't be used.
    #[error("unable to use the authorities in {}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key can't be used together.
    #[error("unable to use the serving certificate of the kubelet port")]
    Certificate(#[source] rustls::Error),
    /// Certificates can't be kept.
    #[error("unable to keep certificates in {}; make it writable for the host, or leave kubelet.certDirectory out", path.display())]
    CertDirectory {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A port was to be shared by no node at all.
    #[error("unable to serve a kubelet port without a node")]
    Nobody,
    /// No certificate could be made.
    #[error("unable to make a self-signed certificate for node {node}")]
    SelfSigned {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The port can't be opened.
    #[error(
        "unable to listen on {address}; choose another port (nodes[].port, kubelet.sharedListener), or 0 for any free one"
    )]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What one node's server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The local address to listen on.
    pub listen: IpAddr,
    /// The port; 0 takes any free one, which [`Server::build`] tells.
    pub port: u16,
    /// The node's name.
    pub node: String,
    /// The node's addresses, for a certificate of its own.
    pub addresses: Vec<IpAddr>,
    /// Who may call, and what they are shown.
    pub access: Arc<Access>,
    /// What all nodes have in common.
    pub settings: Arc<Settings>,
}

/// A kubelet port: opened by [`build`](Self::build), served by [`run`](Self::run).
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    front: Arc<Front>,
    limits: Limits,
    certificate: tls::Keeper,
    addresses: watch::Receiver<Vec<IpAddr>>,
}

impl Server {
    /// Opens the port of a node, so that the node can be registered with it; callers wait in the backlog until
    /// [`run`](Self::run).
    pub async fn build(config: Config, backend: Arc<dyn Backend>) -> Result<(Self, SocketAddr), Error> {
        let port = Port::open(&config).await?;
        let service = Service::new(config, port.address.port(), backend);
        Ok(port.serve(Front::One(Arc::new(service))))
    }

    /// Opens one port for several nodes: that of the first config, with the first node's certificate.
    ///
    /// # Errors
    /// As for one; [`Error::Nobody`] without a node.
    pub async fn build_shared(
        nodes: Vec<(Config, Arc<dyn Backend>)>,
        whereabouts: Arc<dyn Whereabouts>,
    ) -> Result<(Self, SocketAddr), Error> {
        let (config, _) = nodes.first().ok_or(Error::Nobody)?;
        let port = Port::open(config).await?;
        let number = port.address.port();
        let services: Vec<_> = nodes
            .into_iter()
            .map(|(config, backend)| Arc::new(Service::new(config, number, backend)))
            .collect();
        let several = Several::new(services, whereabouts).ok_or(Error::Nobody)?;
        Ok(port.serve(Front::Several(several)))
    }

    /// Lets the node's own certificate follow its addresses; without this it stays as it is.
    pub fn with_addresses(self, addresses: watch::Receiver<Vec<IpAddr>>) -> Self {
        Self { addresses, ..self }
    }

    /// Serves until `shutdown`; then takes no new connection, lets answers under way end within 5 seconds and cuts the
    /// rest.
    pub async fn run(self, shutdown: CancellationToken) {
        let serving = connection::serve(self.listener, self.acceptor, self.front, self.limits, shutdown);
        let keeping = async {
            self.certificate.keep(self.addresses).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => {}
            () = keeping => {}
        }
    }
}

/// A port that is open, with nobody behind it yet.
struct Port {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    certificate: tls::Keeper,
}

impl Port {
    async fn open(config: &Config) -> Result<Self, Error> {
        let (mut tls, certificate) = tls::build(config)?;
        tls.alpn_protocols = connection::PROTOCOLS.map(<[u8]>::to_vec).into();
        let address = SocketAddr::new(config.listen, config.port);
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        Ok(Self {
            address: listener.local_addr().map_err(listen)?,
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            certificate,
        })
    }

    fn serve(self, front: Front) -> (Server, SocketAddr) {
        let server = Server {
            listener: self.listener,
            acceptor: self.acceptor,
            certificate: self.certificate,
            addresses: watch::channel(Vec::new()).1,
            front: Arc::new(front),
            limits: Limits::default(),
        };
        (server, self.address)
    }
}

/// An error with all its causes, for the log.
fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
