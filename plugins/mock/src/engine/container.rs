//! One container: its runs, and the pauses between them.

use super::{
    once,
    spec::{ContainerSpec, Kind, RestartPolicy, Shared},
};
use crate::span::{Span, between, later};
use outrigger_plugin::Timestamp;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// A simulated container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// What it was made from; shared by many.
    #[serde(with = "once")]
    pub spec: Arc<ContainerSpec>,
    /// What it does.
    pub run: Run,
    /// How its newest ended run ended.
    pub end: Option<Box<End>>,
    /// How the run before that ended.
    pub previous: Option<Box<End>>,
    /// How often it was started again.
    pub restarts: u32,
    /// How many restarts since it last ran for long: the back-off's exponent.
    pub in_a_row: u32,
    /// The CPU time that its run has used.
    #[serde(default)]
    pub cpu: Meter,
}

/// CPU time, counted up to the last change of the rate at which it is used: it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// The last change.
    since: Timestamp,
    /// Nanoseconds used until then.
    used: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            since: Timestamp(0),
            used: 0,
        }
    }
}

impl Meter {
    /// Nanoseconds used by then, with so many billionths of a core since the last change.
    pub fn read(self, nanocores: u64, now: Timestamp) -> u64 {
        let passed = u64::try_from(between(self.since, now).as_millis()).unwrap_or(u64::MAX);
        self.used.saturating_add((nanocores / 1_000).saturating_mul(passed))
    }
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Run {
    /// It has not been started.
    Waiting,
    /// It runs.
    Running {
        /// Since when.
        since: Timestamp,
        /// When it ends by itself, if it does.
        natural: Option<Timestamp>,
        /// When it becomes ready, if it is not and will.
        ready_at: Option<Timestamp>,
        /// Whether it is ready.
        ready: bool,
        /// When it got the stop signal.
        term: Option<Timestamp>,
    },
    /// It has ended and waits to be started again.
    BackOff {
        /// Until when, if ever.
        until: Option<Timestamp>,
        /// How long in all.
        pause: Span,
    },
    /// It has ended for good.
    Ended,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Its number: the restart count it ran with.
    pub run: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Why.
    pub cause: Cause,
    /// With which code.
    pub exit_code: i32,
    /// How it behaved: what holds later says nothing of it. `None` in what an older version has written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behaviour: Option<Shared>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// By itself.
    Natural,
    /// The stop signal.
    Term,
    /// The kill at the end of the grace period.
    Kill,
}

impl Container {
    /// A container before its first run, or after its last.
    pub fn new(spec: ContainerSpec) -> Self {
        let end = spec.ended.as_deref().map(|ended| {
            Box::new(End {
                run: spec.restarts,
                started: ended.started_at.unwrap_or(ended.finished_at),
                finished: ended.finished_at,
                cause: Cause::Natural,
                exit_code: ended.exit_code,
                behaviour: Some(spec.behaviour.clone()),
            })
        });
        Self {
            run: if end.is_some() { Run::Ended } else { Run::Waiting },
            end,
            previous: None,
            restarts: spec.restarts,
            in_a_row: 0,
            cpu: Meter::default(),
            spec: Arc::new(spec),
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    /// Whether it has ended for good, with success.
    pub fn has_succeeded(&self) -> bool {
        matches!(self.run, Run::Ended) && self.end.as_ref().is_some_and(|end| end.exit_code == 0)
    }

    /// Starts a run.
    pub fn start(&mut self, now: Timestamp) {
        if self.end.is_some() {
            self.restarts += 1;
        }
        let behaviour = &self.spec.behaviour;
        let ready_at = behaviour.ready_delay.after(now);
        let ready = ready_at == Some(now);
        self.cpu = Meter { since: now, used: 0 };
        self.run = Run::Running {
            since: now,
            natural: behaviour.run_time.after(now),
            ready_at: ready_at.filter(|_| !ready),
            ready,
            term: None,
        };
    }

    /// Behaves otherwise from now on.
    pub fn behave(&mut self, behaviour: Shared, now: Timestamp) {
        self.cpu = Meter {
            since: now,
            used: self.cpu.read(self.spec.behaviour.cpu.as_nano(), now),
        };
        Arc::make_mut(&mut self.spec).behaviour = behaviour;
    }

    /// Sends the stop signal, once.
    pub fn terminate(&mut self, now: Timestamp) {
        match &mut self.run {
            Run::Running { term, .. } => {
                term.get_or_insert(now);
            }
            Run::BackOff { .. } => self.run = Run::Ended,
            Run::Waiting | Run::Ended => {}
        }
    }

    /// When something happens to it next, given when the pod's grace period ends.
    pub fn next(&self, kill_at: Option<Timestamp>) -> Option<Timestamp> {
        match &self.run {
            Run::Running { ready_at, .. } => {
                let end = self.ending(kill_at).map(|(at, _)| at);
                [end, *ready_at].into_iter().flatten().min()
            }
            Run::BackOff { until, .. } => *until,
            Run::Waiting | Run::Ended => None,
        }
    }

    /// When and why the run ends.
    fn ending(&self, kill_at: Option<Timestamp>) -> Option<(Timestamp, Cause)> {
        let Run::Running { natural, term, .. } = &self.run else {
            return None;
        };
        let natural = natural.map(|at| (at, Cause::Natural));
        let stopped = term.and_then(|term| {
            let gentle = self.spec.behaviour.stop_delay.after(term);
            match (gentle, kill_at) {
                (Some(at), Some(kill)) if at > kill => Some((kill, Cause::Kill)),
                (Some(at), _) => Some((at, Cause::Term)),
                (None, kill) => kill.map(|at| (at, Cause::Kill)),
            }
        });
        [natural, stopped].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Lets happen what is due.
    pub fn step(&mut self, now: Timestamp, kill_at: Option<Timestamp>, policy: RestartPolicy, stopping: bool) {
        if let Some((at, cause)) = self.ending(kill_at)
            && at <= now
        {
            let restart = !stopping && self.restarts(policy, self.exit_code(cause));
            self.finish(at, cause);
            if restart {
                self.pause(at);
            }
        }
        match &mut self.run {
            Run::Running { ready_at, ready, .. } if ready_at.is_some_and(|at| at <= now) => {
                *ready_at = None;
                *ready = true;
            }
            Run::BackOff { until: Some(until), .. } if *until <= now => {
                let at = *until;
                self.start(at);
            }
            _ => {}
        }
    }

    /// Ends the run.
    pub fn finish(&mut self, at: Timestamp, cause: Cause) {
        let Run::Running { since, .. } = self.run else { return };
        let longest = self.spec.behaviour.back_off_max.finite().unwrap_or(Duration::MAX);
        if between(since, at) > longest.saturating_mul(2) {
            self.in_a_row = 0;
        }
        let end = End {
            run: self.restarts,
            started: since,
            finished: at,
            cause,
            exit_code: self.exit_code(cause),
            behaviour: Some(self.spec.behaviour.clone()),
        };
        self.previous = self.end.replace(Box::new(end));
        self.run = Run::Ended;
    }

    /// Waits for the next run as a kubelet does: not at all the first time, then doubling up to a maximum.
    fn pause(&mut self, now: Timestamp) {
        let behaviour = &self.spec.behaviour;
        let pause = match (self.in_a_row, behaviour.back_off) {
            (0, _) => Span::ZERO,
            (_, Span::Never) => Span::Never,
            (nth, Span::Lasts(first)) => {
                let doubled = first.saturating_mul(1_u32.checked_shl(nth - 1).unwrap_or(u32::MAX));
                Span::Lasts(doubled).min(behaviour.back_off_max)
            }
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        if pause == Span::ZERO {
            self.start(now);
        } else {
            self.run = Run::BackOff {
                until: pause.finite().map(|pause| later(now, pause)),
                pause,
            };
        }
    }

    fn restarts(&self, of_pod: RestartPolicy, exit_code: i32) -> bool {
        let by_rule = self.spec.restart_rules.iter().any(|rule| rule.restarts(exit_code));
        by_rule || self.policy(of_pod).restarts(exit_code)
    }

    fn policy(&self, of_pod: RestartPolicy) -> RestartPolicy {
        match (self.spec.kind, self.spec.restart_policy.unwrap_or(of_pod)) {
            (Kind::Sidecar, _) => RestartPolicy::Always,
            (Kind::Ephemeral, _) => RestartPolicy::Never,
            // An init container that always started again would never be done.
            (Kind::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
            (_, policy) => policy,
        }
    }

    fn exit_code(&self, cause: Cause) -> i32 {
        let behaviour = &self.spec.behaviour;
        match cause {
            Cause::Natural => behaviour.exit_code.unwrap_or(match behaviour.signal {
                0 => 0,
                signal => 128 + signal,
            }),
            Cause::Term => behaviour.stop_exit_code,
            Cause::Kill => 137,
        }
    }
}
