//! Delays between tries that fail.

use std::time::Duration;

/// Endless capped back-off with decorrelated jitter: each delay is drawn between the base and three times the one
/// before, so that a thousand clients that lost the same server do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
}

impl Backoff {
    /// Delays from `base` up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, last: base }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = (self.last * 3).min(self.cap).max(self.base);
        let span = ceiling.saturating_sub(self.base);
        self.last = self.base + span.mul_f64(fastrand::f64());
        self.last
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.last = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_between_base_and_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..1_000 {
            let delay = backoff.next_delay();
            assert!(
                delay >= Duration::from_millis(100) && delay <= Duration::from_secs(10),
                "{delay:?}"
            );
        }
    }

    #[test]
    fn a_reset_makes_the_next_delay_short() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..50 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(300));
    }

    #[test]
    fn two_clients_do_not_march_in_step() {
        let delays = || {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
            (0..8).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_ne!(delays(), delays());
    }
}
