//! Time limits of the life of a provider. The defaults are for production; tests scale them down.

use super::probe::Probe;
use std::time::Duration;

/// When a provider counts as stuck, and how it is rebuilt.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// How a file is tried out.
    pub probe: Probe,
    /// How long an instance may take to start.
    pub start_timeout: Duration,
    /// How long the host waits for the first one, unless the provider is required: the other providers' nodes wait with it.
    pub first_patience: Duration,
    /// The pause before the first rebuild; doubled with each failure.
    pub backoff_first: Duration,
    /// The longest pause before a rebuild.
    pub backoff_max: Duration,
    /// Failures within [`failure_window`](Self::failure_window) that quarantine the provider.
    pub max_failures: usize,
    /// How long a failure counts.
    pub failure_window: Duration,
    /// How long a quarantined provider rests before it gets another try.
    pub quarantine: Duration,
    /// Pings in a row without an answer after which an instance is given up.
    pub silent_pings: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            probe: Probe::default(),
            start_timeout: Duration::from_secs(30),
            first_patience: Duration::from_secs(5),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            max_failures: 5,
            failure_window: Duration::from_secs(600),
            quarantine: Duration::from_secs(600),
            silent_pings: 3,
        }
    }
}
