//! What a simulated pod does: the keys that annotations and config share.

use crate::{quantity::Quantity, span::Span};
use outrigger_plugin::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How pods behave. The same keys stand in the config under `pods`, for every pod, and on a pod as annotations
/// `mock.outrigger.dev/<key>`, which win; a dot leads into a section: `mock.outrigger.dev/create.latency`.
///
/// `<container>.mock.outrigger.dev/<key>` speaks of one container. Without a container's name, what a container does
/// (`runTime` to `stopExitCode`) is meant for regular ones: init containers succeed at once, sidecars and debug
/// containers run on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Behaviour {
    /// How long it takes until the pod has its addresses and its first container runs.
    pub start_delay: Span,
    /// Up to so much more, by chance.
    pub start_jitter: Span,
    /// How long a container runs before it ends by itself.
    pub run_time: Span,
    /// With which code it ends then; 128 + n after signal n unless it is given.
    pub exit_code: Option<i32>,
    /// By which signal it ends; 0 for none.
    #[schemars(range(min = 0, max = 64))]
    pub signal: i32,
    /// The termination's reason; `Completed` or `Error` unless it is given.
    pub reason: String,
    /// The termination's message.
    pub message: String,
    /// From a container's start until it is ready.
    pub ready_delay: Span,
    /// From the stop signal until a container ends; `never` ignores the signal, until the grace period ends with a
    /// kill and exit code 137.
    pub stop_delay: Span,
    /// With which code it ends after the stop signal.
    pub stop_exit_code: i32,
    /// How long the second restart of a container waits; doubles with each. The first comes at once.
    pub back_off: Span,
    /// The longest wait between restarts. A container that ran for twice this begins anew.
    pub back_off_max: Span,
    /// From the pod's creation until its addresses change.
    pub ip_change_after: Span,
    /// From the pod's creation until the backend loses it; once: made again under its UID, it stays.
    pub vanish_after: Span,
    /// The host is not told of that and has to find out.
    pub vanish_silently: bool,
    /// What becomes of changed resources of a running pod.
    pub resize: Resize,
    /// Lines of log per second.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub log_rate: f64,
    /// Bytes to which each line is filled up.
    #[schemars(range(min = 0, max = 65_536))]
    pub log_line_bytes: u32,
    /// The log is what the host resolved for the pod, secrets and all, instead of lines. For tests only.
    pub show_materials: bool,
    /// CPU that a container uses while it runs.
    pub cpu: Quantity,
    /// Memory that a container uses while it runs.
    pub memory: Quantity,
    /// The call that runs a pod.
    pub create: CallBehaviour,
    /// The call that changes a pod.
    pub update: CallBehaviour,
    /// The call that stops a pod.
    pub stop: CallBehaviour,
    /// The call that removes what is left of a pod.
    pub remove: CallBehaviour,
    /// The call that asks for a pod's state.
    pub get: CallBehaviour,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            start_delay: Span::ZERO,
            start_jitter: Span::ZERO,
            run_time: Span::Never,
            exit_code: None,
            signal: 0,
            reason: String::new(),
            message: String::new(),
            ready_delay: Span::ZERO,
            stop_delay: Span::ZERO,
            stop_exit_code: 0,
            back_off: Span::seconds(10),
            back_off_max: Span::seconds(300),
            ip_change_after: Span::Never,
            vanish_after: Span::Never,
            vanish_silently: false,
            resize: Resize::default(),
            log_rate: 1.0,
            log_line_bytes: 0,
            show_materials: false,
            cpu: Quantity::milli(10),
            memory: Quantity::units(32 << 20),
            create: CallBehaviour::default(),
            update: CallBehaviour::default(),
            stop: CallBehaviour::default(),
            remove: CallBehaviour::default(),
            get: CallBehaviour::default(),
        }
    }
}

/// Keys that one container can have for itself.
pub const CONTAINER_KEYS: &[&str] = &[
    "runTime",
    "exitCode",
    "signal",
    "reason",
    "message",
    "readyDelay",
    "stopDelay",
    "stopExitCode",
    "backOff",
    "backOffMax",
    "logRate",
    "logLineBytes",
    "cpu",
    "memory",
];

impl Behaviour {
    /// What is meant for all kinds of containers, with the given run time.
    #[must_use]
    pub fn of_other_kinds(&self, run_time: Span) -> Self {
        let fresh = Self::default();
        Self {
            run_time,
            exit_code: fresh.exit_code,
            signal: fresh.signal,
            reason: fresh.reason,
            message: fresh.message,
            ready_delay: fresh.ready_delay,
            stop_delay: fresh.stop_delay,
            stop_exit_code: fresh.stop_exit_code,
            ..self.clone()
        }
    }

    /// What the types of the values don't show: the key at fault, and what was expected of it.
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        let rules = [
            (
                "logRate",
                (0.0..=1e6).contains(&self.log_rate),
                "expected 0 to 1000000 lines a second",
            ),
            (
                "logLineBytes",
                self.log_line_bytes <= 65_536,
                "expected 0 to 65536 bytes",
            ),
            (
                "signal",
                (0..=64).contains(&self.signal),
                "expected a signal's number, 1 to 64, or 0 for none",
            ),
            (
                "backOff",
                self.back_off != Span::ZERO,
                "expected at least 1ms, or a crash loop would never pause",
            ),
            (
                "backOffMax",
                self.back_off_max >= self.back_off,
                "expected at least backOff",
            ),
            (
                "vanishAfter",
                self.vanish_after != Span::ZERO,
                "expected at least 1ms, or there would be nothing to vanish",
            ),
        ];
        for (key, holds, expected) in rules {
            if !holds {
                return Err((key.to_owned(), expected));
            }
        }
        for (key, call) in self.calls() {
            call.check()
                .map_err(|(part, expected)| (format!("{key}.{part}"), expected))?;
        }
        Ok(())
    }

    /// Whether its calls fare otherwise than by default.
    pub fn has_own_calls(&self) -> bool {
        let plain = CallBehaviour::default();
        self.calls().iter().any(|(_, call)| **call != plain)
    }

    /// The calls that a pod can have for itself, by name.
    pub fn calls(&self) -> [(&'static str, &CallBehaviour); 5] {
        [
            ("create", &self.create),
            ("update", &self.update),
            ("stop", &self.stop),
            ("remove", &self.remove),
            ("get", &self.get),
        ]
    }
}

/// How a call to the provider fares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CallBehaviour {
    /// How long it takes, half of it before it takes effect and half after; `never`: it hangs without effect until
    /// the caller gives up.
    pub latency: Span,
    /// So many first calls for a pod fail for sure.
    pub failures: u32,
    /// The fraction of calls that fail by chance, 0 to 1, without effect.
    #[schemars(range(min = 0, max = 1))]
    pub failure_rate: f64,
    /// How they fail.
    pub error: CallError,
    /// When to come again, with `error: retryAfter`.
    pub retry_after: Span,
}

impl Default for CallBehaviour {
    fn default() -> Self {
        Self {
            latency: Span::ZERO,
            failures: 0,
            failure_rate: 0.0,
            error: CallError::Unavailable,
            retry_after: Span::seconds(1),
        }
    }
}

impl CallBehaviour {
    /// As [`Behaviour::check`].
    pub fn check(&self) -> Result<(), (String, &'static str)> {
        if (0.0..=1.0).contains(&self.failure_rate) {
            Ok(())
        } else {
            Err(("failureRate".to_owned(), "expected 0 to 1"))
        }
    }

    /// The class of its failures.
    pub fn code(&self) -> ErrorCode {
        match self.error {
            CallError::NotFound => ErrorCode::NotFound,
            CallError::AlreadyExists => ErrorCode::AlreadyExists,
            CallError::Invalid => ErrorCode::Invalid,
            CallError::Unsupported => ErrorCode::Unsupported,
            CallError::RetryAfter => ErrorCode::RetryAfter(self.retry_after.finite().unwrap_or(Duration::MAX)),
            CallError::Unavailable => ErrorCode::Unavailable,
            CallError::Timeout => ErrorCode::Timeout,
            CallError::Internal => ErrorCode::Internal,
        }
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CallError {
    /// The pod is unknown: it has vanished.
    NotFound,
    /// Something else is in the way.
    AlreadyExists,
    /// The pod can't work as it is.
    Invalid,
    /// The provider can't do this.
    Unsupported,
    /// Busy: come again after `retryAfter`.
    RetryAfter,
    /// The backend is away.
    Unavailable,
    /// The backend did not answer.
    Timeout,
    /// A fault of the provider.
    Internal,
}

/// What becomes of changed resources (in-place resize, KEP-1287).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Resize {
    /// They hold at once.
    #[default]
    Done,
    /// Not now.
    Deferred,
    /// Never on this node.
    Infeasible,
}
