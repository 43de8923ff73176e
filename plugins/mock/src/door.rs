//! The way into a running container, for exec, attach and port-forward: whether it is open, and until when.

use crate::{
    engine::report::Door,
    protocol::{Reply, Request},
    provider::{Mock, surprise},
};
use outrigger_plugin::{ErrorCode, PodIdentity, ProviderError, Result};

/// A run of a container.
pub struct Inside {
    pod: PodIdentity,
    container: String,
    run: u32,
    /// It has an input.
    pub stdin: bool,
}

impl Door {
    /// Through it, if it is open.
    pub fn enter(&self, pod: &PodIdentity) -> Option<Inside> {
        Some(Inside {
            pod: pod.clone(),
            container: self.container.clone(),
            run: self.run?,
            stdin: self.stdin,
        })
    }
}

impl Mock {
    /// All ways into a pod.
    pub async fn doors(&self, pod: &PodIdentity) -> Result<Vec<Door>> {
        let identity = pod.clone();
        match self.backend.ask(Request::Doors { identity }).await? {
            Reply::Doors(doors) => Ok(doors),
            other => Err(surprise(&other)),
        }
    }

    /// The way into a container, which must run.
    pub async fn enter(&self, pod: &PodIdentity, container: &str) -> Result<Inside> {
        let doors = self.doors(pod).await?;
        let door = doors.into_iter().find(|door| door.container == container);
        let door =
            door.ok_or_else(|| ProviderError::not_found(format!("container {container} is not in pod {}", pod.name)))?;
        door.enter(pod)
            .ok_or_else(|| ProviderError::invalid(format!("container {container} of pod {} does not run", pod.name)))
    }

    /// Returns when the run is over, or its pod is gone. A back end that is away ends nothing. Cancel safe.
    pub async fn until_over(&self, inside: &Inside) {
        // Before the first look, so that no change falls between the two.
        let mut changes = self.backend.followers().follow();
        loop {
            match self.enter(&inside.pod, &inside.container).await {
                Ok(now) if now.run == inside.run => {}
                Err(error) if error.code == ErrorCode::Unavailable => {}
                Ok(_) | Err(_) => return,
            }
            changes.changed(&inside.pod.uid).await;
        }
    }
}
