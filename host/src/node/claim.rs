//! Holds the lease of one node: one host acts per node.
//!
//! Taking over is a PUT on the version that was read, so that of two contenders one wins. A contender measures expiry on
//! its own clock; a holder counts its tenure from before each renewal was sent, so the holder stops first.

use super::handle::Ownership;
use super::handle::Shared;
use super::lease;
use super::lease::Action;
use super::lease::Claimant;
use super::lease::Lease;
use super::lease::Seen;
use super::tenure::BootTime;
use crate::cluster::ApiError;
use crate::cluster::Backoff;
use crate::cluster::Client;
use crate::cluster::InstanceId;
use crate::cluster::raw;
use http::Request;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use serde_json::Value;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver as Readable;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// As the kubelet's.
const BACKOFF_CAP: Duration = Duration::from_secs(7);
/// How long giving up the lease may take at the end; with many nodes it waits for its turn.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// The rhythm of a lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTiming {
    /// How long it holds without renewal.
    pub duration: Duration,
    /// Between two renewals.
    pub renewal: Duration,
}

impl Default for LeaseTiming {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(40),
            renewal: Duration::from_secs(10),
        }
    }
}

/// What becomes of the lease when the host ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    /// It stays, without a holder: the next host takes it at once.
    Release,
    /// It goes with its node.
    Delete,
}

/// Where a claim is.
enum State {
    /// Nothing is certain: the lease has to be read.
    Looks,
    /// Another holds it, until `until` at the latest unless it renews.
    Waits { holder: String, until: Instant },
    /// It is ours, as of this version.
    Holds { lease: Lease },
}

/// The claim of one host on one node.
pub struct Claim {
    client: Client,
    shared: Arc<Shared>,
    instance: InstanceId,
    holder: String,
    timing: LeaseTiming,
    uid: watch::Receiver<Option<String>>,
    state: State,
    seen: Option<Seen>,
    /// Renewals are not in their rhythm yet, or no longer.
    joins: bool,
    backoff: Backoff,
    trouble: Option<&'static str>,
}

impl Claim {
    pub(super) fn new(client: Client, shared: Arc<Shared>, instance: InstanceId, timing: LeaseTiming) -> Self {
        Self {
            client,
            uid: shared.uid.subscribe(),
            shared,
            holder: instance.to_string(),
            instance,
            timing,
            state: State::Looks,
            seen: None,
            joins: true,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            trouble: None,
        }
    }

    /// Claims and renews until `stop`, which comes after the last call that changes anything; then gives the lease up.
    /// The token's cancellation must not come before the work on the node has ended.
    pub async fn run(mut self, stop: CancellationToken) {
        let work = async {
            loop {
                self.step().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
        // A lease without a node, which was deregistered or whose provider never ran, is of no use to anybody.
        let at_end = match *self.uid.borrow() {
            None => AtEnd::Delete,
            Some(_) => AtEnd::Release,
        };
        self.give_up(at_end).await;
    }

    async fn step(&mut self) {
        match &mut self.state {
            State::Looks => {
                self.joins = true;
                let outcome = self.look().await;
                self.settle(outcome).await;
            }
            State::Waits { holder, until } => {
                let neighbour = self.instance.neighbour(holder);
                // The holder renews meanwhile, so it is read again long before it could expire.
                let next_look = Instant::now() + self.timing.renewal / 2;
                let wake = next_look.min(*until);
                tokio::select! {
                    () = tokio::time::sleep_until(wake) => {}
                    () = process_end(neighbour) => {}
                }
                self.state = State::Looks;
            }
            State::Holds { lease } => {
                let lease = lease.clone();
                let delay = match std::mem::take(&mut self.joins) {
                    true => lease::first_renewal_delay(self.timing.renewal),
                    false => lease::renewal_delay(self.timing.renewal),
                };
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    // The node was registered, or registered anew: its lease is to follow it.
                    changed = self.uid.changed() => match changed {
                        Ok(()) => self.joins = true,
                        Err(_) => std::future::pending().await,
                    },
                }
                let outcome = self.put(lease).await;
                self.settle(outcome).await;
            }
        }
    }

    /// Reads the lease and does what has to be done.
    async fn look(&mut self) -> Result<State, ApiError> {
        let read = self.send(raw::get(&self.path())?).await;
        let seen = match read {
            Ok(object) => Some(Seen::update(self.seen.take(), Lease::read(object), Instant::now())),
            // Somebody deleted it. Its holder acts until it finds out, and makes it anew then.
            Err(ApiError::NotFound(_)) => {
                let seen = self.seen.take();
                let is_held = matches!(self.decide(seen.as_ref()), Action::Wait { .. });
                seen.filter(|_| is_held)
            }
            Err(error) => return Err(error),
        };
        self.seen.clone_from(&seen);
        let action = self.decide(seen.as_ref());
        match (action, seen) {
            (Action::Wait { holder, until }, _) => Ok(State::Waits { holder, until }),
            (Action::Create, _) | (_, None) => {
                let from = BootTime::now();
                let uid = self.uid.borrow_and_update().clone();
                let body = self.claimant(uid.as_deref()).new_lease();
                let object = self
                    .send(raw::post(lease::PATH, body.to_string().into_bytes())?)
                    .await?;
                self.shared.tenure.extend(from, self.timing.duration);
                Ok(State::Holds {
                    lease: Lease::read(object),
                })
            }
            (Action::Take { because }, Some(seen)) => {
                let state = self.put(seen.lease.clone()).await?;
                tracing::info!(node = %self.shared.name, previous = seen.lease.holder(), ?because, "took over the node");
                Ok(state)
            }
            (Action::Renew, Some(seen)) => self.put(seen.lease).await,
        }
    }

    fn decide(&self, seen: Option<&Seen>) -> Action {
        lease::decide(seen, &self.holder, self.timing.duration, Instant::now(), |holder| {
            self.instance.same_machine_and_gone(holder)
        })
    }

    /// Writes our claim over the version that was read.
    async fn put(&mut self, lease: Lease) -> Result<State, ApiError> {
        let from = BootTime::now();
        let uid = self.uid.borrow_and_update().clone();
        let body = lease.claimed(&self.claimant(uid.as_deref()));
        let object = self
            .send(raw::put(&self.path(), body.to_string().into_bytes())?)
            .await?;
        // A process that was stopped, or a machine that slept, has not noticed.
        self.check_tenure();
        self.shared.tenure.extend(from, self.timing.duration);
        Ok(State::Holds {
            lease: Lease::read(object),
        })
    }

    /// Takes in the outcome of a request, tells the others, and waits before the next one where it failed.
    async fn settle(&mut self, outcome: Result<State, ApiError>) {
        match outcome {
            Ok(state) => {
                self.backoff.reset();
                if self.trouble.take().is_some() {
                    tracing::info!(node = %self.shared.name, "the node's lease can be read and written again");
                }
                match &state {
                    State::Holds { lease } => {
                        self.seen = Some(Seen::update(self.seen.take(), lease.clone(), Instant::now()));
                        self.tell(Ownership::Held);
                    }
                    State::Waits { holder, .. } => {
                        self.shared.tenure.end();
                        self.tell(Ownership::Waiting {
                            holder: Some(holder.clone()),
                        });
                    }
                    State::Looks => {}
                }
                self.state = state;
            }
            Err(error) => {
                self.state = State::Looks;
                let raced = matches!(
                    error,
                    ApiError::Conflict(_) | ApiError::AlreadyExists(_) | ApiError::NotFound(_)
                );
                // Somebody was faster, which is no trouble; unless the namespace itself is missing.
                if !raced || self.trouble.is_some() {
                    self.complain(&error);
                }
                self.check_tenure();
                let mut delays = [error.retry_after().unwrap_or_default(), self.backoff.next_delay()];
                if self.shared.tenure.holds() {
                    delays = delays.map(|delay| delay.min(self.shared.tenure.left()));
                }
                let [least, delay] = delays;
                self.client.pause(least, delay).await;
                self.check_tenure();
            }
        }
    }

    fn complain(&mut self, error: &ApiError) {
        if self.trouble.replace(error.class()) != Some(error.class()) {
            tracing::warn!(node = %self.shared.name, %error, "unable to read or write the node's lease, retrying");
        }
    }

    /// Notices that the tenure ended by time.
    fn check_tenure(&self) {
        if !self.shared.tenure.holds() && *self.shared.ownership.borrow() == Ownership::Held {
            self.tell(Ownership::Lost);
        }
    }

    fn tell(&self, now: Ownership) {
        self.shared.ownership.send_if_modified(|ownership| {
            if *ownership == now {
                return false;
            }
            let node = &self.shared.name;
            match &now {
                Ownership::Held => tracing::info!(%node, "acting for the node"),
                Ownership::Lost => {
                    tracing::warn!(%node, "unable to renew the node's lease in time, not acting for it until it is renewed");
                }
                Ownership::Waiting { holder } => {
                    let holder = holder.as_deref().unwrap_or_default();
                    let outrigger = lease::is_host(holder);
                    if *ownership == Ownership::Held {
                        tracing::warn!(%node, holder, outrigger, "another host took the node over, waiting");
                    } else {
                        tracing::info!(%node, holder, outrigger, "another host acts for the node, waiting");
                    }
                }
            }
            *ownership = now;
            true
        });
    }

    async fn give_up(mut self, at_end: AtEnd) {
        let ours = self.seen.as_ref().and_then(|seen| seen.lease.holder()) == Some(self.holder.as_str());
        let held = self.shared.tenure.holds();
        self.shared.tenure.end();
        if held || ours {
            let outcome = tokio::time::timeout(RELEASE_TIMEOUT, self.release(at_end)).await;
            if let Err(error) = outcome.unwrap_or(Err(ApiError::Timeout(RELEASE_TIMEOUT))) {
                tracing::warn!(node = %self.shared.name, %error, "unable to give up the node's lease, it expires by itself");
            }
        }
        self.tell_quietly(Ownership::Waiting { holder: None });
    }

    async fn release(&mut self, at_end: AtEnd) -> Result<(), ApiError> {
        // Read anew: a renewal may have been under way when the end came.
        loop {
            let lease = match self.send(raw::get(&self.path())?).await {
                Ok(object) => Lease::read(object),
                Err(ApiError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            if lease.holder() != Some(self.holder.as_str()) {
                return Ok(());
            }
            let request = match at_end {
                AtEnd::Release => raw::put(&self.path(), lease.released().to_string().into_bytes())?,
                AtEnd::Delete => {
                    let options = json!({ "preconditions": { "uid": lease.uid() } });
                    raw::delete(&self.path(), options.to_string().into_bytes())?
                }
            };
            match self.send(request).await {
                Ok(_) | Err(ApiError::NotFound(_)) => return Ok(()),
                Err(ApiError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn tell_quietly(&self, now: Ownership) {
        self.shared.ownership.send_replace(now);
    }

    fn claimant<'a>(&'a self, node_uid: Option<&'a str>) -> Claimant<'a> {
        Claimant {
            node: &self.shared.name,
            node_uid,
            holder: &self.holder,
            duration: self.timing.duration,
        }
    }

    fn path(&self) -> String {
        format!("{}/{}", lease::PATH, self.shared.name)
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Value, ApiError> {
        let left = self.shared.tenure.left();
        let timeout = if left.is_zero() {
            REQUEST_TIMEOUT
        } else {
            REQUEST_TIMEOUT.min(left)
        };
        // Boxed: while a claim waits for the next renewal, which is most of the time, it takes no room for this.
        Box::pin(raw::send(&self.client, request, timeout)).await?.decode()
    }
}

/// Waits for the end of a process; for ever where there is none to wait for. A process descriptor becomes readable then;
/// of what the runtime offers for a descriptor of any kind, the receiving end of a pipe asks for nothing else.
async fn process_end(pid: Option<u32>) {
    let watched = pid
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok())
        .and_then(|fd| Readable::from_owned_fd_unchecked(fd).ok());
    match watched {
        Some(fd) => {
            // An error would mean that the reactor is gone; the next look is due soon anyway.
            let _ = fd.readable().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
