//! How busy the host is with status writes, for those that give way to them.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Counts the status writes that are queued or in flight. Cheap to clone; clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    writes: AtomicUsize,
    /// When the last of them ended.
    ended: Mutex<Option<Instant>>,
    calm: Notify,
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
                match self.shared.ended().map(|ended| ended + quiet) {
                    Some(calm) if Instant::now() < calm => tokio::time::sleep_until(calm).await,
                    _ => return,
                }
            }
        };
        // Running out of time is the other regular end.
        let _ = tokio::time::timeout_at(deadline, calm).await;
    }
}

impl Shared {
    fn ended(&self) -> Option<Instant> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write that is queued or in flight.
#[derive(Debug)]
pub struct PressureGuard {
    shared: Arc<Shared>,
}

impl Drop for PressureGuard {
    fn drop(&mut self) {
        // Under the lock, so that who sees that it was the last also sees when it ended.
        let mut ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.writes.fetch_sub(1, Ordering::AcqRel) == 1 {
            *ended = Some(Instant::now());
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

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let pressure = Pressure::new();
        let _write = pressure.enter();
        let start = Instant::now();
        pressure.calm(QUIET, start + Duration::from_secs(1)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
