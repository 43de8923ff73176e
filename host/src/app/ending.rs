//! How the time for the end is shared out.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::Instant;

/// When the end began, and how long it may take in all. None of its steps can use up what the later ones need: an API server
/// that is away keeps no provider from flushing.
#[derive(Clone)]
pub struct Ending {
    began: Arc<OnceLock<Instant>>,
    limit: Duration,
}

impl Ending {
    /// One that is yet to come.
    pub fn new(limit: Duration) -> Self {
        Self {
            began: Arc::default(),
            limit,
        }
    }

    /// It begins now, unless it has begun.
    pub fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    /// The first step, pods' calls and statuses: half of it.
    pub fn pods(&self) -> Duration {
        self.limit / 2
    }

    /// The second, nodes and leases: until a quarter is left.
    pub fn parts(&self) -> Duration {
        self.until(self.limit - self.limit / 4)
    }

    /// The last one: what is left.
    pub fn providers(&self) -> Duration {
        self.until(self.limit)
    }

    fn until(&self, end: Duration) -> Duration {
        end.saturating_sub(self.began.get_or_init(Instant::now).elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_step_takes_what_the_later_ones_need() {
        let seconds = Duration::from_secs;
        let ending = Ending::new(seconds(20));
        tokio::time::advance(seconds(100)).await;
        ending.begin();
        assert_eq!(ending.pods(), seconds(10));
        tokio::time::advance(ending.pods()).await;
        ending.begin();
        assert_eq!(ending.parts(), seconds(5));
        tokio::time::advance(ending.parts()).await;
        assert_eq!(ending.providers(), seconds(5));
        tokio::time::advance(seconds(6)).await;
        assert_eq!(ending.providers(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_has_what_the_earlier_ones_have_left() {
        let ending = Ending::new(Duration::from_secs(20));
        ending.begin();
        assert_eq!(ending.parts(), Duration::from_secs(15));
        assert_eq!(ending.providers(), Duration::from_secs(20));
    }
}
