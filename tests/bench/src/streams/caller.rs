//! The client, the same one for all servers: HTTP/1.1 over TLS with a client certificate, and what it is upgraded to.

use super::server::Door;
use crate::error::Error;
use crate::error::Result;
use http::Request;
use http::Response;
use http::header;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outrigger_streaming::remotecommand;
use outrigger_streaming::remotecommand::ClientSession;
use outrigger_streaming::remotecommand::Protocol;
use outrigger_streaming::remotecommand::Wanted;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::DigitallySignedStruct;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::danger::ServerCertVerified;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;

/// Calls kubelet ports. Cheap to clone.
#[derive(Clone)]
pub struct Caller(TlsConnector);

impl Caller {
    /// One that shows this certificate. All connections have the cipher that clients in Go ask for first, whatever else a
    /// server prefers, and a handshake of their own.
    pub fn new(certificate: &Path, key: &Path) -> Result<Self> {
        let failed = |path: &Path, error: &dyn Display| Error::Malformed {
            what: path.display().to_string(),
            reason: error.to_string(),
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| failed(certificate, &error))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
        let provider = CryptoProvider {
            cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| failed(certificate, &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_client_auth_cert(chain, private)
            .map_err(|error| failed(key, &error))?;
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Asks for a log; `query` says which of its bytes.
    pub async fn log(&self, door: &Door, query: &str) -> Result<Response<Incoming>> {
        let path = format!("/containerLogs/{}?{query}", door.container);
        let request = Request::get(&path).header(header::HOST, door.address.to_string());
        let answer = self.send(door, &path, request).await?;
        match answer.status().as_u16() {
            200 => Ok(answer),
            status => Err(transport(&path, format!("status {status}"))),
        }
    }

    /// Begins a command.
    pub async fn exec(
        &self,
        door: &Door,
        protocol: Protocol,
        wanted: Wanted,
        command: &[&str],
    ) -> Result<ClientSession> {
        let (input, output) = (u8::from(wanted.stdin), u8::from(wanted.stdout));
        let mut path = format!("/exec/{}?input={input}&output={output}", door.container);
        for word in command {
            path.push_str("&command=");
            path.extend(word.bytes().map(escaped));
        }
        let ask = remotecommand::ask(&[protocol]);
        let method = if protocol.is_spdy() { "POST" } else { "GET" };
        let mut request = Request::builder()
            .method(method)
            .uri(&path)
            .header(header::HOST, door.address.to_string());
        if let Some(headers) = request.headers_mut() {
            headers.extend(ask.headers.clone());
        }
        let answer = self.send(door, &path, request).await?;
        let protocol = ask.answered(&answer).map_err(|error| transport(&path, error))?;
        let io = hyper::upgrade::on(answer).await;
        let io = io.map_err(|error| transport(&path, error))?;
        let session = remotecommand::connect(TokioIo::new(io), protocol, wanted).await;
        session.map_err(|error| transport(&path, error))
    }

    async fn send(&self, door: &Door, path: &str, request: http::request::Builder) -> Result<Response<Incoming>> {
        let failed = |error: &dyn Display| transport(path, error);
        let stream = TcpStream::connect(door.address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let name = ServerName::IpAddress(door.address.ip().into());
        let stream = self.0.connect(name, stream).await.map_err(|error| failed(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // It ends with the answer's body, or when it becomes something else.
        tokio::spawn(connection.with_upgrades());
        let request = request.uri(path).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| failed(&error))?;
        sender.send_request(request).await.map_err(|error| failed(&error))
    }
}

/// What goes wrong with a request.
pub fn transport(what: &str, error: impl Display) -> Error {
    Error::Transport {
        what: what.to_owned(),
        reason: error.to_string(),
    }
}

/// For a query.
fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The servers sign their certificates themselves.
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
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
