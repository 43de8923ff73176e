//! The conditions that a kubelet owns.

use super::{
    Inputs,
    model::{Condition, Phase, PodStatus},
    resize,
    time::rfc3339,
};
use crate::pod::view::Container;

const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const READY: &str = "Ready";
const CONTAINERS_READY: &str = "ContainersReady";
const SCHEDULED: &str = "PodScheduled";

/// Whether a condition is ours to write.
pub(super) fn is_ours(kind: &str) -> bool {
    [READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, SCHEDULED].contains(&kind) || comes_and_goes(kind)
}

/// Whether it is ours and stands only while it is true.
pub(super) fn comes_and_goes(kind: &str) -> bool {
    kind == resize::PENDING
}

struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn new(kind: &'static str, holds: bool) -> Self {
        Self {
            kind,
            holds,
            reason: "",
            message: String::new(),
        }
    }

    fn because(mut self, reason: &'static str, message: String) -> Self {
        (self.reason, self.message) = (reason, message);
        self
    }
}

/// Fills the conditions; a transition time changes only with the condition's status.
pub(super) fn fill(status: &mut PodStatus, inputs: &Inputs<'_>) {
    let containers_ready = containers_ready(status, inputs);
    let ready = ready(&containers_ready, inputs);
    let verdicts = [
        ready_to_start(status, inputs),
        initialized(status, inputs),
        ready,
        containers_ready,
        Verdict::new(SCHEDULED, true),
    ];
    status.conditions = verdicts
        .into_iter()
        .map(|verdict| condition(verdict, status.observed_generation, inputs))
        .collect();
    status.conditions.extend(resize::pending(status, inputs));
}

fn condition(verdict: Verdict, observed_generation: Option<i64>, inputs: &Inputs<'_>) -> Condition {
    let value = if verdict.holds { "True" } else { "False" };
    let previous = inputs.pod.status.condition(verdict.kind);
    let since = previous
        .filter(|previous| previous.status == value)
        .and_then(|previous| previous.last_transition_time.clone())
        .unwrap_or_else(|| rfc3339(inputs.now));
    Condition {
        kind: verdict.kind.to_owned(),
        status: value.to_owned(),
        observed_generation,
        last_transition_time: Some(since),
        reason: verdict.reason.to_owned(),
        message: verdict.message,
    }
}

/// True while the pod has its sandbox: the provider has it, and gave it an address or runs something in it. Otherwise it says
/// why, in the kubelet's words, whether there was one.
fn ready_to_start(status: &PodStatus, inputs: &Inputs<'_>) -> Verdict {
    let has = !status.phase.is_terminal()
        && inputs.report.is_some_and(|report| {
            !report.ips.is_empty()
                || status
                    .all_containers()
                    .any(|container| container.state.running.is_some())
        });
    if has {
        return Verdict::new(READY_TO_START, true);
    }
    // A container that never was may have ended as well, but has no id.
    let ran = status
        .all_containers()
        .any(|container| !container.container_id.is_empty());
    let had = inputs.report.is_some() || !status.pod_ips.is_empty() || ran;
    let why = if had {
        "pod sandbox is not ready"
    } else {
        "no pod sandbox exists"
    };
    Verdict::new(READY_TO_START, false).because("PodSandboxNotReady", why.to_owned())
}

fn initialized(status: &PodStatus, inputs: &Inputs<'_>) -> Verdict {
    if status.phase == Phase::Succeeded {
        return Verdict::new(INITIALIZED, true).because("PodCompleted", String::new());
    }
    let incomplete: Vec<&str> = inputs
        .pod
        .spec
        .init_containers
        .iter()
        .filter(|container| !has_initialized(container, status))
        .map(|container| &*container.name)
        .collect();
    let begun = status.container_statuses.iter().any(|container| container.has_run());
    if incomplete.is_empty() || begun {
        return Verdict::new(INITIALIZED, true);
    }
    Verdict::new(INITIALIZED, false).because(
        "ContainersNotInitialized",
        format!("containers with incomplete status: [{}]", incomplete.join(" ")),
    )
}

fn has_initialized(container: &Container<'_>, status: &PodStatus) -> bool {
    let Some(status) = status
        .init_container_statuses
        .iter()
        .find(|status| status.name == container.name)
    else {
        return false;
    };
    if container.is_sidecar() {
        return status.started == Some(true);
    }
    status.state.terminated.as_ref().is_some_and(|end| end.exit_code == 0)
}

fn containers_ready(status: &PodStatus, inputs: &Inputs<'_>) -> Verdict {
    match status.phase {
        Phase::Succeeded => return Verdict::new(CONTAINERS_READY, false).because("PodCompleted", String::new()),
        Phase::Failed => return Verdict::new(CONTAINERS_READY, false).because("PodFailed", String::new()),
        _ => {}
    }
    let sidecars = inputs
        .pod
        .spec
        .init_containers
        .iter()
        .filter(|container| container.is_sidecar());
    let unready: Vec<&str> = sidecars
        .chain(&inputs.pod.spec.containers)
        .filter(|container| {
            !status
                .all_containers()
                .any(|status| status.name == container.name && status.ready)
        })
        .map(|container| &*container.name)
        .collect();
    if unready.is_empty() {
        return Verdict::new(CONTAINERS_READY, true);
    }
    Verdict::new(CONTAINERS_READY, false).because(
        "ContainersNotReady",
        format!("containers with unready status: [{}]", unready.join(" ")),
    )
}

fn ready(containers: &Verdict, inputs: &Inputs<'_>) -> Verdict {
    if !containers.holds {
        return Verdict::new(READY, false).because(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in &inputs.pod.spec.readiness_gates {
        match inputs.pod.status.condition(&gate.condition_type) {
            None => missing.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(condition) if condition.status != "True" => missing.push(format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Verdict::new(READY, true);
    }
    Verdict::new(READY, false).because("ReadinessGatesNotReady", missing.join(", "))
}
