//! One ConfigMap or Secret, followed as long as pods refer to it.
//!
//! A watch with a field selector on its name, as the kubelet's (and all that the Node authorizer allows): it tells of an
//! object that is not there yet, too. What is immutable is read once, and kept until the last pod that refers to it has
//! gone, as the kubelet does. Where there is no room for one more watch the object is read again every minute, which is
//! the kubelet's `Cache` strategy for all objects.

use super::{
    Found, ThingId, What,
    board::{Board, News},
    reach::{Failures, Reach},
};
use crate::{
    cluster::{
        ApiError, Backoff, Place, Watch, raw,
        watch::{Event, Target},
    },
    material::{ConfigMapData, SecretData},
};
use std::{sync::Arc, time::Duration};

/// Between two reads of an object that can't be watched; a fifth is added or taken at random.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// The same for one that somebody waits for.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_BASE: Duration = Duration::from_millis(200);
const BACKOFF_CAP: Duration = Duration::from_secs(15);

/// What can be followed.
pub trait Content: Sized + PartialEq + Send + Sync + 'static {
    /// The plural of its kind.
    const PLURAL: &'static str;

    /// Reads the object.
    ///
    /// # Errors
    /// When the bytes are none; without any content.
    fn read(raw: &[u8]) -> Result<Self, String>;

    /// Whether it can't change any more.
    fn is_immutable(&self) -> bool;

    /// What is put up of it.
    fn news(found: Found<Arc<Self>>) -> News;

    /// What is known, of one of these.
    fn known(what: &What) -> Option<&Found<Arc<Self>>>;

    /// What it was when it was last there.
    fn last(what: &What) -> Option<&Arc<Self>>;
}

impl Content for ConfigMapData {
    const PLURAL: &'static str = "configmaps";

    fn read(raw: &[u8]) -> Result<Self, String> {
        Self::read(raw).map_err(|error| at(&error))
    }

    fn is_immutable(&self) -> bool {
        self.immutable
    }

    fn news(found: Found<Arc<Self>>) -> News {
        News::ConfigMap(found)
    }

    fn known(what: &What) -> Option<&Found<Arc<Self>>> {
        match what {
            What::ConfigMap { known, .. } => Some(known),
            _ => None,
        }
    }

    fn last(what: &What) -> Option<&Arc<Self>> {
        match what {
            What::ConfigMap { last, .. } => last.as_ref(),
            _ => None,
        }
    }
}

impl Content for SecretData {
    const PLURAL: &'static str = "secrets";

    fn read(raw: &[u8]) -> Result<Self, String> {
        Self::read(raw).map_err(|error| at(&error))
    }

    fn is_immutable(&self) -> bool {
        self.immutable
    }

    fn news(found: Found<Arc<Self>>) -> News {
        News::Secret(found)
    }

    fn known(what: &What) -> Option<&Found<Arc<Self>>> {
        match what {
            What::Secret { known, .. } => Some(known),
            _ => None,
        }
    }

    fn last(what: &What) -> Option<&Arc<Self>> {
        match what {
            What::Secret { last, .. } => last.as_ref(),
            _ => None,
        }
    }
}

/// The text of such an error can quote a value; its place can't.
fn at(error: &serde_json::Error) -> String {
    format!("unreadable at line {} column {}", error.line(), error.column())
}

/// Follows one object and tells of it.
pub struct Follower<T> {
    reach: Arc<Reach>,
    board: Arc<Board>,
    id: ThingId,
    /// The collection.
    path: String,
    name: Arc<str>,
    /// What was told last.
    known: Found<Arc<T>>,
    failures: Failures,
}

/// Why a watch is over.
enum Over {
    /// Nothing more can come.
    Immutable,
    /// There is less room than there was.
    Crowded,
}

impl<T: Content> Follower<T> {
    /// Of the one of that name in the collection `path`.
    pub fn new(reach: Arc<Reach>, board: Arc<Board>, id: ThingId, path: String, name: Arc<str>) -> Self {
        Self {
            reach,
            board,
            id,
            path,
            name,
            known: Found::Unknown,
            failures: Failures::default(),
        }
    }

    /// Runs until it is dropped, or nothing more can come.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
        loop {
            // What is rarely needed stands on its own, so that thousands of followers are small.
            match Box::pin(self.reach.trunks.place()).await {
                Ok(Some(place)) => match self.watch(place).await {
                    Over::Immutable => return,
                    Over::Crowded => {}
                },
                Ok(None) => match Box::pin(self.read()).await {
                    Ok(true) => return,
                    Ok(false) => {
                        backoff.reset();
                        tokio::time::sleep(self.next_read()).await;
                    }
                    Err(error) => self.pause(&error, &mut backoff).await,
                },
                Err(error) => self.pause(&error, &mut backoff).await,
            }
        }
    }

    async fn pause(&mut self, error: &ApiError, backoff: &mut Backoff) {
        self.failed(error);
        Box::pin(self.reach.pause(error, backoff.next_delay())).await;
    }

    async fn watch(&mut self, place: Place) -> Over {
        let reach = self.reach.clone();
        let target = Target::new(format!("{} {}", T::PLURAL, self.name), self.path.as_str())
            .fields(format!("metadata.name={}", self.name))
            .quiet();
        let mut watch = Watch::new(place.client().clone(), target);
        let mut turn = Box::pin(reach.read()).await;
        let mut listed = false;
        loop {
            let event = watch.try_next().await;
            match event {
                Ok(Event::Restarted) => listed = false,
                Ok(Event::Listed { .. }) => {}
                Ok(Event::Apply(raw)) => {
                    listed = true;
                    self.seen(&raw);
                }
                Ok(Event::Delete(_)) => self.tell(Found::Missing),
                Ok(Event::Synced) => {
                    turn = None;
                    self.failures.clear();
                    if !listed {
                        self.tell(Found::Missing);
                    }
                }
                Err(error) => {
                    turn = None;
                    self.failed(&error);
                }
            }
            // Its bytes are not needed any more.
            watch.settle();
            if turn.is_none() && self.is_final() {
                return Over::Immutable;
            }
            if place.is_crowded() {
                return Over::Crowded;
            }
        }
    }

    /// Reads it once; true when nothing more can come.
    async fn read(&mut self) -> Result<bool, ApiError> {
        let reach = self.reach.clone();
        let _turn = reach.read().await;
        let request = raw::get(&format!("{}/{}", self.path, self.name))?;
        match raw::send(&reach.trunks.requests, request, TIMEOUT).await {
            Ok(reply) => self.seen(&reply.body),
            Err(ApiError::NotFound(_)) => self.tell(Found::Missing),
            Err(error) => return Err(error),
        }
        self.failures.clear();
        Ok(self.is_final())
    }

    fn next_read(&self) -> Duration {
        let wait = match self.known {
            Found::Here(_) => READ_AGAIN,
            _ => LOOK_AGAIN,
        };
        wait.mul_f64(0.8 + 0.4 * fastrand::f64())
    }

    fn is_final(&self) -> bool {
        matches!(&self.known, Found::Here(content) if content.is_immutable())
    }

    fn seen(&mut self, raw: &[u8]) {
        match T::read(raw) {
            Ok(content) => self.tell(Found::Here(Arc::new(content))),
            Err(why) => self.tell(Found::Unavailable(why)),
        }
    }

    fn failed(&mut self, error: &ApiError) {
        self.reach.report(T::PLURAL, error);
        // What is known stays good until something newer is.
        if self.failures.tells(error) && !matches!(self.known, Found::Here(_) | Found::Missing) {
            self.tell(Found::Unavailable(error.to_string()));
        }
    }

    /// Tells, unless it is no news: labels and annotations change, too.
    fn tell(&mut self, found: Found<Arc<T>>) {
        if self.known != found {
            self.known = found.clone();
            self.board.tell(self.id, T::news(found));
        }
    }
}
