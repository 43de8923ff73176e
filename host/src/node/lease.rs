//! The Lease of a node: what it says, and what to do about it. No requests are made here.
//!
//! The object is the one that every kubelet keeps in `kube-node-lease`; the node lifecycle controller reads its
//! `renewTime`. Its `holderIdentity` is our claim (see [`InstanceId`]). A plain kubelet writes its node's name there: a
//! holder like any other, that expires by time.

use crate::cluster::InstanceId;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where the leases of nodes live.
pub const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// No lease blocks a node for longer, whatever it says.
const LONGEST: Duration = Duration::from_secs(300);

/// A lease as it was read. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    object: Arc<Value>,
}

impl Lease {
    /// Takes the object as the API server gave it.
    pub fn read(object: Value) -> Self {
        Self {
            object: Arc::new(object),
        }
    }

    /// Who holds it; nobody after a release.
    pub fn holder(&self) -> Option<&str> {
        self.object["spec"]["holderIdentity"]
            .as_str()
            .filter(|holder| !holder.is_empty())
    }

    /// What changes with every renewal.
    pub fn renewal(&self) -> (Option<&str>, Option<&str>) {
        (self.holder(), self.object["spec"]["renewTime"].as_str())
    }

    /// The UID of the object.
    pub fn uid(&self) -> Option<&str> {
        self.object["metadata"]["uid"].as_str()
    }

    /// How long it holds without renewal.
    fn duration(&self, ours: Duration) -> Duration {
        match self.object["spec"]["leaseDurationSeconds"].as_u64() {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds).min(LONGEST.max(ours)),
            _ => ours,
        }
    }

    /// The object with our claim in it, fresh. Whatever else it carries stays.
    pub fn claimed(self, claim: &Claimant<'_>) -> Value {
        let now = self.next_renewal(Timestamp::now());
        let taken = self.holder() != Some(claim.holder);
        let mut object = Arc::unwrap_or_clone(self.object);
        let spec = &mut object["spec"];
        if taken {
            let transitions = spec["leaseTransitions"].as_u64().unwrap_or_default();
            spec["leaseTransitions"] = json!(transitions + 1);
            spec["acquireTime"] = json!(now);
        }
        spec["holderIdentity"] = json!(claim.holder);
        spec["leaseDurationSeconds"] = json!(claim.duration.as_secs().max(1));
        spec["renewTime"] = json!(now);
        claim.own(&mut object);
        object
    }

    /// The object without a holder, for the next host to take at once. Its renewal is new: the node lifecycle controller
    /// of Kubernetes 1.37 never again judges a node whose lease has changed but was not renewed, because the version
    /// that it remembers from the last renewal is not the present one.
    pub fn released(self) -> Value {
        let now = self.next_renewal(Timestamp::now());
        let mut object = Arc::unwrap_or_clone(self.object);
        object["spec"]["holderIdentity"] = json!("");
        object["spec"]["renewTime"] = json!(now);
        object
    }

    /// The time of the next renewal, which is always later than the last one: the node lifecycle controller counts no
    /// other as a renewal, and would give up a node whose host's clock was put back, or is behind that of the host before.
    fn next_renewal(&self, now: Timestamp) -> String {
        let last = self.renewal().1.and_then(|last| last.parse::<Timestamp>().ok());
        let least = last.and_then(|last| last.checked_add(SignedDuration::from_micros(1)).ok());
        micros(least.map_or(now, |least| now.max(least)))
    }
}

/// Who asks for a lease.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The node, whose name is the lease's.
    pub node: &'a str,
    /// The node's UID, once it exists.
    pub node_uid: Option<&'a str>,
    /// Our instance id.
    pub holder: &'a str,
    /// How long the lease holds without renewal.
    pub duration: Duration,
}

impl Claimant<'_> {
    /// A lease that does not exist yet.
    pub fn new_lease(&self) -> Value {
        let now = micros(Timestamp::now());
        let mut object = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.node, "namespace": "kube-node-lease" },
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.duration.as_secs().max(1),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        });
        self.own(&mut object);
        object
    }

    /// The Node owns its lease, so that both go together. Owners of other kinds stay.
    fn own(&self, object: &mut Value) {
        let Some(uid) = self.node_uid else { return };
        let ours = json!({ "apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid });
        let metadata = &mut object["metadata"];
        let mut owners = match metadata["ownerReferences"].take() {
            Value::Array(owners) => owners,
            _ => Vec::new(),
        };
        owners.retain(|owner| owner["kind"] != "Node");
        owners.push(ours);
        metadata["ownerReferences"] = Value::Array(owners);
    }
}

/// A lease and when its present renewal was first seen, on our own monotonic clock: clocks of hosts are not compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What was read last.
    pub lease: Lease,
    /// When its renewal was seen first.
    pub since: Instant,
}

impl Seen {
    /// Takes in what was read now.
    pub fn update(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before) if before.lease.renewal() == lease.renewal() => Self {
                lease,
                since: before.since,
            },
            _ => Self { lease, since: now },
        }
    }
}

/// What to do about a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// There is none: make it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's, or its holder is gone: take it, by a PUT on the version that was read.
    Take {
        /// Why it may be taken.
        because: Vacancy,
    },
    /// It is another's.
    Wait {
        /// Whose.
        holder: String,
        /// When it expires if nobody renews it.
        until: Instant,
    },
}

/// Why a lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacancy {
    /// Its holder gave it up.
    Released,
    /// Its holder was a process of this machine that has ended.
    HolderGone,
    /// It was not renewed in time.
    Expired,
}

/// Decides; pure but for a look at `/proc` through `gone`.
pub fn decide(
    seen: Option<&Seen>,
    me: &str,
    duration: Duration,
    now: Instant,
    gone: impl FnOnce(&str) -> bool,
) -> Action {
    let Some(Seen { lease, since }) = seen else {
        return Action::Create;
    };
    let Some(holder) = lease.holder() else {
        return Action::Take {
            because: Vacancy::Released,
        };
    };
    let until = *since + lease.duration(duration);
    if holder == me {
        Action::Renew
    } else if gone(holder) {
        Action::Take {
            because: Vacancy::HolderGone,
        }
    } else if now >= until {
        Action::Take {
            because: Vacancy::Expired,
        }
    } else {
        Action::Wait {
            holder: holder.to_owned(),
            until,
        }
    }
}

/// The wait after which to renew: the interval, 4% more or less so that the nodes of a host do not renew in step.
pub fn renewal_delay(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + 0.04 * (2.0 * fastrand::f64() - 1.0))
}

/// The wait before the first of a row of renewals: any part of the interval. Nodes that were claimed in the same instant
/// would renew together for hours, and after each outage again.
pub fn first_renewal_delay(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64())
}

/// Whether `holder` is one of us.
pub fn is_host(holder: &str) -> bool {
    holder.parse::<InstanceId>().is_ok()
}

/// As `metav1.MicroTime` is written.
fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
