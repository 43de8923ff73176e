//! The servers that are compared, each with two pods: `echo` answers what it is told and has a log, `process` runs commands
//! on this machine.

use crate::api::Client;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::Nodes;
use crate::process::Process;
use crate::process::Processes;
use crate::subject::HostFiles;
use crate::subject::Subject;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;

/// Lines of log that a container writes in a second: the most that the mock does.
pub const LOG_RATE: f64 = 1e6;
/// How long they are, without their times and ends.
pub const LOG_LINE: u64 = 256;

const RUNNING: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(20);
/// An exit code of `peer.sh`.
const NO_GO: i32 = 3;

/// Where a container is.
#[derive(Clone, Debug)]
pub struct Door {
    pub address: SocketAddr,
    /// `NAMESPACE/POD/CONTAINER`.
    pub container: String,
    /// The command that prints `echo` in a line and then answers what it is told.
    pub echo: &'static [&'static str],
    /// How its log begins.
    pub first_line: &'static str,
}

/// Of servers whose echo is no real command, and which prints what it was called.
const ECHO: &[&str] = &["echo"];
/// Of the mock, and of what is as it.
const FIRST_LINE: &str = "line 0 of main, run 0.";

/// A server that runs. It is killed when this is dropped.
pub struct Server {
    pub echo: Door,
    pub process: Door,
    pub log: Door,
    /// Bytes that are sent at a time, less where that takes long.
    pub bytes: u64,
    program: Program,
}

enum Program {
    Host(Subject),
    /// Ends with its standard input.
    Kubernetes(Child),
    /// Stays.
    Kubelet(Processes),
}

impl Server {
    /// The host with the mock plugin, on two nodes, since a provider either echoes or runs commands. Nodes and pods get names
    /// that begin with `name`.
    pub async fn host(
        name: &str,
        namespace: &str,
        cluster: &Cluster,
        host: &HostFiles,
        directory: &Path,
        admin: &Client,
        bytes: u64,
    ) -> Result<Self> {
        let kinds = [("echo", "echo"), ("process", "local-process")];
        let node = |(kind, _)| format!("{name}-{kind}");
        let config = json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "HostConfig",
            "cluster": { "kubeconfig": cluster.host_kubeconfig },
            "plugins": { "directories": [host.plugins] },
            "providers": kinds.map(|(kind, exec)| json!({
                "name": kind,
                "plugin": "mock",
                "config": {
                    "exec": exec,
                    "scratch": directory.join("scratch"),
                    "pods": { "logRate": LOG_RATE, "logLineBytes": LOG_LINE },
                },
            })),
            "nodes": kinds.map(|kind| json!({
                "name": node(kind), "provider": kind.0, "address": cluster.node_address, "port": 0,
            })),
            "kubelet": { "clientCAFile": client_authority(cluster) },
        });
        let command = host.command(&config, name, directory)?;
        let nodes = Nodes::named(name.to_owned(), kinds.map(node).to_vec());
        let watch = nodes.watch(admin).await?;
        let subject = Subject::launch(command, &nodes, watch, directory).await?;
        let [echo, process] = kinds.map(node);
        let echo = pod(admin, namespace, &echo, directory).await?;
        Ok(Self {
            log: echo.clone(),
            echo,
            bytes,
            process: pod(admin, namespace, &process, directory).await?,
            program: Program::Host(subject),
        })
    }

    /// The server on Kubernetes' own package.
    pub async fn kubernetes(binary: &Path, namespace: &str, cluster: &Cluster, bytes: u64) -> Result<Self> {
        let mut child = Command::new(binary)
            .arg("--client-ca")
            .arg(client_authority(cluster))
            .arg(format!("--log-rate={LOG_RATE}"))
            .arg(format!("--log-line-bytes={LOG_LINE}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(binary, error))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // The line comes once it listens; nothing comes from one that has failed.
            BufReader::new(stdout)
                .read_line(&mut line)
                .await
                .map_err(|error| failed(binary, error))?;
        }
        let address = line.trim_end().parse();
        let address = address.map_err(|_| failed(binary, "it did not say where it listens"))?;
        let door = |pod: &str| Door {
            address,
            container: format!("{namespace}/{pod}/main"),
            echo: ECHO,
            first_line: FIRST_LINE,
        };
        Ok(Self {
            echo: door("echo"),
            process: door("process"),
            log: door("echo"),
            bytes,
            program: Program::Kubernetes(child),
        })
    }

    /// A kubelet's node, which goes on when this ends.
    pub fn kubelet(echo: Door, log: Door, processes: Processes, bytes: u64) -> Self {
        Self {
            process: echo.clone(),
            echo,
            log,
            bytes,
            program: Program::Kubelet(processes),
        }
    }

    /// To measure it.
    pub fn processes(&self) -> Result<Processes> {
        match &self.program {
            Program::Kubelet(processes) => Ok(processes.clone()),
            Program::Host(subject) => Ok(subject.process()?.into()),
            Program::Kubernetes(child) => {
                let ended = || failed(Path::new("peer"), "it has ended");
                child.id().map(|id| Process(id).into()).ok_or_else(ended)
            }
        }
    }

    /// Ends it.
    pub async fn stop(self, admin: &Client) -> Result<()> {
        match self.program {
            Program::Host(subject) => subject.stop(admin).await,
            Program::Kubelet(_) => Ok(()),
            Program::Kubernetes(mut child) => {
                drop(child.stdin.take());
                let ended = child.wait().await;
                ended.map(drop).map_err(|error| failed(Path::new("peer"), error))
            }
        }
    }
}

/// A development cluster keeps it beside its kubeconfig.
fn client_authority(cluster: &Cluster) -> PathBuf {
    cluster.admin_kubeconfig.with_file_name("kubelet-client-ca.crt")
}

/// Makes a pod on a node, waits until it runs, and says where it is.
async fn pod(admin: &Client, namespace: &str, node: &str, directory: &Path) -> Result<Door> {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": node },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "containers": [{ "name": "main", "image": crate::generator::IMAGE }],
        },
    });
    admin.create("pods", &pods, Bytes::from(pod.to_string())).await?;
    let deadline = Instant::now() + RUNNING;
    let path = format!("{pods}/{node}");
    while admin
        .find(&path)
        .await?
        .is_none_or(|pod| pod["status"]["phase"] != "Running")
    {
        if Instant::now() > deadline {
            return Err(Error::Late {
                what: format!("pod {node} Running"),
                limit: RUNNING,
                log: directory.to_owned(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let found = admin.find(&format!("/api/v1/nodes/{node}")).await?.unwrap_or_default();
    Ok(Door {
        address: kubelet_address(&found).ok_or_else(|| Error::Malformed {
            what: format!("node {node}"),
            reason: "it does not say where its kubelet port is".to_owned(),
        })?,
        container: format!("{namespace}/{node}/main"),
        echo: ECHO,
        first_line: FIRST_LINE,
    })
}

fn kubelet_address(node: &Value) -> Option<SocketAddr> {
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64()?;
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let ip = internal["address"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

/// Builds the peer, where that wasn't done before.
pub async fn build_kubernetes() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer.sh");
    let built = Command::new(&script)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(&script, error))?;
    match built.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&built.stdout).trim().into()),
        Some(NO_GO) => Err(failed(
            &script,
            "there is no Go; install Go 1.26 or newer from https://go.dev/dl/",
        )),
        _ => Err(failed(&script, built.status)),
    }
}

pub(super) fn failed(program: &Path, reason: impl ToString) -> Error {
    Error::Program {
        program: program.display().to_string(),
        reason: reason.to_string(),
    }
}
