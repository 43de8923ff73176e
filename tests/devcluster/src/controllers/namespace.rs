//! Namespaces that are being deleted: first their contents, then themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use crate::cluster::Cluster;
use crate::ops::{self, DeleteOptions, Scope, Update, member};
use crate::resources::{Kind, RESOURCES};
use crate::store::{Change, Delivery};

/// Objects held by finalizers end without an event that is watched here.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs until the cluster shuts down.
pub async fn run(cluster: Arc<Cluster>) {
    loop {
        tokio::select! {
            () = session(&cluster) => tracing::debug!("namespace controller starts over: its feed was cut off"),
            () = cluster.shutdown.cancelled() => return,
        }
    }
}

async fn session(cluster: &Arc<Cluster>) {
    let (mut namespaces, mut pods) = (Feed::of(cluster, Kind::Namespaces), Feed::of(cluster, Kind::Pods));
    let mut going: BTreeSet<Box<str>> = BTreeSet::new();
    loop {
        let pod_went = |d: &Delivery| d.change == Change::Deleted;
        tokio::select! {
            delivery = namespaces.next() => match delivery {
                Some(d) if d.stored.head.deleting && d.change != Change::Deleted => {
                    going.insert(d.stored.head.name.clone());
                }
                Some(d) => {
                    going.remove(&d.stored.head.name);
                    continue;
                }
                None => return,
            },
            delivery = pods.next() => match delivery {
                Some(d) if pod_went(&d) && going.contains(&d.stored.head.namespace) => {}
                Some(_) => continue,
                None => return,
            },
            () = tokio::time::sleep(LOOK_AGAIN), if !going.is_empty() => {}
        }
        going.retain(|name| !empty(cluster, name));
    }
}

/// Starts the deletion of everything inside; true when nothing is left and the namespace went, too.
fn empty(cluster: &Arc<Cluster>, name: &str) -> bool {
    let mut left = false;
    for resource in RESOURCES.iter().filter(|r| r.namespaced && !r.is_view()) {
        for stored in cluster.store.all(resource.kind, name) {
            if !stored.head.deleting {
                // What resists is looked at again.
                let _ = ops::delete(cluster, resource, name, &stored.head.name, &DeleteOptions::default());
            }
        }
        left |= cluster.store.any_in(resource.kind, name);
    }
    if left {
        return false;
    }
    let resource = Kind::Namespaces.resource();
    let what = Update {
        resource,
        namespace: "",
        name,
        scope: Scope::Whole,
        dry_run: false,
        narrow: false,
    };
    let finalized = ops::update(cluster, &what, |namespace| {
        member(namespace, "spec").remove("finalizers");
        Ok(())
    });
    finalized.is_ok_and(|stored| stored.change == Change::Deleted)
        || cluster.store.get(Kind::Namespaces, name).is_none()
}
