//! Certificates by the cluster's signers.

use super::test::Test;
use super::test::object;
use super::wait::SOON;
use super::wait::eventually;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::KeyPair;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A certificate for `user` in `group`, and its key, both PEM. The administrator requests and approves it.
pub async fn signed_certificate(test: &Test, signer: &str, usage: &str, user: &str, group: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, user);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let request: CertificateSigningRequest = object(json!({
        "metadata": { "generateName": "suite-" },
        "spec": {
            "request": k8s_openapi::ByteString(csr.into_bytes()),
            "signerName": signer,
            "usages": ["digital signature", usage],
        },
    }));
    let requests: Api<CertificateSigningRequest> = Api::all(test.client.clone());
    let made = requests.create(&PostParams::default(), &request).await.unwrap();
    let name = made.metadata.name.unwrap();
    decide(test, &name, "Approved").await;
    let certificate = eventually(SOON, "the request is signed", || async {
        let request = requests.get(&name).await.map_err(|error| error.to_string())?;
        let status = request.status.unwrap_or_default();
        status.certificate.ok_or_else(|| format!("{:?}", status.conditions))
    })
    .await;
    (String::from_utf8(certificate.0).unwrap(), key.serialize_pem())
}

/// A directory for `cluster.nodeCertificates` with a certificate of the test's node.
pub async fn node_identity(test: &Test) -> PathBuf {
    let (signer, user) = (
        "kubernetes.io/kube-apiserver-client-kubelet",
        format!("system:node:{}", test.node()),
    );
    let (certificate, key) = signed_certificate(test, signer, "client auth", &user, "system:nodes").await;
    let directory = test.directory().join("identity");
    std::fs::create_dir(&directory).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600);
    let mut file = file.open(directory.join(format!("{}.pem", test.node()))).unwrap();
    file.write_all(format!("{certificate}{key}").as_bytes()).unwrap();
    directory
}

/// Approves a request, or denies it: `Approved`, `Denied`.
pub async fn decide(test: &Test, name: &str, decision: &str) {
    let requests: Api<CertificateSigningRequest> = Api::all(test.client.clone());
    let conditions = json!([{
        "type": decision, "status": "True", "reason": "Suite", "message": "by the suite",
    }]);
    let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    requests
        .patch_approval(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}
