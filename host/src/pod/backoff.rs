//! Back-off of a pod's failing calls: doubles to a cap, never gives up, is scattered.

use crate::plugin::MOST_ASKED_FOR;
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);
/// As a kubelet's: the first pause, the longest, and how long all must have gone well for the next to be the first again.
const FIRST_REMAKE: Duration = Duration::from_secs(10);
const LONGEST_REMAKE: Duration = Duration::from_secs(300);
const STEADY: Duration = Duration::from_secs(600);

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

/// Paces how a pod is made again that vanishes again and again, as a kubelet paces containers that crash: the first time at once,
/// then ever later.
#[derive(Debug, Default)]
pub struct Remakes {
    lost: u32,
    at: Option<Instant>,
}

impl Remakes {
    /// It has not.
    pub const NONE: Self = Self { lost: 0, at: None };

    /// It has vanished, and had been there since then.
    pub fn lost(&mut self, since: Option<Instant>, now: Instant) {
        if since.is_some_and(|since| now.duration_since(since) >= STEADY) {
            self.lost = 0;
        }
        let wait = FIRST_REMAKE.saturating_mul(1 << self.lost.saturating_sub(1).min(16));
        self.at = (self.lost > 0).then(|| now + wait.min(LONGEST_REMAKE));
        self.lost = self.lost.saturating_add(1);
    }

    /// When it may be made again, if not yet.
    pub fn waits(&self, now: Instant) -> Option<Instant> {
        self.at.filter(|at| *at > now)
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

    #[test]
    fn what_vanishes_again_and_again_is_made_ever_later() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut remakes = Remakes::default();
        remakes.lost(Some(began), began);
        assert_eq!(remakes.waits(began), None, "the first time at once");
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            remakes.lost(Some(began), began);
            assert_eq!(remakes.waits(began), Some(after(pause)));
            assert_eq!(remakes.waits(after(pause)), None);
        }
        remakes.lost(Some(began), after(600));
        assert_eq!(remakes.waits(after(600)), None, "it had been there for long");
    }
}
