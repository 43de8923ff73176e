//! Watches: a backlog, then events as they happen, bookmarks between them, an end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, Interval, Sleep};

use super::negotiate::{self, Form};
use super::respond::{self, Body, BodyError};
use super::{Call, read, views};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::resources::Resource;
use crate::store::{Delivery, Watch};
use crate::table;

/// Lines are joined up to this size before they are handed to the connection.
const CHUNK: usize = 64 * 1024;
/// The real server ends watches without a `timeoutSeconds` after 30 to 60 minutes.
const DEFAULT_TIMEOUT: std::ops::Range<u64> = 1800..3600;
/// A bookmark goes out this long before the end, so that the next watch starts where this one ended.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// Answers a watch. Once the request is understood, failures are events of the stream, as with the real server.
pub fn start(call: &Call<'_>) -> Result<Response<Body>> {
    let filter = read::filter(call)?;
    let form = negotiate::form(&call.headers)?;
    let query = &call.query;
    let from = query
        .number::<u64>("resourceVersion")
        .map_err(ApiError::bad_request)?
        .unwrap_or(0);
    let seconds = query
        .number::<u64>("timeoutSeconds")
        .map_err(ApiError::bad_request)?
        .filter(|s| *s > 0);
    let bookmarks = query.flag("allowWatchBookmarks");
    let initial = query.get("sendInitialEvents").map(|_| query.flag("sendInitialEvents"));
    if initial.is_some() && query.get("resourceVersionMatch") != Some("NotOlderThan") {
        let message =
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(ApiError::new(422, "Invalid", message));
    }
    let kind = call.target.resource.kind;
    let store = &call.cluster.store;
    let mut announce = None;
    let watch = match initial {
        Some(true) => {
            let (watch, revision) = store.watch_all(kind, filter);
            announce = bookmarks.then_some(revision);
            watch
        }
        None if from == 0 => store.watch_all(kind, filter).0,
        // "From now on" when no revision is named and the present is not wanted.
        Some(false) if from == 0 => store
            .watch_from(kind, filter, store.settled(kind))
            .map_err(|_| ApiError::expired("history was lost"))?,
        _ => match store.watch_from(kind, filter, from) {
            Ok(watch) => watch,
            Err(oldest) => {
                let gone = ApiError::expired(format!("too old resource version: {from} ({oldest})"));
                let line = json!({"type": "ERROR", "object": gone.status()});
                return Ok(respond::json(StatusCode::OK, format!("{line}\n")));
            }
        },
    };
    let seconds = seconds.unwrap_or_else(|| fastrand::u64(DEFAULT_TIMEOUT));
    let lines = Lines::new(call, watch, form, bookmarks, announce, Duration::from_secs(seconds));
    let stream = futures::stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(chunk)), lines))
    });
    let mut response = respond::json(StatusCode::OK, Bytes::new());
    *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(pin(stream)));
    Ok(response)
}

fn pin(
    stream: impl Stream<Item = Result<Frame<Bytes>, BodyError>> + Send + 'static,
) -> Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, BodyError>> + Send>> {
    Box::pin(stream)
}

struct Lines {
    cluster: Arc<Cluster>,
    resource: &'static Resource,
    form: Form,
    include_object: Option<String>,
    backlog: std::vec::IntoIter<Delivery>,
    events: tokio::sync::mpsc::Receiver<Delivery>,
    /// The revision whose state the initial events show, until that was said.
    announce: Option<u64>,
    /// The revision of the last event.
    delivered: u64,
    bookmarks: Option<Interval>,
    last_bookmark: Option<Pin<Box<Sleep>>>,
    end: Pin<Box<Sleep>>,
}

impl Lines {
    fn new(
        call: &Call<'_>,
        watch: Watch,
        form: Form,
        bookmarks: bool,
        announce: Option<u64>,
        timeout: Duration,
    ) -> Lines {
        let cluster = call.cluster.clone();
        let period = cluster.bookmarks;
        let end = Instant::now() + timeout;
        Lines {
            resource: call.target.resource,
            form,
            include_object: call.query.get("includeObject").map(str::to_owned),
            backlog: watch.backlog.into_iter(),
            events: watch.events,
            announce,
            delivered: 0,
            bookmarks: bookmarks.then(|| tokio::time::interval_at(Instant::now() + period, period)),
            last_bookmark: (bookmarks && timeout > LAST_BOOKMARK)
                .then(|| Box::pin(tokio::time::sleep_until(end - LAST_BOOKMARK))),
            end: Box::pin(tokio::time::sleep_until(end)),
            cluster,
        }
    }

    /// The next lines, as many as are ready; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Joined::default();
        while let Some(delivery) = self.backlog.next() {
            out.push(self.line(&delivery));
            if out.len() >= CHUNK {
                return out.take();
            }
        }
        if let Some(revision) = self.announce.take() {
            out.push(self.bookmark(revision, true));
        }
        if out.len() > 0 {
            return out.take();
        }
        let shutdown = self.cluster.shutdown.clone();
        tokio::select! {
            biased;
            delivery = self.events.recv() => {
                out.push(self.line(&delivery?));
                self.drain(&mut out);
                return out.take();
            }
            _ = async { match &mut self.bookmarks { Some(tick) => { tick.tick().await; } None => std::future::pending().await } } => {}
            _ = async { match &mut self.last_bookmark { Some(sleep) => sleep.await, None => std::future::pending().await } } => {
                self.last_bookmark = None;
            }
            _ = &mut self.end => return None,
            _ = shutdown.cancelled() => return None,
        }
        // All events up to this revision are in the queue: they go before the bookmark that stands for them. So do some that
        // have come since, and a bookmark never goes back behind an event.
        let revision = self.cluster.store.settled(self.resource.kind);
        while let Ok(delivery) = self.events.try_recv() {
            out.push(self.line(&delivery));
        }
        out.push(self.bookmark(revision.max(self.delivered), false));
        out.take()
    }

    fn drain(&mut self, out: &mut Joined) {
        while out.len() < CHUNK
            && let Ok(delivery) = self.events.try_recv()
        {
            out.push(self.line(&delivery));
        }
    }

    fn line(&mut self, delivery: &Delivery) -> Bytes {
        let Delivery { change, stored } = delivery;
        self.delivered = stored.revision;
        let object = match self.form {
            Form::Whole if self.resource.is_view() => views::event_to_new(stored.value()),
            Form::Whole => return stored.line(*change),
            Form::Partial => views::partial(&stored.value()),
            Form::Table { beta } => {
                let meta = json!({"resourceVersion": stored.revision.to_string()});
                table::render(
                    self.resource,
                    &[stored.value()],
                    meta,
                    beta,
                    self.include_object.as_deref(),
                )
            }
        };
        event(change.as_str(), &object)
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Table { beta } => table::render(self.resource, &[], meta, beta, None),
            Form::Partial => views::partial(&json!({"metadata": meta})),
            Form::Whole => {
                json!({"kind": self.resource.name, "apiVersion": self.resource.api_version(), "metadata": meta})
            }
        };
        event("BOOKMARK", &object)
    }
}

fn event(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

/// Lines on their way into one chunk; a single one is passed on without a copy.
#[derive(Default)]
struct Joined {
    first: Bytes,
    more: BytesMut,
}

impl Joined {
    fn push(&mut self, line: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = line;
            return;
        }
        if self.more.is_empty() {
            self.more.reserve(CHUNK);
            self.more.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.more.extend_from_slice(&line);
    }

    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn take(self) -> Option<Bytes> {
        Some(if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Tokens;
    use crate::cluster::Parts;
    use crate::resources::Kind;
    use crate::store::{Config, Draft, Filter, Store};
    use crate::tls::{self, Authority, KUBELET_CLIENT};

    fn cluster() -> Arc<Cluster> {
        let authority = Authority::new().unwrap();
        let client = authority.client(KUBELET_CLIENT, "masters").unwrap();
        let parts = Parts {
            store: Config::default(),
            tokens: Tokens::new().unwrap(),
            bookmarks: Duration::from_millis(1),
            ca_pem: authority.pem().to_owned(),
            nodes: tls::node_client_config(&client).unwrap(),
        };
        Cluster::new(parts).unwrap()
    }

    #[tokio::test]
    async fn a_bookmark_never_goes_back_behind_an_event() {
        let cluster = cluster();
        // Its revisions are ahead of the cluster's, as those of events are that come between the look at it and the bookmark.
        let ahead = Store::new(Config::default());
        let (watch, _) = ahead.watch_all(Kind::Pods, Filter::default());
        let object = |at: u64| json!({"metadata": {"name": at.to_string(), "namespace": "d"}});
        let mut newest = 0;
        for at in 0..=cluster.store.revision() {
            newest = ahead
                .insert(Kind::Pods, Draft::new(Kind::Pods, object(at)))
                .unwrap()
                .revision;
        }
        assert!(newest > cluster.store.revision());
        let mut lines = Lines {
            resource: Kind::Pods.resource(),
            form: Form::Whole,
            include_object: None,
            backlog: watch.backlog.into_iter(),
            events: watch.events,
            announce: None,
            delivered: 0,
            bookmarks: Some(tokio::time::interval(cluster.bookmarks)),
            last_bookmark: None,
            end: Box::pin(tokio::time::sleep(Duration::from_secs(60))),
            cluster,
        };
        let mut last = Value::Null;
        while last["type"] != "BOOKMARK" {
            let chunk = lines.next().await.unwrap();
            let line = chunk.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
            last = serde_json::from_slice(line).unwrap();
        }
        assert_eq!(last["object"]["metadata"]["resourceVersion"], newest.to_string());
    }

    #[test]
    fn lines_are_joined_in_order() {
        let mut joined = Joined::default();
        joined.push(Bytes::from_static(b"a\n"));
        joined.push(Bytes::from_static(b"b\n"));
        joined.push(Bytes::from_static(b"c\n"));
        assert_eq!(joined.len(), 6);
        assert_eq!(joined.take().unwrap(), "a\nb\nc\n");
    }
}
