//! What comes in: watch events, reports, lists, gates.

use super::{
    actions::{self, Done},
    controller::{Gate, PodController},
    entry::{Entry, Ingested, NodeIndex, Object, Standing, Uid},
    nodes::{ProviderIndex, Stage},
    orphans,
    reconcile::Backend,
    status::resize,
    supply::Supply,
    view,
};
use crate::cluster::watch::Event;
use bytes::Bytes;
use outrigger_plugin::{ErrorCode, PodIdentity, PodReport, ProviderError};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// How often a provider is asked for all it has though nothing pointed to it: drift that nobody pushed, and orphans.
const LIST_EVERY: Duration = Duration::from_secs(300);

/// How long a call of an earlier process may be on its way to the backend after that process has died. Until then a pod
/// that should go and that the backend does not have is not taken for gone: it would be an orphan a moment later.
const SETTLE: Duration = Duration::from_secs(5);

/// How long pods are kept that have gone while another host held their node.
const DEPARTED: Duration = Duration::from_secs(300);

impl PodController {
    pub(super) fn observe(&mut self, node: NodeIndex, event: Event) {
        match event {
            Event::Restarted => (self.nodes[node].listing, self.nodes[node].listed_at) = (Some(HashSet::new()), 0),
            Event::Listed { version, restored } => {
                self.nodes[node].listed_at = version;
                // It may begin again, and no longer be told so.
                self.nodes[node].restored |= restored;
                for uid in self.nodes[node].pods.iter().filter(|_| restored) {
                    if let Some(entry) = self.pods.get_mut(uid) {
                        entry.restored = true;
                    }
                }
            }
            Event::Apply(raw) => {
                if let Some(uid) = self.apply(node, &raw)
                    && let Some(seen) = &mut self.nodes[node].listing
                {
                    seen.insert(uid);
                }
            }
            Event::Delete(raw) => self.disappeared(&raw),
            Event::Synced => {
                if let Some(seen) = self.nodes[node].listing.take() {
                    let missing: Vec<Uid> = self.nodes[node]
                        .pods
                        .iter()
                        .filter(|uid| !seen.contains(*uid))
                        .cloned()
                        .collect();
                    self.missing(node, &missing);
                    self.nodes[node].restored = false;
                }
                if !self.nodes[node].synced {
                    self.nodes[node].synced = true;
                    self.regate(node);
                }
            }
        }
    }

    /// Takes over an object of the API; returns its UID.
    fn apply(&mut self, node: NodeIndex, raw: &[u8]) -> Option<Uid> {
        if let Some(key) = view::key(raw)
            && let Some((uid, _)) = self.pods.get_key_value(&*key.uid)
        {
            let uid = uid.clone();
            let listed_at = self.nodes[node].listing.as_ref().map(|_| self.nodes[node].listed_at);
            let entry = self.pods.get_mut(&uid)?;
            if let Some(listed_at) = listed_at {
                entry.compare_listed(&key.resource_version, listed_at);
            }
            if entry.knows(&key.resource_version) {
                let lost = entry.object == Object::Lost;
                if lost {
                    entry.found();
                }
                if entry.was_overtaken(&key.resource_version) || lost {
                    self.enqueue(&uid);
                }
                return Some(uid);
            }
            if entry.restored && entry.is_leaving() && self.nodes[node].owned && !is_deleting(raw) {
                // What is left of it ends first, as it was told to; then it begins anew.
                self.gone(&uid);
                let entry = self.pods.get_mut(&uid)?;
                entry.rare.make().comes_back = Some(Bytes::copy_from_slice(raw));
                return Some(uid);
            }
        }
        let now = Instant::now();
        let head = match view::head(raw) {
            Ok(head) => head,
            Err(error) => {
                tracing::error!(node = %self.nodes[node].name, %error, "unable to read pod");
                return None;
            }
        };
        let metadata = &head.metadata;
        let uid = match self.pods.get_key_value(&*metadata.uid) {
            Some((uid, _)) => uid.clone(),
            None => {
                let identity = PodIdentity {
                    cluster: self.cluster.mark().unwrap_or_default().to_owned(),
                    node: self.nodes[node].name.to_string(),
                    namespace: metadata.namespace.to_string(),
                    name: metadata.name.to_string(),
                    uid: metadata.uid.to_string(),
                };
                self.insert(identity, node)
            }
        };
        let entry = self.pods.get_mut(&uid)?;
        let due = entry.overdue_at();
        let new = entry.version == 0;
        if entry.apply(raw, &head, now) {
            if new && head.status.start_time.is_some() && self.nodes[node].stage() == Stage::Active {
                entry.rare.make().strange_since = Some(now);
            }
            if let Some(at) = entry.overdue_at().filter(|at| due != Some(*at)) {
                self.enqueue_at(at, &uid);
            }
            self.recount(&uid);
            self.enqueue(&uid);
            self.line_up(&uid, now);
        }
        Some(uid)
    }

    pub(super) fn insert(&mut self, identity: PodIdentity, node: NodeIndex) -> Uid {
        let uid: Uid = identity.uid.as_str().into();
        self.names.add(&identity.namespace, &identity.name, uid.clone());
        self.nodes[node].pods.insert(uid.clone());
        self.pods.insert(uid.clone(), Box::new(Entry::new(identity, node)));
        uid
    }

    /// Drops an entry; a successor of the same name may go on.
    pub(super) fn forget(&mut self, uid: &Uid) {
        self.live.release(uid);
        let Some(mut entry) = self.pods.remove(uid) else { return };
        let node = &mut self.nodes[entry.node];
        node.pods.remove(uid);
        if entry.counted {
            node.used.remove(&entry.requests);
        }
        let (namespace, name) = (&entry.identity.namespace, &entry.identity.name);
        self.names.remove(namespace, name, uid);
        let successors = self.names.of(namespace, name).to_vec();
        successors.iter().for_each(|uid| self.enqueue(uid));
        self.drop_idle_timers();
        if let Some(raw) = entry.rare.known().and_then(|rare| rare.comes_back.take()) {
            self.apply(entry.node, &raw);
        }
    }

    /// Whether an older pod of the same name on the same node has not ended yet.
    pub(super) fn has_predecessor(&self, uid: &Uid, entry: &Entry) -> bool {
        self.bearers(&entry.identity.namespace, &entry.identity.name)
            .take_while(|(other, _)| *other != uid)
            .any(|(_, other)| {
                other.node == entry.node
                    && (other.call.is_some() || matches!(other.backend, Backend::Present | Backend::Ended))
            })
    }

    fn disappeared(&mut self, raw: &[u8]) {
        let Some(key) = view::key(raw) else {
            tracing::error!("unable to read the UID of a deleted pod");
            return;
        };
        if let Some((uid, _)) = self.pods.get_key_value(&*key.uid) {
            let uid = uid.clone();
            self.gone(&uid);
        }
    }

    /// A list lacks these.
    fn missing(&mut self, node: NodeIndex, uids: &[Uid]) {
        let is = |uid: &&Uid, so: fn(&Entry) -> bool| self.pods.get(*uid).is_some_and(|entry| so(entry));
        let unasked: Vec<&Uid> = uids.iter().filter(|uid| is(uid, Entry::runs_unasked)).collect();
        let news = orphans::are_lost(unasked.len(), self.nodes[node].restored);
        // Those that an earlier list lacked wait for a word, however often they are missed.
        let mut lost: HashSet<&Uid> = uids.iter().filter(|uid| is(uid, Entry::is_lost)).collect();
        if news {
            lost.extend(&unasked);
            tracing::warn!(node = %self.nodes[node].name, pods = unasked.len(),
                "the API server no longer knows these pods, which nobody has deleted before this host's eyes; \
                 keeping them as orphans");
            let slot = &mut self.providers[self.nodes[node].provider];
            slot.list_at = Some(Instant::now());
        }
        for uid in uids {
            if lost.contains(uid) {
                if let Some(entry) = self.pods.get_mut(uid) {
                    entry.object = Object::Lost;
                }
                self.enqueue(uid);
            } else {
                self.gone(uid);
            }
        }
    }

    /// The API object is gone.
    pub(super) fn gone(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if let Some(rare) = entry.rare.known() {
            rare.comes_back = None;
        }
        if entry.object == Object::Gone {
            return;
        }
        entry.object = Object::Gone;
        entry.call_retry.clear();
        let node = entry.node;
        self.recount(uid);
        self.enqueue(uid);
        if !self.nodes[node].owned {
            self.nodes[node].departed.push_back((Instant::now(), uid.clone()));
            self.forget_departed(node);
        }
    }

    /// Forgets pods that have been gone for a while from a node that another host holds: they are that one's to end. Until
    /// then this host may get the node back, and end them itself.
    fn forget_departed(&mut self, node: NodeIndex) {
        let now = Instant::now();
        let mut busy = Vec::new();
        while let Some((since, _)) = self.nodes[node].departed.front()
            && now.duration_since(*since) >= DEPARTED
        {
            let Some((_, uid)) = self.nodes[node].departed.pop_front() else {
                break;
            };
            match self.pods.get(&uid) {
                Some(entry) if entry.object != Object::Gone => {}
                Some(entry) if entry.call.is_some() || entry.writing => busy.push((now, uid)),
                Some(_) => self.forget(&uid),
                None => {}
            }
        }
        self.nodes[node].departed.extend(busy);
    }

    pub(super) fn take_reports(&mut self) {
        for (uid, pushed) in self.mailbox.take() {
            let Some((uid, entry)) = self.pods.get_key_value(&*uid) else {
                continue;
            };
            let provider = self.nodes[entry.node].provider;
            if self.providers[provider].name != pushed.provider {
                let mut all = self.providers.iter_mut();
                if let Some(slot) = all.find(|slot| slot.name == pushed.provider)
                    && !std::mem::replace(&mut slot.told_foreign, true)
                {
                    tracing::warn!(provider = %pushed.provider, pod = %entry.identity.name,
                        "ignoring reports about pods of other providers; this is the first");
                }
                continue;
            }
            let uid = uid.clone();
            match serde_json::from_slice::<PodReport>(&pushed.report) {
                Ok(report) => self.ingest(&uid, report),
                Err(error) => tracing::warn!(provider = %pushed.provider, uid = %uid, %error, "unable to read report"),
            }
        }
        if self.mailbox.overflowed() {
            let now = Instant::now();
            self.providers.iter_mut().for_each(|slot| slot.list_at = Some(now));
        }
    }

    /// Takes over a report, and tells what is new in it.
    pub(super) fn ingest(&mut self, uid: &Uid, report: PodReport) {
        self.ingest_as(uid, report, false);
    }

    fn ingest_as(&mut self, uid: &Uid, report: PodReport, quietly: bool) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let ingested = entry.ingest(report);
        if entry.backend == Backend::Vanished
            && let Some(at) = entry.rare.get().remakes.waits(Instant::now())
        {
            self.enqueue_at(at, uid);
        }
        match ingested {
            Ingested::Old => {}
            Ingested::Unrenewed => self.say_unrenewed(uid),
            Ingested::Same => self.enqueue(uid),
            Ingested::New { before } => {
                if !quietly {
                    self.say_changes(uid, before.as_deref());
                }
                self.enqueue(uid);
                self.line_up(uid, Instant::now());
            }
        }
    }

    /// Says once of a provider that it changes reports and does not stamp them anew: nothing of them is seen.
    fn say_unrenewed(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get(uid) else { return };
        let slot = &mut self.providers[self.nodes[entry.node].provider];
        if !std::mem::replace(&mut slot.told_unrenewed, true) {
            let PodIdentity { namespace, name, .. } = &*entry.identity;
            tracing::warn!(provider = %slot.name, %namespace, pod = %name,
                "ignoring a report that has changed but not its stamp; this is the first: report it to the plugin's author, \
                 who has to stamp it anew (`PodReport::renewed`)");
        }
    }

    pub(super) fn gate(&mut self, gate: Gate) {
        let node = &mut self.nodes[gate.node];
        // It may have been lost and held again before anybody looked.
        let lost = node.owned && !(gate.owned && gate.tenure == node.tenure);
        if gate.owned {
            node.departed.clear();
        }
        let confirmed = gate.confirmed.is_some() && gate.confirmed != node.confirmed;
        (node.owned, node.epoch, node.confirmed) = (gate.owned, gate.epoch, gate.confirmed);
        (node.tenure, node.addressed) = (gate.tenure, gate.addressed);
        if lost {
            // Another host may act meanwhile: everything is compared anew when the node comes back.
            node.compared = None;
        }
        let provider = node.provider;
        if lost {
            self.release_all(gate.node);
        }
        self.regate(gate.node);
        if confirmed && self.nodes[gate.node].stage() == Stage::Active {
            self.list(provider);
        }
    }

    /// After a change of what gates a node: the comparison starts if only that is missing.
    fn regate(&mut self, node: NodeIndex) {
        if self.nodes[node].stage() == Stage::AwaitsComparison {
            let provider = self.nodes[node].provider;
            self.list(provider);
        }
    }

    /// Asks a provider for all it has, for those of its nodes that can be compared.
    pub(super) fn list(&mut self, provider: ProviderIndex) {
        let slot = &mut self.providers[provider];
        if slot.listing {
            // What asked now is served by the next one.
            slot.list_at = Some(Instant::now());
            return;
        }
        slot.list_at = None;
        let ready: Vec<(NodeIndex, u64)> = slot
            .nodes
            .iter()
            .filter_map(|index| {
                let node = &self.nodes[*index];
                let comparable = matches!(node.stage(), Stage::AwaitsComparison | Stage::Active);
                comparable.then_some((*index, node.epoch?))
            })
            .collect();
        if ready.is_empty() {
            return;
        }
        slot.listing = true;
        let believed = ready
            .iter()
            .flat_map(|(index, _)| &self.nodes[*index].pods)
            .filter_map(|uid| self.pods.get(uid))
            .filter(|entry| !entry.phase.is_terminal())
            .map(|entry| PodIdentity::clone(&entry.identity))
            .collect();
        let call = actions::compare(slot.provider.clone(), believed);
        let call = actions::contained(call, |fault| Err(ProviderError::new(ErrorCode::Panicked, fault)));
        let began = Instant::now();
        self.actions.spawn(async move {
            Done::Listed {
                provider,
                epochs: ready,
                began,
                result: call.await,
            }
        });
    }

    pub(super) fn listed(
        &mut self,
        provider: ProviderIndex,
        epochs: Vec<(NodeIndex, u64)>,
        began: Instant,
        result: Result<Vec<PodReport>, ProviderError>,
    ) {
        let now = Instant::now();
        let again = self.providers[provider].list_at.take();
        self.providers[provider].listing = false;
        let reports = match result {
            Ok(reports) => reports,
            Err(error) => {
                let slot = &mut self.providers[provider];
                if slot.retry.failures() == 0 {
                    tracing::warn!(provider = %slot.name, %error, "unable to list pods of provider, retrying");
                }
                slot.list_at = Some(slot.retry.fail(now, error.code.retry_after()));
                return;
            }
        };
        let slot = &mut self.providers[provider];
        slot.retry.clear();
        slot.list_at = again.or(Some(now + LIST_EVERY));
        self.compare(provider, &epochs, began, &reports);
        self.look_for_orphans(provider, &epochs, &reports, now);
    }

    /// Compares what the backend has with the entries, and opens the nodes for action.
    fn compare(&mut self, provider: ProviderIndex, epochs: &[(NodeIndex, u64)], began: Instant, reports: &[PodReport]) {
        let has: HashMap<&str, &PodReport> = reports
            .iter()
            .map(|report| (report.identity.uid.as_str(), report))
            .collect();
        for (index, epoch) in epochs {
            let node = &self.nodes[*index];
            if node.epoch != Some(*epoch) || !node.owned || !node.synced {
                continue;
            }
            let first = node.compared != Some(*epoch);
            let settled = !first && node.settles_at.is_some_and(|at| began >= at);
            let uids: Vec<Uid> = node.pods.iter().cloned().collect();
            for uid in &uids {
                match has.get(&**uid) {
                    Some(report) => self.adopt(uid, PodReport::clone(report)),
                    None => self.missed(uid, began),
                }
                if let Some(rare) = self.pods.get_mut(uid).and_then(|entry| entry.rare.known()) {
                    rare.strange_since = rare.strange_since.filter(|since| *since >= began);
                }
                if first && let Some(entry) = self.pods.get_mut(uid) {
                    // Whatever this provider has of it may be of another time.
                    (entry.supply, entry.given) = (Supply::Due, None);
                    entry.inherited = matches!(entry.backend, Backend::Absent | Backend::Vanished);
                    entry.judge_again();
                }
                self.enqueue(uid);
            }
            if first {
                self.count_present(&uids);
                (self.nodes[*index].settles_at, self.nodes[*index].settled) = (Some(Instant::now() + SETTLE), false);
            }
            self.nodes[*index].settled |= settled;
            self.nodes[*index].compared = Some(*epoch);
            if first {
                tracing::info!(node = %self.nodes[*index].name, provider = %self.providers[provider].name,
                    pods = uids.len(), "pods compared with the backend, acting on them");
            }
        }
    }

    /// What runs already takes its room before anything new is judged.
    fn count_present(&mut self, uids: &[Uid]) {
        for uid in uids {
            let unjudged = |entry: &Entry| entry.standing == Standing::Unjudged && entry.backend != Backend::Absent;
            if self.pods.get(uid).is_some_and(|entry| unjudged(entry)) {
                self.judge(uid);
            }
        }
    }

    fn adopt(&mut self, uid: &Uid, report: PodReport) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let mut again = None;
        // What an earlier process has made it has told of, too.
        let quietly = entry.backend == Backend::Absent && entry.call.is_none() && entry.call_retry.failures() == 0;
        if entry.taken_generation.is_none() && entry.call.is_none() {
            // Made by an earlier process: it has taken the generation that its status says. Where there is none, or where a call
            // of this process has failed and done it all the same, nobody knows which.
            let failed = entry.call_retry.failures() > 0;
            let raw = entry.record.object();
            let pod = view::pod(&raw).ok();
            let status = pod.as_ref().map(|pod| &pod.status);
            let observed = status.and_then(|status| match (status.observed_generation, &status.start_time) {
                (Some(observed), _) => Some(observed),
                (None, Some(_)) => Some(entry.generation),
                (None, None) => None,
            });
            entry.taken_generation = Some(observed.filter(|_| !failed).unwrap_or(0));
            if status.is_some_and(resize::is_deferred) {
                again = Some(entry.rare.make().resize_retry.fail(Instant::now(), None));
            }
        }
        if let Some(at) = again {
            self.enqueue_at(at, uid);
        }
        self.ingest_as(uid, report, quietly);
    }

    /// The backend does not have it.
    fn missed(&mut self, uid: &Uid, began: Instant) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if entry.call.is_some() || entry.present_since.is_some_and(|since| since >= began) {
            return;
        }
        let vanished = match entry.backend {
            Backend::Present | Backend::Ended => true,
            Backend::Absent => !entry.phase.is_terminal() && has_run(&entry.record.object()),
            Backend::Vanished | Backend::Removed => false,
        };
        if vanished {
            let report = PodReport::gone(PodIdentity::clone(&entry.identity));
            // Not stamped by the plugin: it counts because the list is its word.
            let sequence = entry.reported.unwrap_or(0);
            self.ingest(
                uid,
                PodReport {
                    sequence: sequence + 1,
                    ..report
                },
            );
        }
    }
}

/// Whether somebody has asked for the end of an object.
fn is_deleting(raw: &[u8]) -> bool {
    view::head(raw).is_ok_and(|head| head.metadata.deletion_timestamp.is_some())
}

/// Whether a container of the pod has ever run, by what the API server says.
fn has_run(raw: &Bytes) -> bool {
    view::pod(raw).is_ok_and(|pod| pod.status.all_containers().any(|container| container.has_run()))
}
