//! How busy the host is with status writes, for those that give way to them.
//!
//! Where many are under way and each takes long, the API server is the one that is busy, and its answers come one by one:
//! to wake up for each of them, with caches that others have used meanwhile, costs more than the work. Then the host lets
//! what arrives [gather](Pressure::gather), as a network card does with packets, for a small part of the time that a write
//! takes anyway.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// With fewer writes under way nothing gathers.
const MANY: usize = 8;
/// A lull is this part of what a write takes, as the last of them did.
const PART: u32 = 32;
/// A shorter lull saves no wake-up.
const SHORTEST: Duration = Duration::from_micros(250);
/// Sessions and logs wait as well, if they have nothing to do at the moment.
const LONGEST: Duration = Duration::from_millis(2);
/// How many of the last writes count.
const MEMORY: u32 = 16;
/// A write that took longer counts as one of these: behind an outage what is fast again is soon known for it.
const SLOWEST: Duration = LONGEST.saturating_mul(PART);

/// Counts the status writes that are queued or in flight. Cheap to clone; clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    writes: AtomicUsize,
    past: Mutex<Past>,
    calm: Notify,
}

/// What is known of writes that have ended.
#[derive(Debug, Default)]
struct Past {
    /// When the last that was under way ended.
    calm_since: Option<Instant>,
    /// What a write takes; a moving average.
    takes: Duration,
}

impl Pressure {
    /// No pressure.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more write; it counts until the guard is dropped.
    pub fn enter(&self) -> PressureGuard {
        self.shared.writes.fetch_add(1, Ordering::AcqRel);
        PressureGuard {
            shared: self.shared.clone(),
            began: Instant::now(),
        }
    }

    /// Writes queued or in flight.
    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::Acquire)
    }

    /// Waits until no write was under way for as long as `quiet`, but only until `deadline`: who gives way is not starved
    /// for ever.
    pub async fn calm(&self, quiet: Duration, deadline: Instant) {
        let calm = async {
            loop {
                let notified = self.shared.calm.notified();
                let mut notified = std::pin::pin!(notified);
                notified.as_mut().enable();
                if self.writes() != 0 {
                    notified.await;
                    continue;
                }
                let calm_since = self.shared.past().calm_since;
                match calm_since.map(|since| since + quiet) {
                    Some(calm) if Instant::now() < calm => tokio::time::sleep_until(calm).await,
                    _ => return,
                }
            }
        };
        // Running out of time is the other regular end.
        let _ = tokio::time::timeout_at(deadline, calm).await;
    }

    /// Lets answers and events gather for a moment if writes are many and slow. For a thread that has nothing to do: it
    /// blocks for two milliseconds at most, where a write takes thirty times that.
    pub fn gather(&self) {
        let lull = self.lull();
        if !lull.is_zero() {
            #[expect(
                clippy::disallowed_methods,
                reason = "nothing is waited for: the thread sleeps a moment longer"
            )]
            std::thread::sleep(lull);
        }
    }

    fn lull(&self) -> Duration {
        if self.writes() < MANY {
            return Duration::ZERO;
        }
        let lull = self.shared.past().takes / PART;
        if lull < SHORTEST { Duration::ZERO } else { lull }
    }
}

impl Shared {
    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that is queued or in flight.
#[derive(Debug)]
pub struct PressureGuard {
    shared: Arc<Shared>,
    began: Instant,
}

impl Drop for PressureGuard {
    fn drop(&mut self) {
        // Under the lock, so that who sees that it was the last also sees when it ended.
        let mut past = self.shared.past();
        let now = Instant::now();
        let took = (now - self.began).min(SLOWEST);
        past.takes = (past.takes * (MEMORY - 1) + took) / MEMORY;
        if self.shared.writes.fetch_sub(1, Ordering::AcqRel) == 1 {
            past.calm_since = Some(now);
            self.shared.calm.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test(start_paused = true)]
    async fn calm_comes_with_the_last_write() {
        let pressure = Pressure::new();
        let (first, second) = (pressure.enter(), pressure.enter());
        assert_eq!(pressure.writes(), 2);
        let waiting = tokio::spawn({
            let pressure = pressure.clone();
            async move { pressure.calm(Duration::ZERO, in_an_hour()).await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let began = Instant::now();
        drop(second);
        waiting.await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_follow_each_other_leave_no_calm_between_them() {
        let pressure = Pressure::new();
        let waiting = tokio::spawn({
            let pressure = pressure.clone();
            async move {
                pressure.calm(QUIET, in_an_hour()).await;
                Instant::now()
            }
        });
        for _ in 0..100 {
            let write = pressure.enter();
            tokio::time::advance(Duration::from_millis(5)).await;
            drop(write);
            tokio::task::yield_now().await;
            tokio::time::advance(QUIET / 2).await;
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
        }
        let ended = Instant::now() - QUIET / 2;
        assert_eq!(waiting.await.unwrap() - ended, QUIET);
        let now = Instant::now();
        pressure.calm(QUIET, in_an_hour()).await;
        assert_eq!(now.elapsed(), Duration::ZERO, "it is calm already");
    }

    /// So many writes at a time, which take that long.
    async fn write(pressure: &Pressure, at_a_time: usize, takes: Duration) -> Vec<PressureGuard> {
        let mut under_way = Vec::new();
        for _ in 0..100 {
            under_way = (0..at_a_time).map(|_| pressure.enter()).collect();
            tokio::time::advance(takes).await;
        }
        under_way
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_gathers_only_where_writes_are_many_and_slow() {
        let slow = Duration::from_millis(32);
        let pressure = Pressure::new();
        let under_way = write(&pressure, 32, slow).await;
        assert!(
            (slow / PART).abs_diff(pressure.lull()) < Duration::from_micros(1),
            "{:?}",
            pressure.lull()
        );
        drop(under_way);
        assert_eq!(pressure.lull(), Duration::ZERO, "nothing is under way");

        let few = Pressure::new();
        let _under_way = write(&few, MANY - 1, slow).await;
        assert_eq!(few.lull(), Duration::ZERO);

        let fast = Pressure::new();
        let _under_way = write(&fast, 32, SHORTEST * (PART - 1)).await;
        assert_eq!(fast.lull(), Duration::ZERO);

        let stuck = Pressure::new();
        let under_way = write(&stuck, 32, Duration::from_secs(30)).await;
        assert!(
            LONGEST.abs_diff(stuck.lull()) < Duration::from_micros(1),
            "{:?}",
            stuck.lull()
        );
        drop(under_way);
        for _ in 0..2 {
            let under_way: Vec<_> = (0..32).map(|_| stuck.enter()).collect();
            tokio::time::advance(Duration::from_millis(4)).await;
            drop(under_way);
        }
        let _under_way: Vec<_> = (0..32).map(|_| stuck.enter()).collect();
        assert_eq!(stuck.lull(), Duration::ZERO, "the outage is over");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let pressure = Pressure::new();
        let _write = pressure.enter();
        let start = Instant::now();
        pressure.calm(QUIET, start + Duration::from_secs(1)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
