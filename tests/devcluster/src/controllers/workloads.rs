//! Runs ReplicaSets, Deployments and Jobs: collects what changed, then looks at each of them once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::feed::Feed;
use super::{deployment, job, replicaset};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::ops;
use crate::resources::Kind;
use crate::store::{Change, Delivery, Stored, key};

/// Jobs have deadlines, and failed attempts want another.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Work = (Kind, Box<str>);

#[derive(Debug, Default)]
struct State {
    /// From the UID of a workload to itself, so that its dependents lead to it.
    by_uid: HashMap<Box<str>, Work>,
    dirty: BTreeSet<Work>,
    jobs: BTreeSet<Box<str>>,
}

/// Runs until the cluster shuts down.
pub async fn run(cluster: Arc<Cluster>) {
    loop {
        tokio::select! {
            () = session(&cluster) => tracing::debug!("workload controllers start over: their feed was cut off"),
            () = cluster.shutdown.cancelled() => return,
        }
    }
}

async fn session(cluster: &Arc<Cluster>) {
    // Owners come first, so that the backlog of their dependents finds them.
    let mut feeds =
        [Kind::Deployments, Kind::ReplicaSets, Kind::Jobs, Kind::Pods].map(|kind| (kind, Feed::of(cluster, kind)));
    let mut state = State::default();
    let mut again = tokio::time::interval(LOOK_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let [deployments, sets, jobs, pods] = &mut feeds;
        let first = tokio::select! {
            d = deployments.1.next() => (Kind::Deployments, d),
            d = sets.1.next() => (Kind::ReplicaSets, d),
            d = jobs.1.next() => (Kind::Jobs, d),
            d = pods.1.next() => (Kind::Pods, d),
            _ = again.tick() => {
                state.dirty.extend(state.jobs.iter().map(|key| (Kind::Jobs, key.clone())));
                state.work(cluster).await;
                continue;
            }
        };
        let (kind, Some(delivery)) = first else { return };
        state.note(kind, &delivery);
        for (kind, feed) in &mut feeds {
            while let Some(delivery) = feed.ready() {
                state.note(*kind, &delivery);
            }
        }
        state.work(cluster).await;
    }
}

impl State {
    fn note(&mut self, kind: Kind, delivery: &Delivery) {
        let head = &delivery.stored.head;
        if kind != Kind::Pods {
            let work = (kind, head.key());
            if delivery.change == Change::Deleted {
                self.by_uid.remove(&head.uid);
                self.dirty.remove(&work);
                self.jobs.remove(&work.1);
            } else {
                self.by_uid.insert(head.uid.clone(), work.clone());
                if kind == Kind::Jobs {
                    self.jobs.insert(work.1.clone());
                }
                self.dirty.insert(work);
            }
        }
        self.dirty
            .extend(head.owners.iter().filter_map(|uid| self.by_uid.get(uid).cloned()));
    }

    async fn work(&mut self, cluster: &Arc<Cluster>) {
        for (kind, key) in std::mem::take(&mut self.dirty) {
            let Some(stored) = cluster.store.get(kind, &key) else {
                continue;
            };
            let outcome = match kind {
                Kind::Deployments => deployment::reconcile(cluster, &stored),
                Kind::ReplicaSets => replicaset::reconcile(cluster, &stored),
                _ => job::reconcile(cluster, &stored),
            };
            if kind == Kind::Jobs && job::is_finished(&stored.value()) {
                self.jobs.remove(&key);
            }
            match outcome {
                Ok(()) => {}
                Err(error) if error.code == 404 => {}
                Err(error) => {
                    tracing::debug!(%error, %key, ?kind, "unable to run a workload; trying again");
                    self.dirty.insert((kind, key));
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A reference to the object that controls another.
pub fn owner(kind: Kind, owner: &Stored) -> Value {
    let resource = kind.resource();
    json!({"apiVersion": resource.api_version(), "kind": resource.name, "name": owner.head.name, "uid": owner.head.uid,
        "controller": true, "blockOwnerDeletion": true})
}

/// Creates a pod from a workload's template.
pub fn create_pod(
    cluster: &Arc<Cluster>,
    kind: Kind,
    parent: &Stored,
    template: &Value,
    finalizer: Option<&str>,
) -> Result<Arc<Stored>> {
    let name: String = parent.head.name.chars().take(57).collect();
    let mut meta = json!({"generateName": format!("{name}-"), "ownerReferences": [owner(kind, parent)]});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            meta[field] = template["metadata"][field].clone();
        }
    }
    if let Some(finalizer) = finalizer {
        meta["finalizers"] = json!([finalizer]);
    }
    let pod = json!({"metadata": meta, "spec": template["spec"]});
    ops::create(cluster, Kind::Pods.resource(), &parent.head.namespace, pod, false)
}

/// Deletes a pod, or whatever else a workload made; that it is gone already is fine.
pub fn remove(cluster: &Arc<Cluster>, kind: Kind, stored: &Stored) -> Result<()> {
    let options = ops::DeleteOptions {
        uid: Some(stored.head.uid.to_string()),
        ..ops::DeleteOptions::default()
    };
    match ops::delete(
        cluster,
        kind.resource(),
        &stored.head.namespace,
        &stored.head.name,
        &options,
    ) {
        Err(error) if error.code != 404 && error.code != 409 => Err(error),
        _ => Ok(()),
    }
}

/// Edits the status of a workload.
pub fn set_status(cluster: &Arc<Cluster>, kind: Kind, stored: &Stored, mut edit: impl FnMut(&mut Value)) -> Result<()> {
    let what = ops::Update {
        resource: kind.resource(),
        namespace: &stored.head.namespace,
        name: &stored.head.name,
        scope: ops::Scope::Status,
        dry_run: false,
        narrow: true,
    };
    ops::update(cluster, &what, |object| {
        edit(object);
        Ok(())
    })
    .map(|_| ())
}

/// Whether a pod has ended.
pub fn ended(pod: &Stored) -> bool {
    matches!(pod.head.field("status.phase"), "Succeeded" | "Failed")
}

/// The object under its own key, if it is still the same one.
pub fn current(cluster: &Cluster, kind: Kind, stored: &Stored) -> Option<Arc<Stored>> {
    let found = cluster
        .store
        .get(kind, &key(&stored.head.namespace, &stored.head.name))?;
    (found.head.uid == stored.head.uid).then_some(found)
}
