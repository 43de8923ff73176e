//! A node's own identity: a client certificate for `system:node:NAME`, kept in a file, requested where there is none and
//! replaced before it expires.
//!
//! Under it the Node authorizer and NodeRestriction hold the host to what a kubelet of that node may do. The host's own
//! credentials only bootstrap it: they request the first certificate, and the next one where the last has expired; a
//! bootstrap token is enough for that (<https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>).
//! Until a node has its certificate its requests fail like those to an API server that is away, and are repeated like
//! them. A file that somebody else has written anew is taken up as well.

use super::{
    Backoff, Client, Clients, client,
    csr::{self, Issued, Order},
    node_file::NodeFile,
};
use crate::files::Reload;
use jiff::Timestamp;
use kube::client::Body;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// When a certificate is replaced, as parts of its life: at random between these, so that nodes of one age do not come
/// all at once. A kubelet's are the same.
const RENEW_AFTER: std::ops::Range<f64> = 0.7..0.9;
/// Between two certificates.
const LEAST: Duration = Duration::from_secs(10);
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(300);
/// A clock that is set is noticed within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Why a node's identity can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or the file.
    #[error("unable to {verb} {}; the host needs a directory that only it may read, see cluster.nodeCertificates", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that is none of ours.
    #[error("unable to use {} for node {node}: {reason}; remove it to have a new certificate requested", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Whom it is for.
        node: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The clients.
    #[error("unable to use the certificate of node {node}")]
    Client {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: client::Error,
    },
}

/// Where a node's certificate is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none that is valid: the host's own credentials request one.
    Without,
    /// There is one; it requests its successor at that time.
    With { renew_at: Timestamp, expires: Timestamp },
}

/// The identity of one node; [`run`](Self::run) keeps it.
pub struct NodeIdentity {
    node: String,
    file: Arc<NodeFile>,
    /// What was put to use last.
    held: Option<Issued>,
    bootstrap: Clients,
    /// The host's way to the API server, which is the node's as well.
    origin: watch::Receiver<kube::Config>,
    clients: Clients,
    state: State,
}

impl NodeIdentity {
    /// Takes the certificate from `directory`, where it is `NODE.pem`, if there is one. `bootstrap` requests it else.
    ///
    /// # Errors
    /// What waiting does not repair: a directory that can't be used, a file that is something else.
    pub fn build(node: &str, directory: &Path, bootstrap: &Clients) -> Result<Self, Error> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { verb, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create directory", directory))?;
        let file = NodeFile::new(directory.join(format!("{node}.pem")));
        let origin = bootstrap.origin();
        let clients = client::connect_as(None, bootstrap).map_err(|source| Error::Client {
            node: node.to_owned(),
            source,
        })?;
        clients.suspend(&pending());
        let mut identity = Self {
            node: node.to_owned(),
            bootstrap: bootstrap.clone(),
            origin,
            clients,
            state: State::Without,
            file: Arc::new(file),
            held: None,
        };
        match std::fs::read_to_string(identity.file.path()) {
            Ok(pem) => {
                let issued = identity.split(&pem)?;
                identity.take(issued)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", identity.file.path())(error)),
        }
        Ok(identity)
    }

    /// Its file, which is to be [kept](crate::files::Keeper) an eye on.
    pub fn file(&self) -> Arc<dyn Reload> {
        self.file.clone()
    }

    /// What the node talks to the API server with. Stays good through all renewals.
    pub fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Requests the certificate and its successors until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
            let mut trouble = None;
            loop {
                let (mut origin, file) = (self.origin.clone(), self.file.clone());
                let renewed = tokio::select! {
                    renewed = async {
                        self.await_renewal().await;
                        self.renew().await
                    } => renewed,
                    Ok(()) = origin.changed() => {
                        self.origin.mark_unchanged();
                        self.follow();
                        continue;
                    }
                    () = file.changed() => {
                        if self.look() {
                            backoff.reset();
                            trouble = None;
                        }
                        continue;
                    }
                };
                match renewed {
                    Ok(()) => {
                        backoff.reset();
                        trouble = None;
                        // To a clock that is ahead each of them looks as if it were due at once.
                        tokio::time::sleep(LEAST).await;
                    }
                    Err(error) => {
                        if trouble.replace(error.class()) != Some(error.class()) {
                            let error: &(dyn std::error::Error + 'static) = &error;
                            tracing::warn!(node = self.node, error, "node has no new certificate, retrying");
                        }
                        tokio::select! {
                            () = self.bootstrap.status.pause(Duration::ZERO, backoff.next_delay()) => {}
                            Ok(()) = origin.changed() => {}
                            () = file.changed() => {
                                if self.look() {
                                    backoff.reset();
                                    trouble = None;
                                }
                            }
                        }
                    }
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Waits until a certificate has to be requested.
    async fn await_renewal(&self) {
        while let State::With { renew_at, .. } = self.state {
            let left = Timestamp::now().duration_until(renew_at);
            let Ok(left) = Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    /// Goes the host's present way to the API server, with the certificate that there is.
    fn follow(&mut self) {
        if self.state == State::Without {
            // The first one will.
            return;
        }
        let Some(issued) = self.held.clone() else { return };
        let taken = self.take(issued);
        if let Err(error) = taken {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(
                node = self.node,
                error,
                "node stays on the old way to the API server until its next certificate"
            );
        }
    }

    /// The file has changed: a certificate that is not of our own writing is put to use. Returns whether one was.
    fn look(&mut self) -> bool {
        let taken = self.load().and_then(|pem| {
            let held = self.held.as_ref();
            if held.is_some_and(|held| pem.strip_prefix(&held.certificate) == Some(&held.key)) {
                return Ok(false);
            }
            let issued = self.split(&pem)?;
            let ends = self.read(&issued.certificate)?.ends;
            if ends <= Timestamp::now() {
                return Err(self.unusable(format!("its certificate expired at {ends}")));
            }
            self.take(issued)?;
            tracing::info!(
                node = self.node,
                "node's certificate has changed on disk, going on with the new one"
            );
            Ok(true)
        });
        taken.unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(
                node = self.node,
                error,
                "unable to use the node's changed certificate, keeping the old one"
            );
            false
        })
    }

    fn load(&self) -> Result<String, Error> {
        std::fs::read_to_string(self.file.path()).map_err(|source| Error::File {
            verb: "read",
            path: self.file.path().to_owned(),
            source,
        })
    }

    /// Requests a certificate and puts it to use. Dropping it gives the request up: nothing is waited for once it is granted.
    async fn renew(&mut self) -> Result<(), Renewal> {
        let valid = matches!(self.state, State::With { expires, .. } if expires > Timestamp::now());
        let requester = if valid { &self.clients } else { &self.bootstrap };
        let order = Order {
            signer: "kubernetes.io/kube-apiserver-client-kubelet",
            usages: &["digital signature", "client auth"],
            node: self.node.clone(),
            names: Vec::new(),
            addresses: Vec::new(),
        };
        let issued = csr::issue(requester, &order).await?;
        // First the file: a certificate that was in use and is lost would be asked for again with credentials that may
        // have expired since.
        self.store(&issued)?;
        self.take(issued)?;
        Ok(())
    }

    /// Puts a certificate to use.
    fn take(&mut self, issued: Issued) -> Result<(), Error> {
        let life = self.read(&issued.certificate)?;
        let clients = client::connect_as(Some(&issued), &self.bootstrap).map_err(|source| Error::Client {
            node: self.node.clone(),
            source,
        })?;
        if life.ends <= Timestamp::now() {
            tracing::warn!(node = self.node, expired = %life.ends, "node's certificate has expired");
            self.state = State::Without;
            return Ok(());
        }
        self.clients.renew(&clients);
        self.held = Some(issued);
        let share = RENEW_AFTER.start + fastrand::f64() * (RENEW_AFTER.end - RENEW_AFTER.start);
        let renew_at = life.begins + life.ends.duration_since(life.begins).mul_f64(share);
        tracing::info!(node = self.node, expires = %life.ends, renewed_at = %renew_at, "node acts with its own certificate");
        self.state = State::With {
            renew_at,
            expires: life.ends,
        };
        Ok(())
    }

    fn store(&self, issued: &Issued) -> Result<(), Error> {
        let path = self.file.path();
        let failed = |source| Error::File {
            verb: "write",
            path: path.to_owned(),
            source,
        };
        // Beside it, so that the rename replaces it in one step.
        let beside = path.with_extension("pem.new");
        let pem = format!("{}{}", issued.certificate, issued.key);
        let write = || {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        write().map_err(failed)
    }

    /// Certificates and key of a file.
    fn split(&self, pem: &str) -> Result<Issued, Error> {
        let key = pem
            .find("-----BEGIN PRIVATE KEY-----")
            .or_else(|| pem.find("-----BEGIN EC PRIVATE KEY-----"));
        let key = key.ok_or_else(|| self.unusable("it holds no private key behind its certificate"))?;
        let (certificate, key) = pem.split_at(key);
        Ok(Issued {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Checks whose certificate it is, and when it is valid.
    fn read(&self, certificate: &str) -> Result<Life, Error> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| self.unusable("it holds no certificate"))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|_| self.unusable("its certificate can't be read"))?;
        let name = parsed.subject().iter_common_name().next();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        if name != format!("system:node:{}", self.node) {
            return Err(self.unusable(format!("its certificate is that of {name:?}")));
        }
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| self.unusable("its dates are out of range"));
        Ok(Life {
            begins: time(parsed.validity().not_before.timestamp())?,
            ends: time(parsed.validity().not_after.timestamp())?,
        })
    }

    fn unusable(&self, reason: impl Into<String>) -> Error {
        Error::Unusable {
            path: self.file.path().to_owned(),
            node: self.node.clone(),
            reason: reason.into(),
        }
    }
}

struct Life {
    begins: Timestamp,
    ends: Timestamp,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum Renewal {
    #[error(transparent)]
    Issue(#[from] csr::Error),
    #[error(transparent)]
    Use(#[from] Error),
}

impl Renewal {
    fn class(&self) -> &'static str {
        match self {
            Self::Issue(error) => error.class(),
            Self::Use(_) => "use",
        }
    }
}

/// A client of which nothing comes.
fn pending() -> Client {
    Client::new(tower::service_fn(|_: http::Request<Body>| async {
        Err::<http::Response<Body>, _>(io::Error::other("the node's certificate has not been issued yet"))
    }))
}
