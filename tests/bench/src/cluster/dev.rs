//! A devcluster in a process of its own.

use super::Cluster;
use super::failed;
use crate::bound;
use crate::error::Result;
use crate::process::Process;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;

/// Starts the `devcluster` that was built beside this program.
pub(super) async fn start(directory: &Path) -> Result<Cluster> {
    let own = std::env::current_exe().map_err(|error| failed(Path::new("devcluster"), error))?;
    let program = own.with_file_name("devcluster");
    if !program.is_file() {
        return Err(failed(
            &program,
            "there is no such file; build it: cargo build --release -p outrigger-devcluster",
        ));
    }
    let mut child = bound::command(&program)?
        .arg("--dir")
        .arg(directory.join("devcluster"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(&program, error))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // The line comes once it listens; nothing comes from one that has failed.
        BufReader::new(stdout)
            .read_line(&mut line)
            .await
            .map_err(|error| failed(&program, error))?;
    }
    let Some(kubeconfig) = line.trim_end().strip_prefix("export KUBECONFIG=") else {
        return Err(failed(&program, "it did not say where its kubeconfig is"));
    };
    Ok(Cluster {
        name: "devcluster".to_owned(),
        admin_kubeconfig: kubeconfig.into(),
        host_kubeconfig: kubeconfig.into(),
        node_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server: child.id().map(Process),
        owned: Some(child),
    })
}
