//! The way to the API server, for everything that pods refer to: who may ask now, and what is said of failures.

use super::certificates::GROUP;
use crate::cluster::{ApiError, Clients, Trunks, raw};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

const TIMEOUT: Duration = Duration::from_secs(30);
/// First reads of objects at a time.
const READS: usize = 64;
/// Requests for certificates at a time.
const REQUESTS: usize = 8;
/// The same failure is said again only after this long.
const QUIET: Duration = Duration::from_secs(600);

/// Shared by all that reads for pods.
pub struct Reach {
    pub trunks: Trunks,
    reads: Semaphore,
    requests: Semaphore,
    said: Mutex<HashMap<(&'static str, &'static str), Instant>>,
}

impl Reach {
    pub fn new(clients: &Clients) -> Self {
        Self {
            trunks: clients.objects.clone(),
            reads: Semaphore::new(READS),
            requests: Semaphore::new(REQUESTS),
            said: Mutex::default(),
        }
    }

    /// A turn to read an object for the first time; it ends when it is dropped.
    pub async fn read(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }

    /// Waits before a request that failed so is tried again. Cancel safe.
    pub async fn pause(&self, error: &ApiError, delay: Duration) {
        let least = error.retry_after().unwrap_or_default();
        self.trunks.requests.pause(least, delay).await;
    }

    /// A turn to ask for a certificate.
    pub async fn request(&self) -> Option<SemaphorePermit<'_>> {
        self.requests.acquire().await.ok()
    }

    /// The newest version of the API of certificates that the server has this resource in: `v1` since Kubernetes 1.37.
    pub async fn certificates_version(&self, plural: &str) -> Result<Option<&'static str>, ApiError> {
        #[derive(Deserialize)]
        struct Resources {
            resources: Vec<Resource>,
        }
        #[derive(Deserialize)]
        struct Resource {
            name: String,
        }
        for version in ["v1", "v1beta1"] {
            let request = raw::get(&format!("{GROUP}/{version}"))?;
            match raw::send(&self.trunks.requests, request, TIMEOUT).await {
                Ok(reply) => {
                    let list: Resources = reply.decode()?;
                    if list.resources.iter().any(|resource| resource.name == plural) {
                        return Ok(Some(version));
                    }
                }
                Err(ApiError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Logs a failure, unless somebody else does (the API server is away) or the same was said not long ago: the pods
    /// that suffer from it say so one by one.
    pub fn report(&self, what: &'static str, error: &ApiError) {
        if is_outage(error) {
            tracing::debug!(what, %error, "unable to read for pods");
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let last = said.get(&(what, error.class()));
        if last.is_none_or(|last| now.duration_since(*last) >= QUIET) {
            said.insert((what, error.class()), now);
            drop(said);
            tracing::warn!(what, %error, "unable to read what pods refer to, retrying");
        }
    }
}

/// Whether it is the API server that is away, or busy.
fn is_outage(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Transport(_) | ApiError::Timeout(_) | ApiError::Server { .. } | ApiError::TooManyRequests { .. }
    )
}

/// Failures of one kind of request in a row.
#[derive(Debug, Default)]
pub struct Failures(u32);

impl Failures {
    /// After one more: whether a pod that waits is to be told. What may be over in a moment it is not.
    pub fn tells(&mut self, error: &ApiError) -> bool {
        self.0 = self.0.saturating_add(1);
        !error.is_retryable() || self.0 > 1
    }

    /// After a success.
    pub fn clear(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hiccup_is_not_told_and_a_refusal_is() {
        let mut failures = Failures::default();
        let hiccup = ApiError::Timeout(Duration::from_secs(1));
        assert!(!failures.tells(&hiccup));
        assert!(failures.tells(&hiccup));
        failures.clear();
        assert!(!failures.tells(&hiccup));
        assert!(Failures::default().tells(&ApiError::Forbidden("no".into())));
    }
}
