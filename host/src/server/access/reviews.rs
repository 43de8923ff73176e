//! Asking the API server who somebody is and what they may, as the host's own account.

use super::bearer::Token;
use crate::cluster::ApiError;
use crate::cluster::Client;
use crate::cluster::raw;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Reviews of one kind that are under way at once. Strangers cause TokenReviews: this bounds what they can do to the API
/// server, and none of it holds up the reviews of those who are known. What waits is bounded by the connections of the
/// kubelet ports.
const AT_ONCE: usize = 64;

/// When to try again, and when to give up. As k8s.io/apiserver has it for webhooks (`DefaultAuthWebhookRetryBackoff`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Tries in all.
    pub tries: u32,
    /// Before the second try; half as much again before each further one, with a jitter of a fifth.
    pub pause: Duration,
    /// For one try.
    pub each: Duration,
    /// For all of them, pauses and the wait for others included.
    pub all: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            pause: Duration::from_millis(500),
            each: Duration::from_secs(10),
            all: Duration::from_secs(30),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A TokenReview: whose token is this?
    Token,
    /// A SubjectAccessReview: may they?
    Access,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Token, Self::Access];

    fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Token => ("authentication.k8s.io", "TokenReview"),
            Self::Access => ("authorization.k8s.io", "SubjectAccessReview"),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Token => "/apis/authentication.k8s.io/v1/tokenreviews",
            Self::Access => "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.api().1)
    }
}

/// A review that was not answered; the reason is in the host's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unanswered;

/// The way to the API server's reviews.
pub(super) struct Reviews {
    api: Client,
    patience: Patience,
    places: [Semaphore; Kind::ALL.len()],
    /// The class of what is wrong at present, by kind.
    troubles: [Mutex<Option<&'static str>>; Kind::ALL.len()],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a, S> {
    api_version: String,
    kind: &'a str,
    spec: &'a S,
}

#[derive(serde::Deserialize)]
struct Reviewed<T> {
    status: T,
}

impl Reviews {
    pub(super) fn new(api: Client, patience: Patience) -> Self {
        Self {
            api,
            patience,
            places: Kind::ALL.map(|_| Semaphore::new(AT_ONCE)),
            troubles: Default::default(),
        }
    }

    /// The `status` of a review with this `spec`. What may help itself is tried again; the first failure of a series is
    /// logged with what to do about it, and so is its end. No log will hold `secret`, even if an answer does.
    pub(super) async fn ask<S: Serialize, T: DeserializeOwned>(
        &self,
        kind: Kind,
        spec: &S,
        secret: Option<&Token>,
    ) -> Result<T, Unanswered> {
        let (group, name) = kind.api();
        let review = Review {
            api_version: format!("{group}/v1"),
            kind: name,
            spec,
        };
        let tries = async {
            let body = serde_json::to_vec(&review).map_err(ApiError::Malformed)?;
            self.send(kind, body, secret).await
        };
        let answer = tokio::time::timeout(self.patience.all, tries).await;
        let answer = answer.unwrap_or(Err(ApiError::Timeout(self.patience.all)));
        let outcome = answer.and_then(|reply| reply.decode::<Reviewed<T>>());
        self.note(kind, outcome.as_ref().err(), secret);
        outcome.map(|review| review.status).map_err(|_| Unanswered)
    }

    async fn send(&self, kind: Kind, body: Vec<u8>, secret: Option<&Token>) -> Result<raw::Reply, ApiError> {
        let mut pause = self.patience.pause;
        let mut tries = 1;
        loop {
            let request = raw::post(kind.path(), body.clone())?;
            let sent = {
                // Nobody closes it.
                let _place = self.places[kind as usize].acquire().await;
                raw::send(&self.api, request, self.patience.each).await
            };
            match sent {
                Err(error) if may_pass(&error) && tries < self.patience.tries => {
                    tracing::debug!(%kind, error = told(&error, secret), tries, "trying a review again");
                    let jittered = pause.mul_f64(1.0 + 0.2 * fastrand::f64());
                    tokio::time::sleep(jittered.max(error.retry_after().unwrap_or_default())).await;
                }
                done => return done,
            }
            pause = pause.mul_f64(1.5);
            tries += 1;
        }
    }

    /// Logs what has changed.
    fn note(&self, kind: Kind, error: Option<&ApiError>, secret: Option<&Token>) {
        let now = error.map(ApiError::class);
        let mut before = self.troubles[kind as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *before == now {
            return;
        }
        *before = now;
        match error {
            Some(error) => tracing::warn!(
                %kind,
                error = told(error, secret),
                "unable to ask the API server who may use the kubelet port, callers get 500 until it answers"
            ),
            None => tracing::info!(%kind, "the API server says again who may use the kubelet port"),
        }
    }
}

/// What a log may say of an error.
fn told(error: &ApiError, secret: Option<&Token>) -> String {
    let text = error.to_string();
    match secret {
        Some(secret) if !secret.as_str().is_empty() => text.replace(secret.as_str(), "(not shown)"),
        _ => text,
    }
}

/// Whether the next try may have another outcome.
fn may_pass(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::TooManyRequests { .. } | ApiError::Server { .. } | ApiError::Transport(_) | ApiError::Timeout(_)
    )
}
