//! The nodes of the ideal responder: registered, then kept Ready by their leases.

use crate::api::Client;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::LEASES;
use crate::fleet::NODES;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

const RENEWAL: Duration = Duration::from_secs(10);

/// Registers nodes, then renews their leases for ever, one after the other.
pub async fn keep(client: Client, nodes: Vec<String>, address: IpAddr) -> Result<()> {
    let mut leases = Vec::with_capacity(nodes.len());
    for node in nodes {
        let lease = Lease::make(&client, node).await?;
        register(&client, &lease.node, address).await?;
        leases.push(lease);
    }
    let mut ticks = tokio::time::interval(RENEWAL / u32::try_from(leases.len()).unwrap_or(u32::MAX));
    loop {
        for lease in &mut leases {
            ticks.tick().await;
            lease.renew(&client).await?;
        }
    }
}

async fn register(client: &Client, node: &str, address: IpAddr) -> Result<()> {
    let capacity = json!({ "cpu": "100000", "memory": "400Ti", "pods": "100000" });
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": node, "labels": { "type": "virtual-kubelet", "kubernetes.io/hostname": node, "kubernetes.io/os": "linux" } },
        "spec": { "taints": [{ "key": "virtual-kubelet.io/provider", "value": "ideal", "effect": "NoSchedule" }] },
        "status": {
            "capacity": capacity, "allocatable": capacity,
            "addresses": [{ "type": "InternalIP", "address": address }],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the ideal responder is ready",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        },
    });
    client.create("nodes", NODES, Bytes::from(object.to_string())).await
}

/// A lease, and its version in the last answer: a host may write leases by POST and PUT alone.
struct Lease {
    node: String,
    version: String,
}

impl Lease {
    async fn make(client: &Client, node: String) -> Result<Self> {
        let answer = match client.created("leases", LEASES, body(&node, None)).await? {
            Some(answer) => answer,
            // An earlier try of this has made it.
            None => client.get(&path(&node)).await?,
        };
        let version = version_of(&answer)?;
        Ok(Self { node, version })
    }

    async fn renew(&mut self, client: &Client) -> Result<()> {
        // One that is gone is made anew by it: leases are the kind that PUT creates, too.
        let body = body(&self.node, Some(&self.version));
        let answer = client.replace("leases", &path(&self.node), body).await?;
        self.version = version_of(&answer)?;
        Ok(())
    }
}

fn path(node: &str) -> String {
    format!("{LEASES}/{node}")
}

fn body(node: &str, version: Option<&str>) -> Bytes {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": node, "namespace": "kube-node-lease", "resourceVersion": version },
        "spec": { "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now },
    });
    Bytes::from(lease.to_string())
}

fn version_of(answer: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
    }
    let object: Object = serde_json::from_slice(answer).map_err(|error| Error::Malformed {
        what: "a lease".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(object.metadata.resource_version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cluster;
    use outrigger_devcluster::Kind;
    use outrigger_devcluster::Selection;

    #[tokio::test]
    async fn leases_are_renewed_by_what_a_host_may_do_and_a_refusal_is_an_error() {
        let (cluster, client) = cluster().await;
        let renewed = || {
            cluster
                .get(Kind::Leases, "kube-node-lease", "n")
                .map(|lease| lease["spec"]["renewTime"].clone())
        };
        let mut lease = Lease::make(&client, "n".to_owned()).await.unwrap();
        let made = renewed().unwrap();
        for _ in 0..2 {
            lease.renew(&client).await.unwrap();
        }
        assert_ne!(renewed().unwrap(), made);
        assert_eq!(cluster.requests("PUT", "leases"), 2);
        assert_eq!(cluster.requests("PATCH", "leases"), 0);

        client.delete("leases", &path("n"), Bytes::new()).await.unwrap();
        lease.renew(&client).await.unwrap();
        assert!(renewed().is_some(), "one that is gone is made anew");
        lease.renew(&client).await.unwrap();

        let select = Selection {
            resource: "leases".to_owned(),
            ..Selection::default()
        };
        cluster.faults().fail(select, 403, None, 1);
        let refused = lease.renew(&client).await.unwrap_err();
        assert!(matches!(refused, Error::Refused { status: 403, .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_lease_that_an_earlier_try_has_made_is_renewed() {
        let (_cluster, client) = cluster().await;
        Lease::make(&client, "n".to_owned()).await.unwrap();
        let mut again = Lease::make(&client, "n".to_owned()).await.unwrap();
        again.renew(&client).await.unwrap();
    }
}
