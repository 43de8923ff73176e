//! Orphans: pods of the backend that carry our mark and that the API server does not know.
//!
//! The mark is cluster, node and UID, so a wrong kubeconfig finds none. They are swept only after the node's pods were
//! listed, when they have stood for a while, and only few at a time: a restored etcd would otherwise cost every pod
//! that was made since. More than that waits for an operator, who confirms by an annotation on the node.
//!
//! A host that runs meanwhile sees the same as a list that lacks many pods at once, or one of a store that is older than what
//! was seen of it. It keeps those on record as lost, so that no successor of the same name is made beside one of them, and they
//! are orphans like any other, however many more lists lack them; one that is seen again is a pod again. A few that an
//! ordinary list lacks were deleted by force while no watch was there to tell, and are stopped.
//!
//! The limit holds for all that a provider has for nodes of this host: a store that was restored takes few pods from each of a
//! hundred nodes. One confirmation, on any of the nodes concerned, is for all of them.

use super::{
    actions,
    actions::Done,
    controller::PodController,
    entry::{NodeIndex, Object},
    nodes::ProviderIndex,
};
use outrigger_plugin::{ErrorCode, NodeCondition, PodIdentity, PodReport, ProviderError};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
    time::{Duration, Instant},
};

/// The node condition that says that a sweep waits, or why there is none.
pub const CONDITION: &str = crate::node::status::ORPHANED_PODS;
/// The node annotation by which an operator confirms a sweep: its value is the printed digest.
pub const CONFIRM: &str = "outrigger.dev/confirm-orphan-sweep";
/// A sweep of more pods than this is to be confirmed.
const FEW: usize = 3;
/// As is a sweep of more than this part of all pods of the backend.
const FIFTH: usize = 5;
/// Grace period of a swept pod: nobody knows its manifest any more.
const GRACE: Duration = Duration::from_secs(30);

/// What is to be done about orphans that have stood long enough.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// There are none.
    Nothing,
    /// They may go.
    Sweep,
    /// They may go once an operator has confirmed this digest.
    Confirm { digest: String },
}

/// Whether so many pods that a node's list lacks, and whose end nobody has asked for, were lost by the API server.
pub fn are_lost(count: usize, restored: bool) -> bool {
    count > FEW || restored && count > 0
}

/// The plan for `orphans` (UIDs) out of `all` pods of the backend.
pub fn plan(orphans: &BTreeSet<&str>, all: usize, confirmed: &[String]) -> Plan {
    if orphans.is_empty() {
        return Plan::Nothing;
    }
    if orphans.len() <= FEW && orphans.len() * FIFTH <= all {
        return Plan::Sweep;
    }
    let digest = digest(orphans);
    if confirmed.contains(&digest) {
        Plan::Sweep
    } else {
        Plan::Confirm { digest }
    }
}

/// Names exactly this set of pods.
fn digest(orphans: &BTreeSet<&str>) -> String {
    let mut hash = Sha256::new();
    for uid in orphans {
        hash.update(uid.as_bytes());
        hash.update(b"\n");
    }
    let mut text = String::new();
    for byte in hash.finalize().iter().take(6) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl PodController {
    /// Looks through a provider's list for pods that are ours and unknown.
    pub(super) fn look_for_orphans(
        &mut self,
        provider: ProviderIndex,
        compared: &[(NodeIndex, u64)],
        reports: &[PodReport],
        now: Instant,
    ) {
        if !self.cluster.may_sweep() {
            return;
        }
        let Some(mark) = self.cluster.mark().map(str::to_owned) else {
            return;
        };
        let nodes: HashSet<&str> = compared.iter().map(|(index, _)| &*self.nodes[*index].name).collect();
        let unknown: Vec<&PodReport> = reports
            .iter()
            .filter(|report| report.identity.cluster == mark && nodes.contains(report.identity.node.as_str()))
            .filter(|report| {
                let known = self.pods.get(report.identity.uid.as_str());
                known.is_none_or(|entry| entry.object == Object::Lost)
            })
            .collect();
        let uids: HashSet<&str> = unknown.iter().map(|report| report.identity.uid.as_str()).collect();
        let slot = &mut self.providers[provider];
        slot.orphans.retain(|uid, _| uids.contains(&**uid));
        for report in &unknown {
            slot.orphans.entry(report.identity.uid.as_str().into()).or_insert(now);
        }
        let after = self.orphans.after;
        // Looked at again when the youngest is due; a confirmation has the list read again by itself.
        if let Some(due) = slot
            .orphans
            .values()
            .map(|since| *since + after)
            .filter(|due| *due > now)
            .max()
        {
            slot.list_by(due);
        }
        let due: Vec<&PodReport> = unknown
            .into_iter()
            // What is on its way out is no question any more.
            .filter(|report| !slot.sweeping.contains(report.identity.uid.as_str()))
            .filter(|report| {
                slot.orphans
                    .get(report.identity.uid.as_str())
                    .is_some_and(|since| *since + after <= now)
            })
            .collect();
        let all = reports
            .iter()
            .filter(|report| report.identity.cluster == mark && nodes.contains(report.identity.node.as_str()))
            .count();
        let confirmed: Vec<String> = compared
            .iter()
            .filter_map(|(index, _)| self.nodes[*index].handle.annotations().borrow().get(CONFIRM).cloned())
            .collect();
        let uids: BTreeSet<&str> = due.iter().map(|report| report.identity.uid.as_str()).collect();
        let plan = plan(&uids, all, &confirmed);
        for (index, _) in compared {
            let node = &self.nodes[*index];
            let here: Vec<&PodReport> = due
                .iter()
                .copied()
                .filter(|report| report.identity.node == *node.name)
                .collect();
            self.settle(provider, *index, &plan, &here, (due.len(), all));
        }
    }

    /// Does what is planned on one node. `of`: how many orphans the provider has for all nodes, and how many pods.
    fn settle(
        &mut self,
        provider: ProviderIndex,
        node: NodeIndex,
        plan: &Plan,
        orphans: &[&PodReport],
        of: (usize, usize),
    ) {
        let handle = self.nodes[node].handle.clone();
        match plan {
            _ if orphans.is_empty() => handle.clear_condition(CONDITION),
            Plan::Nothing => {}
            Plan::Confirm { digest } => self.ask(provider, node, of, digest),
            Plan::Sweep if self.orphans.dry_run => {
                for report in orphans {
                    tracing::info!(pod = %report.identity.name, namespace = %report.identity.namespace,
                        uid = %report.identity.uid, node = %report.identity.node, "dry run: orphan would be swept");
                }
            }
            Plan::Sweep if !handle.may_act() => {}
            Plan::Sweep => {
                handle.clear_condition(CONDITION);
                for report in orphans {
                    match self.pods.get_key_value(report.identity.uid.as_str()) {
                        // On record: it ends as if it had been seen to go.
                        Some((uid, _)) => {
                            let uid = uid.clone();
                            self.gone(&uid);
                        }
                        None => self.sweep(provider, node, report.identity.clone()),
                    }
                }
            }
        }
    }

    fn ask(&mut self, provider: ProviderIndex, node: NodeIndex, (count, all): (usize, usize), digest: &str) {
        let node = &self.nodes[node];
        let message = format!(
            "{count} of {all} pods in the backend are unknown to the API server; to have them deleted, \
             run: kubectl annotate --overwrite node {} {CONFIRM}={digest}",
            node.name
        );
        node.handle.set_condition(NodeCondition {
            kind: CONDITION.to_owned(),
            status: Some(true),
            reason: "ConfirmationNeeded".to_owned(),
            message: message.clone(),
        });
        let slot = &mut self.providers[provider];
        if slot.announced.as_deref() != Some(digest) {
            slot.announced = Some(digest.to_owned());
            tracing::warn!(node = %node.name, provider = %slot.name, "{message}");
        }
    }

    fn sweep(&mut self, provider: ProviderIndex, node: NodeIndex, identity: PodIdentity) {
        tracing::info!(pod = %identity.name, namespace = %identity.namespace, uid = %identity.uid,
            node = %identity.node, "sweeping an orphan");
        let (owner, handle) = (
            self.nodes[node].handle.clone(),
            self.providers[provider].provider.clone(),
        );
        self.providers[provider].sweeping.insert(identity.uid.as_str().into());
        let call = actions::sweep(handle, owner, identity.clone(), GRACE);
        let call = actions::contained(call, |fault| Err(ProviderError::new(ErrorCode::Panicked, fault)));
        self.actions.spawn(async move {
            Done::Swept {
                provider,
                identity,
                result: call.await,
            }
        });
    }

    pub(super) fn swept(&mut self, provider: ProviderIndex, identity: &PodIdentity, result: Result<(), ProviderError>) {
        self.providers[provider].sweeping.remove(identity.uid.as_str());
        match result {
            Ok(()) => {
                self.providers[provider].orphans.remove(identity.uid.as_str());
            }
            Err(error) if error.code == ErrorCode::Cancelled => {}
            Err(error) => {
                tracing::warn!(pod = %identity.name, namespace = %identity.namespace, uid = %identity.uid, %error,
                    "unable to sweep orphan, it is tried again with the next list");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<'a>(uids: &[&'a str]) -> BTreeSet<&'a str> {
        uids.iter().copied().collect()
    }

    #[test]
    fn few_orphans_among_many_pods_go_by_themselves() {
        assert_eq!(plan(&set(&[]), 10, &[]), Plan::Nothing);
        assert_eq!(plan(&set(&["a"]), 5, &[]), Plan::Sweep);
        assert_eq!(plan(&set(&["a", "b", "c"]), 15, &[]), Plan::Sweep);
    }

    #[test]
    fn more_than_three_or_more_than_a_fifth_is_asked_for_k3k_1021_kip_107() {
        assert!(matches!(
            plan(&set(&["a", "b", "c", "d"]), 1_000, &[]),
            Plan::Confirm { .. }
        ));
        assert!(matches!(plan(&set(&["a"]), 4, &[]), Plan::Confirm { .. }));
    }

    #[test]
    fn a_confirmation_holds_for_exactly_the_pods_it_was_given_for() {
        let orphans = set(&["a", "b", "c", "d"]);
        let Plan::Confirm { digest } = plan(&orphans, 4, &[]) else {
            panic!("not asked")
        };
        assert_eq!(digest.len(), 12);
        assert_eq!(plan(&orphans, 4, std::slice::from_ref(&digest)), Plan::Sweep);
        assert!(matches!(
            plan(&set(&["a", "b", "c", "e"]), 4, &[digest]),
            Plan::Confirm { .. }
        ));
    }

    #[test]
    fn of_a_store_that_was_restored_every_missing_pod_was_lost() {
        assert!(!are_lost(0, true) && are_lost(1, true));
        assert!(!are_lost(3, false) && are_lost(4, false));
    }
}
