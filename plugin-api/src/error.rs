//! What a provider answers when it can't.

use outrigger_wire::code;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The class of a [`ProviderError`]: it decides what the host does next.
///
/// On the wire it is a number of [`outrigger_wire::code`], so that a newer side may add classes; one that a reader does
/// not know is [`Internal`](Self::Internal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The pod, container or node is unknown. The host takes a pod for vanished, or for removed when that was asked.
    NotFound,
    /// Something else with this identity is in the way. Retried with back-off.
    AlreadyExists,
    /// The request can't work as it is. A create is retried with back-off all the same, since what stands in its way may
    /// be outside of the pod, and an event and the pod's status show the message meanwhile; an update is not made again
    /// before the manifest changes: the pod goes on as it is.
    Invalid,
    /// The provider can't do this at all: as [`Invalid`](Self::Invalid). An HTTP caller gets 501. For fields of a pod, declare
    /// them refused instead ([`Support`](crate::Support)): such a pod is held without a call.
    Unsupported,
    /// Busy: the host makes the call again after this time (of a day at most), not before. So for what it repeats by itself: a
    /// start, `create`, `update`, `stop`, `remove` and `sync`. A ping comes when it is due in any case; an HTTP caller gets 429
    /// with the time.
    RetryAfter(Duration),
    /// The backend is away. Retried with back-off.
    Unavailable,
    /// The provider gave up waiting. Retried with back-off.
    Timeout,
    /// The call was cancelled.
    Cancelled,
    /// Anything else. Retried with back-off.
    Internal,
    /// The provider's code panicked. Set by the SDK, never by a provider; the instance is rebuilt.
    Panicked,
}

impl ErrorCode {
    /// The wire code, and the milliseconds that go with [`RetryAfter`](Self::RetryAfter).
    pub fn to_wire(self) -> (u32, u64) {
        match self {
            Self::NotFound => (code::NOT_FOUND, 0),
            Self::AlreadyExists => (code::ALREADY_EXISTS, 0),
            Self::Invalid => (code::INVALID, 0),
            Self::Unsupported => (code::UNSUPPORTED, 0),
            Self::RetryAfter(after) => (code::RETRY_AFTER, u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            Self::Unavailable => (code::UNAVAILABLE, 0),
            Self::Timeout => (code::TIMEOUT, 0),
            Self::Cancelled => (code::CANCELLED, 0),
            Self::Internal => (code::INTERNAL, 0),
            Self::Panicked => (code::PANICKED, 0),
        }
    }

    /// The class of a wire code other than [`code::OK`].
    pub fn from_wire(code: u32, retry_after_ms: u64) -> Self {
        match code {
            code::NOT_FOUND => Self::NotFound,
            code::ALREADY_EXISTS => Self::AlreadyExists,
            code::INVALID => Self::Invalid,
            code::UNSUPPORTED => Self::Unsupported,
            code::RETRY_AFTER => Self::RetryAfter(Duration::from_millis(retry_after_ms)),
            code::UNAVAILABLE => Self::Unavailable,
            code::TIMEOUT => Self::Timeout,
            code::CANCELLED => Self::Cancelled,
            code::PANICKED => Self::Panicked,
            _ => Self::Internal,
        }
    }

    /// The time of [`RetryAfter`](Self::RetryAfter).
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::RetryAfter(after) => Some(after),
            _ => None,
        }
    }

    /// The name used in events, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Invalid => "Invalid",
            Self::Unsupported => "Unsupported",
            Self::RetryAfter(_) => "RetryAfter",
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Cancelled => "Cancelled",
            Self::Internal => "Internal",
            Self::Panicked => "Panicked",
        }
    }
}

/// A provider's refusal or failure.
///
/// It has two texts. The *message* is for the cluster's users: it reaches pod statuses and events, so it says what is
/// wrong and what to do, and holds no secret. The *detail* is for the operator's log only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// For users: lower case, no final point, no secrets.
    pub message: String,
    /// For the operator's log; empty when there is nothing to add.
    pub detail: String,
}

/// What a provider's method returns.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

impl ProviderError {
    /// An error of a class with its message for users.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: String::new(),
        }
    }

    /// [`ErrorCode::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// [`ErrorCode::AlreadyExists`].
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::AlreadyExists, message)
    }

    /// [`ErrorCode::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// [`ErrorCode::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unsupported, message)
    }

    /// [`ErrorCode::RetryAfter`].
    pub fn retry_after(after: Duration, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::RetryAfter(after), message)
    }

    /// [`ErrorCode::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// Adds what only the operator's log should hold: an error with its whole chain of sources.
    pub fn with_source(mut self, source: impl std::error::Error) -> Self {
        self.detail = source.to_string();
        let mut next = source.source();
        while let Some(cause) = next {
            self.detail.push_str(": ");
            self.detail.push_str(&cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Whether repeating the unchanged call can help.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.code, ErrorCode::Invalid | ErrorCode::Unsupported)
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProviderError {}

/// The body of a completion that is an error.
#[derive(Serialize, Deserialize, Debug)]
pub struct ErrorBody {
    /// [`ProviderError::message`].
    #[serde(default)]
    pub message: String,
    /// [`ProviderError::detail`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for code in [
            ErrorCode::NotFound,
            ErrorCode::AlreadyExists,
            ErrorCode::Invalid,
            ErrorCode::Unsupported,
            ErrorCode::RetryAfter(Duration::from_millis(1500)),
            ErrorCode::Unavailable,
            ErrorCode::Timeout,
            ErrorCode::Cancelled,
            ErrorCode::Internal,
            ErrorCode::Panicked,
        ] {
            let (wire, after) = code.to_wire();
            assert_eq!(ErrorCode::from_wire(wire, after), code);
        }
    }

    #[test]
    fn a_code_of_a_newer_side_is_internal() {
        assert_eq!(ErrorCode::from_wire(4_000, 0), ErrorCode::Internal);
    }

    #[test]
    fn the_chain_of_sources_becomes_the_detail() {
        let inner = std::io::Error::other("disk on fire");
        let error = ProviderError::internal("unable to store pod").with_source(inner);
        assert_eq!(error.to_string(), "Internal: unable to store pod (disk on fire)");
    }
}
