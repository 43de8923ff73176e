//! What is answered instead of what was asked for.

use super::super::answer;
use super::super::answer::Answer;
use http::StatusCode;

/// Why a request is not served. It tells the caller no more than the kubelet does; the reasons are for the host's log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Denial {
    /// 401: nobody knows who asks.
    #[error("Unauthorized")]
    Unauthenticated,
    /// 403: it is known who asks, and it is none of their business. The text names what they lack.
    #[error("{0}")]
    Forbidden(String),
    /// 500: it could not be found out. Asking again may help.
    #[error("{0}")]
    Undecided(String),
}

impl Denial {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Undecided(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer: 401, 403 or 500 with a text.
    pub(in crate::server) fn answer(&self) -> Answer {
        answer::text(self.status(), self.to_string())
    }
}
