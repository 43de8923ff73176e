//! What the tests know of a client.

use crate::harness::Test;
use crate::harness::repository;
use crate::harness::skip;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// From nothing, with empty caches, on a machine that does other things as well.
const BUILD: Duration = Duration::from_secs(1800);

/// What it speaks with the API server, or with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Spdy,
    /// What a node understands in any case, and what it understands if it declares so.
    WebSocket,
    /// Only what a node has to declare.
    NewWebSocket,
}

/// A client of one kind and version, that speaks one protocol.
#[derive(Debug)]
pub struct Client {
    /// For people who read which one it was.
    pub name: String,
    pub program: PathBuf,
    /// Before all other arguments.
    pub args: Vec<OsString>,
    pub env: Vec<(&'static str, OsString)>,
    pub speaks: Speaks,
    /// It has `cp`, and flags of its own for the rest.
    pub is_kubectl: bool,
    /// It can end one direction of a connection to a port.
    pub half_close: bool,
    /// It goes to the node without an API server between.
    pub direct: bool,
}

impl Client {
    pub fn new(name: impl Into<String>, program: PathBuf, speaks: Speaks) -> Self {
        Self {
            name: name.into(),
            program,
            args: Vec::new(),
            env: Vec::new(),
            speaks,
            is_kubectl: false,
            half_close: true,
            direct: false,
        }
    }

    /// The same, straight to the node; `None` where the way there is not known.
    pub fn direct(self, test: &Test) -> Option<Self> {
        let Some((certificate, key)) = &test.cluster.kubelet_client else {
            skip(&self.name, "it is not known whom the nodes of this cluster let in");
            return None;
        };
        let mut env = self.env;
        env.push(("INTEROP_CERTIFICATE", certificate.into()));
        env.push(("INTEROP_KEY", key.into()));
        Some(Self {
            name: format!("{}, straight to the node", self.name),
            env,
            direct: true,
            ..self
        })
    }
}

/// Runs a script of `tests/interop` that builds something once and prints its path. Without the tools for that what needs it
/// is skipped.
pub async fn build(script: &str, args: &[&str]) -> Option<PathBuf> {
    let path = repository().join("tests/interop").join(script);
    let running = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(BUILD, running).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let what = [&[script], args].concat().join(" ");
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().into()),
        Some(3) => {
            skip(&what, &said);
            None
        }
        _ => panic!("{what} has failed: {said}"),
    }
}
