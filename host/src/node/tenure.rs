//! Until when this host may act for a node, by time alone.

use rustix::time::ClockId;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A point of the clock that runs since boot. Unlike the ordinary monotonic clock it also counts the time that the
/// machine sleeps: a host that wakes up must not believe that its lease is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootTime(Duration);

impl BootTime {
    pub(super) fn now() -> Self {
        let time = rustix::time::clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }
}

impl std::ops::Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0 + span)
    }
}

/// The end of the present claim. It runs out by itself: no task has to notice.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    until_nanos: AtomicU64,
    count: AtomicU64,
}

impl Tenure {
    /// Holds for `span` from `from`, which is taken *before* the renewal is sent: other hosts count from when they see
    /// it, which is later.
    pub(super) fn extend(&self, from: BootTime, span: Duration) {
        if !self.holds() {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        let until = u64::try_from((from + span).0.as_nanos()).unwrap_or(u64::MAX);
        self.until_nanos.store(until, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.until_nanos.store(0, Ordering::Release);
    }

    /// Which one it is: another one than before if it had ended meanwhile, whether anybody noticed or not.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        let until = Duration::from_nanos(self.until_nanos.load(Ordering::Acquire));
        until.saturating_sub(BootTime::now().0)
    }

    pub(super) fn holds(&self) -> bool {
        !self.left().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_ends_by_time_alone() {
        let tenure = Tenure::default();
        assert!(!tenure.holds());
        let now = BootTime::now();
        tenure.extend(now, Duration::from_secs(40));
        assert!(tenure.holds());
        assert_eq!(tenure.count(), 1);
        tenure.extend(now, Duration::from_secs(40));
        assert_eq!(tenure.count(), 1, "it is the same one");
        assert!(tenure.left() <= Duration::from_secs(40));
        tenure.extend(
            BootTime(now.0.saturating_sub(Duration::from_secs(40))),
            Duration::from_secs(40),
        );
        assert!(!tenure.holds(), "what was sent 40 s ago no longer counts");
        tenure.extend(now, Duration::from_secs(40));
        assert_eq!(tenure.count(), 2);
    }

    #[test]
    fn it_can_be_given_up() {
        let tenure = Tenure::default();
        tenure.extend(BootTime::now(), Duration::from_secs(40));
        tenure.end();
        assert!(!tenure.holds());
    }
}
