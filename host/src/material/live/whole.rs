//! Very many ConfigMaps or Secrets of one namespace, by one watch of all of them.
//!
//! A watch for each object shows nothing but what pods refer to, and is all that the Node authorizer allows; but some
//! thousands of them take their connections, and the API server's memory. Where so many are referred to, and the host may,
//! its namespace is watched as a whole. What no pod refers to is let go of as it comes.

use super::{
    Found, ThingId,
    board::{Board, News},
    follow::Content,
    reach::{Failures, Reach},
};
use crate::cluster::{
    ApiError, Backoff, Watch, raw,
    watch::{Event, Target},
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_BASE: Duration = Duration::from_millis(200);
const BACKOFF_CAP: Duration = Duration::from_secs(15);

/// What pods refer to in a namespace, and what is known of it.
pub struct Wanted<T>(Mutex<HashMap<Arc<str>, Slot<T>>>);

struct Slot<T> {
    id: ThingId,
    known: Found<Arc<T>>,
    /// The resource version that this is known from.
    version: u64,
    /// It came after the list that is under way has begun: what that does not show may have been on a page before.
    late: bool,
}

impl<T: Content> Wanted<T> {
    /// Of these, with what is known of them.
    pub fn of(all: impl Iterator<Item = (Arc<str>, ThingId, Found<Arc<T>>)>) -> Self {
        let slot = |(name, id, known)| {
            let slot = Slot {
                id,
                known,
                version: 0,
                late: false,
            };
            (name, slot)
        };
        Self(Mutex::new(all.map(slot).collect()))
    }

    /// One more, which is to be fetched.
    pub fn add(&self, name: Arc<str>, id: ThingId) {
        let slot = Slot {
            id,
            known: Found::Unknown,
            version: 0,
            late: true,
        };
        self.slots().insert(name, slot);
    }

    /// One that nobody refers to any more.
    pub fn remove(&self, name: &str) {
        self.slots().remove(name);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Arc<str>, Slot<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restart(&self) {
        self.slots().values_mut().for_each(|slot| slot.late = false);
    }

    /// A list is of this version: what it shows is at least as new as what was known, unless that is newer than the list, or
    /// of a store that was restored since.
    fn listed_at(&self, version: u64, restored: bool) {
        let mut slots = self.slots();
        let known = slots.values_mut().filter(|slot| restored || slot.version <= version);
        known.for_each(|slot| slot.version = 0);
    }

    /// Takes over an object, unless nobody wants it; returns its name in that case.
    fn apply(&self, raw: &[u8], board: &Board) -> Option<Arc<str>> {
        let head = head(raw)?;
        let (name, id) = {
            let slots = self.slots();
            let (name, slot) = slots.get_key_value(&*head.name)?;
            (name.clone(), slot.id)
        };
        // Read without the lock.
        let found = match T::read(raw) {
            Ok(content) => Found::Here(Arc::new(content)),
            Err(why) => Found::Unavailable(why),
        };
        self.learn(&name, id, head.version, found, board);
        Some(name)
    }

    fn delete(&self, raw: &[u8], board: &Board) {
        let Some(head) = head(raw) else { return };
        let id = self.slots().get(&*head.name).map(|slot| slot.id);
        if let Some(id) = id {
            self.learn(&head.name, id, head.version, Found::Missing, board);
        }
    }

    fn learn(&self, name: &str, id: ThingId, version: u64, found: Found<Arc<T>>, board: &Board) {
        let mut slots = self.slots();
        let Some(slot) = slots
            .get_mut(name)
            .filter(|slot| slot.id == id && slot.version <= version)
        else {
            return;
        };
        slot.version = version;
        slot.tell(found, board);
    }

    /// A list is complete: what it does not show is not there.
    fn synced(&self, listed: &HashSet<Arc<str>>, board: &Board) {
        for (name, slot) in self.slots().iter_mut() {
            if !slot.late && !listed.contains(name) {
                slot.tell(Found::Missing, board);
            }
        }
    }

    /// What can't be read is said of those of which nothing is known.
    fn fail(&self, why: &str, board: &Board) {
        for slot in self.slots().values_mut() {
            if matches!(slot.known, Found::Unknown | Found::Unavailable(_)) {
                slot.tell(Found::Unavailable(why.to_owned()), board);
            }
        }
    }
}

impl<T: Content> Slot<T> {
    fn tell(&mut self, found: Found<Arc<T>>, board: &Board) {
        if self.known != found {
            self.known = found.clone();
            board.tell(self.id, T::news(found));
        }
    }
}

struct Head<'a> {
    name: Cow<'a, str>,
    version: u64,
}

fn head(raw: &[u8]) -> Option<Head<'_>> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        resource_version: Cow<'a, str>,
    }
    let object: Object<'_> = serde_json::from_slice(raw).ok()?;
    Some(Head {
        version: object.metadata.resource_version.parse().unwrap_or(0),
        name: object.metadata.name,
    })
}

/// Follows a namespace until it is dropped, or until it turns out that the host may not: then it says so for `id`.
pub async fn follow<T: Content>(
    reach: Arc<Reach>,
    board: Arc<Board>,
    id: ThingId,
    path: String,
    wanted: Arc<Wanted<T>>,
) {
    let target = Target::new(format!("all {}", T::PLURAL), path).quiet();
    let mut watch = Watch::new(reach.trunks.requests.clone(), target);
    let mut failures = Failures::default();
    let mut listed = HashSet::new();
    loop {
        match watch.try_next().await {
            Ok(Event::Restarted) => {
                listed.clear();
                wanted.restart();
            }
            Ok(Event::Listed { version, restored }) => wanted.listed_at(version, restored),
            Ok(Event::Apply(raw)) => listed.extend(wanted.apply(&raw, &board)),
            Ok(Event::Delete(raw)) => wanted.delete(&raw, &board),
            Ok(Event::Synced) => {
                failures.clear();
                wanted.synced(&listed, &board);
                listed = HashSet::new();
            }
            Err(ApiError::Forbidden(why)) => {
                tracing::info!(
                    kind = T::PLURAL,
                    why,
                    "not allowed to watch a namespace as a whole, watching one by one"
                );
                return board.tell(id, News::Denied);
            }
            Err(error) => {
                reach.report(T::PLURAL, &error);
                if failures.tells(&error) {
                    wanted.fail(&error.to_string(), &board);
                }
            }
        }
        watch.settle();
    }
}

/// Reads one object that came to be wanted while its namespace was watched already; changes come with the watch.
pub async fn fetch<T: Content>(
    reach: Arc<Reach>,
    board: Arc<Board>,
    id: ThingId,
    path: String,
    name: Arc<str>,
    wanted: Arc<Wanted<T>>,
) {
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
    let mut failures = Failures::default();
    loop {
        let read = async {
            let _turn = reach.read().await;
            raw::send(&reach.trunks.requests, raw::get(&format!("{path}/{name}"))?, TIMEOUT).await
        };
        let error = match read.await {
            Ok(reply) => {
                wanted.apply(&reply.body, &board);
                return;
            }
            // Nothing newer than what the watch may have told.
            Err(ApiError::NotFound(_)) => return wanted.learn(&name, id, 0, Found::Missing, &board),
            Err(error) => error,
        };
        reach.report(T::PLURAL, &error);
        if failures.tells(&error) {
            wanted.learn(&name, id, 0, Found::Unavailable(error.to_string()), &board);
        }
        reach.pause(&error, backoff.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::ConfigMapData;
    use serde_json::json;

    fn raw(name: &str, version: u64, value: &str) -> Vec<u8> {
        json!({ "metadata": { "name": name, "resourceVersion": version.to_string() }, "data": { "k": value } })
            .to_string()
            .into_bytes()
    }

    fn wanted(names: &[(&str, u64)]) -> (Wanted<ConfigMapData>, Board) {
        let all = names
            .iter()
            .map(|(name, id)| ((*name).into(), ThingId(*id), Found::Unknown));
        (Wanted::of(all), Board::default())
    }

    /// What was told: `None` for missing.
    fn told(board: &Board) -> Vec<(u64, Option<String>)> {
        let mut told: Vec<_> = board
            .take()
            .into_iter()
            .map(|(ThingId(id), news)| match news {
                News::ConfigMap(Found::Here(map)) => (id, Some(map.data["k"].clone())),
                News::ConfigMap(Found::Missing) => (id, None),
                other => panic!("{other:?}"),
            })
            .collect();
        told.sort();
        told
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_what_a_list_lacks_is_missing() {
        let (wanted, board) = wanted(&[("a", 1), ("b", 2)]);
        wanted.restart();
        let mut listed = HashSet::new();
        listed.extend(wanted.apply(&raw("a", 5, "x"), &board));
        listed.extend(wanted.apply(&raw("foreign", 6, "y"), &board));
        wanted.synced(&listed, &board);
        assert_eq!(told(&board), [(1, Some("x".into())), (2, None)]);
        // Nothing of it has changed.
        wanted.apply(&raw("a", 7, "x"), &board);
        assert_eq!(told(&board), []);
        wanted.delete(&raw("a", 8, "x"), &board);
        assert_eq!(told(&board), [(1, None)]);
    }

    #[test]
    fn what_comes_during_a_list_is_not_missed_by_it() {
        let (wanted, board) = wanted(&[]);
        wanted.restart();
        wanted.add("late".into(), ThingId(3));
        wanted.synced(&HashSet::new(), &board);
        assert_eq!(told(&board), []);
        wanted.apply(&raw("late", 4, "x"), &board);
        assert_eq!(told(&board), [(3, Some("x".into()))]);
    }

    #[test]
    fn an_answer_that_was_overtaken_says_nothing() {
        let (wanted, board) = wanted(&[]);
        wanted.add("a".into(), ThingId(1));
        wanted.apply(&raw("a", 9, "new"), &board);
        wanted.apply(&raw("a", 8, "old"), &board);
        wanted.learn("a", ThingId(1), 0, Found::Missing, &board);
        assert_eq!(told(&board), [(1, Some("new".into()))]);
        // Nor does one to a question of before it was let go of.
        wanted.remove("a");
        wanted.add("a".into(), ThingId(2));
        wanted.learn("a", ThingId(1), 10, Found::Missing, &board);
        assert_eq!(told(&board), []);
    }

    #[test]
    fn versions_count_anew_when_the_store_was_restored() {
        let (wanted, board) = wanted(&[("a", 1)]);
        wanted.apply(&raw("a", 9, "new"), &board);
        wanted.listed_at(8, false);
        wanted.apply(&raw("a", 3, "old"), &board);
        assert_eq!(told(&board), [(1, Some("new".into()))], "it came after the list");
        wanted.listed_at(8, true);
        wanted.apply(&raw("a", 3, "old"), &board);
        assert_eq!(told(&board), [(1, Some("old".into()))]);
        // With a bump of revisions the list is newer than all, and what is in it is old.
        wanted.apply(&raw("a", 9, "new"), &board);
        wanted.listed_at(1_000_000, false);
        wanted.apply(&raw("a", 3, "old"), &board);
        assert_eq!(told(&board), [(1, Some("old".into()))]);
    }
}
