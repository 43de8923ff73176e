//! Nodes that act with certificates of their own, under the Node authorizer and NodeRestriction: requested with a
//! bootstrap token, kept, and replaced before they expire. And a host whose credentials expired before they were renewed, or
//! come from a program.

use crate::harness::BoundToken;
use crate::harness::ControlPlane;
use crate::harness::Proxy;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::object;
use crate::harness::signed_certificate;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

const TOKEN_ID: &str = "4utrgr";
const TOKEN_SECRET: &str = "0123456789abcdef";
/// So that they are replaced while the test looks on.
const LIFE: &str = "60s";
const RENEWED: Duration = Duration::from_secs(120);

/// Makes a token of somebody who may only request certificates for nodes.
async fn make_token(test: &Test) {
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), "kube-system");
    let token: Secret = object(json!({
        "metadata": { "name": format!("bootstrap-token-{TOKEN_ID}") },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": TOKEN_ID, "token-secret": TOKEN_SECRET, "usage-bootstrap-authentication": "true",
        },
    }));
    secrets.create(&PostParams::default(), &token).await.unwrap();
}

/// A kubeconfig with that token, and the way to the API server of another one.
fn bootstrap_kubeconfig(test: &Test, way: &Path) -> PathBuf {
    let mut file = Kubeconfig::read_from(way).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(object(json!({ "token": format!("{TOKEN_ID}.{TOKEN_SECRET}") })));
    }
    let path = test.directory().join("bootstrap.kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&file).unwrap()).unwrap();
    path
}

/// Runs a pod on a node, reads its log the long way, and deletes it.
async fn a_pods_life(test: &Test, name: &str, node: &str) {
    let pod = test
        .create(test.pod(name, json!({ "spec": { "nodeName": node } })))
        .await;
    test.pod_until(name, "it runs", is_running).await;
    if let Some(kubectl) = test.kubectl() {
        let printed = kubectl.try_run(&format!("logs {name}")).await;
        assert!(printed.ok, "{}", printed.stderr);
    }
    test.delete(name, None).await;
    test.gone(name, &uid(&pod)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_get_keep_and_renew_certificates_of_their_own() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "identity",
            "it needs a real signer and Node authorizer; run `make test-cluster`",
        );
    }
    let plane = ControlPlane::start("identity").await;
    plane
        .add_flag("kube-controller-manager", &format!("--cluster-signing-duration={LIFE}"))
        .await;
    let test = Test::on(plane.cluster, "identity").await;
    let certificates = test.directory().join("pki");
    make_token(&test).await;
    let (proxy, detour) = Proxy::detour(&test, true).await;
    let nodes = ["a", "b"].map(|suffix| format!("{}-{suffix}", test.id));
    let mut config = test.config().mock("mock", json!({})).with(json!({ "cluster": {
        "kubeconfig": bootstrap_kubeconfig(&test, &detour), "id": test.id, "nodeCertificates": certificates,
    }}));
    for node in &nodes {
        config = config.node(node, "mock", json!({}));
    }
    let mut host = test.start(&config);
    for (number, node) in nodes.iter().enumerate() {
        test.node_ready(node).await;
        a_pods_life(&test, &format!("first-{number}"), node).await;
        let file = std::fs::metadata(certificates.join(format!("{node}.pem"))).unwrap();
        assert_eq!(
            file.permissions().mode() & 0o777,
            0o600,
            "others may read the key of {node}"
        );
    }

    // The way to the API server changes, and with the host's its nodes go it.
    bootstrap_kubeconfig(&test, &test.cluster.host_kubeconfig);
    host.logs("credentials have changed, going on with the new ones").await;
    proxy.set_open(false);
    for (number, node) in nodes.iter().enumerate() {
        a_pods_life(&test, &format!("moved-{number}"), node).await;
    }

    // Somebody else brings a certificate, after one that is of no use.
    let file = certificates.join(format!("{}.pem", nodes[0]));
    let put = |pem: String| {
        let beside = file.with_extension("put");
        std::fs::write(&beside, pem).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    put("nonsense".to_owned());
    host.logs("unable to use the node's changed certificate, keeping the old one")
        .await;
    a_pods_life(&test, "kept", &nodes[0]).await;
    let (signer, user) = (
        "kubernetes.io/kube-apiserver-client-kubelet",
        format!("system:node:{}", nodes[0]),
    );
    let pair = signed_certificate(&test, signer, "client auth", &user, "system:nodes").await;
    put(format!("{}{}", pair.0, pair.1));
    host.logs("node's certificate has changed on disk, going on with the new one")
        .await;
    a_pods_life(&test, "brought", &nodes[0]).await;

    // From here on the host has nothing but what it was given.
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), "kube-system");
    let token = format!("bootstrap-token-{TOKEN_ID}");
    secrets.delete(&token, &DeleteParams::default()).await.unwrap();
    let requests: Api<CertificateSigningRequest> = Api::all(test.client.clone());
    for node in &nodes {
        let by_itself = format!("system:node:{node}");
        eventually(RENEWED, &format!("{node} has renewed its certificate"), || async {
            let all = requests
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let issued = |request: &CertificateSigningRequest| {
                request.spec.username.as_ref() == Some(&by_itself)
                    && request
                        .status
                        .as_ref()
                        .is_some_and(|status| status.certificate.is_some())
            };
            let users: Vec<_> = all.iter().map(|request| request.spec.username.clone()).collect();
            all.iter()
                .any(issued)
                .then_some(())
                .ok_or_else(|| format!("requested so far: {users:?}"))
        })
        .await;
        a_pods_life(&test, "second", node).await;
    }

    host.kill9().await;
    host.start_again();
    a_pods_life(&test, "third", &nodes[0]).await;
    assert!(!host.log().contains("PRIVATE KEY"), "a key is in the log");
    assert!(!host.log().contains(TOKEN_SECRET), "the token is in the log");
}

/// A kubeconfig that names a certificate and a key in files.
fn kubeconfig_with_files(test: &Test, certificate: &Path, key: &Path) -> PathBuf {
    let mut file = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(object(json!({ "client-certificate": certificate, "client-key": key })));
    }
    let path = test.directory().join("files.kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&file).unwrap()).unwrap();
    path
}

/// Puts a new certificate of the host's account in place, as whoever renews one does it: by a rename.
async fn renew(test: &Test, certificate: &Path, key: &Path) {
    let (user, group) = (
        "system:serviceaccount:outrigger-system:outrigger",
        "system:serviceaccounts",
    );
    let signer = "kubernetes.io/kube-apiserver-client";
    let pair = signed_certificate(test, signer, "client auth", user, group).await;
    for (path, pem) in [(key, pair.1), (certificate, pair.0)] {
        let beside = path.with_extension("new");
        std::fs::write(&beside, pem).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_expired_and_are_renewed_on_disk_are_taken_up() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "identity_expired",
            "it needs a real signer, and certificates that expire; run `make test-cluster`",
        );
    }
    let plane = ControlPlane::start("expired").await;
    plane
        .add_flag("kube-controller-manager", &format!("--cluster-signing-duration={LIFE}"))
        .await;
    let test = Test::on(plane.cluster, "expired").await;
    let backend = test.backend().await;
    let (certificate, key) = (test.directory().join("host.crt"), test.directory().join("host.key"));
    renew(&test, &certificate, &key).await;
    let kubeconfig = kubeconfig_with_files(&test, &certificate, &key);
    let config = test
        .mock(backend.config())
        .with(json!({ "cluster": { "kubeconfig": kubeconfig } }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("before", json!({}))).await;
    test.running("before").await;

    // Nobody renews it in time.
    eventually(RENEWED, "the host is nobody any more", || async {
        host.log().contains("unauthorized: ").then_some(()).ok_or("it is not")
    })
    .await;
    let meanwhile = test.create(test.pod("meanwhile", json!({}))).await;
    test.delete("before", None).await;
    assert!(!is_running(&meanwhile));

    renew(&test, &certificate, &key).await;
    test.running("meanwhile").await;
    let before = test.pods().get_opt("before").await.unwrap();
    if let Some(before) = before {
        test.gone("before", &uid(&before)).await;
    }
    assert!(host.is_running());
    assert!(!host.log().contains("PRIVATE KEY"), "a key is in the log");
    let counts = backend.counts().await;
    counts.assert_made_once();
}

/// A kubeconfig whose credentials are given by a program: what is in a file, for twenty seconds.
fn kubeconfig_with_program(test: &Test, token: &Path, runs: &Path) -> PathBuf {
    let script = format!(
        r#"echo >> {}; printf '{{"status":{{"token":"%s","expirationTimestamp":"%s"}}}}' "$(cat {})" "$(date -u -d '+20 seconds' +%FT%TZ)""#,
        runs.display(),
        token.display(),
    );
    let exec = json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script] });
    let mut file = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(object(json!({ "exec": exec })));
    }
    let path = test.directory().join("exec.kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&file).unwrap()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_plugin_is_run_once_for_all_and_again_before_its_tokens_end() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "identity_program",
            "it needs tokens that can be revoked; run `make test-cluster`",
        );
    }
    let test = Test::new("program").await;
    let (file, runs) = (test.directory().join("token"), test.directory().join("runs"));
    let first = BoundToken::make(&test, "first").await;
    std::fs::write(&file, &first.token).unwrap();
    let times = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();

    let kubeconfig = kubeconfig_with_program(&test, &file, &runs);
    let backend = test.backend().await;
    let config = test
        .mock(backend.config())
        .with(json!({ "cluster": { "kubeconfig": kubeconfig } }));
    let began = Instant::now();
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    a_pods_life(&test, "before", &test.node()).await;
    // Three quarters of the twenty seconds have to pass before it is asked again, less what the date is cut by.
    let allowed = 1 + usize::try_from(began.elapsed().as_secs() / 14).unwrap();
    assert!(times() <= allowed, "{} runs in {:?}", times(), began.elapsed());

    let second = BoundToken::make(&test, "second").await;
    std::fs::write(&file, &second.token).unwrap();
    let before = times();
    eventually(RENEWED, "it is asked again", || async {
        (times() > before).then_some(()).ok_or(times())
    })
    .await;
    first.revoke(&test).await;
    a_pods_life(&test, "with-the-second", &test.node()).await;

    // And where a token ends before its time.
    let third = BoundToken::make(&test, "third").await;
    std::fs::write(&file, &third.token).unwrap();
    second.revoke(&test).await;
    a_pods_life(&test, "with-the-third", &test.node()).await;

    assert!(host.is_running());
    for bound in [first, second, third] {
        assert!(!host.log().contains(&bound.token), "a token is in the log");
    }
    backend.counts().await.assert_made_once();
}
