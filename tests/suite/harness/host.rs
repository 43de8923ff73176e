//! The host as a process.

use super::artifacts;
use super::config::HostConfig;
use super::wait::SOON;
use super::wait::eventually;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Child;
use tokio::process::Command;

/// A host that runs, or ran. It is killed when this is dropped.
#[derive(Debug)]
pub struct Host {
    config: PathBuf,
    log: PathBuf,
    environment: Environment,
    args: Vec<String>,
    through: Option<PathBuf>,
    child: Child,
}

/// Variables that a host is given besides those that everybody has.
pub type Environment = Vec<(&'static str, PathBuf)>;

impl Host {
    /// Starts a host in `directory`, where its files get names after `name`, with more arguments than its file, and these
    /// variables; `through` a program that is given the host's command line, and becomes it.
    pub fn start(
        directory: &Path,
        name: &str,
        config: &HostConfig,
        args: &[&str],
        environment: Environment,
        through: Option<&Path>,
    ) -> Self {
        let file = directory.join(format!("{name}.yaml"));
        std::fs::write(&file, config.yaml()).unwrap();
        let log = directory.join(format!("{name}.log"));
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self {
            child: spawn(&file, &log, &args, &environment, through),
            through: through.map(Path::to_owned),
            config: file,
            log,
            args,
            environment,
        }
    }

    /// Starts it again; it must have ended.
    pub fn start_again(&mut self) {
        let through = self.through.as_deref();
        self.child = spawn(&self.config, &self.log, &self.args, &self.environment, through);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the host has ended")
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Everything that it has logged, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it said more than once in the same words, at warning or worse, of what is in its log from this length on.
    pub fn complaints_made_twice(&self, from: usize) -> Vec<String> {
        let log = self.log();
        let mut said = BTreeMap::new();
        for line in log[from..].lines() {
            // The time stands first.
            let words = line.split_once(' ').map_or(line, |(_, words)| words.trim_start());
            if ["WARN", "ERROR"].iter().any(|level| words.starts_with(level)) {
                *said.entry(words.to_owned()).or_insert(0) += 1;
            }
        }
        said.into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(words, _)| words)
            .collect()
    }

    /// Waits until its log holds `text`.
    pub async fn logs(&self, text: &str) {
        let what = format!("the host logs {text:?}");
        eventually(SOON, &what, || async {
            self.log().contains(text).then_some(()).ok_or("it does not")
        })
        .await;
    }

    /// Ends it without a warning, and waits until it is gone.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end.
    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it as it is, as a machine that sleeps does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
        kill_process(pid.expect("the host has ended already"), signal).unwrap();
    }

    /// Waits for its end, which must have this exit code.
    pub async fn ends_with(&mut self, code: i32) {
        let status = tokio::time::timeout(SOON, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("the host did not end within {SOON:?}"))
            .unwrap();
        assert_eq!(status.code(), Some(code), "the host ended with {status}");
    }
}

fn spawn(config: &Path, log: &Path, args: &[String], environment: &Environment, through: Option<&Path>) -> Child {
    let log: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
    command(through)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .arg("run")
        .arg("--config")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Runs `outrigger` with these arguments to its end, which must come soon.
pub async fn run_to_end(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    const LIMIT: Duration = Duration::from_secs(30);
    let output = command(None).args(args).stdin(Stdio::null()).output();
    tokio::time::timeout(LIMIT, output)
        .await
        .expect("the command did not end")
        .unwrap()
}

fn command(through: Option<&Path>) -> Command {
    let program = artifacts::program("outrigger");
    let mut command = Command::new(through.unwrap_or(&program));
    if through.is_some() {
        command.arg(program);
    }
    command.kill_on_drop(true);
    // Nothing of the shell that the tests run in may count.
    for (name, _) in std::env::vars_os() {
        if name == "KUBECONFIG" || name.to_string_lossy().starts_with("OUTRIGGER_") {
            command.env_remove(name);
        }
    }
    command
}
