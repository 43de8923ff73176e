//! The real control plane of `tests/controlplane`.

use super::artifacts;
use super::cluster::Cluster;
use super::cluster::Kind;
use super::cluster::scratch;
use super::wait::eventually;
use serde::Deserialize;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

/// From nothing, without a built binary in the cache.
const START: Duration = Duration::from_secs(900);

/// What the cluster says of itself in `cluster.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    ready: bool,
    kubeconfig: PathBuf,
    host_kubeconfig: PathBuf,
    kubectl: PathBuf,
    #[serde(rename = "kubeletClientCAFile")]
    kubelet_client_ca_file: PathBuf,
    network: Network,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    outside_address: Option<IpAddr>,
    node_proxy: bool,
    #[serde(default)]
    node_proxy_reason: Option<String>,
}

/// Starts it, to go when this process ends in whatever way: its supervisor watches the pipe that is kept here.
pub async fn start() -> Cluster {
    static SUPERVISOR: OnceLock<Child> = OnceLock::new();
    let (cluster, supervisor) = launch(&scratch("real"), &[]).await;
    assert!(SUPERVISOR.set(supervisor).is_ok(), "started twice");
    cluster
}

/// A control plane of one test, which may break it. It ends when this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    /// How to reach it. For as long as the process, though the cluster ends before.
    pub cluster: &'static Cluster,
    directory: PathBuf,
    supervisor: Child,
}

impl ControlPlane {
    /// Starts one.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// Starts one whose API server notes every request.
    pub async fn start_audited(name: &str) -> Self {
        Self::start_with(name, &["--audit"]).await
    }

    async fn start_with(name: &str, flags: &[&str]) -> Self {
        let directory = scratch(name);
        let (cluster, supervisor) = launch(&directory, flags).await;
        Self {
            cluster: Box::leak(Box::new(cluster)),
            directory,
            supervisor,
        }
    }

    /// What the API server has noted so far, a line for each stage of a request.
    pub fn audit_log(&self) -> String {
        let mut log = std::fs::read_to_string(self.directory.join("logs/audit.log")).unwrap();
        // The last one may be half written.
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        log
    }

    /// Kills a component (`kube-apiserver`, `etcd`) with signal 9 and waits until it is back.
    pub async fn crash(&self, component: &str) {
        self.call(&["restart", "--signal", "KILL"], component).await;
    }

    /// Keeps a copy of etcd's data, for which API server and etcd stop for a moment.
    pub async fn back_up(&self) {
        self.without_store("cp -a etcd etcd-backup").await;
    }

    /// Puts etcd's data back to what they were at the [backup](Self::back_up). All components begin anew: they are of one
    /// mind with their store.
    pub async fn restore(&self) {
        self.without_store("rm -r etcd && cp -a etcd-backup etcd").await;
        for component in ["kube-controller-manager", "kube-scheduler"] {
            self.crash(component).await;
        }
    }

    async fn without_store(&self, script: &str) {
        self.call(&["stop"], "kube-apiserver").await;
        self.call(&["stop"], "etcd").await;
        let copied = tokio::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(&self.directory)
            .status();
        assert!(copied.await.unwrap().success(), "{script}");
        self.call(&["start"], "etcd").await;
        self.call(&["start"], "kube-apiserver").await;
    }

    async fn call(&self, verb: &[&str], component: &str) {
        let output = tokio::process::Command::new(script())
            .args(verb)
            .arg("--dir")
            .arg(&self.directory)
            .arg(component)
            .output();
        let output = output.await.unwrap();
        assert!(
            output.status.success(),
            "unable to {verb:?} {component}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Gives a component one more flag and starts it anew with it.
    pub async fn add_flag(&self, component: &str, flag: &str) {
        let path = self.directory.join("flags").join(component);
        let mut flags = std::fs::read_to_string(&path).unwrap();
        flags.push_str(flag);
        flags.push('\n');
        std::fs::write(&path, flags).unwrap();
        self.crash(component).await;
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // The wait is the supervisor's own, which is bounded.
        let _ = self.supervisor.wait();
    }
}

fn script() -> PathBuf {
    artifacts::repository().join("tests/controlplane/cluster.sh")
}

async fn launch(directory: &Path, flags: &[&str]) -> (Cluster, Child) {
    let mut supervisor = Command::new(script())
        .args(["run", "--until-eof", "--dir"])
        .arg(directory)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = directory.join("cluster.json");
    let mut ended = None;
    let found = eventually(START, "the control plane is ready", || {
        ended = ended.or(supervisor.try_wait().unwrap());
        let description = match ended {
            Some(status) => Ok(Err(status)),
            None => read(&file).map(Ok),
        };
        std::future::ready(description)
    })
    .await;
    let description = found.unwrap_or_else(|status| panic!("the control plane did not start: {status}"));
    let cluster = Cluster {
        kind: Kind::Real,
        admin_kubeconfig: description.kubeconfig,
        host_kubeconfig: description.host_kubeconfig,
        kubectl: Some(description.kubectl),
        kubelet_client: Some(kubelet_client(&description.kubelet_client_ca_file)),
        kubelet_client_ca: Some(description.kubelet_client_ca_file),
        host_address: description
            .network
            .outside_address
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        no_node_proxy: match description.network.node_proxy {
            true => None,
            false => Some(description.network.node_proxy_reason.unwrap_or_default()),
        },
    };
    (cluster, supervisor)
}

/// Beside the authority, as `tests/controlplane/cluster/pki.go` has it.
fn kubelet_client(authority: &Path) -> (PathBuf, PathBuf) {
    let file = |end| authority.with_file_name(format!("apiserver-kubelet-client.{end}"));
    (file("crt"), file("key"))
}

fn read(file: &Path) -> Result<Description, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let description: Description = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    description
        .ready
        .then_some(description)
        .ok_or_else(|| "not ready yet".to_owned())
}
