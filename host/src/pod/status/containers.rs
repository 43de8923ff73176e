//! Container statuses.

use super::{
    Inputs, Situation,
    model::{ContainerStatus, PodStatus, Running, State, Terminated},
    resize,
    time::rfc3339,
};
use crate::{material::FaultKind, pod::view::Container};
use outrigger_plugin::{ContainerReport, ContainerState, Termination};

const UNKNOWN: &str = "ContainerStatusUnknown";
/// What the kubelet reports for a container that it can't find: 128 + SIGKILL.
const UNKNOWN_EXIT_CODE: i32 = 137;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init,
    Sidecar,
    Regular,
    Ephemeral,
}

/// Fills the three lists: init containers in the manifest's order, the others by name.
pub(super) fn fill(status: &mut PodStatus, inputs: &Inputs<'_>) {
    if matches!(inputs.situation, Situation::Rejected { .. }) {
        // As with the kubelet: nothing of a rejected pod ever had a state.
        return;
    }
    let (spec, previous) = (&inputs.pod.spec, &inputs.pod.status);
    let report = inputs.report;
    let reports = |pick: fn(&outrigger_plugin::PodReport) -> &[ContainerReport]| report.map(pick).unwrap_or_default();
    status.init_container_statuses = list(
        inputs,
        &spec.init_containers,
        reports(|report| &report.init_containers),
        &previous.init_container_statuses,
        |container| {
            if container.is_sidecar() {
                Kind::Sidecar
            } else {
                Kind::Init
            }
        },
    );
    status.container_statuses = list(
        inputs,
        &spec.containers,
        reports(|report| &report.containers),
        &previous.container_statuses,
        |_| Kind::Regular,
    );
    status.container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
    if report.is_some() || !previous.ephemeral_container_statuses.is_empty() {
        status.ephemeral_container_statuses = list(
            inputs,
            &spec.ephemeral_containers,
            reports(|report| &report.ephemeral_containers),
            &previous.ephemeral_container_statuses,
            |_| Kind::Ephemeral,
        );
        status.ephemeral_container_statuses.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

fn list(
    inputs: &Inputs<'_>,
    containers: &[Container<'_>],
    reports: &[ContainerReport],
    previous: &[ContainerStatus],
    kind: impl Fn(&Container<'_>) -> Kind,
) -> Vec<ContainerStatus> {
    containers
        .iter()
        .map(|container| {
            let report = reports.iter().find(|report| report.name == container.name);
            let previous = previous.iter().find(|status| status.name == container.name);
            one(inputs, container, kind(container), report, previous)
        })
        .collect()
}

fn one(
    inputs: &Inputs<'_>,
    container: &Container<'_>,
    kind: Kind,
    report: Option<&ContainerReport>,
    previous: Option<&ContainerStatus>,
) -> ContainerStatus {
    // Of a pod that was made again after it had vanished, say: the API server refuses a status that takes such an end back.
    let spec = &inputs.pod.spec;
    let is_final = previous
        .and_then(|status| status.state.terminated.as_ref())
        .is_some_and(|end| {
            let restarts = || container.restarts(&spec.restart_policy, end.exit_code) || spec.restarts_together();
            kind == Kind::Ephemeral || !restarts()
        });
    let report = report.filter(|report| !is_final || matches!(report.state, ContainerState::Terminated(_)));
    let mut status = match report {
        Some(report) => reported(inputs, container, report, previous),
        None => unreported(inputs, container, previous),
    };
    let over = matches!(inputs.situation, Situation::Ended | Situation::DeadlineExceeded)
        || inputs.situation == (Situation::Vanished { again: false });
    if over && status.state.terminated.is_none() && status.has_run() {
        // It ran, and nobody can say how it ended.
        status.state = State::terminated(lost(inputs, &status.container_id));
    }
    // As with a kubelet: what has not started is not ready, and an init container is when it has done its work.
    status.ready &= kind != Kind::Init && status.started == Some(true);
    if over || status.state.running.is_none() {
        status.ready = kind == Kind::Init && status.state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
        status.started = Some(false);
    }
    if kind == Kind::Ephemeral {
        status.started = None;
        status.ready = false;
    } else {
        resize::fill(&mut status, inputs, container, previous);
    }
    if over && status.state.terminated.is_none() && kind == Kind::Regular && was_initialized(inputs) {
        // It never ran, but its turn had come: the kubelet counts that as a failure, too.
        status.state = State::terminated(Terminated {
            finished_at: None,
            ..lost(inputs, "")
        });
    }
    status
}

fn reported(
    inputs: &Inputs<'_>,
    container: &Container<'_>,
    report: &ContainerReport,
    previous: Option<&ContainerStatus>,
) -> ContainerStatus {
    let state = match &report.state {
        ContainerState::Waiting { reason, message } => State::waiting(reason.clone(), message.clone()),
        ContainerState::Running { started_at } => State {
            running: Some(Running {
                started_at: Some(rfc3339(*started_at)),
            }),
            ..State::default()
        },
        ContainerState::Terminated(end) => State::terminated(terminated(end)),
    };
    let last_state = match (&report.last_termination, previous) {
        (Some(end), _) => State::terminated(terminated(end)),
        (None, Some(previous)) if report.restart_count > previous.restart_count => end_of(inputs, previous),
        (None, Some(previous)) => previous.last_state.clone(),
        (None, None) => State::default(),
    };
    let image = if report.image.is_empty() {
        container.image.clone().into_owned()
    } else {
        report.image.clone()
    };
    ContainerStatus {
        name: report.name.clone(),
        state,
        last_state,
        ready: report.ready,
        restart_count: report.restart_count,
        image,
        image_id: report.image_id.clone(),
        container_id: report.container_id.clone(),
        started: Some(report.started),
        ..ContainerStatus::default()
    }
}

/// How the run that `previous` shows has ended, when a later run is reported without saying.
fn end_of(inputs: &Inputs<'_>, previous: &ContainerStatus) -> State {
    if previous.state.terminated.is_some() {
        return State {
            terminated: previous.state.terminated.clone(),
            ..State::default()
        };
    }
    if previous.state.running.is_none() {
        return previous.last_state.clone();
    }
    State::terminated(Terminated {
        exit_code: UNKNOWN_EXIT_CODE,
        reason: UNKNOWN.to_owned(),
        message: "The container could not be located when the pod was restarted".to_owned(),
        finished_at: Some(rfc3339(inputs.now)),
        container_id: previous.container_id.clone(),
        ..Terminated::default()
    })
}

fn unreported(inputs: &Inputs<'_>, container: &Container<'_>, previous: Option<&ContainerStatus>) -> ContainerStatus {
    let mut status = previous.cloned().unwrap_or_else(|| ContainerStatus {
        name: container.name.clone().into_owned(),
        image: container.image.clone().into_owned(),
        ..ContainerStatus::default()
    });
    match inputs.situation {
        Situation::Vanished { again } => {
            if status.state.running.is_some() {
                let end = State::terminated(lost(inputs, &status.container_id));
                if again {
                    status.last_state = end;
                    status.state = State::waiting(creating(inputs), "");
                } else {
                    status.state = end;
                }
            }
        }
        Situation::Held { reason, message } if !status.has_run() => {
            status.state = State::waiting(reason, message);
        }
        Situation::Lacking { faults } if !status.has_run() => {
            let own = faults
                .iter()
                .find(|fault| matches!(&fault.kind, FaultKind::Config { container: name } if *name == container.name));
            status.state = match own {
                Some(fault) => State::waiting("CreateContainerConfigError", fault.message.as_str()),
                None => State::waiting(creating(inputs), ""),
            };
        }
        Situation::Normal if status.state.terminated.is_none() && status.state.running.is_none() => {
            status.state = State::waiting(creating(inputs), "");
        }
        _ => {
            if status.state == State::default() {
                status.state = State::waiting(creating(inputs), "");
            }
        }
    }
    status
}

/// Whether regular containers could have been started.
fn was_initialized(inputs: &Inputs<'_>) -> bool {
    let condition = inputs.pod.status.condition("Initialized");
    inputs.pod.spec.init_containers.is_empty() || condition.is_some_and(|condition| condition.status == "True")
}

fn creating(inputs: &Inputs<'_>) -> &'static str {
    if inputs.pod.spec.init_containers.is_empty() {
        "ContainerCreating"
    } else {
        "PodInitializing"
    }
}

fn lost(inputs: &Inputs<'_>, container_id: &str) -> Terminated {
    let when = if matches!(inputs.situation, Situation::Vanished { .. }) {
        "restarted"
    } else {
        "terminated"
    };
    Terminated {
        exit_code: UNKNOWN_EXIT_CODE,
        reason: UNKNOWN.to_owned(),
        message: format!("The container could not be located when the pod was {when}"),
        finished_at: Some(rfc3339(inputs.now)),
        container_id: container_id.to_owned(),
        ..Terminated::default()
    }
}

fn terminated(end: &Termination) -> Terminated {
    Terminated {
        exit_code: end.exit_code,
        signal: end.signal,
        reason: end.reason.clone(),
        message: end.message.clone(),
        started_at: end.started_at.map(rfc3339),
        finished_at: Some(rfc3339(end.finished_at)),
        container_id: end.container_id.clone(),
    }
}
