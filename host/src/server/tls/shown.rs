//! The certificate that callers are shown, which can change from one handshake to the next.

use super::super::Error;
use super::pem;
use crate::files::Reload;
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::Arc;

/// Shows one certificate to everybody, whatever name they ask for: API servers dial addresses and ask for none.
#[derive(Debug)]
pub(super) struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub(super) fn new(certificate: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(certificate))
    }

    /// From the next handshake on.
    pub(super) fn change(&self, certificate: CertifiedKey) {
        self.0.store(Arc::new(certificate));
    }

    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// A certificate with its key, which must belong together.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    crypto: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, crypto).map_err(Error::Certificate)
}

/// The certificate of `kubelet.certFile`, as it is in the files now.
#[derive(Debug)]
pub(in crate::server) struct Files {
    cert_file: PathBuf,
    key_file: PathBuf,
    crypto: Arc<CryptoProvider>,
    shown: Arc<Shown>,
}

impl Files {
    pub(super) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    pub(in crate::server) fn load(
        cert_file: PathBuf,
        key_file: PathBuf,
        crypto: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let (chain, key) = (
            pem::certificates("kubelet.certFile", &cert_file)?,
            pem::key("kubelet.keyFile", &key_file)?,
        );
        Ok(Self {
            shown: Arc::new(Shown::new(certified(chain, key, &crypto)?)),
            cert_file,
            key_file,
            crypto,
        })
    }
}

impl Reload for Files {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.cert_file.clone(), self.key_file.clone()]
    }

    /// A new certificate whose key has not been written yet does not count: the key's coming is another change.
    fn reload(&self) {
        let renewed = pem::certificates("kubelet.certFile", &self.cert_file).and_then(|chain| {
            if chain == self.shown.current().cert {
                return Ok(None);
            }
            let key = pem::key("kubelet.keyFile", &self.key_file)?;
            certified(chain, key, &self.crypto).map(Some)
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(certificate)) => {
                self.shown.change(certificate);
                tracing::info!(file = %self.cert_file.display(), "the serving certificate of the kubelet ports has changed");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "unable to use the changed serving certificate, keeping the old one"
            ),
        }
    }
}
