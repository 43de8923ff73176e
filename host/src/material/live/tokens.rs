//! Tokens of service accounts, each bound to one pod (TokenRequest, KEP-1205).
//!
//! The rules are the kubelet's (`pkg/kubelet/token`): a token is renewed when 80% of its life or 24 hours have passed,
//! less up to ten seconds so that pods that came together do not ask together. While a renewal fails the old token is
//! kept, as long as it is good. Tokens live nowhere but here and with the provider: after a restart all pods get new ones.
//!
//! One task keeps the tokens of all pods: there are as many as pods, and each has something to do once an hour.

use super::{
    Found, ThingId,
    board::{Board, News},
    reach::Reach,
};
use crate::{
    cluster::{ApiError, Returns, raw},
    material::{Token, TokenSpec, token::Press},
    suspend,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use outrigger_plugin::PodIdentity;
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const JITTER: Duration = Duration::from_secs(10);
const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// A missing account is not watched for, by the kubelet neither.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// The clocks are read one after the other, so a little is no sleep.
const LEAST_SLEEP: Duration = Duration::from_secs(1);
/// Requests at a time, and how many of them may be for pods that run already: after a restart there are thousands of
/// those, and none of them shall keep a new pod waiting.
const REQUESTS: usize = 32;
const RENEWALS: usize = 8;

/// Asks for tokens.
pub trait Issuer: Send + Sync + 'static {
    /// Tells when whoever issues them is back after it was away.
    fn returns(&self) -> Returns;

    /// One token for a pod.
    fn issue(&self, pod: &PodIdentity, spec: &TokenSpec) -> impl Future<Output = Result<Issued, ApiError>> + Send;
}

/// A token as it was issued.
pub struct Issued {
    pub token: Token,
    /// How long it is good.
    pub life: Duration,
}

impl Issuer for Reach {
    fn returns(&self) -> Returns {
        self.trunks.requests.returns()
    }

    async fn issue(&self, pod: &PodIdentity, spec: &TokenSpec) -> Result<Issued, ApiError> {
        let request = raw::post(&path(pod, spec), body(pod, spec))?;
        let reply = raw::send(&self.trunks.requests, request, TIMEOUT)
            .await
            .inspect_err(|error| self.report("tokens", error))?;
        read(&reply.body, spec)
    }
}

fn path(pod: &PodIdentity, spec: &TokenSpec) -> String {
    let (namespace, account) = (&pod.namespace, &spec.service_account);
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token")
}

fn body(pod: &PodIdentity, spec: &TokenSpec) -> Vec<u8> {
    let audiences = Some(&spec.audience).filter(|audience| !audience.is_empty());
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences.into_iter().collect::<Vec<_>>(),
            "expirationSeconds": spec.expiration_seconds,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid },
        },
    })
    .to_string()
    .into_bytes()
}

fn read(raw: &[u8], spec: &TokenSpec) -> Result<Issued, ApiError> {
    #[derive(Deserialize)]
    struct Request {
        #[serde(default)]
        spec: Spec,
        status: Status,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        expiration_seconds: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Status {
        token: String,
    }
    let request: Request = serde_json::from_slice(raw).map_err(|error| {
        // Its text can quote the token.
        let place = format!("no token, at line {} column {}", error.line(), error.column());
        ApiError::Malformed(serde::de::Error::custom(place))
    })?;
    // The server may grant another life than was asked for, and its clock may be another one: what counts is how long,
    // from when it was asked.
    let seconds = request.spec.expiration_seconds.unwrap_or(spec.expiration_seconds);
    Ok(Issued {
        token: request.status.token.into(),
        life: Duration::from_secs(seconds),
    })
}

/// What the keeper is told.
#[derive(Default)]
pub struct Desk {
    orders: Mutex<Vec<(ThingId, Option<Wanted>)>>,
    left: Notify,
}

/// A token to be kept.
#[derive(Clone)]
pub struct Wanted {
    /// Whose it is.
    pub pod: Arc<PodIdentity>,
    /// Which token.
    pub spec: Arc<TokenSpec>,
    /// The pod runs, with a token that nobody here knows.
    pub runs: bool,
}

impl Desk {
    /// Has a token kept from now on.
    pub fn keep(&self, id: ThingId, wanted: Wanted) {
        self.leave(id, Some(wanted));
    }

    /// It is needed no more.
    pub fn end(&self, id: ThingId) {
        self.leave(id, None);
    }

    fn leave(&self, id: ThingId, order: Option<Wanted>) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push((id, order));
        drop(orders);
        self.left.notify_one();
    }

    fn take(&self) -> Vec<(ThingId, Option<Wanted>)> {
        mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps all tokens fresh.
pub struct Keeper<I> {
    issuer: Arc<I>,
    board: Arc<Board>,
    desk: Arc<Desk>,
    kept: HashMap<ThingId, Box<Kept>>,
    /// When each that is not being asked for has its turn.
    due: BTreeSet<(Instant, ThingId)>,
    /// Those whose turn it is: first those that a pod waits for, then the others.
    awaited: VecDeque<ThingId>,
    others: VecDeque<ThingId>,
    asking: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Of those being asked for, the ones that no pod waits for.
    renewals: usize,
    press: Press,
    /// How long the machine has slept since it was booted, and what that was when all times were right.
    suspended: fn() -> Duration,
    slept: Duration,
}

struct Kept {
    wanted: Wanted,
    good_until: Option<Instant>,
    due: Option<Instant>,
    failures: u32,
}

struct Answer {
    id: ThingId,
    asked: Instant,
    renewal: bool,
    result: Result<Issued, ApiError>,
}

/// What a keeper is woken by.
enum Turn {
    Orders,
    Answer(Answer),
    Alarm,
    /// Whoever issues tokens is back after it was away.
    Return,
}

impl<I: Issuer> Keeper<I> {
    pub fn new(issuer: Arc<I>, board: Arc<Board>, desk: Arc<Desk>) -> Self {
        Self {
            issuer,
            board,
            desk,
            kept: HashMap::new(),
            due: BTreeSet::new(),
            awaited: VecDeque::new(),
            others: VecDeque::new(),
            asking: FuturesUnordered::new(),
            renewals: 0,
            press: Press::default(),
            suspended: suspend::suspended,
            slept: suspend::suspended(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let desk = self.desk.clone();
        let mut returns = self.issuer.returns();
        loop {
            let next = self.due.first().map(|(at, _)| *at);
            let alarm = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.min(Instant::now() + suspend::NAP)).await,
                    None => std::future::pending().await,
                }
            };
            let turn = tokio::select! {
                () = desk.left.notified() => Turn::Orders,
                Some(answer) = self.asking.next() => Turn::Answer(answer),
                () = alarm => Turn::Alarm,
                () = returns.next() => Turn::Return,
            };
            // First, so that what comes after a sleep is not taken for older than it is.
            self.wake();
            match turn {
                Turn::Orders => desk.take().into_iter().for_each(|(id, order)| self.order(id, order)),
                Turn::Answer(answer) => self.answered(answer),
                Turn::Alarm => self.ring(),
                Turn::Return => self.hurry(),
            }
            self.ask();
        }
    }

    fn order(&mut self, id: ThingId, order: Option<Wanted>) {
        let Some(wanted) = order else {
            if let Some(due) = self.kept.remove(&id).and_then(|kept| kept.due) {
                self.due.remove(&(due, id));
            }
            return;
        };
        let kept = Kept {
            wanted,
            good_until: None,
            due: None,
            failures: 0,
        };
        self.kept.insert(id, Box::new(kept));
        self.line_up(id);
    }

    /// Puts one whose turn it is into its line.
    fn line_up(&mut self, id: ThingId) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        kept.due = None;
        if kept.is_awaited() {
            self.awaited.push_back(id);
        } else {
            self.others.push_back(id);
        }
    }

    /// After a sleep of the machine: everything is due, and over, sooner than the timers say.
    fn wake(&mut self) {
        let slept = (self.suspended)();
        let missed = slept.saturating_sub(self.slept);
        if missed < LEAST_SLEEP {
            return;
        }
        tracing::info!(?missed, "the machine has slept, tokens are renewed sooner");
        self.slept = slept;
        let now = Instant::now();
        let earlier = |at: Instant| at.checked_sub(missed).unwrap_or(now);
        self.due.clear();
        for (id, kept) in &mut self.kept {
            kept.good_until = kept.good_until.map(earlier);
            kept.due = kept.due.map(earlier);
            self.due.extend(kept.due.map(|at| (at, *id)));
        }
    }

    fn ring(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, id));
            self.line_up(id);
        }
    }

    /// What has failed is due soon.
    fn hurry(&mut self) {
        let now = Instant::now();
        for (id, kept) in &mut self.kept {
            if let Some(due) = kept.due.filter(|_| kept.failures > 0) {
                let soon = due.min(now + Returns::turn());
                (kept.due, kept.failures) = (Some(soon), 0);
                self.due.remove(&(due, *id));
                self.due.insert((soon, *id));
            }
        }
    }

    /// Asks for as many as may be.
    fn ask(&mut self) {
        while self.asking.len() < REQUESTS {
            let renewal = self.awaited.is_empty();
            let next = match self.awaited.pop_front() {
                Some(id) => id,
                None if self.renewals < RENEWALS => match self.others.pop_front() {
                    Some(id) => id,
                    None => return,
                },
                None => return,
            };
            // One that is no longer wanted has only left its place in the line.
            let Some(kept) = self.kept.get(&next) else { continue };
            self.renewals += usize::from(renewal);
            let (issuer, wanted, asked) = (self.issuer.clone(), kept.wanted.clone(), Instant::now());
            let asking = async move {
                Answer {
                    id: next,
                    asked,
                    renewal,
                    result: issuer.issue(&wanted.pod, &wanted.spec).await,
                }
            };
            self.asking.push(asking.boxed());
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.renewals -= usize::from(answer.renewal);
        let Answer { id, asked, result, .. } = answer;
        let Some(kept) = self.kept.get_mut(&id) else { return };
        let now = Instant::now();
        let (at, told) = match result {
            Ok(issued) => {
                kept.failures = 0;
                kept.good_until = Some(asked + issued.life);
                (
                    asked + renew_after(issued.life),
                    Some(Found::Here(Arc::new(self.press.pack(issued.token)))),
                )
            }
            Err(error) => kept.failed(&error, now),
        };
        kept.due = Some(at);
        self.due.insert((at, id));
        if let Some(told) = told {
            self.board.tell(id, News::Token(told));
        }
    }
}

impl Kept {
    fn is_awaited(&self) -> bool {
        !self.wanted.runs && self.good_until.is_none()
    }

    /// When to ask again, and what is to be told.
    fn failed(&mut self, error: &ApiError, now: Instant) -> (Instant, Option<Found<Arc<Token>>>) {
        self.failures = self.failures.saturating_add(1);
        let wait = BACKOFF_BASE
            .saturating_mul(1 << (self.failures - 1).min(16))
            .min(BACKOFF_CAP);
        let wait = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        let again = now + wait.max(error.retry_after().unwrap_or_default());
        if let Some(end) = self.good_until.filter(|end| *end > now) {
            let pod = &self.wanted.pod;
            tracing::debug!(pod = %pod.name, namespace = %pod.namespace, %error, "unable to renew token, keeping the old one");
            return (again.min(end), None);
        }
        self.good_until = None;
        let told = match error {
            ApiError::NotFound(message) if message.contains("serviceaccounts") => Some(Found::Missing),
            // What may be over in a moment is not told.
            error if error.is_retryable() && self.failures == 1 => None,
            error => Some(Found::Unavailable(error.to_string())),
        };
        (again, told)
    }
}

fn renew_after(life: Duration) -> Duration {
    let after = life.mul_f64(0.8).min(LONGEST);
    after
        .saturating_sub(JITTER.mul_f64(fastrand::f64()))
        .max(Duration::from_secs(1))
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
