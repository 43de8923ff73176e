//! A list followed by a watch, for ever, as raw JSON.
//!
//! The shape is that of the Kubernetes reflector: list in pages, watch from the list's resource version, resume from the
//! last one seen when the stream ends, list again when that is too old (410). Lists name no resource version, so that
//! they are as new as the server's newest write: a list from a cache that lags would show pods that are gone and hide
//! pods that are there, and the second would make orphans of them.
//!
//! A store that was restored from a backup has gone back: its newest version is one that was passed long ago. API servers
//! take a version that is yet to come, and are silent until they are there, for hours perhaps. So when a stream broke, as all
//! do when that happens, the store's version is asked for before it is opened again.

use super::Client;
use super::backoff::Backoff;
use super::http::Incoming;
use super::members::Member;
use super::members::Members;
use super::members::Sorted;
use super::raw;
use super::raw::ApiError;
use super::raw::Reply;
use bytes::Bytes;
use bytes::BytesMut;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PAGE: &str = "500";
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The server ends a watch after this long; a tenth is added at random, so that watches do not end in step.
const WATCH_SECONDS: u64 = 290;
/// A stream that is silent well past its own end is dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS + WATCH_SECONDS / 10 + 30);
/// And so is one whose bookmarks fail to come, which API servers send once a minute: whatever stands between acknowledges what
/// is sent to a server that has vanished, and would do so for ever.
const BETWEEN_BOOKMARKS: Duration = Duration::from_secs(90);
/// What waits in a connection comes sooner than this.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// A stream that lived this long was healthy: the next failure starts with a short delay again, and one that the server
/// ended is opened anew at once.
const HEALTHY_AFTER: Duration = Duration::from_millis(500);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// The same where the server is there and only this stream does not last: pods wait for what it would tell.
const ANSWERED_CAP: Duration = Duration::from_secs(3);
/// An object of the API is at most 3 MiB on the wire.
const MAX_LINE: usize = 16 << 20;

/// What to watch.
#[derive(Debug, Clone)]
pub struct Target {
    /// For logs: `pods`, `node vk-0`.
    pub name: String,
    /// The collection: `/api/v1/pods`.
    pub path: String,
    /// Selects by field, `spec.nodeName=vk-0`.
    pub field_selector: Option<String>,
    /// Selects by label.
    pub label_selector: Option<String>,
    /// What is reported here of what goes wrong.
    pub reports: Reports,
}

/// What a watch logs of its trouble, at a level above debug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Everything.
    All,
    /// Not that the API server is away: others say so, too, for one watch among many.
    NoOutages,
    /// Nothing: whoever pulls it says what matters.
    Nothing,
}

impl Target {
    /// Everything in the collection `path`.
    pub fn new(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            field_selector: None,
            label_selector: None,
            reports: Reports::All,
        }
    }

    /// Leaves it to others to report that the API server is away. Anything else is reported as ever.
    pub fn quiet_outages(mut self) -> Self {
        self.reports = Reports::NoOutages;
        self
    }

    /// Leaves all reporting to whoever pulls the watch.
    pub fn quiet(mut self) -> Self {
        self.reports = Reports::Nothing;
        self
    }

    /// Only objects that match this field selector.
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.field_selector = Some(selector.into());
        self
    }

    fn request(&self, more: &[(&str, &str)]) -> Result<Request<Vec<u8>>, ApiError> {
        let mut query = Vec::with_capacity(more.len() + 2);
        query.extend(
            self.field_selector
                .as_deref()
                .map(|selector| ("fieldSelector", selector)),
        );
        query.extend(
            self.label_selector
                .as_deref()
                .map(|selector| ("labelSelector", selector)),
        );
        query.extend_from_slice(more);
        raw::get(&raw::with_query(&self.path, &query))
    }
}

/// What a watch tells. After `Restarted`, and `Listed` where versions are numbers, everything that exists follows as `Apply`,
/// then comes `Synced`: what was known before and was not applied in between is gone. `Restarted` may come again before
/// `Synced`; then it all starts over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A list begins.
    Restarted,
    /// The list that has begun is of this version of the store, and nothing in it is older than what was known of it before,
    /// unless that is higher: an answer to a write may have overtaken the list. Else the store was restored from a backup.
    Listed {
        /// The store's version.
        version: u64,
        /// It is lower than what was seen before the list was asked for: what was known counts no more, however high.
        restored: bool,
    },
    /// The list is complete; from here on events are changes.
    Synced,
    /// An object exists and looks like this: JSON of its own, not shared with other objects. Objects of a list lack
    /// `kind` and `apiVersion`.
    Apply(Bytes),
    /// An object is gone; this was its last state.
    Delete(Bytes),
}

/// Where a [`Watch`] is.
enum State {
    /// The next thing is to ask for a page.
    Lists { token: Option<String> },
    /// A page was asked for.
    Listing {
        token: Option<String>,
        page: BoxFuture<'static, Result<Reply, ApiError>>,
    },
    /// A page is being handed out.
    Handing {
        items: std::vec::IntoIter<Item>,
        then: AfterPage,
    },
    /// The next thing is to open the stream.
    Opens,
    /// The last stream broke: the newest version of the store was asked for.
    Checking {
        page: BoxFuture<'static, Result<Reply, ApiError>>,
    },
    /// The stream was asked for.
    Opening {
        stream: BoxFuture<'static, Result<Incoming, ApiError>>,
    },
    /// Changes arrive.
    Streaming(Box<Stream>),
    /// Something failed; it is tried again when the time has come.
    Waiting { pause: BoxFuture<'static, ()>, then: Retry },
}

/// An object, and whose it is where the watch is shared.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    object: Bytes,
    owner: Option<Member>,
}

enum AfterPage {
    NextPage { token: String },
    Complete { version: String },
}

enum Retry {
    /// The page that this token names; without one the whole list.
    List {
        token: Option<String>,
    },
    Stream,
}

impl Retry {
    const RELIST: Self = Self::List { token: None };
}

/// Whether the server sends bookmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bookmarks {
    /// No stream has lived long enough to tell.
    Awaited,
    /// It does.
    Come,
    /// One stream was silent for so long that it does not; or it was dead, and the next bookmark shows that.
    Absent,
}

impl Bookmarks {
    /// How long a stream may be silent.
    fn patience(self) -> Duration {
        match self {
            Self::Awaited | Self::Come => BETWEEN_BOOKMARKS,
            Self::Absent => SILENCE,
        }
    }
}

struct Stream {
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    opened: Instant,
    /// When something came last.
    heard: Instant,
}

/// From where a broken stream can go on.
enum Position {
    /// A resource version: the list's, or that of an object of which nothing else is kept.
    Version(String),
    /// The object of the last event; its resource version is read only when it is needed.
    Object(Bytes),
}

/// A list and watch that goes on for ever.
///
/// It is pulled: nothing is read from the server before [`next`](Self::next) asks for it, so a slow consumer holds at
/// most one page or one read buffer.
pub struct Watch {
    client: Client,
    target: Target,
    state: State,
    position: Option<Position>,
    /// The last stream ended before its time.
    broke: bool,
    bookmarks: Bookmarks,
    /// A page other than a list's first could not be had.
    stumbled: bool,
    backoff: Backoff,
    trouble: Option<&'static str>,
    /// Whether the present trouble was reported.
    reported: bool,
    /// Those whose objects are told; without them all are.
    members: Option<Arc<Members>>,
    /// Whose the object is that was told last.
    owner: Option<Member>,
}

impl Watch {
    /// Starts with a list as soon as it is asked for the first event.
    pub fn new(client: Client, target: Target) -> Self {
        Self {
            client,
            target,
            state: State::Lists { token: None },
            position: None,
            broke: false,
            bookmarks: Bookmarks::Awaited,
            stumbled: false,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            trouble: None,
            reported: false,
            members: None,
            owner: None,
        }
    }

    /// Tells only of what these have; nothing of other objects is kept.
    pub(super) fn only(mut self, members: Arc<Members>) -> Self {
        self.members = Some(members);
        self
    }

    /// Whose the object of the last event is, on a watch for [members](Self::only).
    pub(super) fn owner(&self) -> Option<Member> {
        self.owner
    }

    /// Whether requests fail at present.
    pub fn in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// The next event. Failures are retried inside, with a log line when they begin, change their kind or end.
    ///
    /// Cancel safe: what was under way goes on with the next call.
    pub async fn next(&mut self) -> Event {
        loop {
            // It was logged, and the next turn tries again.
            if let Ok(event) = self.try_next().await {
                return event;
            }
        }
    }

    /// The next event, or why a request failed; calling again goes on, after a pause, until it works.
    ///
    /// # Errors
    /// Every class of [`ApiError`], once for each failure. A resource version that is too old is none: it is listed again.
    ///
    /// Cancel safe: what was under way goes on with the next call.
    pub async fn try_next(&mut self) -> Result<Event, ApiError> {
        loop {
            match &mut self.state {
                State::Lists { token } => {
                    let restarted = token.is_none();
                    let token = token.take();
                    let page = self.ask_page(token.as_deref());
                    self.state = State::Listing { token, page };
                    if restarted {
                        return Ok(Event::Restarted);
                    }
                }
                State::Listing { token, page } => {
                    let page = page.await.and_then(|reply| Page::read(&reply, self.members.as_deref()));
                    let token = token.take();
                    match page {
                        Ok(page) => {
                            self.recovered();
                            (self.broke, self.stumbled) = (false, false);
                            let restored = self.is_ahead_of(&page.version);
                            let version = page.version.parse().ok().filter(|_| token.is_none());
                            self.state = State::Handing {
                                items: page.items.into_iter(),
                                then: page.then,
                            };
                            if let Some(version) = version {
                                if restored {
                                    self.position = None;
                                    tracing::warn!(watch = %self.target.name,
                                        "the API server's store was restored from a backup, going on from what it has");
                                }
                                return Ok(Event::Listed { version, restored });
                            }
                        }
                        Err(error) => {
                            // A token of a store that was restored since would fail until that has caught up.
                            let over = std::mem::replace(&mut self.stumbled, token.is_some());
                            let token = token.filter(|_| !over);
                            self.failed(error, Retry::List { token })?;
                        }
                    }
                }
                State::Handing { items, then } => match (items.next(), then) {
                    (Some(item), _) => {
                        self.owner = item.owner;
                        return Ok(Event::Apply(item.object));
                    }
                    (None, AfterPage::NextPage { token }) => {
                        self.state = State::Lists {
                            token: Some(std::mem::take(token)),
                        };
                    }
                    (None, AfterPage::Complete { version }) => {
                        self.position = Some(Position::Version(std::mem::take(version)));
                        self.state = State::Opens;
                        return Ok(Event::Synced);
                    }
                },
                State::Opens => match self.resume_version() {
                    Some(_) if self.broke => {
                        let page = self.ask_for(&[("limit", "1")]);
                        self.state = State::Checking { page };
                    }
                    Some(version) => {
                        let stream = self.ask_stream(&version);
                        self.state = State::Opening { stream };
                    }
                    None => self.state = State::Lists { token: None },
                },
                State::Checking { page } => {
                    match page.await.and_then(|reply| Page::read(&reply, self.members.as_deref())) {
                        Ok(page) => {
                            self.broke = false;
                            self.state = if self.is_ahead_of(&page.version) {
                                State::Lists { token: None }
                            } else {
                                State::Opens
                            };
                        }
                        Err(error) => self.failed(error, Retry::Stream)?,
                    }
                }
                State::Opening { stream } => match stream.await {
                    Ok(body) => {
                        self.recovered();
                        self.state = State::Streaming(Box::new(Stream::new(body)));
                    }
                    Err(error) => {
                        // It may have been started anew.
                        self.broke |= matches!(error, ApiError::Transport(_) | ApiError::Timeout(_));
                        self.failed(error, Retry::Stream)?;
                    }
                },
                State::Streaming(stream) => match stream.next(self.members.as_deref(), self.bookmarks.patience()).await
                {
                    Ok(Line::Apply(Item { object, owner })) => {
                        self.owner = owner;
                        self.position = Some(Position::Object(object.clone()));
                        return Ok(Event::Apply(object));
                    }
                    Ok(Line::Delete(Item { object, owner })) => {
                        self.owner = owner;
                        self.position = Some(Position::Object(object.clone()));
                        return Ok(Event::Delete(object));
                    }
                    // Without a version, one goes on from the one before: what comes twice is known.
                    Ok(Line::Strange(version)) => {
                        self.position = version.map(Position::Version).or(self.position.take());
                    }
                    Ok(Line::Bookmark(object)) => {
                        self.bookmarks = Bookmarks::Come;
                        self.position = Some(Position::Object(object));
                    }
                    Ok(Line::End) => {
                        self.broke = stream.opened.elapsed() < Duration::from_secs(WATCH_SECONDS);
                        if stream.opened.elapsed() >= HEALTHY_AFTER {
                            self.backoff.reset();
                            self.state = State::Opens;
                        } else {
                            self.wait(Duration::ZERO, ANSWERED_CAP, Retry::Stream);
                        }
                    }
                    Err(error) => {
                        if matches!(error, ApiError::Timeout(_)) && self.bookmarks == Bookmarks::Awaited {
                            self.bookmarks = Bookmarks::Absent;
                        }
                        self.broke = true;
                        if stream.opened.elapsed() >= HEALTHY_AFTER {
                            self.backoff.reset();
                        }
                        self.failed(error, Retry::Stream)?;
                    }
                },
                State::Waiting { pause, then } => {
                    pause.await;
                    self.state = match then {
                        Retry::List { token } => State::Lists { token: token.take() },
                        Retry::Stream => State::Opens,
                    };
                }
            }
        }
    }

    fn ask_page(&self, token: Option<&str>) -> BoxFuture<'static, Result<Reply, ApiError>> {
        let mut query = vec![("limit", PAGE)];
        query.extend(token.map(|token| ("continue", token)));
        self.ask_for(&query)
    }

    fn ask_for(&self, query: &[(&str, &str)]) -> BoxFuture<'static, Result<Reply, ApiError>> {
        let request = self.target.request(query);
        let client = self.client.clone();
        Box::pin(async move { raw::send(&client, request?, OPEN_TIMEOUT).await })
    }

    fn ask_stream(&self, version: &str) -> BoxFuture<'static, Result<Incoming, ApiError>> {
        let seconds = (WATCH_SECONDS + fastrand::u64(0..=WATCH_SECONDS / 10)).to_string();
        let request = self.target.request(&[
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("resourceVersion", version),
        ]);
        let client = self.client.clone();
        Box::pin(async move {
            let open = async {
                let answer = client.send(request?.map(Body::from)).await?;
                let (head, body) = answer.into_parts();
                if head.status.is_success() {
                    return Ok(body);
                }
                let body = body.collect().await?.to_bytes();
                Err(raw::classify(head.status, &head.headers, &body))
            };
            tokio::time::timeout(OPEN_TIMEOUT, open).await.unwrap_or_else(|_| {
                client.unanswered();
                Err(ApiError::Timeout(OPEN_TIMEOUT))
            })
        })
    }

    /// Lets go of the last object, of which only the version is needed from here on.
    pub fn settle(&mut self) {
        if let Some(Position::Object(object)) = &self.position
            && let Some(version) = resource_version(object)
        {
            self.position = Some(Position::Version(version));
        }
    }

    fn resume_version(&self) -> Option<String> {
        match self.position.as_ref()? {
            Position::Version(version) => Some(version.clone()),
            Position::Object(object) => resource_version(object),
        }
    }

    /// Whether more has been seen than there is in a store of that version.
    fn is_ahead_of(&self, version: &str) -> bool {
        let seen = self.resume_version().and_then(|seen| seen.parse::<u64>().ok());
        let (Some(seen), Ok(newest)) = (seen, version.parse()) else {
            return false;
        };
        seen > newest
    }

    /// Notes a failure, decides what comes next, and hands the failure on.
    fn failed(&mut self, error: ApiError, retry: Retry) -> Result<(), ApiError> {
        if matches!(error, ApiError::Gone(_)) {
            // Expected after a long pause, so no trouble to report; delayed like any other failure, since a server that
            // finds every version too old must not be listed in a tight loop.
            tracing::debug!(watch = %self.target.name, "resource version too old, listing again");
            self.wait(Duration::ZERO, ANSWERED_CAP, Retry::RELIST);
            return Ok(());
        }
        let outage = matches!(
            error,
            ApiError::Transport(_) | ApiError::Timeout(_) | ApiError::Server { .. } | ApiError::TooManyRequests { .. }
        );
        let news = self.trouble.replace(error.class()) != Some(error.class());
        let tells = match self.target.reports {
            Reports::All => true,
            Reports::NoOutages => !outage,
            Reports::Nothing => false,
        };
        if news && tells {
            self.reported = true;
            tracing::warn!(watch = %self.target.name, %error, "unable to watch, retrying");
        } else {
            tracing::debug!(watch = %self.target.name, %error, "unable to watch");
        }
        let retry = match error {
            // Whatever it was, the stream can't be trusted to have told everything.
            ApiError::Malformed(_) => Retry::RELIST,
            _ => retry,
        };
        self.wait(error.retry_after().unwrap_or_default(), BACKOFF_CAP, retry);
        Err(error)
    }

    fn wait(&mut self, least: Duration, cap: Duration, then: Retry) {
        let delay = self.backoff.next_delay().min(cap);
        let client = self.client.clone();
        let pause = Box::pin(async move { client.pause(least, delay).await });
        self.state = State::Waiting { pause, then };
    }

    fn recovered(&mut self) {
        self.trouble = None;
        if std::mem::take(&mut self.reported) {
            tracing::info!(watch = %self.target.name, "watching again");
        }
    }
}

struct Page {
    /// The store's, when the list was begun.
    version: String,
    items: Vec<Item>,
    then: AfterPage,
}

impl Page {
    fn read(reply: &Reply, members: Option<&Members>) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(default)]
            metadata: ListMeta,
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct ListMeta {
            resource_version: String,
            r#continue: String,
        }
        let list: List<'_> = reply.decode()?;
        let items = list
            .items
            .unwrap_or_default()
            .into_iter()
            .filter_map(|item| {
                let object = item.get().as_bytes();
                let owner = members.map(|members| members.of(object));
                (owner != Some(None)).then(|| Item {
                    object: Bytes::copy_from_slice(object),
                    owner: owner.flatten(),
                })
            })
            .collect();
        let version = list.metadata.resource_version;
        let then = if list.metadata.r#continue.is_empty() {
            AfterPage::Complete {
                version: version.clone(),
            }
        } else {
            AfterPage::NextPage {
                token: list.metadata.r#continue,
            }
        };
        Ok(Self { version, items, then })
    }
}

enum Line {
    Apply(Item),
    Delete(Item),
    /// A change of what no member has, and its version.
    Strange(Option<String>),
    Bookmark(Bytes),
    /// The server ended the stream.
    End,
}

impl Stream {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            opened: Instant::now(),
            heard: Instant::now(),
        }
    }

    async fn next(&mut self, members: Option<&Members>, patience: Duration) -> Result<Line, ApiError> {
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.buffer.split_to(self.searched + found + 1);
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return parse_line(&line, members);
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(ApiError::Malformed(serde::de::Error::custom(
                    "event of more than 16 MiB",
                )));
            }
            // Whoever pulls may give up and come again, time after time; or come late, for what has waited in the connection.
            let silent_at = (self.heard + patience).max(Instant::now() + LEAST_PATIENCE);
            match tokio::time::timeout_at(silent_at, self.body.frame()).await {
                Err(_) => return Err(ApiError::Timeout(patience)),
                Ok(None) => return Ok(Line::End),
                Ok(Some(Err(error))) => return Err(error),
                Ok(Some(Ok(frame))) => {
                    self.heard = Instant::now();
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// The type and the object of an event as API servers write it, found without reading the object, whose reader does
/// that anyway. `None` where it looks otherwise.
fn split_line(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.trim_ascii_end().strip_prefix(br#"{"type":""#)?;
    let end = memchr::memchr(b'"', line)?;
    let object = line[end..].strip_prefix(br#"","object":"#)?.strip_suffix(b"}")?;
    let whole = object.starts_with(b"{") && object.ends_with(b"}");
    whole.then_some((std::str::from_utf8(&line[..end]).ok()?, object))
}

/// Copies an object that somebody wants.
fn wanted(object: &[u8], members: Option<&Members>, line: fn(Item) -> Line) -> Line {
    let owner = match members.map(|members| members.sort(object)) {
        None => None,
        Some(Sorted::Ours(member)) => Some(member),
        Some(Sorted::Strange(version)) => return Line::Strange(version),
    };
    line(Item {
        object: Bytes::copy_from_slice(object),
        owner,
    })
}

fn parse_line(line: &[u8], members: Option<&Members>) -> Result<Line, ApiError> {
    match split_line(line) {
        Some(("ADDED" | "MODIFIED", object)) => return Ok(wanted(object, members, Line::Apply)),
        Some(("DELETED", object)) => return Ok(wanted(object, members, Line::Delete)),
        _ => {}
    }
    #[derive(Deserialize)]
    struct WatchEvent<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        code: u16,
    }
    let event: WatchEvent<'_> = serde_json::from_slice(line).map_err(ApiError::Malformed)?;
    let object = event.object.get().as_bytes();
    match event.r#type {
        "ADDED" | "MODIFIED" => Ok(wanted(object, members, Line::Apply)),
        "DELETED" => Ok(wanted(object, members, Line::Delete)),
        "BOOKMARK" => Ok(Line::Bookmark(Bytes::copy_from_slice(object))),
        "ERROR" => {
            let status: Status = serde_json::from_slice(object).unwrap_or_default();
            let code = http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
            Err(raw::classify(code, &http::HeaderMap::new(), object))
        }
        other => Err(ApiError::Malformed(serde::de::Error::custom(format!(
            "unknown event type {other:?}"
        )))),
    }
}

/// The `metadata.resourceVersion` of an object.
fn resource_version(object: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        resource_version: String,
    }
    let object: Object = serde_json::from_slice(object).ok()?;
    Some(object.metadata.resource_version)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
