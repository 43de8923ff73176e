//! The pod status, to the kubelet's rules, from what the provider reports.
//!
//! [`desired`] is a pure function; its result is compared with what the API server has, and only a difference is sent
//! ([`patch::body`]). Sources: kubelet `getPhase`, `GeneratePodReadyCondition` and its relatives, KEP-753 (sidecars),
//! KEP-3085 (PodReadyToStartContainers), KEP-5067 (observedGeneration), KEP-1287 (resize).

mod conditions;
mod containers;
pub mod model;
pub mod patch;
mod phase;
pub mod resize;
#[cfg(test)]
mod tests;
pub mod time;

use super::view::Pod;
use crate::material::Fault;
use model::{Ip, Phase, PodStatus};
use outrigger_plugin::{PodReport, ResizeOutcome, Timestamp};
use std::net::IpAddr;

/// What is said of a pod that ran longer than `activeDeadlineSeconds`.
pub const DEADLINE_EXCEEDED: &str = "Pod was active on the node longer than the specified deadline";

/// What the host knows of a pod beside the manifest and the provider's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation<'a> {
    /// The provider has it, or is about to.
    Normal,
    /// It can't run as it is: refused by the provider or by the host. Waits with this reason until it changes.
    Held { reason: &'a str, message: &'a str },
    /// Something that it refers to is missing: it waits until that is there.
    Lacking { faults: &'a [Fault] },
    /// The kubelet's admission refused it: `Failed` at once.
    Rejected { reason: &'a str, message: &'a str },
    /// It vanished from the backend; whether it is made again is the restart policy's business.
    Vanished { again: bool },
    /// It ran longer than `activeDeadlineSeconds`; its containers have ended.
    DeadlineExceeded,
    /// It is being deleted and its containers have ended, or never were.
    Ended,
}

/// What the status is made from.
pub struct Inputs<'a> {
    /// Manifest, and the status that the API server has.
    pub pod: &'a Pod<'a>,
    /// The provider's last word.
    pub report: Option<&'a PodReport>,
    /// What the host knows beside it.
    pub situation: Situation<'a>,
    /// Something of it may run, and can be stopped: the provider has it, and it has not come to its end.
    pub may_run: bool,
    /// Addresses of the node, primary first.
    pub host_ips: &'a [IpAddr],
    /// The generation that the provider has taken; `None` before the first.
    pub taken_generation: Option<i64>,
    /// What the provider said of the resources when it took that generation; `None`: nothing to this process.
    pub resize: Option<&'a ResizeOutcome>,
    /// Now.
    pub now: Timestamp,
}

/// What the API server should have.
pub struct Desired {
    pub status: PodStatus,
    /// The phase would be final, but something of the pod still runs: until it has been stopped the phase stays what it was,
    /// as with a kubelet. Whoever replaces a finished pod would else have two.
    pub finishing: bool,
}

/// The status that the API server should have.
pub fn desired(inputs: &Inputs<'_>) -> Desired {
    let previous = &inputs.pod.status;
    let spec = &inputs.pod.spec;
    let mut status = PodStatus {
        observed_generation: observed_generation(inputs),
        start_time: Some(previous.start_time.clone().unwrap_or_else(|| time::rfc3339(inputs.now))),
        host_ip: inputs.host_ips.first().map(ToString::to_string).unwrap_or_default(),
        host_ips: ips(inputs.host_ips),
        qos_class: previous.qos_class.clone(),
        ..PodStatus::default()
    };
    addresses(&mut status, inputs);
    containers::fill(&mut status, inputs);
    status.phase = phase::of(spec, &status, inputs.situation);
    let runs = || {
        status
            .all_containers()
            .any(|container| container.state.running.is_some())
    };
    let finishing = inputs.may_run && status.phase.is_terminal() && runs();
    if finishing {
        status.phase = previous.phase;
    }
    if previous.phase.is_terminal() {
        // Final: whatever a late report says, the end stays as it was recorded.
        status.phase = previous.phase;
    }
    match inputs.situation {
        Situation::Rejected { reason, message } => {
            status.phase = Phase::Failed;
            status.reason = reason.to_owned();
            status.message = format!("Pod was rejected: {message}");
        }
        Situation::DeadlineExceeded => {
            status.reason = "DeadlineExceeded".to_owned();
            status.message = DEADLINE_EXCEEDED.to_owned();
        }
        _ if status.phase.is_terminal() || inputs.situation == Situation::Normal => {
            // What somebody wrote who knows more (an eviction, a disruption) stays.
            status.reason = previous.reason.clone();
            status.message = previous.message.clone();
        }
        _ => {}
    }
    conditions::fill(&mut status, inputs);
    Desired { status, finishing }
}

/// Omitted for objects without generation (API servers before 1.33), and never ahead of what the provider has taken.
fn observed_generation(inputs: &Inputs<'_>) -> Option<i64> {
    let current = inputs.pod.metadata.generation;
    if current == 0 {
        return None;
    }
    let taken = match inputs.situation {
        Situation::Normal => inputs
            .taken_generation
            .or(inputs.pod.status.observed_generation)
            .unwrap_or(current),
        _ => current,
    };
    Some(taken.min(current))
}

fn addresses(status: &mut PodStatus, inputs: &Inputs<'_>) {
    let reported = inputs.report.map(|report| report.ips.as_slice()).unwrap_or_default();
    if inputs.pod.spec.host_network == Some(true) {
        // From the first status on, and for good.
        let announced = &inputs.pod.status.pod_ips;
        status.pod_ips.clone_from(if announced.is_empty() {
            &status.host_ips
        } else {
            announced
        });
    } else if reported.is_empty() {
        // An address that was announced stays until there is another one: a stopping pod keeps it to the end.
        status.pod_ips = inputs.pod.status.pod_ips.clone();
    } else {
        status.pod_ips = ips(reported);
    }
    status.pod_ip = status.pod_ips.first().map(|first| first.ip.clone()).unwrap_or_default();
}

fn ips(addresses: &[IpAddr]) -> Vec<Ip> {
    addresses.iter().map(|ip| Ip { ip: ip.to_string() }).collect()
}
