//! The mock provider's external backend: what really became of the pods.

use super::artifacts;
use super::wait::SOON;
use super::wait::eventually;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::process::Command;

/// A backend process; it outlives hosts and ends when this is dropped.
#[derive(Debug)]
pub struct MockBackend {
    socket: PathBuf,
    child: Child,
}

/// What was asked of it since it began.
#[derive(Debug, Default, Deserialize)]
pub struct Counts {
    /// By UID, those that are gone as well.
    pub pods: BTreeMap<String, Count>,
    /// Who is there now, by UID.
    pub present: BTreeMap<String, Value>,
}

/// What was asked for one UID.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Count {
    /// Creates that made a pod.
    pub creates: u64,
    /// Updates of a pod that was there.
    pub updates: u64,
    /// Stops of a pod that was there.
    pub stops: u64,
    /// Removes of a pod that was there.
    pub removes: u64,
}

impl MockBackend {
    /// Starts one with its socket in `directory`.
    pub async fn start(directory: &Path) -> Self {
        let socket = directory.join("backend.sock");
        let log = File::create(directory.join("backend.log")).unwrap();
        let child = Command::new(artifacts::program("outrigger-mock-backend"))
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually(SOON, "the backend listens", || UnixStream::connect(&socket)).await;
        Self { socket, child }
    }

    /// The mock's config for it.
    pub fn config(&self) -> Value {
        json!({ "backend": { "kind": "external", "socket": self.socket } })
    }

    /// Stops it as it is: it answers nothing, and forgets nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
        kill_process(pid.expect("the backend has ended"), signal).unwrap();
    }

    /// What was asked so far.
    pub async fn counts(&self) -> Counts {
        let mut stream = BufReader::new(UnixStream::connect(&self.socket).await.unwrap());
        stream.write_all(b"{\"op\":\"counts\"}\n").await.unwrap();
        let mut line = String::new();
        // Changes of pods are told to everybody, and may come before the answer.
        loop {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "the backend hung up");
            let mut line: Value = serde_json::from_str(&line).unwrap();
            let counts = line["reply"]["outcome"]["Ok"]["counts"].take();
            if !counts.is_null() {
                return serde_json::from_value(counts).unwrap();
            }
        }
    }
}

impl Counts {
    /// That no pod was ever made twice.
    pub fn assert_made_once(&self) {
        for (uid, count) in &self.pods {
            assert!(
                count.creates <= 1,
                "pod {uid} was created {} times in the backend",
                count.creates
            );
            assert!(
                count.removes <= 1,
                "pod {uid} was removed {} times in the backend",
                count.removes
            );
        }
    }
}
