//! The phase, as the kubelet's `getPhase` finds it.

use super::{
    Situation,
    model::{ContainerStatus, Phase, PodStatus},
};
use crate::pod::view::{Container, Spec};

/// Containers by what they do. An ended one that will be started again is `stopped` as well.
#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    /// Of those, who will not be started again.
    over: usize,
    succeeded: usize,
}

/// The phase that follows from the container statuses.
pub(super) fn of(spec: &Spec<'_>, status: &PodStatus, situation: Situation<'_>) -> Phase {
    match situation {
        Situation::Rejected { .. } | Situation::DeadlineExceeded => return Phase::Failed,
        Situation::Ended => return ended(status),
        Situation::Vanished { again: false } => return Phase::Failed,
        Situation::Normal
        | Situation::Held { .. }
        | Situation::Lacking { .. }
        | Situation::Vanished { again: true } => {}
    }
    let begun = status.container_statuses.iter().any(ContainerStatus::has_run);
    let mut count = Count::default();
    let mut initializing = false;
    for (container, status) in pairs(&spec.init_containers, &status.init_container_statuses) {
        if container.is_sidecar() {
            // Once the regular containers have run, a sidecar that is started again does not put the pod back.
            initializing |= !begun && is_pending(status);
            count.running += usize::from(status.state.running.is_some());
            count.waiting += usize::from(!status.has_run());
            continue;
        }
        match end(status) {
            Some(exit_code) if exit_code == 0 || container.restarts(&spec.restart_policy, exit_code) => {}
            Some(_) => return Phase::Failed,
            None => initializing = true,
        }
    }
    for (container, status) in pairs(&spec.containers, &status.container_statuses) {
        match end(status) {
            _ if status.state.running.is_some() => count.running += 1,
            Some(exit_code) => {
                count.stopped += 1;
                count.succeeded += usize::from(exit_code == 0);
                count.over += usize::from(!container.restarts(&spec.restart_policy, exit_code));
            }
            None => count.waiting += 1,
        }
    }
    if initializing || count.waiting > 0 {
        return Phase::Pending;
    }
    if count.running > 0 || count.stopped > count.over {
        return Phase::Running;
    }
    match count {
        Count { stopped: 0, .. } => Phase::Pending,
        Count { stopped, succeeded, .. } if stopped == succeeded => Phase::Succeeded,
        _ => Phase::Failed,
    }
}

fn ended(status: &PodStatus) -> Phase {
    let clean = !status.container_statuses.is_empty()
        && status.container_statuses.iter().all(|container| {
            container
                .state
                .terminated
                .as_ref()
                .is_some_and(|end| end.exit_code == 0)
        });
    if clean { Phase::Succeeded } else { Phase::Failed }
}

/// The exit code of a container's newest run, if that has ended.
fn end(status: &ContainerStatus) -> Option<i32> {
    if status.state.running.is_some() {
        return None;
    }
    let end = status
        .state
        .terminated
        .as_ref()
        .or(status.last_state.terminated.as_ref());
    end.map(|end| end.exit_code)
}

/// Whether a sidecar has not got so far that the containers after it may start.
fn is_pending(status: &ContainerStatus) -> bool {
    match (&status.state.running, end(status)) {
        (Some(_), _) => status.started != Some(true),
        (None, end) => end.is_none(),
    }
}

fn pairs<'a, 's>(
    containers: &'a [Container<'s>],
    statuses: &'a [ContainerStatus],
) -> impl Iterator<Item = (&'a Container<'s>, &'a ContainerStatus)> {
    containers
        .iter()
        .filter_map(|container| Some((container, statuses.iter().find(|status| status.name == container.name)?)))
}
