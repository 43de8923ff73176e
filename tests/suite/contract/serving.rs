//! What a kubelet port shows, where the cluster signs it.

use crate::harness::ClusterKind;
use crate::harness::Host;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::caller::verified_certificate;
use crate::harness::decide;
use crate::harness::eventually;
use crate::harness::node_identity;
use crate::harness::skip;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::ListParams;
use rcgen::CertificateSigningRequestParams;
use rcgen::DnType;
use rcgen::DnValue;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

/// Whether there is a signer; a development cluster has none.
fn has_signer(test: &Test, name: &str) -> bool {
    let has = test.cluster.kind == ClusterKind::Real;
    if !has {
        skip(name, "it needs the signer of a real control plane");
    }
    has
}

fn bootstrap(directory: &Path) -> Value {
    json!({ "kubelet": { "serverTLSBootstrap": true, "certDirectory": directory } })
}

async fn address(test: &Test) -> SocketAddr {
    let node = test.node_ready(&test.node()).await;
    let endpoint = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap();
    SocketAddr::new(test.cluster.host_address, endpoint.port.try_into().unwrap())
}

/// Waits for a request for a serving certificate that this test's node has not made before.
async fn requested(test: &Test, seen: &mut BTreeSet<String>) -> CertificateSigningRequest {
    let requests: Api<CertificateSigningRequest> = Api::all(test.client.clone());
    let subject = format!("system:node:{}", test.node());
    let request = eventually(SOON, "a serving certificate is requested", || async {
        let all = requests
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let new = all.items.into_iter().find(|request| {
            let name = request.metadata.name.as_ref().unwrap();
            is_for(request, &subject) && !seen.contains(name)
        });
        new.ok_or_else(|| "there is none".to_owned())
    })
    .await;
    seen.insert(request.metadata.name.clone().unwrap());
    request
}

fn is_for(request: &CertificateSigningRequest, subject: &str) -> bool {
    if request.spec.signer_name != "kubernetes.io/kubelet-serving" {
        return false;
    }
    let csr = String::from_utf8(request.spec.request.0.clone()).unwrap();
    let csr = CertificateSigningRequestParams::from_pem(&csr).unwrap();
    matches!(
        csr.params.distinguished_name.get(&DnType::CommonName),
        Some(DnValue::Utf8String(name)) if name == subject
    )
}

/// Approves the node's request, and waits until what is signed is shown, to whoever trusts the cluster alone.
async fn serves_what_is_approved(test: &Test, host: &Host, request: &CertificateSigningRequest) {
    let authority = test.cluster.kubelet_client_ca.as_ref().unwrap();
    let address = address(test).await;
    let before = verified_certificate(address, authority).await;
    assert!(before.is_err(), "nobody approved it yet");
    decide(test, request.metadata.name.as_deref().unwrap(), "Approved").await;
    eventually(SOON, "the signed certificate is shown", || {
        verified_certificate(address, authority)
    })
    .await;
    host.logs("signed by the cluster").await;
}

#[tokio::test]
async fn a_hosts_request_is_served_once_somebody_approves_it_and_outlives_the_host() {
    let test = Test::new("serving").await;
    if !has_signer(&test, "serving") {
        return;
    }
    let files = test.directory().join("pki");
    let mut seen = BTreeSet::new();
    let mut host = test.start(&test.mock(json!({})).with(bootstrap(&files)));
    let request = requested(&test, &mut seen).await;
    let host_account = "system:serviceaccount:outrigger-system:outrigger";
    assert_eq!(request.spec.username.as_deref(), Some(host_account));
    assert_eq!(
        request.spec.usages.as_deref().unwrap(),
        ["digital signature", "server auth"]
    );
    serves_what_is_approved(&test, &host, &request).await;
    let authority = test.cluster.kubelet_client_ca.as_ref().unwrap();
    let shown = verified_certificate(address(&test).await, authority).await.unwrap();

    host.kill9().await;
    host.start_again();
    let same = eventually(SOON, "the kept certificate is shown", || async {
        verified_certificate(address(&test).await, authority).await
    })
    .await;
    assert_eq!(same, shown);
    assert!(!host.log().contains("PRIVATE KEY"), "a key is in the log");
}

#[tokio::test]
async fn a_denied_request_is_explained_and_leaves_the_nodes_own_certificate() {
    let test = Test::new("serving_denied").await;
    if !has_signer(&test, "serving_denied") {
        return;
    }
    let mut seen = BTreeSet::new();
    let host = test.start(&test.mock(json!({})).with(bootstrap(&test.directory().join("pki"))));
    let request = requested(&test, &mut seen).await;
    decide(&test, request.metadata.name.as_deref().unwrap(), "Denied").await;
    host.logs("approvers expect the requester system:node:NAME").await;
    if let Some(kubectl) = test.kubectl() {
        kubectl
            .run(&format!("get --raw /api/v1/nodes/{}/proxy/healthz", test.node()))
            .await;
    }
}

#[tokio::test]
async fn a_node_with_an_identity_of_its_own_requests_as_itself() {
    let test = Test::new("serving_itself").await;
    if !has_signer(&test, "serving_itself") {
        return;
    }
    let user = format!("system:node:{}", test.node());
    let node_certificates = node_identity(&test).await;
    let identity = json!({ "cluster": { "id": test.id, "nodeCertificates": node_certificates } });
    let config = test
        .mock(json!({}))
        .with(bootstrap(&test.directory().join("pki")))
        .with(identity);
    let host = test.start(&config);
    let request = requested(&test, &mut BTreeSet::new()).await;
    assert_eq!(request.spec.username.as_deref(), Some(user.as_str()));
    serves_what_is_approved(&test, &host, &request).await;
}
