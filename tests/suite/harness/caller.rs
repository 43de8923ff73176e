//! Requests to a kubelet port, straight and by whoever a test wants to be.

use super::wait::SOON;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::DigitallySignedStruct;
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::danger::ServerCertVerified;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// More than any test reads of an answer.
const MOST: usize = 1 << 20;

/// What somebody shows to say who they are.
#[derive(Debug, Default)]
pub struct Caller {
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// As far as it came within a moment: some answers have no end.
    pub body: String,
}

impl Caller {
    /// The holder of a client certificate and its key, both PEM.
    pub fn with_certificate(certificate: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Self {
            certificate: Some((chain.map(Result::unwrap).collect(), key)),
            token: None,
        }
    }

    /// The holder of a bearer token.
    pub fn with_token(token: impl Into<String>) -> Self {
        Self {
            certificate: None,
            token: Some(token.into()),
        }
    }

    /// The token; empty without one.
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// Sends a request to the kubelet port at `address`, whatever certificate that shows.
    pub async fn ask(&self, address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let asked = tokio::time::timeout(SOON, self.exchange(address, method, path, headers)).await;
        asked.unwrap_or_else(|_| panic!("{method} {path}: no answer within {SOON:?}"))
    }

    async fn exchange(&self, address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let config = match &self.certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = handshake(address, config).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        // What is let in may go on for ever; what is refused says why and ends.
        let body = match status {
            401 | 403 | 500 => Limited::new(answer.into_body(), MOST)
                .collect()
                .await
                .unwrap()
                .to_bytes(),
            _ => Bytes::new(),
        };
        connection.abort();
        Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }
}

/// The certificate that a kubelet port shows, if `authority` (a PEM file) vouches for it and it names the address.
pub async fn verified_certificate(address: SocketAddr, authority: &Path) -> Result<CertificateDer<'static>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = handshake(address, config).await.map_err(|error| error.to_string())?;
    let (_, tls) = stream.get_ref();
    Ok(tls.peer_certificates().unwrap()[0].clone())
}

async fn handshake(address: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
