//! The embedded development cluster, in this process.

use super::cluster::Cluster;
use super::cluster::Kind;
use super::cluster::kubectl_of_path;
use super::cluster::scratch;
use outrigger_devcluster::DevCluster;
use outrigger_devcluster::Running;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use tokio::runtime::Runtime;

/// Clusters outlive the runtimes of the tests.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(2)
            .thread_name("devcluster")
            .enable_all()
            .build()
            .unwrap()
    })
}

/// The cluster that the tests share.
pub async fn shared() -> Cluster {
    static RUNNING: OnceLock<Running> = OnceLock::new();
    let (cluster, running) = start("shared").await;
    assert!(RUNNING.set(running).is_ok(), "started twice");
    cluster
}

/// A cluster for one test, and its switches for faults.
pub async fn own(name: &str) -> (&'static Cluster, Running) {
    let (cluster, running) = start(name).await;
    (Box::leak(Box::new(cluster)), running)
}

async fn start(name: &str) -> (Cluster, Running) {
    let starting = DevCluster::builder().dir(scratch(&format!("dev-{name}"))).start();
    let running = runtime().spawn(starting).await.unwrap();
    let running = running.unwrap_or_else(|error| panic!("unable to start a development cluster: {error:?}"));
    let cluster = Cluster {
        kind: Kind::Dev,
        admin_kubeconfig: running.kubeconfig(),
        // It has no RBAC: everybody may do everything.
        host_kubeconfig: running.kubeconfig(),
        kubectl: kubectl_of_path(),
        kubelet_client_ca: Some(running.files().kubelet_client_ca()),
        kubelet_client: Some((
            running.files().kubelet_client_certificate(),
            running.files().kubelet_client_key(),
        )),
        host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        no_node_proxy: None,
    };
    (cluster, running)
}
