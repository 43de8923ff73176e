//! Pods in the provider's own process.

use super::Followers;
use crate::{
    engine::{Change, Engine},
    protocol::{Reply, Request},
    simulation::{Observer, Simulation},
};
use outrigger_plugin::{ErrorCode, Host, ProviderError, Result};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Hands changes to the host.
pub struct Memory {
    host: Host,
    followers: Arc<Followers>,
}

impl Observer for Memory {
    fn changed(&self, change: &Change) {
        match change {
            Change::Report(report) => self.host.pod_status(report),
            Change::Gone { silently: true, .. } => {}
            Change::Gone { identity, .. } => self.host.pod_gone(identity.clone()),
        }
        self.followers.tell(&change.identity().uid);
    }
}

/// Starts without a pod.
pub fn start(host: Host, followers: Arc<Followers>) -> Arc<Simulation<Memory>> {
    Simulation::start(Engine::default(), Memory { host, followers })
}

/// Asks and waits.
pub async fn ask(simulation: &Simulation<Memory>, request: Request) -> Result<Reply> {
    let (answer, answered) = oneshot::channel();
    simulation.handle(
        request,
        Box::new(move |outcome| {
            // The caller may have gone: then nobody wants to know.
            let _ = answer.send(outcome);
        }),
    );
    answered
        .await
        .unwrap_or_else(|_| Err(ProviderError::new(ErrorCode::Cancelled, "the simulation has ended")))
}
