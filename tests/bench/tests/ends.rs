//! Nothing of a bench is left on somebody's machine or cluster, however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]

use outrigger_devcluster::DevCluster;
use outrigger_devcluster::Kind;
use outrigger_devcluster::Running;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);

struct Somewhere {
    cluster: Running,
    directory: TempDir,
}

impl Somewhere {
    async fn new() -> Self {
        Self {
            cluster: DevCluster::builder().start().await.unwrap(),
            directory: TempDir::new().unwrap(),
        }
    }

    /// A bench on a cluster that is not its own.
    fn bench(&self, arguments: &[&str]) -> Child {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_pod-churn"));
        bench.arg("--cluster").arg(self.cluster.kubeconfig());
        bench
            .arg("--dir")
            .arg(self.directory.path())
            .args(["--settle", "0", "--rounds", "1"]);
        bench
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// A peer whose nodes never become Ready: it does what it is told first, writes its process id to a file and waits.
    fn idler(&self, first: &str) -> (PathBuf, PathBuf) {
        let (program, pid) = (self.directory.path().join("idler"), self.directory.path().join("pid"));
        // Renamed into its place once the number is whole; asked for its version it ends.
        let text = format!(
            "#!/bin/sh\n[ \"$1\" != --version ] || exit 0\n{first}\necho $$ >{0}.next\nmv {0}.next {0}\nexec sleep 3600\n",
            pid.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        (program, pid)
    }

    /// Waits until the idler runs, and its nodes are there.
    async fn idles(&self, file: &Path) -> u32 {
        eventually("the peer runs", || {
            let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
            (self.cluster.count(Kind::Nodes) > 0).then_some(pid)
        })
        .await
    }

    fn has_nothing_of_a_bench(&self) {
        assert_eq!(self.cluster.list(Kind::Nodes, ""), Vec::<serde_json::Value>::new());
        assert_eq!(self.cluster.list(Kind::Leases, ""), Vec::<serde_json::Value>::new());
        for namespace in self.cluster.list(Kind::Namespaces, "") {
            let name = namespace["metadata"]["name"].as_str().unwrap();
            let goes = namespace["metadata"]["deletionTimestamp"].is_string();
            assert!(goes || !name.starts_with("bench-"), "{namespace}");
        }
    }
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn code_of(mut bench: Child) -> Option<i32> {
    let status = tokio::time::timeout(DEADLINE, bench.wait()).await;
    status.expect("the bench has to end").unwrap().code()
}

fn signal(bench: &Child, signal: Signal) {
    let pid = Pid::from_raw(bench.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Whether a process has ended; one that nobody has waited for yet has.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_subject_that_does_not_start_leaves_no_nodes() {
    let here = Somewhere::new().await;
    let program = here.directory.path().join("fails");
    std::fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let bench = here.bench(&["--only", "kwok", "--kwok", program.to_str().unwrap()]);
    assert_eq!(code_of(bench).await, Some(1));
    assert!(here.cluster.requests("POST", "nodes") > 0);
    here.has_nothing_of_a_bench();
}

#[tokio::test]
async fn a_bench_that_is_told_to_end_ends_what_it_waits_for() {
    let here = Somewhere::new().await;
    let (program, file) = here.idler(":");
    let bench = here.bench(&["--only", "kwok", "--kwok", program.to_str().unwrap()]);
    let peer = here.idles(&file).await;
    signal(&bench, Signal::INT);
    assert_eq!(code_of(bench).await, Some(130));
    assert!(has_ended(peer));
    here.has_nothing_of_a_bench();
}

#[tokio::test]
async fn a_bench_that_is_told_to_end_amid_a_round_tidies_up() {
    let here = Somewhere::new().await;
    let load = ["--pods", "1", "--steady-rate", "10", "--steady-seconds", "3600"];
    let bench = here.bench(&[&["--only", "ideal"], load.as_slice()].concat());
    eventually("pods come", || (here.cluster.count(Kind::Pods) > 0).then_some(())).await;
    signal(&bench, Signal::TERM);
    assert_eq!(code_of(bench).await, Some(143));
    here.has_nothing_of_a_bench();
}

#[tokio::test]
async fn subjects_end_with_a_bench_that_is_killed() {
    let here = Somewhere::new().await;
    let (program, file) = here.idler(":");
    let bench = here.bench(&["--only", "kwok", "--kwok", program.to_str().unwrap()]);
    let peer = here.idles(&file).await;
    signal(&bench, Signal::KILL);
    code_of(bench).await;
    eventually("the peer has ended", || has_ended(peer).then_some(())).await;
}

#[tokio::test]
async fn a_bench_that_is_told_twice_does_not_wait() {
    let here = Somewhere::new().await;
    let (program, file) = here.idler("trap '' TERM");
    let mut bench = here.bench(&["--only", "kwok", "--kwok", program.to_str().unwrap()]);
    let peer = here.idles(&file).await;
    let status = eventually("the bench has ended", || {
        let ended = bench.try_wait().unwrap();
        if ended.is_none() {
            signal(&bench, Signal::TERM);
        }
        ended
    });
    assert_eq!(status.await.code(), Some(143));
    assert!(
        here.cluster.count(Kind::Nodes) > 0,
        "it has not waited for the peer, and left them"
    );
    eventually("the peer has ended", || has_ended(peer).then_some(())).await;
}
