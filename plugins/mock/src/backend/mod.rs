//! Where the pods live.

mod external;
mod followers;
mod memory;

use crate::{
    config::BackendConfig,
    protocol::{Reply, Request},
    simulation::Simulation,
};
use external::Client;
pub use followers::{Follower, Followers};
use memory::Memory;
use outrigger_plugin::{Host, Result};
use std::sync::Arc;

/// A back end.
pub struct Backend {
    kind: Kind,
    followers: Arc<Followers>,
}

enum Kind {
    /// In this process.
    Memory(Arc<Simulation<Memory>>),
    /// In a process of its own.
    External(Client),
}

impl Backend {
    /// Opens a back end. One that is away is waited for later.
    pub async fn open(config: &BackendConfig, host: Host) -> Self {
        let followers = Arc::new(Followers::default());
        let kind = match config {
            BackendConfig::Memory {} => Kind::Memory(memory::start(host, followers.clone())),
            BackendConfig::External { socket } => {
                Kind::External(Client::connect(socket.clone(), host, followers.clone()).await)
            }
        };
        Self { kind, followers }
    }

    /// Asks it.
    pub async fn ask(&self, request: Request) -> Result<Reply> {
        let changes = match &request {
            Request::Update { pod } => Some(pod.identity.uid.clone()),
            Request::Stop { identity, .. } | Request::Remove { identity } => Some(identity.uid.clone()),
            _ => None,
        };
        let reply = match &self.kind {
            Kind::Memory(simulation) => memory::ask(simulation, request).await,
            Kind::External(client) => client.ask(request).await,
        };
        if let Some(uid) = changes {
            self.followers.tell(&uid);
        }
        reply
    }

    /// Those who want to know of changes.
    pub fn followers(&self) -> &Followers {
        &self.followers
    }
}
