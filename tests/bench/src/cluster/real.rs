//! The control plane of `tests/controlplane`.

use super::Cluster;
use super::failed;
use crate::error::Error;
use crate::error::Result;
use crate::process::Process;
use serde::Deserialize;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// From nothing, without a built binary in the cache.
const START: Duration = Duration::from_secs(900);
const ASK_EVERY: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    ready: bool,
    kubeconfig: PathBuf,
    host_kubeconfig: PathBuf,
    network: Network,
    components: Components,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    outside_address: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Components {
    #[serde(rename = "kube-apiserver")]
    server: Component,
}

#[derive(Deserialize)]
struct Component {
    pid: u32,
}

/// Starts one that goes with this process, in whatever way that ends: its supervisor reads a pipe that is held here.
pub(super) async fn start(directory: &Path) -> Result<Cluster> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/cluster.sh");
    let directory = directory.join("controlplane");
    let mut supervisor = Command::new(&script)
        .args(["run", "--until-eof", "--dir"])
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| failed(&script, error))?;
    let file = directory.join("cluster.json");
    let deadline = Instant::now() + START;
    loop {
        match read(&file) {
            Ok(mut cluster) => {
                cluster.owned = Some(supervisor);
                return Ok(cluster);
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
        if let Ok(Some(status)) = supervisor.try_wait() {
            return Err(failed(&script, status));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// One that runs already, by its `cluster.json`.
pub(super) fn read(file: &Path) -> Result<Cluster> {
    let text = std::fs::read(file).map_err(|source| Error::File {
        verb: "read",
        path: file.to_owned(),
        source,
    })?;
    let malformed = |reason: String| Error::Malformed {
        what: file.display().to_string(),
        reason,
    };
    let description: Description = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    if !description.ready {
        return Err(malformed("the control plane is not ready".to_owned()));
    }
    Ok(Cluster {
        name: "control plane".to_owned(),
        admin_kubeconfig: description.kubeconfig,
        host_kubeconfig: description.host_kubeconfig,
        node_address: description
            .network
            .outside_address
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        server: Some(Process(description.components.server.pid)),
        owned: None,
    })
}
