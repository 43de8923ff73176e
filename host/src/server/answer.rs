//! Answers and their parts.

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ProviderError;
use serde::Serialize;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Response<Body>;

/// A body that keeps something until its last byte is on its way, or its caller has gone.
struct Held<G> {
    body: Body,
    _until_its_end: G,
}

impl<G: Unpin> http_body::Body for Held<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The same answer, which keeps `held` until its end.
pub(super) fn holding<G: Send + Unpin + 'static>(answer: Answer, held: G) -> Answer {
    answer.map(|body| {
        let held = Held {
            body,
            _until_its_end: held,
        };
        held.boxed_unsync()
    })
}

/// An answer of one piece.
pub(super) fn whole(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let never = |never: Infallible| match never {};
    let mut answer = Response::new(Full::new(bytes.into()).map_err(never).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A short answer for people.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = whole(status, "text/plain; charset=utf-8", text);
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// An answer for programs.
pub(super) fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => whole(StatusCode::OK, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "unable to encode an answer");
            text(StatusCode::INTERNAL_SERVER_ERROR, "unable to encode the answer\n")
        }
    }
}

/// Metrics in the text format of Prometheus.
pub(super) fn metrics(text: String) -> Answer {
    whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// There is no such path.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// What a provider's error is to an HTTP caller, as in the kubelet's streaming server (k8s.io/cri-streaming): what is
/// not there 404, what is busy 429, what can't be done 501, all else 500. Details are for the host's log alone.
pub(super) fn failure(error: &ProviderError) -> Answer {
    let status = match error.code {
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::RetryAfter(_) => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = text(status, error.message.clone());
    if let ErrorCode::RetryAfter(after) = error.code {
        // Whole seconds, rounded up: not before.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn errors_of_providers_have_their_codes() {
        let busy = ProviderError::retry_after(Duration::from_millis(1_200), "later");
        for (error, status) in [
            (ProviderError::not_found("x"), 404),
            (busy.clone(), 429),
            (ProviderError::unsupported("x"), 501),
            (ProviderError::invalid("x"), 500),
            (ProviderError::unavailable("x"), 500),
        ] {
            assert_eq!(failure(&error).status(), status, "{error}");
        }
        assert_eq!(failure(&busy).headers()[header::RETRY_AFTER], "2");
    }
}
