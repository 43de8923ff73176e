//! A host that runs as a pod does: the cluster's address in its environment, its account's token and the cluster's authority in
//! files, which the kubelet below replaces long before the token is over.

use crate::harness::BoundToken;
use crate::harness::Test;
use crate::harness::is_running;
use crate::harness::skip;
use crate::harness::uid;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
    let first_token = BoundToken::make(&test, "first").await;
    put(&account, "token", first_token.token.as_bytes());
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

    let second_token = BoundToken::make(&test, "second").await;
    put(&account, "token", second_token.token.as_bytes());
    first_token.revoke(&test).await;
    test.create(test.pod("second", json!({}))).await;
    test.pod_until_within(TAKEN_UP, "second", "it runs", is_running).await;
    test.delete("first", None).await;
    test.gone("first", &uid(&first)).await;
    assert!(host.is_running());
    host.term();
    host.ends_with(0).await;
}
