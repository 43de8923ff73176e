//! Back-off of a pod's failing calls: doubles to a cap, never gives up, is scattered.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);
/// What the other side may ask for at most.
const MOST_ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Counts failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After one more failure: how long to wait. `at_least` is what the other side asked for.
    pub fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let base = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Scattered over the upper half, so that pods that failed together do not come back together.
        let wait = base.mul_f64(0.5 + fastrand::f64() / 2.0);
        wait.max(at_least.unwrap_or_default().min(MOST_ASKED_FOR))
    }

    /// Failures since the last success.
    pub fn failures(self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_a_cap_and_never_ends_vk_1257_773() {
        let mut backoff = Backoff::default();
        for failure in 0..100 {
            let wait = backoff.next(None);
            let base = FIRST.saturating_mul(1 << failure.min(16)).min(LONGEST);
            assert!(wait >= base / 2 && wait <= base, "{failure}: {wait:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_kept() {
        assert!(Backoff::default().next(Some(Duration::from_secs(90))) >= Duration::from_secs(90));
    }
}
