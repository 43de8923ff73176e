//! Waiting for what has to come true.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Much longer than anything takes that should happen soon, on a slow machine with many tests at once.
pub const SOON: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` succeeds and returns what it found; panics with what it said last when that takes too long.
pub async fn eventually<T, E, F, L>(within: Duration, what: &str, mut look: L) -> T
where
    E: Display,
    F: Future<Output = Result<T, E>>,
    L: FnMut() -> F,
{
    let deadline = Instant::now() + within;
    let mut last = "it never answered".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            panic!("{what}: not within {within:?}: {last}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
