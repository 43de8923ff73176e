//! How busy the host is with status writes, for those that give way to them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;

/// Counts the status writes that are queued or in flight. Cheap to clone; clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    writes: AtomicUsize,
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

    /// Waits until no write is under way, but not longer than `at_most`: who gives way is not starved for ever.
    pub async fn calm(&self, at_most: Duration) {
        let calm = async {
            loop {
                let notified = self.shared.calm.notified();
                let mut notified = std::pin::pin!(notified);
                notified.as_mut().enable();
                if self.writes() == 0 {
                    return;
                }
                notified.await;
            }
        };
        // Running out of time is the other regular end.
        let _ = tokio::time::timeout(at_most, calm).await;
    }
}

/// A write that is queued or in flight.
#[derive(Debug)]
pub struct PressureGuard {
    shared: Arc<Shared>,
}

impl Drop for PressureGuard {
    fn drop(&mut self) {
        if self.shared.writes.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.calm.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn calm_comes_with_the_last_write() {
        let pressure = Pressure::new();
        let (first, second) = (pressure.enter(), pressure.enter());
        assert_eq!(pressure.writes(), 2);
        let waiting = tokio::spawn({
            let pressure = pressure.clone();
            async move { pressure.calm(Duration::from_secs(3600)).await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .expect("calm within the deadline")
            .unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let pressure = Pressure::new();
        let _write = pressure.enter();
        let start = Instant::now();
        pressure.calm(Duration::from_millis(20)).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
