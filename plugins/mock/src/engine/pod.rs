//! One pod: a state machine that is moved by time.
//!
//! [`Pod::next`] says when something happens next, [`Pod::advance`] lets happen what is due, each thing at its own
//! time: however late it is called, the outcome is the same.

use super::{
    container::{Cause, Container, Run},
    once::{self, Once},
    spec::{ContainerSpec, Kind, PodSpec, Template},
};
use crate::{behaviour::Resize, dice, ip_pool::Pools, span::later};
use outrigger_plugin::{PodIdentity, ResizeOutcome, Timestamp};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// A simulated pod. Many are kept, so it has what is its own and shares the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Who it is.
    pub identity: PodIdentity,
    /// Where it is in its life.
    pub stage: Stage,
    /// Its containers, in the order of [`PodSpec::containers`].
    pub containers: Box<[Container]>,
    /// Its addresses: taken when it is made, shown once it has started.
    pub addresses: Box<[IpAddr]>,
    /// What it has in common with others.
    #[serde(flatten, with = "once")]
    pub template: Arc<Template>,
    addresses_change_at: Option<Timestamp>,
    vanishes_at: Option<Timestamp>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Its sandbox is being made: no address is shown, no container runs.
    Starting {
        /// Until when, if ever.
        until: Option<Timestamp>,
    },
    /// Its containers run, init containers first.
    Up,
    /// Its containers are being stopped.
    Stopping {
        /// When those that are left are killed.
        kill_at: Timestamp,
    },
    /// Nothing runs, and nothing will.
    Stopped,
    /// The backend has lost it.
    Vanished,
}

impl Pod {
    /// A new pod, with the addresses it was given.
    pub fn new(spec: PodSpec, addresses: Vec<IpAddr>, now: Timestamp) -> Self {
        Self {
            stage: Stage::Starting {
                until: spec.start_delay.after(now),
            },
            containers: spec.containers.into_iter().map(Container::new).collect(),
            addresses_change_at: spec.template.behaviour.ip_change_after.after(now),
            vanishes_at: spec.vanish_after.after(now),
            identity: spec.identity,
            addresses: addresses.into(),
            template: Arc::new(spec.template),
        }
    }

    /// Shares with other pods what it has in common with them.
    pub fn share(&mut self, templates: &mut Once<Template>, containers: &mut Once<ContainerSpec>) {
        templates.share(&mut self.template);
        for container in &mut self.containers {
            containers.share(&mut container.spec);
        }
    }

    /// Marks its addresses as taken, after it was read back.
    pub fn claim(&self, pools: &mut Pools) {
        pools.claim(&self.template.ranges, &self.addresses);
    }

    /// Whether it is time for other addresses.
    pub fn changes_addresses(&self, now: Timestamp) -> bool {
        self.addresses_change_at.is_some_and(|at| at <= now)
    }

    /// When something happens to it next, if nobody does anything to it.
    pub fn next(&self) -> Option<Timestamp> {
        let mut next = match self.stage {
            Stage::Vanished => return None,
            Stage::Starting { until } => until,
            Stage::Up | Stage::Stopping { .. } | Stage::Stopped => None,
        };
        let own = [self.vanishes_at, self.addresses_change_at];
        let containers = self.containers.iter().map(|container| container.next(self.kill_at()));
        for at in own.into_iter().chain(containers).flatten() {
            next = Some(next.map_or(at, |earliest| earliest.min(at)));
        }
        next
    }

    /// Lets happen what is due by now; whether that was anything.
    pub fn advance(&mut self, now: Timestamp, pools: &mut Pools) -> bool {
        let mut changed = false;
        while let Some(at) = self.next().filter(|at| *at <= now) {
            self.step(at, pools);
            changed = true;
        }
        changed
    }

    /// Begins to stop it, or shortens the grace period of a stop under way.
    pub fn stop(&mut self, grace: Duration, now: Timestamp, pools: &mut Pools) {
        let end = later(now, grace);
        match self.stage {
            Stage::Starting { .. } => {
                pools.release(&std::mem::take(&mut self.addresses));
                self.addresses_change_at = None;
                self.stage = Stage::Stopped;
            }
            Stage::Up => {
                self.stage = Stage::Stopping { kill_at: end };
                self.settle(now);
            }
            Stage::Stopping { kill_at } => {
                self.stage = Stage::Stopping {
                    kill_at: kill_at.min(end),
                };
            }
            Stage::Stopped | Stage::Vanished => {}
        }
        self.advance(now, pools);
    }

    /// Brings it to a changed manifest: what became of its resources, if those changed.
    pub fn update(&mut self, spec: PodSpec, now: Timestamp, pools: &mut Pools) -> Option<ResizeOutcome> {
        Arc::make_mut(&mut self.template).behaviour = spec.template.behaviour;
        if !matches!(self.stage, Stage::Starting { .. } | Stage::Up) {
            return None;
        }
        let resize = self.template.behaviour.resize;
        let mut added = Vec::new();
        let mut resized = false;
        for new in spec.containers {
            match self.containers.iter_mut().find(|old| old.spec.name == new.name) {
                Some(old) => resized |= change(old, new, resize, now),
                None => added.push(Container::new(new)),
            }
        }
        if !added.is_empty() {
            self.containers = std::mem::take(&mut self.containers).into_iter().chain(added).collect();
        }
        self.settle(now);
        self.advance(now, pools);
        resized.then(|| match resize {
            Resize::Done => ResizeOutcome::Done,
            Resize::Deferred => ResizeOutcome::Deferred {
                message: "annotated to be deferred".into(),
            },
            Resize::Infeasible => ResizeOutcome::Infeasible {
                message: "annotated to be infeasible".into(),
            },
        })
    }

    fn kill_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Stopping { kill_at } => Some(kill_at),
            _ => None,
        }
    }

    /// Lets happen what is due at one point in time.
    fn step(&mut self, at: Timestamp, pools: &mut Pools) {
        let is_due = |due: Option<Timestamp>| due.is_some_and(|due| due <= at);
        if is_due(self.vanishes_at) {
            self.stage = Stage::Vanished;
            return;
        }
        if is_due(self.addresses_change_at) {
            self.addresses_change_at = None;
            self.change_addresses(pools);
        }
        if let Stage::Starting { until } = self.stage
            && is_due(until)
        {
            self.stage = Stage::Up;
        }
        let (kill_at, stopping) = (self.kill_at(), self.stage != Stage::Up);
        for container in &mut self.containers {
            container.step(at, kill_at, self.template.restart_policy, stopping);
        }
        self.settle(at);
    }

    /// Without a free address it keeps the old ones.
    fn change_addresses(&mut self, pools: &mut Pools) {
        let hint = dice::hash(1, [self.identity.uid.as_str()]);
        if let Ok(addresses) = pools.take(&self.template.ranges, hint) {
            pools.release(&std::mem::replace(&mut self.addresses, addresses.into()));
        }
    }

    /// Starts and stops what follows from the state of the other containers.
    fn settle(&mut self, now: Timestamp) {
        if self.stage == Stage::Up && self.start_due(now) == Course::Over {
            self.stage = Stage::Stopping {
                kill_at: later(now, self.template.grace),
            };
        }
        if let Stage::Stopping { .. } = self.stage {
            // Sidecars serve the others to the end (KEP-753).
            let only_sidecars = self
                .containers
                .iter()
                .all(|container| container.spec.kind == Kind::Sidecar || !container.is_running());
            for container in &mut self.containers {
                if only_sidecars || container.spec.kind != Kind::Sidecar {
                    container.terminate(now);
                }
            }
            if !self.containers.iter().any(Container::is_running) {
                self.stage = Stage::Stopped;
                self.addresses_change_at = None;
            }
        }
    }

    /// Starts the containers whose turn it is.
    fn start_due(&mut self, now: Timestamp) -> Course {
        let mut initialised = true;
        let mut alive = false;
        for container in &mut self.containers {
            let kind = container.spec.kind;
            if !initialised && kind != Kind::Ephemeral {
                continue;
            }
            if container.run == Run::Waiting {
                container.start(now);
            }
            match kind {
                Kind::Init if container.has_succeeded() => {}
                Kind::Init if container.run == Run::Ended => return Course::Over,
                Kind::Init => initialised = false,
                Kind::Regular => alive |= container.run != Run::Ended,
                Kind::Sidecar | Kind::Ephemeral => {}
            }
        }
        if initialised && !alive {
            Course::Over
        } else {
            Course::Goes
        }
    }
}

/// Whether a pod goes on by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It does.
    Goes,
    /// All regular containers have ended for good, or an init container has failed.
    Over,
}

/// Changes a container; whether its resources are other ones.
fn change(old: &mut Container, new: ContainerSpec, resize: Resize, now: Timestamp) -> bool {
    old.behave(new.behaviour, now);
    let spec = Arc::make_mut(&mut old.spec);
    (spec.ports, spec.stdin) = (new.ports, new.stdin);
    let resized = spec.resources != new.resources;
    if resize == Resize::Done {
        spec.resources = new.resources;
    }
    if spec.image != new.image && old.run != Run::Ended {
        spec.image = new.image;
        if old.run != Run::Waiting {
            old.finish(now, Cause::Term);
            old.in_a_row = 0;
            old.start(now);
        }
    }
    resized
}
