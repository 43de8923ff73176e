//! The real metrics-server as a process beside a real API server, which serves its API through it.

use super::artifacts;
use super::kubectl::Kubectl;
use super::test::Test;
use super::wait::eventually;
use serde_json::Value;
use serde_json::json;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;

/// As it is called in the cluster. There is one of it, as of the API that it serves.
const NAME: &str = "outrigger-metrics-server";
const API: &str = "v1beta1.metrics.k8s.io";

/// From nothing, without a built binary in the cache.
const BUILD: Duration = Duration::from_secs(1800);
const MINUTE: Duration = Duration::from_secs(60);

/// Held while the cluster has an API that may not answer, and by who needs all APIs to answer: namespaces go only then.
static APIS: Mutex<()> = Mutex::const_new(());

/// Waits until all APIs of the cluster answer, which they do until what is returned is dropped.
pub async fn all_apis() -> MutexGuard<'static, ()> {
    APIS.lock().await
}

/// It ends when this is dropped, and takes its API out of the cluster before: whoever lists what the API server has would
/// find an API that does not answer.
#[derive(Debug)]
pub struct MetricsServer {
    _api: Api,
    _child: Child,
    _turn: MutexGuard<'static, ()>,
}

/// Its API in the cluster; dropped first, also when the rest did not come about.
#[derive(Debug)]
struct Api {
    removal: std::process::Command,
}

impl MetricsServer {
    /// Starts one that scrapes all nodes as a ServiceAccount with the rights that its own manifests give it, and waits until
    /// the API server has taken up its API.
    pub async fn start(test: &Test, kubectl: &Kubectl) -> Self {
        let turn = APIS.lock().await;
        let address = test.cluster.host_address;
        let port = free_port(address).await;
        let api = Api::new(kubectl);
        let own = list(&objects(&test.id, address, port));
        let of_others = list(&json!([reader(&test.id)]));
        for (namespace, objects) in [(test.id.as_str(), own), ("kube-system", of_others)] {
            let manifest = test.directory().join(format!("metrics-server-{namespace}.json"));
            std::fs::write(&manifest, objects.to_string()).unwrap();
            let apply = format!("apply --namespace {namespace} -f {}", manifest.display());
            kubectl.run(&apply).await;
        }
        let token = kubectl.run(&format!("create token {NAME}")).await;
        let kubeconfig = kubeconfig(test, token.trim());
        let log = File::create(test.directory().join("metrics-server.log")).unwrap();
        let mut child = Command::new(program().await)
            .args(
                [
                    "--kubeconfig",
                    "--authentication-kubeconfig",
                    "--authorization-kubeconfig",
                ]
                .map(|flag| {
                    let path = kubeconfig.display();
                    format!("{flag}={path}")
                }),
            )
            .arg(format!(
                "--cert-dir={}",
                test.directory().join("metrics-server").display()
            ))
            .arg(format!("--bind-address={address}"))
            .arg(format!("--secure-port={port}"))
            // The nodes of a host sign their certificates themselves.
            .arg("--kubelet-insecure-tls")
            .arg("--kubelet-use-node-status-port")
            .arg("--kubelet-preferred-address-types=InternalIP")
            // The least that it takes, and a limit for requests that is below it.
            .args(["--metric-resolution=10s", "--kubelet-request-timeout=9s"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually(MINUTE, "the API server passes the metrics API on", || {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "the metrics-server has ended");
            async {
                let condition = "jsonpath={.status.conditions[*].status}: {.status.conditions[*].message}";
                let args = ["get", "apiservice", API, "-o", condition];
                let told = kubectl.output(&args).await.stdout;
                let told = String::from_utf8_lossy(&told).into_owned();
                if told.starts_with("True") { Ok(()) } else { Err(told) }
            }
        })
        .await;
        Self {
            _api: api,
            _child: child,
            _turn: turn,
        }
    }
}

impl Api {
    fn new(kubectl: &Kubectl) -> Self {
        let delegator = format!("clusterrolebinding/{NAME}-delegator");
        let own = ["clusterrole", "clusterrolebinding"].map(|kind| format!("{kind}/{NAME}"));
        let mut removal = kubectl
            .command(&["delete", "--ignore-not-found", "--wait=false"])
            .into_std();
        removal.arg(format!("apiservice/{API}")).args(own).arg(delegator);
        Self { removal }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        match self.removal.output() {
            Ok(output) if output.status.success() => {}
            output => eprintln!("unable to take the metrics API out of the cluster: {output:?}"),
        }
    }
}

/// Nobody else takes it in the moment until it is used, since the kernel gives such ports in turn.
async fn free_port(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn program() -> PathBuf {
    let script = artifacts::repository().join("tests/controlplane/metrics-server.sh");
    let build = Command::new(script)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let built = tokio::time::timeout(BUILD, build).await.unwrap().unwrap();
    assert!(built.status.success(), "unable to build the metrics-server");
    String::from_utf8(built.stdout).unwrap().trim().into()
}

/// The administrator's, with the token for a credential.
fn kubeconfig(test: &Test, token: &str) -> PathBuf {
    let mut file = kube::config::Kubeconfig::read_from(&test.cluster.admin_kubeconfig).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(super::test::object(json!({ "token": token })));
    }
    let path = test.directory().join("metrics-server.kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&file).unwrap()).unwrap();
    path
}

fn objects(namespace: &str, address: IpAddr, port: u16) -> Value {
    let rbac = "rbac.authorization.k8s.io/v1";
    json!([
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": NAME } },
        {
            "apiVersion": rbac, "kind": "ClusterRole", "metadata": { "name": NAME },
            "rules": [
                { "apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"] },
                { "apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"] },
            ],
        },
        {
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": NAME },
            "roleRef": role("ClusterRole", NAME), "subjects": subject(namespace),
        },
        {
            "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": format!("{NAME}-delegator") },
            "roleRef": role("ClusterRole", "system:auth-delegator"), "subjects": subject(namespace),
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME },
            "spec": { "ports": [{ "port": port }] },
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": NAME, "labels": { "kubernetes.io/service-name": NAME } },
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "ports": [{ "port": port }],
            "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": API },
            "spec": {
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "insecureSkipTLSVerify": true, "service": { "name": NAME, "namespace": namespace, "port": port },
            },
        },
    ])
}

/// What it reads to know whom the API server speaks for.
fn reader(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": NAME },
        "roleRef": role("Role", "extension-apiserver-authentication-reader"), "subjects": subject(namespace),
    })
}

fn subject(namespace: &str) -> Value {
    json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": namespace }])
}

fn role(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

fn list(items: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}
