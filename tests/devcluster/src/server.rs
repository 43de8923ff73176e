//! Connections: accept, TLS, who is on the other end, then one request after another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::auth::User;
use crate::cluster::Cluster;
use crate::tls;

/// A client that doesn't finish its handshake or a request's head in this time is disconnected.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests at a time on a connection of HTTP/2, as with the real server since CVE-2023-44487.
const STREAMS: u32 = 100;
/// Pause after a failed accept, which is how the system says that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until the cluster shuts down, then waits for the ones that are open.
pub async fn run(cluster: Arc<Cluster>, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let connections = TaskTracker::new();
    loop {
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "unable to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = cluster.shutdown.cancelled() => break,
        };
        let (cluster, acceptor) = (cluster.clone(), acceptor.clone());
        connections.spawn(async move {
            let shutdown = cluster.shutdown.clone();
            tokio::select! {
                () = connection(cluster, socket, peer, acceptor) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(cluster: Arc<Cluster>, socket: TcpStream, peer: SocketAddr, acceptor: Option<TlsAcceptor>) {
    // Answers are small and waited for. Where this can't be set they are merely late.
    let _ = socket.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return requests(cluster, socket, None, false).await;
    };
    match tokio::time::timeout(PATIENCE, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let user = session
                .peer_certificates()
                .and_then(|chain| certified_user(chain.first()?));
            let shared = session.alpn_protocol() == Some(tls::HTTP2);
            requests(cluster, stream, user, shared).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "tls handshake failed"),
        Err(_) => tracing::debug!(%peer, "tls handshake took too long"),
    }
}

/// The common name is the user, the organizations are the groups. The chain was verified by the handshake.
fn certified_user(certificate: &rustls::pki_types::CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
    Some(User::of(name, &groups))
}

async fn requests(
    cluster: Arc<Cluster>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    user: Option<User>,
    shared: bool,
) {
    let service = service_fn(move |request| {
        let (cluster, user) = (cluster.clone(), user.clone());
        async move { api::handle(cluster, user, request).await }
    });
    let io = TokioIo::new(stream);
    let served = if shared {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .serve_connection(io, service)
            .await
    } else {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE * 20)
            .serve_connection(io, service)
            .with_upgrades()
            .await
    };
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}
