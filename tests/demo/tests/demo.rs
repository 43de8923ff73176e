//! `make demo`, from its first line to ctrl-C.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this is a test"
)]

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::{Client, Config};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longer than the demo waits itself.
const LIMIT: Duration = Duration::from_secs(90);

/// What the demo needs beside it, brought up to date, unless somebody has just done that (see `tests/suites.sh`).
fn build() {
    if std::env::var_os("OUTRIGGER_SUITE_PREBUILT").is_some() {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--package",
        "outrigger",
        "--package",
        "outrigger-mock",
    ]);
    if Path::new(env!("CARGO_BIN_EXE_demo"))
        .parent()
        .unwrap()
        .ends_with("release")
    {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(status.success(), "unable to build the host and its plugin");
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap()
}

/// The process whose command line names this file.
fn user_of(file: &Path) -> Option<Pid> {
    let file = file.to_str().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0)
            .any(|word| word == file.as_bytes())
            .then(|| Pid::from_raw(pid))?
    })
}

#[tokio::test]
async fn it_shows_everything_and_leaves_nothing() {
    tokio::task::spawn_blocking(build).await.unwrap();
    let workloads = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/demo");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"))
        .arg(workloads)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut shown = String::new();
    let kubeconfig: PathBuf = loop {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await;
        let line = line
            .unwrap_or_else(|_| panic!("the demo is too slow:\n{shown}"))
            .unwrap();
        let line = line.unwrap_or_else(|| panic!("the demo has ended:\n{shown}"));
        shown = format!("{shown}{line}\n");
        if let Some(path) = line.trim().strip_prefix("export KUBECONFIG=") {
            break path.into();
        }
    };
    for expected in [
        "demo-0  Ready",
        "demo-1  Ready",
        "Running",
        "Error (3)",
        "Completed (0)",
        "log of web-",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
    }

    let config = Kubeconfig::read_from(&kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &Default::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(nodes.items.len(), 2);
    let web = ListParams::default().labels("app=web");
    let pods = Api::<Pod>::default_namespaced(client).list(&web).await.unwrap();
    assert_eq!(pods.items.len(), 3);

    let directory = kubeconfig.parent().unwrap();
    let host = user_of(&directory.join("host.yaml")).expect("a host runs");
    kill_process(pid(&demo), Signal::INT).unwrap();
    let status = tokio::time::timeout(LIMIT, demo.wait())
        .await
        .expect("ctrl-C ends the demo")
        .unwrap();
    assert!(status.success(), "the demo ended with {status}");
    assert!(test_kill_process(host).is_err(), "the host has outlived the demo");
    assert!(!directory.exists(), "the demo has left its files");
}
