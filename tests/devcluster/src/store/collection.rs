//! All objects of one resource: an ordered map, its indexes, the last events, and who watches.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::object::{Change, Head, Stored};
use super::selector::Filter;
use super::watch::{Delivery, Watch, Watcher};

/// What happened, kept for watchers that start from an earlier revision.
#[derive(Debug, Clone)]
struct Event {
    now: Arc<Stored>,
    before: Option<Arc<Head>>,
}

impl Event {
    /// What a watcher with this filter sees: an object that enters or leaves its selection is added or deleted to it.
    fn seen_by(&self, filter: &Filter) -> Option<Delivery> {
        let was = self.before.as_ref().is_some_and(|head| filter.matches(head));
        let is = self.now.change != Change::Deleted && filter.matches(&self.now.head);
        let change = match (was, is) {
            (false, false) => return None,
            (false, true) => Change::Added,
            (true, true) => Change::Modified,
            (true, false) => Change::Deleted,
        };
        Some(Delivery {
            change,
            stored: self.now.clone(),
        })
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The selected objects, in key order.
    pub items: Vec<Arc<Stored>>,
    /// The key after which the next page starts.
    pub next: Option<Box<str>>,
    /// How many more there are, known for lists without selectors.
    pub remaining: Option<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Collection {
    objects: Objects,
    by_node: HashMap<Box<str>, BTreeSet<Box<str>>>,
    by_owner: HashMap<Box<str>, BTreeSet<Box<str>>>,
    history: VecDeque<Event>,
    history_limit: usize,
    /// Events up to and including this revision are forgotten.
    pub(super) forgotten: u64,
    watchers: Vec<Watcher>,
    /// Lists answer from this copy while the fault "stale list" is on.
    pub(super) frozen: Option<(u64, Objects)>,
}

/// In key order.
type Objects = BTreeMap<Box<str>, Arc<Stored>>;

const NODE_FIELD: &str = "spec.nodeName";

impl Collection {
    pub(super) fn new(history_limit: usize) -> Collection {
        Collection {
            history_limit,
            ..Collection::default()
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Stored>> {
        self.objects.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Puts an object in its place, tells the watchers, and remembers the event. Returns the watchers cut off.
    pub(super) fn put(&mut self, stored: Arc<Stored>) -> usize {
        let key = stored.head.key();
        let before = self.objects.insert(key.clone(), stored.clone()).map(|s| s.head.clone());
        self.reindex(&key, before.as_deref(), Some(&stored.head));
        self.publish(Event { now: stored, before })
    }

    /// Takes an object away; `gone` is its last state at the revision of the deletion.
    pub(super) fn take(&mut self, gone: Arc<Stored>) -> usize {
        let key = gone.head.key();
        let before = self.objects.remove(&key).map(|s| s.head.clone());
        self.reindex(&key, before.as_deref(), None);
        self.publish(Event { now: gone, before })
    }

    fn reindex(&mut self, key: &str, before: Option<&Head>, now: Option<&Head>) {
        let node = |head: Option<&Head>| head.map_or(String::new(), |h| h.field(NODE_FIELD).to_owned());
        let (old, new) = (node(before), node(now));
        if old != new {
            unlink(&mut self.by_node, &old, key);
            link(&mut self.by_node, &new, key);
        }
        let owners = |head: Option<&Head>| head.map_or(Vec::new(), |h| h.owners.to_vec());
        let (old, new) = (owners(before), owners(now));
        if old != new {
            old.iter().for_each(|uid| unlink(&mut self.by_owner, uid, key));
            new.iter().for_each(|uid| link(&mut self.by_owner, uid, key));
        }
    }

    fn publish(&mut self, event: Event) -> usize {
        let before = self.watchers.len();
        self.watchers.retain(|watcher| match event.seen_by(&watcher.filter) {
            Some(delivery) => watcher.send(delivery),
            None => !watcher.tx.is_closed(),
        });
        if self.history.len() >= self.history_limit
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.now.revision;
        }
        self.history.push_back(event);
        before - self.watchers.len()
    }

    pub(super) fn owned_by(&self, uid: &str) -> Vec<Arc<Stored>> {
        let keys = self.by_owner.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    pub(super) fn nodes(&self) -> Vec<Box<str>> {
        self.by_node.keys().cloned().collect()
    }

    pub(super) fn on_node(&self, node: &str) -> Vec<Arc<Stored>> {
        let keys = self.by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    pub(super) fn any_in(&self, namespace: &str) -> bool {
        let start = format!("{namespace}/");
        self.objects
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|(key, _)| key.starts_with(&start))
    }

    /// Selects objects; `after` continues behind that key, `limit` 0 means all.
    pub(super) fn list(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Page {
        let objects = self.frozen.as_ref().map_or(&self.objects, |(_, copy)| copy);
        if let Some(name) = filter.fields.required("metadata.name")
            && !filter.namespace.is_empty()
        {
            let found = objects.get(&*super::object::key(&filter.namespace, name));
            let items = found.filter(|s| filter.matches(&s.head)).cloned().into_iter().collect();
            return Page {
                items,
                next: None,
                remaining: None,
            };
        }
        let node = filter
            .fields
            .required(NODE_FIELD)
            .filter(|n| !n.is_empty() && self.frozen.is_none());
        if let Some(node) = node {
            let keys = self
                .by_node
                .get(node)
                .into_iter()
                .flat_map(|keys| keys.range::<str, _>(from(after, "")));
            return page(keys.filter_map(|key| self.objects.get(key)), filter, limit);
        }
        let prefix = if filter.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", filter.namespace)
        };
        let range = objects.range::<str, _>(from(after, &prefix));
        page(
            range
                .take_while(|(key, _)| key.starts_with(&prefix))
                .map(|(_, stored)| stored),
            filter,
            limit,
        )
    }

    /// Freezes what lists see at `revision`, or thaws it.
    pub(super) fn freeze(&mut self, revision: Option<u64>) {
        self.frozen = revision.map(|revision| (revision, self.objects.clone()));
    }

    /// Starts a watch behind `from`; the events since then are its backlog. `None` when they are forgotten.
    pub(super) fn watch_from(&mut self, filter: Filter, from: u64, queue: usize) -> Option<Watch> {
        if from < self.forgotten {
            return None;
        }
        let backlog = self.since(from, &filter);
        Some(self.join(filter, backlog, queue, false))
    }

    fn since(&self, from: u64, filter: &Filter) -> Vec<Delivery> {
        let first = self.history.partition_point(|event| event.now.revision <= from);
        let events = self.history.range(first..);
        events.filter_map(|event| event.seen_by(filter)).collect()
    }

    /// Starts a watch with everything that lists show as its backlog. While that is the past, what has happened since is
    /// the first of its events; where that is forgotten the watch ends behind its backlog, and its client finds out.
    pub(super) fn watch_all(&mut self, filter: Filter, queue: usize) -> Watch {
        let items = self.list(&filter, None, 0).items.into_iter();
        let backlog = items
            .map(|stored| Delivery {
                change: Change::Added,
                stored,
            })
            .collect();
        let since = match &self.frozen {
            None => Vec::new(),
            Some((revision, _)) if *revision < self.forgotten => {
                let (_, events) = mpsc::channel(1);
                return Watch { backlog, events };
            }
            Some((revision, _)) => self.since(*revision, &filter),
        };
        self.join_behind(filter, backlog, since, queue, false)
    }

    /// As [`Collection::watch_all`], for a controller.
    pub(super) fn feed(&mut self, queue: usize) -> Watch {
        let items = self.objects.values().cloned();
        let backlog = items
            .map(|stored| Delivery {
                change: Change::Added,
                stored,
            })
            .collect();
        self.join(Filter::default(), backlog, queue, true)
    }

    fn join(&mut self, filter: Filter, backlog: Vec<Delivery>, queue: usize, internal: bool) -> Watch {
        self.join_behind(filter, backlog, Vec::new(), queue, internal)
    }

    /// Joins with events that wait already, for which the queue has room beside its own.
    fn join_behind(
        &mut self,
        filter: Filter,
        backlog: Vec<Delivery>,
        waiting: Vec<Delivery>,
        queue: usize,
        internal: bool,
    ) -> Watch {
        let (tx, rx) = mpsc::channel(queue + waiting.len());
        let watcher = Watcher { filter, internal, tx };
        if waiting.into_iter().all(|delivery| watcher.send(delivery)) {
            self.watchers.push(watcher);
        }
        Watch { backlog, events: rx }
    }

    /// Ends all watches of this resource.
    pub(super) fn drop_watches(&mut self) -> usize {
        let count = self.watchers.len();
        self.watchers.retain(|w| w.internal);
        count - self.watchers.len()
    }

    /// Forgets all events, so that every earlier revision is too old to watch from.
    pub(super) fn forget_history(&mut self, revision: u64) {
        self.history.clear();
        self.forgotten = revision;
    }

    pub(super) fn watcher_count(&self) -> usize {
        self.watchers
            .iter()
            .filter(|w| !w.internal && !w.tx.is_closed())
            .count()
    }
}

fn from<'a>(after: Option<&'a str>, prefix: &'a str) -> (Bound<&'a str>, Bound<&'a str>) {
    (after.map_or(Bound::Included(prefix), Bound::Excluded), Bound::Unbounded)
}

fn page<'a>(mut objects: impl Iterator<Item = &'a Arc<Stored>>, filter: &Filter, limit: usize) -> Page {
    let mut items = Vec::new();
    while let Some(stored) = objects.find(|s| filter.matches(&s.head)) {
        items.push(stored.clone());
        if limit > 0 && items.len() == limit {
            let rest = objects.filter(|s| filter.matches(&s.head)).count();
            let next = items.last().filter(|_| rest > 0).map(|s| s.head.key());
            return Page {
                items,
                next,
                remaining: (filter.selects_all() && rest > 0).then_some(rest),
            };
        }
    }
    Page {
        items,
        next: None,
        remaining: None,
    }
}

fn link(index: &mut HashMap<Box<str>, BTreeSet<Box<str>>>, to: &str, key: &str) {
    if !to.is_empty() {
        index.entry(to.into()).or_default().insert(key.into());
    }
}

fn unlink(index: &mut HashMap<Box<str>, BTreeSet<Box<str>>>, from: &str, key: &str) {
    if let Some(keys) = index.get_mut(from) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(from);
        }
    }
}
