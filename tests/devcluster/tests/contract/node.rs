//! A node's kubelet port as the server reaches it: TLS with the server's client certificate.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_devcluster::Running;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Cluster, PODS, node, pod, start};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = request.uri().to_string();
    let (code, text) = match request.uri().path() {
        "/containerLogs/default/p/c" => (200, format!("a line for {asked}\n")),
        "/pods" => (200, "{}".to_owned()),
        _ => (404, format!("nothing at {asked}")),
    };
    Ok(Response::builder().status(code).body(Full::from(text)).unwrap())
}

/// A port for callers with a certificate of the cluster's kubelet client CA, and its TLS.
pub async fn listen(cluster: &Running) -> (TcpListener, TlsAcceptor) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cluster.files().kubelet_client_ca()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["n1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener, TlsAcceptor::from(Arc::new(config)))
}

/// A kubelet with some plain pages; returns its port.
async fn kubelet(cluster: &Cluster) -> u16 {
    let (listener, acceptor) = listen(&cluster.running).await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else {
                    return;
                };
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    port
}

#[tokio::test]
async fn logs_and_the_node_proxy_reach_the_kubelet() {
    let cluster = start().await;
    let port = kubelet(&cluster).await;
    let mut own = node("n1");
    own["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    cluster.post("/api/v1/nodes", own).await;
    cluster.post(PODS, pod("p", "n1")).await;
    cluster.post(PODS, pod("q", "n1")).await;
    cluster.post(PODS, pod("lost", "n2")).await;
    let (code, log) = cluster.get(&format!("{PODS}/p/log?tailLines=5&timestamps=true")).await;
    assert_eq!(
        (code, log.as_str().unwrap()),
        (
            200,
            "a line for /containerLogs/default/p/c?timestamps=true&tailLines=5\n"
        )
    );
    let (code, missing) = cluster.get(&format!("{PODS}/q/log")).await;
    assert_eq!(
        (code, missing["message"].as_str().unwrap()),
        (404, "nothing at /containerLogs/default/q/c")
    );
    assert_eq!(cluster.get(&format!("{PODS}/p/log?container=none")).await.0, 400);
    assert_eq!(cluster.get(&format!("{PODS}/none/log")).await.0, 404);
    assert_eq!(cluster.get(&format!("{PODS}/lost/log")).await.0, 404);
    assert_eq!(cluster.get("/api/v1/nodes/n1/proxy/pods").await, (200, json!({})));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_an_error_and_no_hang() {
    let cluster = start().await;
    let mut own = node("n1");
    own["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 1}});
    cluster.post("/api/v1/nodes", own).await;
    cluster.post(PODS, pod("p", "n1")).await;
    let (code, error) = cluster.get(&format!("{PODS}/p/log")).await;
    assert_eq!(code, 500);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("error trying to reach service"),
        "{error}"
    );
}
