//! Machines that sleep. Timers stand still meanwhile, and what is good for a while is so by a clock that goes on.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::time::Instant;

/// A machine that has slept is noticed within this time after it woke.
pub const NAP: Duration = Duration::from_secs(60);

/// How long this machine has slept since it was booted.
pub fn suspended() -> Duration {
    let read = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    // The one that goes on is read last, so that it is never behind.
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// Waits for so long, the time for which the machine sleeps included.
///
/// Cancel safe.
pub async fn sleep(duration: Duration) {
    sleep_by(duration, suspended).await;
}

async fn sleep_by(duration: Duration, suspended: impl Fn() -> Duration) {
    let (began, before) = (Instant::now(), suspended());
    loop {
        let passed = began.elapsed() + suspended().saturating_sub(before);
        let left = duration.saturating_sub(passed);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn time_asleep_counts() {
        let began = Instant::now();
        sleep_by(Duration::from_secs(1000), || Duration::from_secs(7)).await;
        assert_eq!(began.elapsed().as_secs(), 1000);
        // It sleeps for half an hour after the first nap.
        let asked = Cell::new(0);
        let began = Instant::now();
        let slept = || {
            asked.set(asked.get() + 1);
            Duration::from_secs(if asked.get() > 2 { 1800 } else { 0 })
        };
        sleep_by(Duration::from_secs(1850), slept).await;
        assert_eq!(began.elapsed(), NAP);
    }
}
