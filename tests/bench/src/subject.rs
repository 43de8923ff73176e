//! The programs that are compared: each answers the pods of its nodes.

use crate::api::Client;
use crate::bound;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::error::tidied;
use crate::fleet::NodeWatch;
use crate::fleet::Nodes;
use crate::interrupt;
use crate::kwok;
use crate::process::Process;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::Command;

/// A thousand nodes on a busy machine take a while.
const START: Duration = Duration::from_secs(300);
const END: Duration = Duration::from_secs(30);

/// Which program, and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The ideal responder.
    Ideal,
    /// `outrigger` with the mock plugin, as shipped.
    Host,
    /// The same without events.
    HostWithoutEvents,
    /// The host with a watch for each node, however many there are.
    HostWithOwnWatches,
    /// kwok, which fakes kubelets.
    Kwok,
}

impl Kind {
    /// For names of objects.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Ideal => "ideal",
            Self::Host => "host",
            Self::HostWithoutEvents => "quiet",
            Self::HostWithOwnWatches => "own",
            Self::Kwok => "kwok",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ideal => "ideal",
            Self::Host => "host",
            Self::HostWithoutEvents => "host, no events",
            Self::HostWithOwnWatches => "host, watches for each node",
            Self::Kwok => "kwok",
        }
    }

    /// Whether it is the host.
    pub fn is_host(self) -> bool {
        matches!(self, Self::Host | Self::HostWithoutEvents | Self::HostWithOwnWatches)
    }
}

/// Where the host's program and plugins are.
#[derive(Clone, Debug)]
pub struct HostFiles {
    pub binary: PathBuf,
    pub plugins: PathBuf,
    /// kwok's program, if it takes part.
    pub kwok: Option<PathBuf>,
}

impl HostFiles {
    /// Runs the host with this configuration, which is kept in `directory`.
    pub fn command(&self, config: &Value, name: &str, directory: &Path) -> Result<Command> {
        let path = directory.join(format!("{name}.yaml"));
        let text = serde_yaml::to_string(config).map_err(|error| Error::Malformed {
            what: "the host's configuration".to_owned(),
            reason: error.to_string(),
        })?;
        write(&path, &text)?;
        let mut command = bound::command(&self.binary)?;
        command.arg("run").arg("--config").arg(path).stdin(Stdio::null());
        Ok(command)
    }
}

/// A subject that runs. It is killed when this is dropped.
pub struct Subject {
    nodes: Nodes,
    log: PathBuf,
    child: Child,
    /// Held open: its end is the ideal responder's.
    stdin: Option<ChildStdin>,
}

impl Subject {
    /// Starts it and waits until its nodes are Ready. One that does not come so far leaves none of them.
    pub async fn start(
        kind: Kind,
        nodes: &Nodes,
        cluster: &Cluster,
        host: &HostFiles,
        directory: &Path,
        admin: &Client,
    ) -> Result<Self> {
        let watch = nodes.watch(admin).await?;
        let command = match kind {
            Kind::Ideal => ideal(nodes, cluster)?,
            Kind::Kwok => kwok::command(nodes, cluster, host, directory)?,
            Kind::Host | Kind::HostWithoutEvents | Kind::HostWithOwnWatches => {
                host.command(&config_of(kind, nodes, cluster, host), nodes.prefix(), directory)?
            }
        };
        let started = async {
            if kind == Kind::Kwok {
                kwok::register(nodes, cluster.node_address, admin).await?;
            }
            Self::launch(command, nodes, watch, directory).await
        };
        match started.await {
            Ok(subject) => Ok(subject),
            Err(error) => tidied(Err(error), nodes.remove(admin).await),
        }
    }

    /// Starts a program that brings these nodes, and waits until `watch`, which began before there was any of them, has seen
    /// all of them Ready. Where that fails it has ended.
    pub async fn launch(command: Command, nodes: &Nodes, mut watch: NodeWatch, directory: &Path) -> Result<Self> {
        let mut subject = Self::spawn(command, nodes, directory)?;
        let late = Error::Late {
            what: format!("{} Ready", nodes.title()),
            limit: START,
            log: subject.log.clone(),
        };
        let ready = tokio::select! {
            ready = tokio::time::timeout(START, watch.all_ready()) => ready.unwrap_or(Err(late)),
            error = subject.disturbed() => Err(error),
        };
        match ready {
            Ok(()) => Ok(subject),
            Err(error) => tidied(Err(error), subject.end().await),
        }
    }

    fn spawn(mut command: Command, nodes: &Nodes, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{}.log", nodes.prefix()));
        // Nothing of the shell that the bench runs in may count.
        for (name, _) in std::env::vars_os() {
            if name == "KUBECONFIG" || name.to_string_lossy().starts_with("OUTRIGGER_") {
                command.env_remove(name);
            }
        }
        let file = File::create(&log).map_err(|source| Error::File {
            verb: "create",
            path: log.clone(),
            source,
        })?;
        let copy = file.try_clone().map_err(|source| Error::File {
            verb: "open",
            path: log.clone(),
            source,
        })?;
        let mut child = command
            .stdout(copy)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Program {
                program: command.as_std().get_program().to_string_lossy().into_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            nodes: nodes.clone(),
            log,
            stdin: child.stdin.take(),
            child,
        })
    }

    /// Has something done while it runs, then ends it and takes its nodes out of the cluster, whatever has come of it.
    pub async fn during<T>(mut self, admin: &Client, work: impl AsyncFnOnce(Process) -> Result<T>) -> Result<T> {
        let outcome = match self.process() {
            Err(error) => Err(error),
            Ok(process) => tokio::select! {
                outcome = work(process) => outcome,
                error = self.disturbed() => Err(error),
            },
        };
        tidied(outcome, self.stop(admin).await)
    }

    /// To measure it.
    pub fn process(&self) -> Result<Process> {
        self.child.id().map(Process).ok_or_else(|| self.ended("it has ended"))
    }

    /// Waits for what no round outlives: its end, which nobody has asked for, or the bench being told to end.
    pub async fn disturbed(&mut self) -> Error {
        let status = tokio::select! {
            status = self.child.wait() => status,
            told = interrupt::told() => return told,
        };
        self.ended(&status.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }

    fn ended(&self, reason: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        Error::Program {
            program: format!("the subject of {}", self.nodes.title()),
            reason: format!(
                "{reason}; its last words: {}",
                tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
            ),
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end as an operator would.
    pub fn term(&mut self) {
        drop(self.stdin.take());
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) {
            // One that ended meanwhile needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it, then takes its nodes out of the cluster.
    pub async fn stop(mut self, admin: &Client) -> Result<()> {
        let ended = self.end().await;
        tidied(ended, self.nodes.remove(admin).await)
    }

    /// Ends it; one that takes too long is killed, since it would make its nodes again.
    async fn end(&mut self) -> Result<()> {
        self.term();
        if tokio::time::timeout(END, self.child.wait()).await.is_ok() {
            return Ok(());
        }
        let late = Error::Late {
            what: format!("the end of the subject of {}", self.nodes.title()),
            limit: END,
            log: self.log.clone(),
        };
        let killed = self.child.kill().await;
        tidied(Err(late), killed.map_err(|error| self.ended(&error.to_string())))
    }
}

fn ideal(nodes: &Nodes, cluster: &Cluster) -> Result<Command> {
    let own = std::env::current_exe().map_err(|error| Error::Program {
        program: "the ideal responder".to_owned(),
        reason: error.to_string(),
    })?;
    let mut command = Command::new(own);
    command
        .arg("ideal")
        .arg("--kubeconfig")
        .arg(&cluster.host_kubeconfig)
        .args(["--node", nodes.prefix(), "--address", &cluster.node_address.to_string()])
        // It ends with its input. As with the others, ctrl-C is for the bench.
        .process_group(0)
        .stdin(Stdio::piped());
    if let Some(count) = nodes.count() {
        command.args(["--count", &count.to_string()]);
    }
    Ok(command)
}

fn config_of(kind: Kind, nodes: &Nodes, cluster: &Cluster, host: &HostFiles) -> Value {
    let mut config = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "HostConfig",
        "cluster": { "kubeconfig": cluster.host_kubeconfig },
        "plugins": { "directories": [host.plugins] },
        "providers": [{ "name": "mock", "plugin": "mock" }],
        "nodes": [{ "name": nodes.prefix(), "provider": "mock", "address": cluster.node_address, "port": 0 }],
    });
    if let Some(count) = nodes.count() {
        config["nodes"][0]["count"] = json!(count);
        // A bench ends with many nodes: it is quicker if they leave by themselves.
        config["onShutdown"] = json!("deregister");
    }
    match kind {
        Kind::HostWithoutEvents => config["events"] = json!({ "enabled": false }),
        Kind::HostWithOwnWatches => config["cluster"]["watchesPerNodeUpTo"] = json!(10_000),
        Kind::Host | Kind::Ideal | Kind::Kwok => {}
    }
    config
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|source| Error::File {
        verb: "write",
        path: path.to_owned(),
        source,
    })
}
