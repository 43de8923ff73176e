//! A node's own certificate: signed by itself, or requested from the cluster; and renewed.

use super::super::Error;
use super::names::Certified;
use super::names::Names;
use super::self_signed;
use super::shown::Shown;
use super::shown::certified;
use super::store::Origin;
use super::store::Store;
use crate::cluster::Backoff;
use crate::cluster::Clients;
use crate::cluster::csr;
use crate::cluster::csr::Issued;
use crate::cluster::csr::Order;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use tokio::sync::watch;

/// The clocks of timers stand still while a machine sleeps; the one that certificates go by does not.
const LONGEST_NAP: Duration = Duration::from_secs(3600);

/// When to ask, and when to ask again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Between two requests: the least, and the most.
    pub pause: (Duration, Duration),
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            pause: (Duration::from_secs(5), Duration::from_secs(15 * 60)),
        }
    }
}

/// What one node shows, and what it takes to keep that in order.
pub(super) struct Own {
    node: String,
    shown: Arc<Shown>,
    state: State,
    crypto: Arc<CryptoProvider>,
    store: Option<Store>,
    /// Where to request certificates; without it the node signs them itself.
    signer: Option<Clients>,
    timing: Timing,
}

/// What the certificate is that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// One that the node signed itself, until the cluster has signed another.
    Meanwhile,
    /// The one that should be there.
    Settled {
        /// What it was asked for. What it says is the signer's business.
        names: Names,
        /// When to replace it.
        renewal: SystemTime,
    },
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// Of the cluster.
    #[error(transparent)]
    Request(#[from] csr::Error),
    /// Of this process.
    #[error("unable to sign a certificate")]
    Sign(#[from] rcgen::Error),
    #[error("what was issued is no certificate for the key that it was requested with")]
    Unusable,
}

impl Refusal {
    fn class(&self) -> &'static str {
        match self {
            Self::Request(error) => error.class(),
            Self::Sign(_) => "sign",
            Self::Unusable => "unusable",
        }
    }

    /// What an operator can do.
    fn advice(&self) -> &'static str {
        match self {
            Self::Request(csr::Error::Refused { verdict: "denied", .. }) => {
                "approvers expect the requester system:node:NAME: give nodes identities of their own, approve the requests of \
                 the host's account by hand (kubectl certificate approve), or set kubelet.serverTLSBootstrap to false"
            }
            Self::Request(csr::Error::Unapproved { .. }) => {
                "approve the next one, or run an approver for kubernetes.io/kubelet-serving: Kubernetes itself has none"
            }
            Self::Request(csr::Error::Request { .. }) => {
                "let the host's account create and watch certificatesigningrequests, as in configs/rbac.yaml"
            }
            _ => "look at the signer of kubernetes.io/kubelet-serving",
        }
    }
}

/// A certificate that can be shown.
struct Usable {
    key: CertifiedKey,
    said: Certified,
}

impl Usable {
    /// `None` for what is no certificate with its key.
    fn read(pair: &Issued, crypto: &CryptoProvider) -> Option<Self> {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok()?;
        let said = Certified::read(chain.first()?)?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).ok()?;
        let key = certified(chain, key, crypto).ok()?;
        Some(Self { key, said })
    }

    fn is_good_for(&self, names: &Names) -> bool {
        let now = SystemTime::now();
        self.said.is_for(names) && self.said.from <= now && now < self.said.until
    }
}

impl Own {
    /// Shows what was kept for these names and still counts, else what the node signs now.
    pub(super) fn build(
        names: &Names,
        crypto: Arc<CryptoProvider>,
        store: Option<Store>,
        signer: Option<Clients>,
        timing: Timing,
    ) -> Result<Self, Error> {
        let kept = |origin| {
            let pair = store.as_ref()?.read(&names.node, origin)?;
            Usable::read(&pair, &crypto).filter(|kept| kept.is_good_for(names))
        };
        let settled = |usable: &Usable| State::Settled {
            names: names.clone(),
            renewal: usable.said.renewal(),
        };
        let requested = signer.as_ref().and_then(|_| kept(Origin::Requested));
        let (usable, state) = if let Some(requested) = requested {
            let state = settled(&requested);
            (requested, state)
        } else {
            let usable = match kept(Origin::SelfSigned) {
                Some(kept) => kept,
                None => sign(names, &crypto, store.as_ref())?,
            };
            let state = match signer {
                Some(_) => State::Meanwhile,
                None => settled(&usable),
            };
            (usable, state)
        };
        Ok(Self {
            node: names.node.clone(),
            shown: Arc::new(Shown::new(usable.key)),
            state,
            crypto,
            store,
            signer,
            timing,
        })
    }

    pub(super) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    /// Keeps what is shown in step with the node's addresses, and renews what ends. For ever; may be dropped at any time.
    pub(super) async fn keep(mut self, mut addresses: watch::Receiver<Vec<IpAddr>>) {
        let mut backoff = Backoff::new(self.timing.pause.0, self.timing.pause.1);
        let mut trouble = None;
        loop {
            // A node has addresses as soon as this host acts for it; nothing can be requested before.
            if addresses.wait_for(|known| !known.is_empty()).await.is_err() {
                return;
            }
            let names = Names::new(&self.node, &addresses.borrow_and_update());
            let renewed = tokio::select! {
                renewed = self.renewed(&names) => renewed,
                // Whatever is under way is for names that are not the node's any more.
                changed = addresses.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let pause = match renewed {
                Ok((pair, usable)) => {
                    (trouble, backoff) = (None, Backoff::new(self.timing.pause.0, self.timing.pause.1));
                    self.show(names, &pair, usable);
                    self.timing.pause.0
                }
                Err(refusal) => {
                    if trouble != Some(refusal.class()) {
                        trouble = Some(refusal.class());
                        tracing::warn!(
                            node = self.node,
                            error = &refusal as &dyn std::error::Error,
                            "unable to get a serving certificate for the kubelet port, trying again; {}",
                            refusal.advice()
                        );
                    }
                    match refusal {
                        // It has had its time.
                        Refusal::Request(csr::Error::Unapproved { .. }) => continue,
                        // Whoever denies one denies the next.
                        Refusal::Request(csr::Error::Refused { .. }) => self.timing.pause.1,
                        _ => backoff.next_delay(),
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = addresses.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until another certificate is due for these names, and gets it.
    async fn renewed(&self, names: &Names) -> Result<(Issued, Usable), Refusal> {
        if let State::Settled { names: same, renewal } = &self.state
            && same == names
        {
            until(*renewal).await;
        }
        let pair = match &self.signer {
            Some(clients) => Box::pin(csr::issue(clients, &order(names))).await?,
            None => self_signed::make(names)?,
        };
        let usable = Usable::read(&pair, &self.crypto).ok_or(Refusal::Unusable)?;
        Ok((pair, usable))
    }

    fn show(&mut self, names: Names, pair: &Issued, usable: Usable) {
        let (origin, what) = match self.signer {
            Some(_) => (Origin::Requested, "signed by the cluster"),
            None => (Origin::SelfSigned, "signed by the node itself"),
        };
        self.shown.change(usable.key);
        tracing::info!(
            node = self.node,
            until = %jiff::Timestamp::try_from(usable.said.until).unwrap_or_default(),
            "the kubelet port has a new serving certificate, {what}"
        );
        keep(self.store.as_ref(), &self.node, origin, pair);
        self.state = State::Settled {
            names,
            renewal: usable.said.renewal(),
        };
    }
}

fn order(names: &Names) -> Order {
    Order {
        signer: "kubernetes.io/kubelet-serving",
        // Key encipherment is for RSA.
        usages: &["digital signature", "server auth"],
        node: names.node.clone(),
        names: vec![names.node.clone()],
        addresses: names.addresses.iter().copied().collect(),
    }
}

fn sign(names: &Names, crypto: &CryptoProvider, store: Option<&Store>) -> Result<Usable, Error> {
    let node = || names.node.clone();
    let pair = self_signed::make(names).map_err(|source| Error::SelfSigned { node: node(), source })?;
    keep(store, &names.node, Origin::SelfSigned, &pair);
    Usable::read(&pair, crypto).ok_or_else(|| Error::SelfSigned {
        node: node(),
        source: rcgen::Error::CouldNotParseCertificate,
    })
}

/// A certificate that can't be kept is shown all the same.
fn keep(store: Option<&Store>, node: &str, origin: Origin, pair: &Issued) {
    if let Some(store) = store
        && let Err(error) = store.write(node, origin, pair)
    {
        tracing::warn!(
            node,
            error = &error as &dyn std::error::Error,
            "the next start will need a new certificate"
        );
    }
}

async fn until(time: SystemTime) {
    while let Ok(left) = time.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LONGEST_NAP)).await;
    }
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
