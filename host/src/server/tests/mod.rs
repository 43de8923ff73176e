//! A server on a real socket, with real certificates and a backend made up.

mod answers;
pub(super) mod api;
mod callers;
mod connections;
mod fake;
mod following;
mod forwards;
mod http2;
pub(super) mod log;
pub(super) mod pki;
mod processes;
mod readings;
mod sessions;
mod shared;
mod upgrades;

use super::connection::Limits;
use super::*;
use crate::config::KubeletConfig;
use crate::config::ServingCert;
use api::Api;
use fake::Fake;
use pki::Authority;
use pki::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs, and those who may call it.
struct Running {
    address: SocketAddr,
    authority: Authority,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    _files: tempfile::TempDir,
}

async fn start(backend: Fake) -> Running {
    start_with(backend, Limits::default()).await
}

async fn start_with(backend: Fake, limits: Limits) -> Running {
    start_as(backend, limits, true).await
}

async fn start_as(backend: Fake, limits: Limits, extend_web_sockets: bool) -> Running {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("cluster");
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let config = KubeletConfig {
        client_ca_file: Some(ca),
        extend_web_sockets,
        ..KubeletConfig::default()
    };
    let (server, address) = build(&config, backend).await.unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Server { limits, ..server }.run(shutdown.clone()));
    Running {
        address,
        authority,
        shutdown,
        task,
        _files: files,
    }
}

async fn build(config: &KubeletConfig, backend: Fake) -> Result<(Server, SocketAddr), Error> {
    let config = Config {
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        node: "vk-0".to_owned(),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        access: access(config).await?,
        settings: settings(config),
    };
    Server::build(config, Arc::new(backend)).await
}

/// An API server vouches for everybody whom the authority vouches for.
async fn access(config: &KubeletConfig) -> Result<Arc<Access>, Error> {
    let api = Api::permissive().await;
    let (access, _) = Access::build(config, &api.clients)?;
    Ok(Arc::new(access))
}

fn settings(config: &KubeletConfig) -> Arc<Settings> {
    Arc::new(Settings {
        kubelet: config.clone(),
        ..Settings::default()
    })
}

/// Waits until it holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Running {
    /// What the API server gets.
    async fn get(&self, path: &str) -> Reply {
        let caller = self.authority.client("kube-apiserver-kubelet-client");
        ask(
            self.address,
            Some(&caller),
            &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let caller = self.authority.client("kube-apiserver-kubelet-client");
        connect(self.address, Some(&caller)).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

async fn connect(address: SocketAddr, caller: Option<&Identity>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(pki::client_config(caller)));
    let name = ServerName::IpAddress(address.ip().into());
    connector.connect(name, stream).await.unwrap()
}

async fn ask(address: SocketAddr, caller: Option<&Identity>, request: &str) -> Reply {
    let mut stream = connect(address, caller).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_reply(&mut stream).await
}

/// An answer that ends with its connection.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    status: u16,
    head: String,
    body: String,
    /// The body came to its end, rather than being cut off.
    whole: bool,
}

async fn read_reply(stream: &mut TlsStream<TcpStream>) -> Reply {
    let mut raw = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut raw))
        .await
        .unwrap();
    let raw = String::from_utf8(raw).unwrap();
    let (head, body) = raw
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer, {read:?}"));
    let head = head.to_ascii_lowercase();
    let (body, whole) = match head.contains("transfer-encoding: chunked") {
        true => unchunk(body),
        false => (body.to_owned(), true),
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply {
        status,
        head,
        body,
        whole,
    }
}

fn unchunk(mut body: &str) -> (String, bool) {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return (text, true);
        }
        let length_here = length.min(rest.len());
        text.push_str(&rest[..length_here]);
        body = rest[length_here..].strip_prefix("\r\n").unwrap_or_default();
    }
    (text, false)
}
