//! Events, in the kubelet's words where it has them.

use super::{controller::PodController, entry::Uid, reconcile::Backend};
use crate::cluster::PodRef;
use outrigger_plugin::{ContainerReport, ContainerState, PodReport};

/// Reasons of a container whose image can't be pulled.
const PULL_FAILURES: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

impl PodController {
    /// An event about a pod.
    pub(super) fn say(&self, uid: &Uid, warning: bool, reason: &str, message: impl Into<String>) {
        let Some(entry) = self.pods.get(uid) else { return };
        let pod = PodRef {
            namespace: entry.identity.namespace.clone(),
            name: entry.identity.name.clone(),
            uid: entry.identity.uid.clone(),
            node: entry.identity.node.clone(),
        };
        self.events.pod(&pod, warning, reason, message);
    }

    pub(super) fn say_ignored(&self, uid: &Uid, fields: &[String]) {
        let message = format!("the provider runs this pod without {}", fields.join(", "));
        self.say(uid, true, "FieldsIgnored", message);
    }

    pub(super) fn say_killing(&self, uid: &Uid) {
        let Some(report) = self.pods.get(uid).and_then(|entry| entry.record.report()) else {
            return;
        };
        let all = report.init_containers.iter().chain(&report.containers);
        let running = all.filter(|container| is_running(container));
        let names: Vec<String> = running.map(|container| container.name.clone()).collect();
        for name in names {
            self.say(uid, false, "Killing", format!("Stopping container {name}"));
        }
    }

    /// What a new report shows that the one before did not.
    pub(super) fn say_changes(&self, uid: &Uid, before: Option<&PodReport>) {
        let Some(entry) = self.pods.get(uid) else { return };
        let node = &self.nodes[entry.node];
        let Some(report) = entry.record.report() else {
            if node.owned && entry.backend == Backend::Vanished {
                let message = "the pod is gone from the backend though nobody deleted it";
                self.say(uid, true, "PodVanished", message);
            }
            return;
        };
        // What providers push to a host that does not act is told by the one that does, and what was true before it began was
        // told then. A provider that was rebuilt meanwhile is no beginning.
        if !node.owned || node.compared.is_none() {
            return;
        }
        let lists = [
            (&report.init_containers, before.map(|before| &before.init_containers)),
            (&report.containers, before.map(|before| &before.containers)),
            (
                &report.ephemeral_containers,
                before.map(|before| &before.ephemeral_containers),
            ),
        ];
        for (now, before) in lists {
            for container in now {
                let old = before.and_then(|before| before.iter().find(|old| old.name == container.name));
                self.say_change(uid, container, old);
            }
        }
    }

    fn say_started(&self, uid: &Uid, container: &ContainerReport) {
        self.say(uid, false, "Started", format!("Started container {}", container.name));
    }

    fn say_change(&self, uid: &Uid, container: &ContainerReport, before: Option<&ContainerReport>) {
        let Some(entry) = self.pods.get(uid) else { return };
        let restarted = before.is_none_or(|before| before.restart_count != container.restart_count);
        match &container.state {
            ContainerState::Running { .. } if before.is_none_or(|before| !is_running(before)) || restarted => {
                self.say_started(uid, container);
            }
            // One that ended before anybody saw it run.
            ContainerState::Terminated(end)
                if end.started_at.is_some() && (restarted || before.is_some_and(is_waiting)) =>
            {
                self.say_started(uid, container);
            }
            ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff" => {
                let same = before.is_some_and(
                    |before| matches!(&before.state, ContainerState::Waiting { reason: old, .. } if old == reason),
                );
                if !same {
                    let identity = &entry.identity;
                    let message = format!(
                        "Back-off restarting failed container {} in pod {}_{}({})",
                        container.name, identity.name, identity.namespace, identity.uid
                    );
                    self.say(uid, true, "BackOff", message);
                }
            }
            ContainerState::Waiting { reason, .. } if PULL_FAILURES.contains(&reason.as_str()) => {
                let known = before.is_some_and(
                    |before| matches!(&before.state, ContainerState::Waiting { reason, .. } if PULL_FAILURES.contains(&reason.as_str())),
                );
                if !known && let Some(notice) = &entry.rare.get().if_pull_fails {
                    self.say(uid, notice.warning, notice.reason, notice.message.as_str());
                }
            }
            _ => {}
        }
    }
}

fn is_waiting(container: &ContainerReport) -> bool {
    matches!(container.state, ContainerState::Waiting { .. })
}

fn is_running(container: &ContainerReport) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}
