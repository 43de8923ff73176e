//! The host: a process of its own, as an operator would run it.

use crate::error::Error;
use outrigger_devcluster::Running;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The plugin's file.
pub const PLUGIN: &str = "liboutrigger_mock.so";
/// The virtual nodes: one entry of the configuration with a count of 2.
pub const NODES: [&str; 2] = ["demo-0", "demo-1"];

/// Longer than its own limit for an orderly end.
const END: Duration = Duration::from_secs(25);

/// A running host. It is killed when this is dropped.
pub struct Host {
    program: PathBuf,
    directory: PathBuf,
    child: Child,
}

impl Host {
    /// Starts it on a cluster, with its files in `directory`.
    pub fn start(directory: &Path, cluster: &Running) -> Result<Self, Error> {
        let built = built()?;
        let program = existing(built.join("outrigger"))?;
        existing(built.join(PLUGIN))?;
        let file = directory.join("host.yaml");
        let config = config(cluster, &built);
        let text = serde_yaml::to_string(&config).map_err(|source| Error::Manifest {
            path: file.clone(),
            source,
        })?;
        fs::write(&file, text).map_err(Error::Host)?;
        let log = File::create(directory.join("host.log")).map_err(Error::Host)?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(&file);
        // A ctrl-C of the terminal is for the demo, which ends the host before the cluster.
        command.process_group(0).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Error::Host)?)
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            // What is set for another host is not meant for this one.
            if name == "KUBECONFIG" || name.to_string_lossy().starts_with("OUTRIGGER_") {
                command.env_remove(name);
            }
        }
        let child = command.spawn().map_err(Error::Host)?;
        Ok(Self {
            program,
            directory: directory.to_owned(),
            child,
        })
    }

    /// The program that runs.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("host.log")
    }

    /// Waits until it ends by itself, which it should not.
    pub async fn ended(&mut self) -> Error {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Error::HostEnded {
            status,
            log: self.log(),
        }
    }

    /// Ends it in order, and in any case.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(END, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// The directory that this program was built into, where the others are.
fn built() -> Result<PathBuf, Error> {
    let this = std::env::current_exe().map_err(Error::Host)?;
    Ok(this.parent().unwrap_or(Path::new("/")).to_owned())
}

fn existing(path: PathBuf) -> Result<PathBuf, Error> {
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::NotBuilt(path))
    }
}

fn config(cluster: &Running, plugins: &Path) -> serde_json::Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "HostConfig",
        "cluster": { "kubeconfig": cluster.kubeconfig() },
        "plugins": { "directories": [plugins] },
        "providers": [{ "name": "mock", "plugin": "mock" }],
        "nodes": [{ "name": "demo", "count": NODES.len(), "provider": "mock", "port": 0 }],
        "kubelet": { "listen": "127.0.0.1", "clientCAFile": cluster.files().kubelet_client_ca() },
    })
}
