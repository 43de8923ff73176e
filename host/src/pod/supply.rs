//! A pod's materials on their way to the provider.
//!
//! Objects that a pod refers to are followed from the first time that it is resolved until it needs them no more. A pod
//! is made only when all its materials resolve, and brought up to date when they resolve to something else: what the
//! provider has is known by a hash, the materials themselves are kept nowhere.
//!
//! The provider is not asked what it has. A token lives in no API and in no file, so that after a restart of the host
//! every pod with a token gets a new one anyway; therefore each pod is brought up to date once after its node was
//! compared with the backend, which repairs everything that was missed meanwhile.

use super::{
    actions::{Past, RequestBody},
    controller::PodController,
    entry::{CallKind, NodeIndex, SHOW_WAITING_AFTER, Uid},
    reconcile::{Api, Backend, Facts},
};
use crate::material::{Context, Fault, Held, Notice, Subject};
use outrigger_plugin::Dns;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// What holds a pod is said again after this long, later and later.
const SAY_AGAIN: Duration = Duration::from_secs(10);
const SAY_AGAIN_CAP: Duration = Duration::from_secs(300);

/// Where a pod's materials are.
#[derive(Debug, Default)]
pub enum Supply {
    /// They are to be resolved, since something they are made of has changed, or may have.
    #[default]
    Due,
    /// Something they are made of is being read.
    Reading,
    /// They don't resolve.
    Lacking(Box<Lack>),
    /// The provider has them, or a call with them is under way.
    Given,
}

/// Why materials don't resolve, and when it is looked at and said again though nothing has changed.
#[derive(Debug)]
pub struct Lack {
    pub faults: Vec<Fault>,
    pub again: Instant,
    times: u32,
}

/// How the cluster names things, as pods' materials need it.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// `kubelet.clusterDNS`.
    pub cluster_dns: Vec<IpAddr>,
    /// `kubelet.clusterDomain`; may be empty.
    pub cluster_domain: String,
    /// What `dnsPolicy: Default` gives; `None` leaves it to the backend.
    pub node_dns: Option<Dns>,
}

impl Supply {
    /// Whether no call with materials can be made now.
    pub fn is_wanting(&self, now: Instant) -> bool {
        match self {
            Self::Reading => true,
            Self::Lacking(lack) => lack.again > now,
            Self::Due | Self::Given => false,
        }
    }

    /// Whether the provider may have to be told of other materials.
    pub fn is_due(&self, now: Instant) -> bool {
        match self {
            Self::Due => true,
            Self::Lacking(lack) => lack.again <= now,
            Self::Reading | Self::Given => false,
        }
    }

    /// What holds the pod.
    pub fn faults(&self) -> Option<&[Fault]> {
        match self {
            Self::Lacking(lack) => Some(&lack.faults),
            _ => None,
        }
    }
}

impl Lack {
    /// Of the same faults as before, it is said less and less often.
    fn after(before: Supply, faults: Vec<Fault>, now: Instant) -> Self {
        let times = match before {
            Supply::Lacking(lack) if lack.faults == faults => lack.times.saturating_add(1),
            _ => 0,
        };
        let wait = SAY_AGAIN.saturating_mul(1 << times.min(16)).min(SAY_AGAIN_CAP);
        Self {
            faults,
            again: now + wait.mul_f64(0.9 + 0.2 * fastrand::f64()),
            times,
        }
    }
}

/// What came of resolving.
pub(super) enum Provision {
    /// The call can be made.
    Made(RequestBody),
    /// The provider has it all: no call is needed.
    Same,
    /// Not now.
    Wanting,
}

impl PodController {
    /// Resolves a pod's materials for a create or an update.
    pub(super) fn provide(&mut self, uid: &Uid, kind: CallKind, past: &Past) -> Provision {
        let now = Instant::now();
        let outcome = self.resolve(uid);
        let Some(entry) = self.pods.get_mut(uid) else {
            return Provision::Wanting;
        };
        match outcome {
            Some(Ok(resolved)) => {
                let body = RequestBody::of(
                    &entry.identity,
                    &entry.record.object(),
                    past,
                    &resolved.materials,
                    &self.hasher,
                );
                let body = match body {
                    Ok(body) => body,
                    Err(error) => {
                        tracing::error!(pod = %uid, %error, "unable to encode pod for the provider");
                        return Provision::Wanting;
                    }
                };
                let inert = resolved.materials.files.is_empty() && !self.live.refers(uid);
                let known = match entry.given {
                    Some(given) => given == body.digest,
                    // Made by an earlier process: what can't have changed need not be sent again.
                    None => inert,
                };
                entry.supply = Supply::Given;
                if resolved.if_pull_fails.is_some() || entry.rare.get().if_pull_fails.is_some() {
                    entry.rare.make().if_pull_fails = resolved.if_pull_fails;
                }
                let fixed = self.providers[self.nodes[entry.node].provider].fixed;
                if kind == CallKind::Update && (known || fixed) && !entry.wants_update(now) {
                    entry.given = Some(body.digest);
                    return Provision::Same;
                }
                if kind == CallKind::Create {
                    self.say_notices(uid, &resolved.notices);
                }
                Provision::Made(body)
            }
            Some(Err(held)) if !held.is_waiting() => {
                let lack = Lack::after(std::mem::take(&mut entry.supply), held.faults, now);
                let again = lack.again;
                entry.status_stale = true;
                entry.supply = Supply::Lacking(Box::new(lack));
                self.enqueue_about(again, uid);
                self.say_lack(uid);
                Provision::Wanting
            }
            Some(Err(_)) | None => {
                entry.supply = Supply::Reading;
                if kind == CallKind::Create && entry.show_creating_at.is_none() {
                    let at = now + SHOW_WAITING_AFTER;
                    entry.show_creating_at = Some(at);
                    self.enqueue_about(at, uid);
                }
                Provision::Wanting
            }
        }
    }

    /// `None` while something is being read.
    fn resolve(&mut self, uid: &Uid) -> Option<Result<crate::material::Resolved, Held>> {
        if self.live.is_reading(uid) {
            return None;
        }
        let entry = self.pods.get_mut(uid)?;
        let node = &self.nodes[entry.node];
        let support = self.providers[node.provider].provider.support();
        let (addresses, terms) = (node.handle.addresses(), node.handle.terms());
        let nothing = BTreeMap::new();
        let context = Context {
            support: &support,
            host_ips: &addresses,
            allocatable: terms.as_ref().map_or(&nothing, |terms| &terms.allocatable),
            cluster_dns: &self.naming.cluster_dns,
            cluster_domain: &self.naming.cluster_domain,
            node_dns: self.naming.node_dns.as_ref(),
        };
        let uid_of_node = node.handle.uid();
        let raw = entry.record.object();
        let subject = Subject {
            uid,
            identity: &entry.identity,
            node: uid_of_node.as_deref(),
            raw: &raw,
            runs: entry.backend == Backend::Present,
        };
        entry.supplied = true;
        Some(self.live.resolve(subject, &context))
    }

    /// Lets go of what a pod refers to when it needs it no more.
    pub(super) fn release_if_done(&mut self, uid: &Uid, facts: &Facts) {
        let needed = match (facts.api, facts.backend) {
            (Api::Live, Backend::Ended | Backend::Removed) | (Api::Finished | Api::Gone, _) => false,
            (Api::Live, _) | (Api::Lost, Backend::Present) => true,
            (Api::Lost, _) => false,
            // It may run for long yet.
            (Api::Deleting { .. }, backend) => backend == Backend::Present,
        };
        if !needed {
            self.release(uid);
        }
    }

    /// Lets go of what a pod refers to.
    pub(super) fn release(&mut self, uid: &Uid) {
        if let Some(entry) = self.pods.get_mut(uid)
            && std::mem::take(&mut entry.supplied)
        {
            entry.supply = Supply::Due;
            self.live.release(uid);
        }
    }

    /// Lets go of what the pods of a node refer to: another host acts on them.
    pub(super) fn release_all(&mut self, node: NodeIndex) {
        let uids: Vec<Uid> = self.nodes[node].pods.iter().cloned().collect();
        uids.iter().for_each(|uid| self.release(uid));
    }

    /// Objects have changed.
    pub(super) fn learn(&mut self) {
        let mut changed = Vec::new();
        self.live.take(|uid| changed.push(uid.clone()));
        for uid in &changed {
            let Some(entry) = self.pods.get_mut(uid) else { continue };
            let fixed = self.providers[self.nodes[entry.node].provider].fixed;
            if fixed && matches!(entry.supply, Supply::Given) && entry.backend == Backend::Present {
                continue;
            }
            entry.supply = Supply::Due;
            self.enqueue(uid);
        }
    }

    /// The provider does not take other materials for a pod that runs.
    pub(super) fn materials_refused(&mut self, uid: &Uid, unsupported: bool, message: &str) {
        let Some(entry) = self.pods.get(uid) else { return };
        let slot = &mut self.providers[self.nodes[entry.node].provider];
        if unsupported {
            if std::mem::replace(&mut slot.fixed, true) {
                return;
            }
            tracing::warn!(provider = %slot.name, "provider can't change the files of running pods: \
                changed ConfigMaps and Secrets and renewed tokens reach only pods that start later");
        }
        let message = format!("provider can't change the files of a running pod: {message}");
        self.say(uid, true, "FailedUpdate", message);
    }

    fn say_lack(&self, uid: &Uid) {
        let faults = self.pods.get(uid).and_then(|entry| entry.supply.faults());
        for fault in faults.unwrap_or_default() {
            let notices: Vec<Notice> = fault.event().into_iter().chain(fault.peer.clone()).collect();
            self.say_notices(uid, &notices);
        }
    }

    fn say_notices(&self, uid: &Uid, notices: &[Notice]) {
        for notice in notices {
            self.say(uid, notice.warning, notice.reason, notice.message.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::material::FaultKind;

    fn faults(message: &str) -> Vec<Fault> {
        vec![Fault {
            kind: FaultKind::Sandbox,
            message: message.to_owned(),
            object: None,
            peer: None,
        }]
    }

    #[test]
    fn what_holds_a_pod_is_said_again_later_and_later_and_something_else_soon() {
        let now = Instant::now();
        let mut supply = Supply::Due;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let lack = Lack::after(supply, faults("one"), now);
            waits.push(lack.again - now);
            supply = Supply::Lacking(Box::new(lack));
        }
        assert!(waits[0] <= SAY_AGAIN.mul_f64(1.1), "{waits:?}");
        assert!(waits[3] > waits[0] * 4, "{waits:?}");
        assert!(
            waits.iter().all(|wait| *wait <= SAY_AGAIN_CAP.mul_f64(1.1)),
            "{waits:?}"
        );
        let other = Lack::after(supply, faults("other"), now);
        assert!(other.again - now <= SAY_AGAIN.mul_f64(1.1));
    }

    #[test]
    fn a_lack_waits_and_then_is_looked_at_again() {
        let now = Instant::now();
        assert!(Supply::Due.is_due(now) && !Supply::Due.is_wanting(now));
        assert!(Supply::Reading.is_wanting(now) && !Supply::Reading.is_due(now));
        assert!(!Supply::Given.is_due(now) && !Supply::Given.is_wanting(now));
        let lacking = Supply::Lacking(Box::new(Lack::after(Supply::Due, faults("x"), now)));
        assert!(lacking.is_wanting(now) && !lacking.is_due(now));
        let later = now + SAY_AGAIN * 2;
        assert!(lacking.is_due(later) && !lacking.is_wanting(later));
    }
}
