//! Who acts for which node: the host for all, or each node for itself.

use super::{Error, part};
use crate::{
    cluster::{Clients, NodeIdentity},
    config::HostConfig,
    files::Keeper,
};
use std::collections::HashMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The clients of the host and of its nodes.
pub struct Identities {
    host: Clients,
    nodes: HashMap<String, Clients>,
    kept: Vec<NodeIdentity>,
}

impl Identities {
    /// With `cluster.nodeCertificates` each node has clients of its own, which work as soon as it has its certificate.
    pub fn build(config: &HostConfig, host: Clients) -> Result<Self, Error> {
        let mut identities = Self {
            host,
            nodes: HashMap::new(),
            kept: Vec::new(),
        };
        if let Some(directory) = &config.cluster.node_certificates {
            for node in &config.nodes {
                let identity = NodeIdentity::build(&node.name, directory, &identities.host)?;
                identities.nodes.insert(node.name.clone(), identity.clients());
                identities.kept.push(identity);
            }
        }
        Ok(identities)
    }

    /// The host's own clients: where nodes act for themselves, only to bootstrap them.
    pub fn host(&self) -> &Clients {
        &self.host
    }

    /// The clients that act for a node.
    pub fn of(&self, node: &str) -> &Clients {
        self.nodes.get(node).unwrap_or(&self.host)
    }

    /// Nodes that act for themselves.
    pub fn own(&self) -> &HashMap<String, Clients> {
        &self.nodes
    }

    /// Gets and renews the certificates until `shutdown`, and takes up those that somebody else has put there.
    pub fn spawn(&mut self, parts: &mut JoinSet<&'static str>, shutdown: &CancellationToken) {
        if !self.kept.is_empty() {
            let files = Keeper::new(self.kept.iter().map(NodeIdentity::file).collect());
            parts.spawn(part("node certificates", files.run(shutdown.clone())));
        }
        for identity in self.kept.drain(..) {
            parts.spawn(part("node identity", identity.run(shutdown.clone())));
        }
    }
}
