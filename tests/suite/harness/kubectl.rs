//! kubectl, as people use it.

use super::cluster::Cluster;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Longer than any command here takes.
const LIMIT: Duration = Duration::from_secs(120);

/// A kubectl of the administrator, in one namespace.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    cache: PathBuf,
}

/// Runs a command with this input to its end.
pub async fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let ended = async {
        let feeding = async {
            // Whoever reads no more has its reasons.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(feeding, child.wait_with_output());
        output.unwrap()
    };
    let ended = tokio::time::timeout(LIMIT, ended).await;
    ended.unwrap_or_else(|_| panic!("{command:?} did not end"))
}

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Kubectl {
    pub fn new(cluster: &Cluster, namespace: &str, cache: PathBuf) -> Option<Self> {
        Some(Self {
            program: cluster.kubectl.clone()?,
            kubeconfig: cluster.admin_kubeconfig.clone(),
            namespace: namespace.to_owned(),
            cache,
        })
    }

    /// A command that is not started yet; it is killed when its child is dropped.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(["--namespace", &self.namespace])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command to its end.
    pub async fn output(&self, args: &[&str]) -> Output {
        feed(self.command(args), b"").await
    }

    /// Runs a command given as words.
    pub async fn try_run(&self, words: &str) -> Printed {
        let args: Vec<&str> = words.split_whitespace().collect();
        let output = self.output(&args).await;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Printed {
            ok: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs a command that must succeed and returns what it printed.
    pub async fn run(&self, words: &str) -> String {
        let printed = self.try_run(words).await;
        assert!(printed.ok, "kubectl {words}: {}{}", printed.stdout, printed.stderr);
        printed.stdout
    }
}
