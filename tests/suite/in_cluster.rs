//! A host that runs as a pod does: the cluster's address in its environment, its account's token and the cluster's authority in
//! files, which the kubelet below replaces long before the token is over.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::object;
use crate::harness::skip;
use crate::harness::uid;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::Config;
use kube::api::DeleteParams;
use kube::api::PostParams;
use kube::config::AuthInfo;
use kube::config::Kubeconfig;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The file is read again every minute.
const TAKEN_UP: Duration = Duration::from_secs(90);

/// Gives the host files where pods have them; nobody else sees them there.
const POD: &str = r#"#!/bin/sh
exec unshare --mount --propagation private sh -euc '
    mount -t tmpfs tmpfs /run
    mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
    mount --bind "$ACCOUNT" /var/run/secrets/kubernetes.io/serviceaccount
    exec "$@"
' sh "$@"
"#;

/// A token of the host's account that is good as long as the Secret of this name is there.
async fn token(test: &Test, name: &str) -> String {
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), "outrigger-system");
    let name = format!("{}-{name}", test.id);
    let secret: Secret = object(json!({ "metadata": { "name": name } }));
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), "outrigger-system");
    let bound = json!({ "apiVersion": "v1", "kind": "Secret", "name": name, "uid": made.metadata.uid });
    let request: TokenRequest = object(json!({ "spec": { "audiences": [], "boundObjectRef": bound } }));
    let request = accounts
        .create_token_request("outrigger", &PostParams::default(), &request)
        .await
        .unwrap();
    request.status.unwrap().token.unwrap()
}

/// Waits until the API server no longer takes a token; what it has taken it remembers for ten seconds.
async fn is_refused(test: &Test, token: &str) {
    let file = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    config.auth_info = AuthInfo {
        token: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    let client = kube::Client::try_from(config).unwrap();
    let nodes: Api<Node> = Api::all(client);
    eventually(SOON, "the first token is refused", || async {
        match nodes.get(&test.node()).await {
            Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
            other => Err(format!("{:?}", other.map(|node| node.metadata.name))),
        }
    })
    .await;
}

fn put(directory: &Path, name: &str, content: &[u8]) {
    let beside = directory.join(format!("..{name}"));
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, directory.join(name)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_a_pod_has_what_pods_have_and_takes_up_new_tokens() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "in_cluster",
            "it needs tokens that can be revoked; run `make test-cluster`",
        );
    }
    if !rustix::process::geteuid().is_root() {
        return skip("in_cluster", "it mounts files where pods have them, which takes root");
    }
    let test = Test::new("in_cluster").await;
    let account = test.directory().join("account");
    std::fs::create_dir(&account).unwrap();
    let kubeconfig = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    let cluster = kubeconfig.clusters[0].cluster.clone().unwrap();
    let server: http::Uri = cluster.server.unwrap().parse().unwrap();
    let authority = match (cluster.certificate_authority_data, cluster.certificate_authority) {
        (Some(data), _) => STANDARD.decode(data).unwrap(),
        (None, file) => std::fs::read(file.unwrap()).unwrap(),
    };
    put(&account, "ca.crt", &authority);
    put(&account, "namespace", b"outrigger-system");
    let first_token = token(&test, "first").await;
    put(&account, "token", first_token.as_bytes());
    let pod = test.directory().join("pod");
    std::fs::write(&pod, POD).unwrap();
    std::fs::set_permissions(&pod, std::fs::Permissions::from_mode(0o700)).unwrap();
    let port = server.port_u16().unwrap_or(443).to_string();
    let environment = vec![
        ("ACCOUNT", account.clone()),
        ("KUBERNETES_SERVICE_HOST", PathBuf::from(server.host().unwrap())),
        ("KUBERNETES_SERVICE_PORT", PathBuf::from(port)),
    ];
    let mut host = test.start_through(&test.mock(json!({})).in_cluster(), &pod, environment);
    test.node_ready(&test.node()).await;
    test.create(test.pod("first", json!({}))).await;
    let first = test.running("first").await;

    put(&account, "token", token(&test, "second").await.as_bytes());
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), "outrigger-system");
    let name = format!("{}-first", test.id);
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    is_refused(&test, &first_token).await;
    test.create(test.pod("second", json!({}))).await;
    test.pod_until_within(TAKEN_UP, "second", "it runs", is_running).await;
    test.delete("first", None).await;
    test.gone("first", &uid(&first)).await;
    assert!(host.is_running());
    host.term();
    host.ends_with(0).await;
}
