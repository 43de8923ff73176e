//! Whether anything is under way on a connection.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Requests of one connection, from their admission to the ends of their answers. Those that are refused keep no place.
pub(super) struct Activity(watch::Sender<State>);

#[derive(Default)]
struct State {
    under_way: usize,
    /// The caller was refused: its place is for others.
    refused: bool,
}

impl Default for Activity {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

/// A request that is under way until this is dropped.
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.0.send_modify(|state| state.under_way += 1);
        UnderWay(Arc::clone(self))
    }

    /// The connection may end as soon as its answers have.
    pub(super) fn refuse(&self) {
        self.0.send_modify(|state| state.refused = true);
    }

    /// Waits until nothing has been under way for `idle`, or the caller was refused.
    pub(super) async fn over(&self, idle: Duration) {
        let mut states = self.0.subscribe();
        tokio::select! {
            // The sender is here, so waiting for it does not fail.
            _ = states.wait_for(|state| state.refused) => {}
            () = self.idle(|| idle) => {}
        }
    }

    /// Waits until nothing has been under way for `time`, which may be another after each request.
    pub(super) async fn idle(&self, time: impl Fn() -> Duration) {
        let mut states = self.0.subscribe();
        loop {
            let _ = states.wait_for(|state| state.under_way == 0).await;
            let busy = states.wait_for(|state| state.under_way > 0);
            if tokio::time::timeout(time(), busy).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.under_way -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_when_it_was_idle_for_long() {
        let activity = Arc::<Activity>::default();
        let begun = Instant::now();
        let work = async {
            for _ in 0..3 {
                tokio::time::sleep(IDLE * 2 / 3).await;
                let under_way = activity.begin();
                tokio::time::sleep(IDLE * 10).await;
                drop(under_way);
            }
        };
        tokio::join!(work, activity.over(IDLE));
        assert_eq!(begun.elapsed(), IDLE * 2 + IDLE * 30 + IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_caller_is_not_waited_for_but_what_is_under_way() {
        let activity = Arc::<Activity>::default();
        let under_way = activity.begin();
        let mut over = pin!(activity.over(IDLE));
        assert!(futures::poll!(over.as_mut()).is_pending());
        activity.refuse();
        over.await;
        let begun = Instant::now();
        let work = async {
            tokio::time::sleep(IDLE * 10).await;
            drop(under_way);
        };
        tokio::join!(work, activity.idle(|| IDLE));
        assert_eq!(begun.elapsed(), IDLE * 11);
    }
}
