//! kwok as a subject: a controller that fakes the kubelets of nodes that somebody else makes.

use crate::api::Client;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::Nodes;
use crate::subject::HostFiles;
use bytes::Bytes;
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// By which kwok finds the nodes of a round.
const LABEL: &str = "bench.outrigger.dev/nodes";

/// Makes the Node objects, which kwok does not.
pub async fn register(nodes: &Nodes, cluster: &Cluster, admin: &Client) -> Result<()> {
    let capacity = json!({ "cpu": "100000", "memory": "400Ti", "pods": "100000" });
    for name in nodes.names() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": name,
                "labels": { LABEL: nodes.prefix(), "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
                "annotations": { "kwok.x-k8s.io/node": "fake" },
            },
            "spec": { "taints": [{ "key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule" }] },
            "status": {
                "capacity": capacity, "allocatable": capacity,
                "addresses": [{ "type": "InternalIP", "address": cluster.node_address }],
            },
        });
        admin
            .create("nodes", "/api/v1/nodes", Bytes::from(node.to_string()))
            .await?;
    }
    Ok(())
}

/// How it is started: with its own stages for nodes and pods, and leases as kubelets keep them.
pub fn command(nodes: &Nodes, cluster: &Cluster, host: &HostFiles, directory: &Path) -> Result<Command> {
    let Some(program) = &host.kwok else {
        return Err(Error::Usage("name kwok's program with --kwok".to_owned()));
    };
    let mut command = Command::new(program);
    command
        .arg("--kubeconfig")
        .arg(&cluster.admin_kubeconfig)
        .arg("--config")
        .arg(program.with_file_name("stages.yaml"))
        .arg(format!("--manage-nodes-with-label-selector={LABEL}={}", nodes.prefix()))
        .args(["--node-lease-duration-seconds=40", "--cidr=10.0.0.0/8"])
        // Nobody's settings but its defaults.
        .env("HOME", directory)
        .stdin(Stdio::null());
    Ok(command)
}
