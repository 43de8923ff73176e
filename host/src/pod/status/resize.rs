//! In-place resize (KEP-1287): which resources a pod's containers have, and what keeps them from those of the manifest.
//!
//! The provider alone knows what its backend can give, so its word on the last update decides. What a container has been
//! given is remembered where a restarted host finds it again: in the status.

use super::{
    Inputs,
    model::{Condition, ContainerStatus, PodStatus, Resources},
    time::rfc3339,
};
use crate::pod::view::Container;
use outrigger_plugin::ResizeOutcome;

/// The condition that says that a resize waits, or is impossible.
pub(super) const PENDING: &str = "PodResizePending";
const DEFERRED: &str = "Deferred";
const INFEASIBLE: &str = "Infeasible";

/// Fills in what the container has been given: what the manifest says, unless that is a resize that the provider has not
/// made.
pub(super) fn fill(
    status: &mut ContainerStatus,
    inputs: &Inputs<'_>,
    container: &Container<'_>,
    previous: Option<&ContainerStatus>,
) {
    let previous = previous.filter(|previous| previous.has_run());
    if !status.has_run() {
        return;
    }
    let given = match previous {
        Some(previous) if !is_made(inputs) => previous.resources.clone().unwrap_or_default(),
        _ => container.resources.clone(),
    };
    status.allocated_resources.clone_from(&given.requests);
    // Empty where there are none: API servers take a running container that says nothing of it for that of a node which can't
    // resize, and refuse every resize of its pod.
    status.resources = Some(given);
}

/// Whether the containers have the resources of the manifest.
fn is_made(inputs: &Inputs<'_>) -> bool {
    let taken = inputs
        .taken_generation
        .is_none_or(|taken| taken >= inputs.pod.metadata.generation);
    let refused = match inputs.resize {
        Some(outcome) => *outcome != ResizeOutcome::Done,
        // Said to an earlier process of this host.
        None => inputs.pod.status.condition(PENDING).is_some(),
    };
    taken && !refused
}

/// The condition that shows a resize that the provider has not made; `None` where the containers have what the manifest
/// says.
pub(super) fn pending(status: &PodStatus, inputs: &Inputs<'_>) -> Option<Condition> {
    let previous = inputs.pod.status.condition(PENDING);
    if status.phase.is_terminal() || !differs(status, inputs) {
        return None;
    }
    let (reason, message) = match inputs.resize {
        Some(ResizeOutcome::Deferred { message }) => (DEFERRED, message.as_str()),
        Some(ResizeOutcome::Infeasible { message }) => (INFEASIBLE, message.as_str()),
        Some(ResizeOutcome::Done) => return None,
        None => return previous.cloned(),
    };
    let since = previous
        .filter(|previous| previous.reason == reason)
        .and_then(|previous| previous.last_transition_time.clone());
    Some(Condition {
        kind: PENDING.to_owned(),
        status: "True".to_owned(),
        observed_generation: status.observed_generation,
        last_transition_time: Some(since.unwrap_or_else(|| rfc3339(inputs.now))),
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}

/// Whether the status shows a resize that the provider has deferred: it is to be asked for again.
pub fn is_deferred(status: &PodStatus) -> bool {
    status
        .condition(PENDING)
        .is_some_and(|condition| condition.reason == DEFERRED)
}

/// Whether a container that has run has other resources than the manifest says.
fn differs(status: &PodStatus, inputs: &Inputs<'_>) -> bool {
    let spec = &inputs.pod.spec;
    spec.containers.iter().chain(&spec.init_containers).any(|container| {
        let mut statuses = status.all_containers();
        let found = statuses.find(|status| status.name == container.name && status.has_run());
        found.is_some_and(|status| status.resources.as_ref().unwrap_or(&Resources::default()) != &container.resources)
    })
}
