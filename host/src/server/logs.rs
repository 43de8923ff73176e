//! `/containerLogs`: checks in the kubelet's order, with its answers, then the log as it comes from the provider.
//!
//! The answer's head is written when the provider has sent its first bytes (and 30 seconds have passed, where none of them
//! is for the caller yet) or has ended well, so that a failure to open the log is an answer of its own and not a line of
//! the log. A failure later cuts the answer off, which a client can tell from its end. What the caller has not taken waits
//! in the connection, which holds little (`Limits::head_bytes`); nothing is read from the provider while it is full.

use super::answer::Answer;
use super::answer::Body;
use super::answer::not_found;
use super::answer::text;
use super::backend::Backend;
use super::backend::BoxFuture;
use super::backend::LogStream;
use super::lines::Lines;
use super::query;
use super::query::BadQuery;
use super::query::LogOptions;
use super::status::Pod;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use futures::TryStreamExt;
use futures::future::ready;
use futures::stream;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::LogRequest;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Timestamp;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How long a provider may take to its first byte.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a log that is followed: whose container says nothing has a log as well, and a caller may wait for the
/// answer's head. A provider that fails later than this breaks the answer off.
const QUIET: Duration = Duration::from_secs(1);
/// How long a provider may fall silent in the middle of a log that is not followed, and between the last byte of any and its
/// word about how it ended.
const SILENCE: Duration = Duration::from_secs(600);
/// How much is read from a provider at once.
const CHUNK: usize = 64 << 10;

/// Answers a request whose path goes on with `path` after the endpoint's name.
pub(super) async fn answer(backend: &dyn Backend, path: &str, query: Option<&str>) -> Answer {
    let parts: Option<Vec<_>> = path.split('/').map(query::decode).collect();
    let Some([namespace, pod, container]) = parts.as_deref() else {
        return not_found();
    };
    let missing = [
        (namespace, "podNamespace"),
        (pod, "podID"),
        (container, "container name"),
    ]
    .into_iter()
    .find(|(part, _)| part.is_empty());
    if let Some((_, name)) = missing {
        return text(StatusCode::BAD_REQUEST, format!(r#"{{"message": "Missing {name}."}}"#));
    }
    let options = match query::log_options(query, jiff::Timestamp::now()) {
        Ok(options) => options,
        Err(BadQuery::Undecodable) => {
            return text(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
        }
        Err(BadQuery::Invalid) => {
            return text(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
        }
    };
    match open(backend, namespace, pod, container, &options).await {
        Ok(answer) => answer,
        Err(refusal) => text(refusal.0, refusal.1),
    }
}

type Refusal = (StatusCode, String);

async fn open(
    backend: &dyn Backend,
    namespace: &str,
    name: &str,
    container: &str,
    options: &LogOptions,
) -> Result<Answer, Refusal> {
    let bad_request = |message: String| (StatusCode::BAD_REQUEST, message);
    let unknown = || (StatusCode::NOT_FOUND, format!("pod {name:?} does not exist"));
    let view = backend.find(namespace, name).await.ok_or_else(unknown)?;
    let pod = Pod::read(&view.raw).map_err(|error| {
        tracing::error!(pod = name, namespace, %error, "unable to read a stored pod");
        (StatusCode::INTERNAL_SERVER_ERROR, "unable to read the pod\n".to_owned())
    })?;
    if !pod.has(container) {
        let message = format!("container {container:?} not found in pod {name:?}");
        return Err((StatusCode::NOT_FOUND, message));
    }
    if options.one_stream {
        let message = "this node keeps stdout and stderr in one log: ask without stream, or with stream=All";
        return Err(bad_request(message.to_owned()));
    }
    pod.log_exists(name, container, options.previous).map_err(bad_request)?;
    let request = LogRequest {
        identity: view.identity,
        container: container.to_owned(),
        previous: options.previous,
        follow: options.follow,
        // Rounded down, so that the provider leaves out nothing that Lines would keep.
        since: options.since.map(|since| Timestamp(since.as_millisecond())),
        tail: options.tail,
    };
    let failed = |error: ProviderError| {
        tracing::debug!(pod = name, namespace, container, %error, "unable to open a log");
        let status = match error.code {
            ErrorCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, error.message)
    };
    let late = || ProviderError::new(ErrorCode::Timeout, "the provider did not open the log in time");
    let opening = tokio::time::timeout(OPEN_TIMEOUT, backend.logs(request)).await;
    let source = opening.unwrap_or_else(|_| Err(late())).map_err(failed)?;
    let pump = Pump::new(source, options);
    let heard = pump.heard.clone();
    let mut first: Reading = Box::pin(pump.read());
    let patience = if options.follow { QUIET } else { OPEN_TIMEOUT };
    let next = match tokio::time::timeout(patience, first.as_mut()).await {
        Ok(read) => {
            let (bytes, rest) = read.map_err(failed)?;
            Next::Have(bytes, rest)
        }
        // What has come may not be for the caller, or not before the end is known.
        Err(_) if options.follow || heard.load(Ordering::Relaxed) => Next::Await(first),
        Err(_) => return Err(failed(late())),
    };
    let mut answer = Response::new(body(next));
    let plain = header::HeaderValue::from_static("text/plain");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(answer)
}

/// A log between the provider and the caller.
struct Pump {
    source: LogStream,
    /// How long it may say nothing.
    patience: Duration,
    /// Something has come.
    heard: Arc<AtomicBool>,
    lines: Lines,
    /// What came last from the provider.
    input: BytesMut,
    /// What of it goes to the caller; its memory comes back when the caller has it.
    output: BytesMut,
}

/// What there is more for the caller, if anything, and the pump unless that was the last of it.
type Read = Result<(Bytes, Option<Pump>), ProviderError>;
type Reading = BoxFuture<'static, Read>;

impl Pump {
    fn new(source: LogStream, options: &LogOptions) -> Self {
        Self {
            source,
            patience: if options.follow { Duration::MAX } else { SILENCE },
            heard: Arc::default(),
            lines: Lines::new(options),
            input: BytesMut::new(),
            output: BytesMut::new(),
        }
    }

    /// Reads until there is something for the caller, or the end.
    async fn read(mut self) -> Read {
        loop {
            self.input.clear();
            self.input.reserve(CHUNK);
            let input = &mut (&mut self.input).limit(CHUNK);
            let reading = tokio::time::timeout(self.patience, self.source.read_buf(input));
            if reading.await.map_err(|_| silent())?? == 0 {
                self.lines.end(&mut self.output);
                // The end of the bytes is no success yet: the provider's word is.
                let finished = tokio::time::timeout(SILENCE, self.source.finish());
                finished.await.map_err(|_| silent())??;
                return Ok((self.output.freeze(), None));
            }
            self.heard.store(true, Ordering::Relaxed);
            self.lines.push(&self.input, &mut self.output);
            let output = self.output.split().freeze();
            if self.lines.is_done() {
                return Ok((output, None));
            }
            if !output.is_empty() {
                return Ok((output, Some(self)));
            }
        }
    }
}

fn silent() -> ProviderError {
    ProviderError::new(ErrorCode::Timeout, "the provider has stopped in the middle of the log")
}

/// The next piece of a body.
enum Next {
    Have(Bytes, Option<Pump>),
    Await(Reading),
    Read(Pump),
}

impl Next {
    async fn get(self) -> Read {
        match self {
            Self::Have(bytes, rest) => Ok((bytes, rest)),
            Self::Await(reading) => reading.await,
            Self::Read(pump) => pump.read().await,
        }
    }
}

fn body(first: Next) -> Body {
    let pieces = stream::unfold(Some(first), |next| async {
        Some(match next?.get().await {
            Ok((bytes, rest)) => (Ok(bytes), rest.map(Next::Read)),
            Err(error) => {
                tracing::warn!(%error, "unable to read a log to its end");
                // A failing body drops what the connection has not sent yet: let it send first what the caller takes at once.
                tokio::task::yield_now().await;
                (Err(io::Error::other(error)), None)
            }
        })
    });
    let frames = pieces.try_filter(|bytes| ready(!bytes.is_empty())).map_ok(Frame::data);
    StreamBody::new(frames).boxed_unsync()
}
