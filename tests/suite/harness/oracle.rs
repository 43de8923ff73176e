//! A real kubelet beside the real control plane, see `tests/oracle`.

use super::artifacts;
use super::cluster::Cluster;
use super::cluster::Kind;
use super::cluster::scratch;
use super::skip::skip;
use super::wait::eventually;
use serde::Deserialize;
use std::future::ready;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use tokio::sync::OnceCell;

/// From nothing, without a built binary in the cache.
const START: Duration = Duration::from_secs(900);
/// The script's, and the program's, for a machine that can't.
const IMPOSSIBLE: i32 = 3;

/// The kubelet's node, for as long as this process.
#[derive(Debug)]
pub struct Oracle {
    /// Its name.
    pub node: String,
    /// It watches the pipe that is kept here, and takes the node down when that ends, however that comes about.
    _supervisor: Child,
}

#[derive(Deserialize)]
struct Description {
    node: String,
}

impl Oracle {
    /// The one of this run, started when it is first asked for. Where there can't be one the test is skipped.
    pub async fn get(test: &str) -> Option<&'static Self> {
        static ORACLE: OnceCell<Result<Oracle, String>> = OnceCell::const_new();
        let cluster = Cluster::get().await;
        let found = ORACLE.get_or_init(|| async {
            match (cluster.kind, &cluster.no_node_proxy) {
                (Kind::Real, None) if version(true).await != version(false).await => {
                    Err("what differs is known of the newest kubelet only: unset CLUSTER_VERSION".to_owned())
                }
                (Kind::Real, None) => start(cluster).await,
                (Kind::Real, Some(reason)) => Err(reason.clone()),
                _ => Err("a kubelet needs the real control plane: OUTRIGGER_TEST_CLUSTER=real".to_owned()),
            }
        });
        match found.await {
            Ok(oracle) => Some(oracle),
            Err(reason) => {
                skip(test, reason);
                None
            }
        }
    }
}

/// The version of Kubernetes that is asked for, or the pinned one.
async fn version(pinned: bool) -> Vec<u8> {
    let script = artifacts::repository().join("tests/controlplane/cluster.sh");
    let mut command = tokio::process::Command::new(script);
    if pinned {
        command.env_remove("CLUSTER_VERSION");
    }
    command.arg("version").output().await.unwrap().stdout
}

async fn start(cluster: &Cluster) -> Result<Oracle, String> {
    let script = artifacts::repository().join("tests/oracle/oracle.sh");
    let built = tokio::process::Command::new(&script)
        .arg("build")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr).trim().to_owned();
    match built.status.code() {
        Some(0) => {}
        Some(IMPOSSIBLE) => return Err(said),
        _ => panic!("unable to build a kubelet: {said}"),
    }
    let directory = scratch("oracle");
    let mut supervisor = Command::new(script)
        .args(["run", "--until-eof", "--cluster"])
        .arg(cluster.admin_kubeconfig.parent().unwrap())
        .arg("--dir")
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = directory.join("oracle.json");
    let mut ended = None;
    let started = eventually(START, "the kubelet's node is ready", || {
        ended = ended.or(supervisor.try_wait().unwrap());
        ready(match ended {
            Some(status) => Ok(Err(status)),
            None => read(&file).map(Ok),
        })
    });
    match started.await {
        Ok(description) => Ok(Oracle {
            node: description.node,
            _supervisor: supervisor,
        }),
        Err(status) if status.code() == Some(IMPOSSIBLE) => {
            Err("this machine can't run a kubelet, which has said above what it lacks".to_owned())
        }
        Err(status) => panic!(
            "the kubelet's node did not start: {status}; see {}",
            directory.display()
        ),
    }
}

fn read(file: &Path) -> Result<Description, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}
