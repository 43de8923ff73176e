//! Whether a pod may run here, and what it takes of its node.

use super::{
    actions::{self, Done},
    admission::{self, Requests},
    controller::PodController,
    entry::{Entry, NodeIndex, Object, Refusal, Standing, Uid},
    reconcile::Backend,
    support::{self, Verdict},
};
use crate::{
    cluster::{ApiError, raw::Reply},
    node::Terms,
};
use std::{borrow::Cow, time::Instant};

impl PodController {
    /// Decides whether the pod may run here. False when it seems to be refused: the Node is read then, to make sure, and
    /// the pod is looked at again afterwards.
    pub(super) fn judge(&mut self, uid: &Uid) -> bool {
        let Some(entry) = self.pods.get(uid) else { return true };
        if entry.doubted {
            return false;
        }
        let terms = self.nodes[entry.node].handle.terms();
        let Some((standing, requests)) = self.standing(uid, terms.as_deref()) else {
            return true;
        };
        if matches!(standing, Standing::Rejected(_)) {
            // A refusal is final, and what the watch has told of the Node may be older than the pod.
            self.doubt(uid);
            return false;
        }
        self.settle_standing(uid, standing, requests);
        true
    }

    fn settle_standing(&mut self, uid: &Uid, standing: Standing, requests: Requests) {
        match &standing {
            Standing::Held(refusal) => self.say(uid, true, "Failed", format!("Error: {}", refusal.message)),
            Standing::Rejected(refusal) => self.say(uid, true, &refusal.reason, refusal.message.clone()),
            Standing::Unjudged | Standing::Accepted => {}
        }
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.standing = standing;
        entry.status_stale = true;
        if entry.requests != requests {
            if entry.counted {
                self.nodes[entry.node].used.remove(&entry.requests);
                entry.counted = false;
            }
            entry.requests = requests;
        }
        self.recount(uid);
    }

    fn standing(&self, uid: &Uid, terms: Option<&Terms>) -> Option<(Standing, Requests)> {
        let entry = self.pods.get(uid)?;
        let raw = entry.record.object();
        let spec = match support::read(&raw) {
            Ok(spec) => spec,
            Err(error) => {
                let standing = held(format!("unable to read pod manifest: {error}"));
                return Some((standing, Requests::default()));
            }
        };
        let requests = Requests::of(&spec);
        let runs = matches!(entry.backend, Backend::Present | Backend::Ended) || entry.phase.is_terminal();
        // As with the kubelet, who was admitted once stays so.
        let admitted = runs || entry.counted;
        if !admitted && let Some((reason, message)) = self.reject(entry, &spec, &requests, terms) {
            return Some((Standing::Rejected(Box::new(Refusal { reason, message })), requests));
        }
        Some((self.carried(uid, entry, &spec, runs), requests))
    }

    fn reject(
        &self,
        entry: &Entry,
        spec: &support::Spec<'_>,
        requests: &Requests,
        terms: Option<&Terms>,
    ) -> Option<admission::Rejection> {
        let node = &self.nodes[entry.node];
        admission::reject(spec, requests, terms?, &node.name, &node.used)
    }

    /// Whether the provider can carry the pod.
    fn carried(&self, uid: &Uid, entry: &Entry, spec: &support::Spec<'_>, runs: bool) -> Standing {
        let slot = &self.providers[self.nodes[entry.node].provider];
        let message = match support::judge(spec, &slot.provider.support()) {
            Verdict::Runs { mut ignored } => {
                ignored.retain(|field| !support::is_injected(field));
                if !ignored.is_empty() && !runs {
                    self.say_ignored(uid, &ignored);
                }
                return Standing::Accepted;
            }
            Verdict::Refused { fields } => {
                format!("provider {} can't run a pod with {}", slot.name, fields.join(", "))
            }
        };
        if runs {
            // It runs already, with an earlier manifest or host: what it has it keeps.
            tracing::warn!(pod = %uid, message, "pod runs with fields that are refused now");
            if entry.taken_generation.is_some_and(|taken| taken < entry.generation) {
                self.say(uid, true, "FailedUpdate", format!("{message}; it goes on without"));
            }
            return Standing::Accepted;
        }
        held(message)
    }

    /// Has a pod judged by the Node as it is when asked for from now on.
    fn doubt(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.doubted = true;
        let node = entry.node;
        self.nodes[node].doubts.push(uid.clone());
        self.look(node);
    }

    /// Reads a Node for those that wait for it, unless that is under way: then what is read is too old for them.
    fn look(&mut self, index: NodeIndex) {
        let node = &mut self.nodes[index];
        if node.looking || node.doubts.is_empty() {
            return;
        }
        node.looking = true;
        let doubts = std::mem::take(&mut node.doubts);
        let read = actions::read_node(node.clients.status.clone(), node.name.clone());
        self.actions.spawn(async move {
            Done::Looked {
                node: index,
                doubts,
                result: actions::contained(read, |fault| Err(ApiError::Panicked(fault))).await,
            }
        });
    }

    /// The Node was read.
    pub(super) fn looked(&mut self, index: NodeIndex, doubts: &[Uid], result: Result<Reply, ApiError>) {
        let node = &mut self.nodes[index];
        node.looking = false;
        let terms = match result.and_then(|reply| reply.decode::<serde_json::Value>()) {
            Ok(object) => Terms::of(&object),
            Err(error) => {
                let at = node.look_retry.fail(Instant::now(), error.retry_after());
                // Whoever waits is neither run nor refused, and nothing else says so. Outages are told of elsewhere.
                if node.look_retry.failures() == 1 && !error.is_retryable() {
                    tracing::warn!(node = %node.name, %error, "unable to read node before pods are refused, retrying");
                } else {
                    tracing::debug!(node = %node.name, %error, "unable to read node, retrying");
                }
                for uid in doubts {
                    if let Some(entry) = self.pods.get_mut(uid) {
                        entry.doubted = false;
                        self.enqueue_at(at, uid);
                    }
                }
                return self.look(index);
            }
        };
        node.look_retry.clear();
        for uid in doubts {
            let Some(entry) = self.pods.get_mut(uid) else { continue };
            entry.doubted = false;
            if entry.standing == Standing::Unjudged
                && entry.deletion.is_none()
                && entry.object == Object::There
                && let Some((standing, requests)) = self.standing(uid, terms.as_ref())
            {
                self.settle_standing(uid, standing, requests);
            }
            self.enqueue(uid);
        }
        self.look(index);
    }

    /// Counts the pod among those that take room on its node, or no longer.
    pub(super) fn recount(&mut self, uid: &Uid) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let takes_room = entry.takes_room();
        if takes_room == entry.counted {
            return;
        }
        entry.counted = takes_room;
        let used = &mut self.nodes[entry.node].used;
        if takes_room {
            used.add(&entry.requests);
        } else {
            used.remove(&entry.requests);
        }
    }
}

fn held(message: String) -> Standing {
    Standing::Held(Box::new(Refusal {
        reason: Cow::Borrowed("CreateContainerConfigError"),
        message,
    }))
}
