//! Readers of logs that wait for a container's end.

use std::sync::Arc;
use tokio::sync::broadcast;

/// Tells whoever follows a pod that it has changed. Costs nothing while nobody does.
pub struct Followers(broadcast::Sender<Arc<str>>);

/// More changes than these unread, and a follower looks anew without knowing what it missed.
const UNREAD: usize = 256;

impl Default for Followers {
    fn default() -> Self {
        Self(broadcast::Sender::new(UNREAD))
    }
}

impl Followers {
    /// A pod has changed.
    pub fn tell(&self, uid: &str) {
        if self.0.receiver_count() > 0 {
            // Whoever followed may have gone since: nothing to tell.
            let _ = self.0.send(uid.into());
        }
    }

    /// Follows changes from now on.
    pub fn follow(&self) -> Follower {
        Follower(self.0.subscribe())
    }
}

/// One who follows.
pub struct Follower(broadcast::Receiver<Arc<str>>);

impl Follower {
    /// Waits until the pod has changed, or may have. Cancel safe.
    pub async fn changed(&mut self, uid: &str) {
        loop {
            match self.0.recv().await {
                Ok(changed) if &*changed != uid => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                // The back end has gone, and with it every change.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
