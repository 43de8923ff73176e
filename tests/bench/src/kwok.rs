//! kwok as a subject: a controller that fakes the kubelets of nodes that somebody else makes.

use crate::api::Client;
use crate::bound;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::NODES;
use crate::fleet::Nodes;
use crate::subject::HostFiles;
use bytes::Bytes;
use serde_json::json;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// By which kwok finds the nodes of a round.
const LABEL: &str = "bench.outrigger.dev/nodes";

/// Makes the Node objects, which kwok does not.
pub async fn register(nodes: &Nodes, address: IpAddr, admin: &Client) -> Result<()> {
    let (admin, prefix) = (admin.clone(), nodes.prefix().to_owned());
    let make = move |name: String| {
        let (admin, node) = (admin.clone(), node(&name, &prefix, address));
        async move { admin.create("nodes", NODES, node).await }
    };
    nodes.each("create nodes", make).await
}

fn node(name: &str, label: &str, address: IpAddr) -> Bytes {
    let capacity = json!({ "cpu": "100000", "memory": "400Ti", "pods": "100000" });
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": { LABEL: label, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
            "annotations": { "kwok.x-k8s.io/node": "fake" },
        },
        "spec": { "taints": [{ "key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule" }] },
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "addresses": [{ "type": "InternalIP", "address": address }],
        },
    });
    Bytes::from(node.to_string())
}

/// How it is started: with its own stages for nodes and pods, and leases as kubelets keep them.
pub fn command(nodes: &Nodes, cluster: &Cluster, host: &HostFiles, directory: &Path) -> Result<Command> {
    let Some(program) = &host.kwok else {
        return Err(Error::Usage("name kwok's program with --kwok".to_owned()));
    };
    let mut command = bound::command(program)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;
    use outrigger_devcluster::Action;
    use outrigger_devcluster::Kind;
    use outrigger_devcluster::Rule;
    use outrigger_devcluster::Selection;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[tokio::test]
    async fn nodes_are_made_several_at_a_time() {
        let (cluster, admin) = cluster().await;
        let select = Selection {
            verb: "POST".to_owned(),
            resource: "nodes".to_owned(),
            ..Selection::default()
        };
        // It is off once two requests wait at a time.
        cluster.faults().add(Rule {
            select,
            action: Action::Stall,
            times: Some(2),
        });
        let two = Nodes::many("n".to_owned(), 2);
        let both_wait = async {
            while !cluster.faults().list().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            cluster.faults().clear();
        };
        let both = async { tokio::join!(register(&two, Ipv4Addr::LOCALHOST.into(), &admin), both_wait).0 };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(cluster.count(Kind::Nodes), 2);
    }
}
