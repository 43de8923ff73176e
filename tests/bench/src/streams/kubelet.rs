//! A real kubelet on a real containerd as one more peer: `tests/oracle`, beside a control plane of its own.

use super::caller::Caller;
use super::server::Door;
use super::server::Server;
use super::server::failed;
use crate::api::Client;
use crate::churn::furnish;
use crate::cluster::Choice;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::process::Process;
use crate::process::Processes;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;

const NAMESPACE: &str = "bench-kubelet";
/// From nothing, without a built binary in the cache.
const START: Duration = Duration::from_secs(900);
const ASK_EVERY: Duration = Duration::from_millis(100);
const END: Duration = Duration::from_secs(60);
/// An exit code of `oracle.sh`, which has said why.
const IMPOSSIBLE: i32 = 3;
/// What it is sent at a time, at most: through a kubelet, containerd and its shim a gigabyte would take minutes.
const MOST: u64 = 128 << 20;
/// As the mock's lines of log, but for their numbers.
const LOG_LINE: usize = 255;

/// It, with its cluster. Ends with this process, in whatever way that ends.
pub struct Kubelet {
    pub version: String,
    pub caller: Caller,
    cluster: Cluster,
    supervisor: Child,
    processes: Processes,
    echo: Door,
    log: Door,
}

#[derive(Deserialize)]
struct Description {
    node: String,
    address: IpAddr,
    port: u16,
    image: String,
    processes: BTreeMap<String, u32>,
}

impl Kubelet {
    /// Starts it and its two pods; nothing, with a word to the user, where this machine can't run one.
    pub async fn start(directory: &Path) -> Result<Option<Self>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/oracle.sh");
        let run = |args: &[&str]| {
            let mut command = Command::new(&script);
            command.args(args).kill_on_drop(true);
            command
        };
        let built = run(&["build"]).stdout(Stdio::null()).status().await;
        match built.map_err(|error| failed(&script, error))?.code() {
            Some(0) => {}
            Some(IMPOSSIBLE) => {
                eprintln!("SKIPPED the kubelet: this machine can't run one, as was said above");
                return Ok(None);
            }
            _ => return Err(failed(&script, "it could not be built")),
        }
        let directory = directory.join("kubelet");
        std::fs::create_dir_all(&directory).map_err(|source| Error::File {
            verb: "create",
            path: directory.clone(),
            source,
        })?;
        let cluster = Cluster::open(&Choice::Real, None, &directory).await?;
        let beside = cluster.admin_kubeconfig.parent().unwrap_or(&directory).to_owned();
        let node = directory.join("node");
        let mut supervisor = run(&["run", "--until-eof"])
            .arg("--cluster")
            .arg(&beside)
            .arg("--dir")
            .arg(&node)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| failed(&script, error))?;
        let described = described(&mut supervisor, &node.join("oracle.json"), &script).await?;
        let admin = Client::connect(&cluster.admin_kubeconfig).await?;
        furnish(&admin, NAMESPACE, &directory).await?;
        let text = "x".repeat(LOG_LINE);
        let writes = format!("echo first; yes {text} | head -c {MOST}");
        let logs = node.join("logs");
        let door = async |name: &str, command: &[&str], phase: &str| {
            pod(&admin, &described, (name, command, phase), &logs).await
        };
        Ok(Some(Self {
            version: cluster.version(&admin).await?,
            caller: Caller::new(
                &beside.join("pki/apiserver-kubelet-client.crt"),
                &beside.join("pki/apiserver-kubelet-client.key"),
            )?,
            echo: door("echo", &[], "Running").await?,
            log: door("log", &["sh", "-c", &writes], "Succeeded").await?,
            processes: processes(&described),
            cluster,
            supervisor,
        }))
    }

    /// As the others are seen.
    pub fn server(&self, bytes: u64) -> Server {
        let (echo, log) = (self.echo.clone(), self.log.clone());
        Server::kubelet(echo, log, self.processes.clone(), bytes.min(MOST))
    }

    /// Takes it down.
    pub async fn end(mut self) -> Result<()> {
        drop(self.supervisor.stdin.take());
        let ended = tokio::time::timeout(END, self.supervisor.wait()).await;
        if !ended.is_ok_and(|status| status.is_ok()) {
            return Err(failed(Path::new("oracle.sh"), format!("it did not end within {END:?}")));
        }
        self.cluster.close().await
    }
}

async fn described(supervisor: &mut Child, file: &PathBuf, script: &Path) -> Result<Description> {
    let deadline = Instant::now() + START;
    loop {
        if let Ok(text) = std::fs::read(file) {
            return serde_json::from_slice(&text).map_err(|error| Error::Malformed {
                what: file.display().to_string(),
                reason: error.to_string(),
            });
        }
        if let Ok(Some(status)) = supervisor.try_wait() {
            return Err(failed(script, status));
        }
        if Instant::now() > deadline {
            return Err(failed(script, format!("it was not ready within {START:?}")));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The daemons, and what containerd runs for each pod.
fn processes(described: &Description) -> Processes {
    let mut all: Vec<u32> = described.processes.values().copied().collect();
    let field = |pid: u32, name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().to_owned())
    };
    // Orphans of the namespace that the daemons are in.
    let parent = all.first().and_then(|pid| field(*pid, "PPid:"));
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_shim = |pid: &u32| {
        field(*pid, "Name:").is_some_and(|name| name.starts_with("containerd-shim")) && field(*pid, "PPid:") == parent
    };
    all.extend(pids.filter(is_shim));
    Processes(all.into_iter().map(Process).collect())
}

/// Makes a pod with a command and waits until it has come so far.
async fn pod(
    admin: &Client,
    node: &Description,
    (name, command, phase): (&str, &[&str], &str),
    logs: &Path,
) -> Result<Door> {
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "nodeName": node.node,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "main", "image": node.image, "command": command }],
        },
    });
    admin.create("pods", &pods, Bytes::from(pod.to_string())).await?;
    let deadline = Instant::now() + START;
    let path = format!("{pods}/{name}");
    while admin
        .find(&path)
        .await?
        .is_none_or(|pod| pod["status"]["phase"] != phase)
    {
        if Instant::now() > deadline {
            return Err(Error::Late {
                what: format!("pod {name} {phase}"),
                limit: START,
                log: logs.to_owned(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(Door {
        address: SocketAddr::new(node.address, node.port),
        container: format!("{NAMESPACE}/{name}/main"),
        echo: &["sh", "-c", "echo echo; exec cat"],
        first_line: "first\n",
    })
}
