//! A certificate authority that lives as long as the server, and the TLS settings of both directions.

mod node;

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

pub use node::client_config as node_client_config;

/// The subject of the certificate that the server shows to kubelet ports, as kubeadm names it.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// How HTTP/2 is called when a protocol is agreed on (RFC 7301).
pub const HTTP2: &[u8] = b"h2";

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making a key or certificate failed.
    #[error("unable to make a certificate")]
    Make(#[from] rcgen::Error),
    /// The TLS library refused them.
    #[error("unable to set up TLS")]
    Setup(#[from] rustls::Error),
    /// The verifier of client certificates could not be built.
    #[error("unable to set up the verification of client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// What was just written can't be read.
    #[error("unable to read a certificate")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// PEM.
    pub certificate: String,
    /// PEM. Secret.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    fn parse(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes())?];
        Ok((chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?))
    }
}

/// The cluster's CA: signs the server's certificate, client certificates, and the one shown to kubelets.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Authority, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "devcluster-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// A client certificate for a user and its group.
    pub fn client(&self, user: &str, group: &str) -> Result<Identity, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate for these names and addresses.
    pub fn server(&self, names: Vec<String>) -> Result<Identity, Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity, Error> {
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// The server's side: its certificate, and client certificates of this CA if a client has one.
    pub fn server_config(&self, names: Vec<String>) -> Result<Arc<ServerConfig>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()?;
        let (chain, key) = self.server(names)?.parse()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
