//! What the outside sees of a simulated pod.

use super::{
    container::{Cause, Container, End, Run},
    pod::{Pod, Stage},
    spec::Kind,
};
use crate::{behaviour::Behaviour, dice};
use outrigger_plugin::{
    ContainerReport, ContainerState, ContainerUsage, Image, PodReport, Termination, Timestamp, Usage,
};
use serde::{Deserialize, Serialize};

/// A run of a container, as far as its log needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogSource {
    /// The run's number: the restart count it ran with.
    pub run: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None`: it runs.
    pub ended: Option<Timestamp>,
    /// Lines per second.
    pub rate: f64,
    /// Bytes to which lines are filled up.
    #[serde(default)]
    pub line_bytes: u32,
}

/// A container, as far as those need it who want to get in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Its name.
    pub container: String,
    /// Its run's number, if it runs.
    pub run: Option<u32>,
    /// It has an input.
    pub stdin: bool,
    /// The TCP ports that it declares.
    pub ports: Vec<u16>,
}

/// A pod's state, stamped now.
pub fn report(pod: &Pod) -> PodReport {
    let mut report = PodReport::new(pod.identity.clone());
    if !matches!(pod.stage, Stage::Starting { .. }) {
        report.ips = pod.addresses.to_vec();
    }
    let has_init = pod
        .containers
        .iter()
        .any(|container| matches!(container.spec.kind, Kind::Init | Kind::Sidecar));
    for container in &pod.containers {
        let list = match container.spec.kind {
            Kind::Init | Kind::Sidecar => &mut report.init_containers,
            Kind::Regular => &mut report.containers,
            Kind::Ephemeral => &mut report.ephemeral_containers,
        };
        list.push(report_container(pod, container, has_init));
    }
    report
}

fn report_container(pod: &Pod, container: &Container, has_init: bool) -> ContainerReport {
    let termination = |end: &Option<Box<End>>| end.as_deref().map(|end| terminated(pod, container, end));
    let ran = container.run != Run::Waiting;
    let mut ready = false;
    let mut last_termination = termination(&container.end);
    let state = match &container.run {
        Run::Waiting => ContainerState::Waiting {
            reason: if has_init {
                "PodInitializing"
            } else {
                "ContainerCreating"
            }
            .into(),
            message: String::new(),
        },
        Run::Running { since, ready: is, .. } => {
            ready = *is && container.spec.kind != Kind::Init;
            ContainerState::Running { started_at: *since }
        }
        Run::BackOff { pause, .. } => ContainerState::Waiting {
            reason: "CrashLoopBackOff".into(),
            message: format!(
                "waits {pause} before container {} is started again",
                container.spec.name
            ),
        },
        Run::Ended => {
            // An init container that has done its work counts as ready.
            ready = container.spec.kind == Kind::Init && container.has_succeeded();
            let end = std::mem::replace(&mut last_termination, termination(&container.previous));
            match container.spec.ended.as_deref().cloned().or(end) {
                Some(end) => ContainerState::Terminated(end),
                None => ContainerState::Waiting {
                    reason: "ContainerCreating".into(),
                    message: String::new(),
                },
            }
        }
    };
    ContainerReport {
        name: container.spec.name.clone(),
        started: container.is_running(),
        ready,
        state,
        last_termination,
        restart_count: container.restarts,
        image: container.spec.image.clone(),
        image_id: if ran {
            image_id(&container.spec.image)
        } else {
            String::new()
        },
        container_id: if ran {
            container_id(pod, container, container.restarts)
        } else {
            String::new()
        },
    }
}

fn terminated(pod: &Pod, container: &Container, end: &End) -> Termination {
    let behaviour = behaviour_of(container, end);
    let natural = end.cause == Cause::Natural;
    let reason = match (natural, behaviour.reason.as_str(), end.exit_code) {
        (false, _, 0) | (true, "", 0) => "Completed",
        (false, ..) | (true, "", _) => "Error",
        (true, given, _) => given,
    };
    Termination {
        exit_code: end.exit_code,
        signal: if natural { behaviour.signal } else { 0 },
        reason: reason.into(),
        message: if natural {
            behaviour.message.clone()
        } else {
            String::new()
        },
        started_at: Some(end.started),
        finished_at: end.finished,
        container_id: container_id(pod, container, end.run),
    }
}

/// How a container behaved in a run that has ended.
fn behaviour_of<'a>(container: &'a Container, end: &'a End) -> &'a Behaviour {
    end.behaviour.as_ref().unwrap_or(&container.spec.behaviour)
}

fn container_id(pod: &Pod, container: &Container, run: u32) -> String {
    let number = dice::hash(0, [&*pod.identity.uid, &*container.spec.name, &*run.to_string()]);
    format!("mock://{}", dice::hex64(number))
}

/// The image by digest: of its name, since there is nothing else to take one of.
fn image_id(image: &str) -> String {
    if image.contains('@') {
        return image.to_owned();
    }
    let name_at = image.rfind('/').map_or(0, |slash| slash + 1);
    let repository = match image[name_at..].find(':') {
        Some(colon) => &image[..name_at + colon],
        None => image,
    };
    format!("{repository}@sha256:{}", dice::hex64(dice::hash(0, [image])))
}

/// The run whose log is asked for: the newest, or the one before it. `None`: there is none.
pub fn log_source(container: &Container, previous: bool) -> Option<LogSource> {
    let ended = |end: &End| LogSource {
        run: end.run,
        started: end.started,
        ended: Some(end.finished),
        rate: behaviour_of(container, end).log_rate,
        line_bytes: behaviour_of(container, end).log_line_bytes,
    };
    match (&container.run, previous) {
        (Run::Waiting, _) => None,
        (Run::Running { since, .. }, false) => Some(LogSource {
            run: container.restarts,
            started: *since,
            ended: None,
            rate: container.spec.behaviour.log_rate,
            line_bytes: container.spec.behaviour.log_line_bytes,
        }),
        // Between two runs a kubelet shows the log of the ended one either way.
        (Run::Running { .. }, true) | (Run::BackOff { .. }, _) | (Run::Ended, false) => {
            container.end.as_deref().map(ended)
        }
        (Run::Ended, true) => container.previous.as_deref().map(ended),
    }
}

/// The ways into a pod.
pub fn doors(pod: &Pod) -> Vec<Door> {
    let door = |container: &Container| Door {
        container: container.spec.name.clone(),
        run: container.is_running().then_some(container.restarts),
        stdin: container.spec.stdin,
        ports: container.spec.ports.clone(),
    };
    pod.containers.iter().map(door).collect()
}

/// The images of a pod's containers that were started, by name.
pub fn images(pod: &Pod) -> impl Iterator<Item = (&str, Image)> {
    let started = pod.containers.iter().filter(|container| container.run != Run::Waiting);
    started.map(|container| {
        let name = container.spec.image.as_str();
        let mut names = vec![image_id(name)];
        if names[0] != name {
            names.push(name.to_owned());
        }
        // Up to a quarter of a gibibyte: like that of real ones, and the same each time.
        let size_bytes = (1 << 20) + dice::hash(1, [name]) % (255 << 20);
        (name, Image { names, size_bytes })
    })
}

/// What the running containers of a pod use.
pub fn usage(pod: &Pod, now: Timestamp) -> impl Iterator<Item = ContainerUsage> {
    pod.containers.iter().filter_map(move |container| {
        let Run::Running { since, .. } = container.run else {
            return None;
        };
        let behaviour = &container.spec.behaviour;
        let nanocores = behaviour.cpu.as_nano();
        Some(ContainerUsage {
            identity: pod.identity.clone(),
            container: container.spec.name.clone(),
            started_at: since,
            usage: Usage {
                time: now,
                cpu_core_nanoseconds: Some(container.cpu.read(nanocores, now)),
                cpu_nanocores: Some(nanocores),
                memory_working_set_bytes: Some(behaviour.memory.as_units()),
            },
        })
    })
}
