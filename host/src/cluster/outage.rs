//! Whether the API server is away, and that it is back.
//!
//! All that ask it wait longer and longer while it fails, each by itself, and would go on waiting after its return. In
//! their place one probe looks twice a second; what waits is told as soon as the server is ready again, and comes within a
//! second, scattered. The probe is `/readyz`, which every authenticated caller may ask (`system:public-info-viewer`; where it
//! may not, the refusal is an answer) and which fails while the store behind the server does. A server that fails only for some is no outage: their back-off is
//! what spares it.

use super::Client;
use http::{Request, StatusCode};
use kube::client::Body;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

/// Failures in a row, of whatever request, that make it worth a look.
const SUSPICIOUS: u32 = 3;
const PROBE_EVERY: Duration = Duration::from_millis(500);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// What waited comes back within this time.
const SPREAD: Duration = Duration::from_secs(1);
/// Parts of a server that has just started still fail; for so long nothing waits longer than [`SPREAD`].
const FRESH: Duration = Duration::from_secs(10);

/// Watches over one API server, for all clients of it. Clones share it.
#[derive(Clone)]
pub struct Outage {
    shared: Arc<Shared>,
    /// What it is told of was asked with the host's own credentials.
    own: bool,
}

struct Shared {
    probe: Client,
    /// In a row, since the last answer.
    failures: AtomicU32,
    probing: AtomicBool,
    /// When it was last found to be back.
    returned: watch::Sender<Option<Instant>>,
    /// It has refused somebody's credentials.
    refused: Notify,
}

impl Outage {
    /// Looks with this client, which has no outage of its own.
    pub(super) fn new(probe: Client) -> Self {
        Self {
            shared: Arc::new(Shared {
                probe,
                failures: AtomicU32::new(0),
                probing: AtomicBool::new(false),
                returned: watch::Sender::new(None),
                refused: Notify::new(),
            }),
            own: true,
        }
    }

    /// The same, for clients with other credentials.
    pub(super) fn of_others(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            own: false,
        }
    }

    /// Looks with another one's client from now on.
    pub(super) fn renew(&self, other: &Self) {
        self.shared.probe.replace(&other.shared.probe);
    }

    /// Notes what came of a request; `None` is no answer at all.
    pub(super) fn note(&self, answer: Option<StatusCode>) {
        let shared = &self.shared;
        if answer.is_some_and(is_answer) {
            // Most of the time there is nothing to write.
            if shared.failures.load(Ordering::Relaxed) != 0 {
                shared.failures.store(0, Ordering::Relaxed);
            }
            if self.own && answer == Some(StatusCode::UNAUTHORIZED) {
                shared.refused.notify_one();
            }
            return;
        }
        let failures = shared.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= SUSPICIOUS && !shared.probing.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.clone().look());
        }
    }

    /// Looks until the server is ready; or, where it answers somebody without being so, no longer: then whoever still fails
    /// has trouble of its own.
    async fn look(self) {
        let shared = &self.shared;
        let mut away = false;
        let back = loop {
            if self.is_ready().await {
                break away;
            }
            away = true;
            sleep(PROBE_EVERY).await;
            if shared.failures.load(Ordering::Relaxed) == 0 {
                break self.is_ready().await;
            }
        };
        shared.failures.store(0, Ordering::Relaxed);
        if back {
            tracing::debug!("the API server is ready again");
            shared.returned.send_replace(Some(Instant::now()));
        } else {
            sleep(PROBE_EVERY).await;
        }
        shared.probing.store(false, Ordering::Release);
    }

    async fn is_ready(&self) -> bool {
        let Ok(request) = Request::get("/readyz").body(Body::empty()) else {
            return false;
        };
        let answer = timeout(PROBE_TIMEOUT, self.shared.probe.send(request)).await;
        matches!(answer, Ok(Ok(answer)) if is_answer(answer.status()))
    }

    /// Waits for `delay`, or until the server is back from an outage if that is sooner, but not less than `least`.
    ///
    /// Cancel safe.
    pub(super) async fn pause(&self, least: Duration, delay: Duration) {
        let end = Instant::now() + delay.max(least);
        let mut returned = self.shared.returned.subscribe();
        sleep(least).await;
        let soon = SPREAD.mul_f64(0.1 + 0.9 * fastrand::f64());
        let fresh = returned.borrow_and_update().is_some_and(|at| at.elapsed() < FRESH);
        let told = async {
            // It is never closed: this holds the other end.
            let _ = returned.changed().await;
        };
        if !fresh && tokio::time::timeout_at(end, told).await.is_err() {
            return;
        }
        tokio::time::sleep_until(end.min(Instant::now() + soon)).await;
    }

    /// Waits until it has refused the host's own credentials.
    ///
    /// Cancel safe.
    pub(super) async fn refused(&self) {
        self.shared.refused.notified().await;
    }

    /// To be told of every return from now on.
    pub(super) fn returns(&self) -> Returns {
        Returns(Some(self.shared.returned.subscribe()))
    }
}

/// Whether a server that answers so is there: an error of the caller is an answer, too.
fn is_answer(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// Tells that the API server is back after it was away.
pub struct Returns(Option<watch::Receiver<Option<Instant>>>);

impl Returns {
    /// Tells whenever the other end does.
    #[cfg(test)]
    pub(crate) fn of(returned: &watch::Sender<Option<Instant>>) -> Self {
        Self(Some(returned.subscribe()))
    }

    /// Never tells.
    pub fn never() -> Self {
        Self(None)
    }

    /// The next return. Cancel safe.
    pub async fn next(&mut self) {
        if let Some(returned) = &mut self.0
            && returned.changed().await.is_ok()
        {
            return;
        }
        // Nobody is left who could tell.
        std::future::pending().await
    }

    /// When one of many that waited is to come: scattered over a second from now.
    pub fn turn() -> Duration {
        SPREAD.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;
    use std::convert::Infallible;

    /// A server that answers with this status.
    fn server(status: &watch::Sender<u16>) -> Client {
        let status = status.subscribe();
        Client::new(tower::service_fn(move |_: Request<Body>| {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::from_u16(*status.borrow()).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        }))
    }

    /// A client of such a server, whose outages are watched over there.
    fn watched(status: &watch::Sender<u16>) -> (Outage, Client) {
        let outage = Outage::new(server(status));
        let client = server(status).within(&outage);
        (outage, client)
    }

    async fn fail(client: &Client, times: u32) {
        for _ in 0..times {
            client.send(Request::new(Body::empty())).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_comes_as_soon_as_the_server_is_back() {
        let status = watch::Sender::new(503);
        let (_, client) = watched(&status);
        fail(&client, SUSPICIOUS).await;
        let began = Instant::now();
        let pause = client.pause(Duration::ZERO, Duration::from_secs(60));
        let repair = async {
            sleep(Duration::from_secs(5)).await;
            status.send_replace(200);
        };
        tokio::join!(pause, repair);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(5), "{waited:?}");
        assert!(waited <= Duration::from_secs(5) + PROBE_EVERY + SPREAD, "{waited:?}");
        // What fails again in the first seconds is not kept waiting either.
        let again = Instant::now();
        client.pause(Duration::ZERO, Duration::from_secs(60)).await;
        assert!(again.elapsed() <= SPREAD, "{:?}", again.elapsed());
        // Later it is.
        sleep(FRESH).await;
        let later = Instant::now();
        client.pause(Duration::ZERO, Duration::from_secs(60)).await;
        assert_eq!(later.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_first_does_not_leave_the_others_waiting() {
        let status = watch::Sender::new(503);
        let (_, client) = watched(&status);
        fail(&client, SUSPICIOUS).await;
        let began = Instant::now();
        let pause = client.pause(Duration::ZERO, Duration::from_secs(60));
        let first = async {
            sleep(PROBE_EVERY / 2).await;
            status.send_replace(200);
            // It has its answer before the probe has looked.
            fail(&client, 1).await;
        };
        tokio::join!(pause, first);
        assert!(began.elapsed() <= 2 * PROBE_EVERY + SPREAD, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asked_for_is_kept() {
        let status = watch::Sender::new(429);
        let (_, client) = watched(&status);
        fail(&client, SUSPICIOUS).await;
        let began = Instant::now();
        let pause = client.pause(Duration::from_secs(30), Duration::from_secs(60));
        let repair = async { status.send_replace(200) };
        tokio::join!(pause, repair);
        assert!(began.elapsed() >= Duration::from_secs(30), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_a_few_are_no_outage() {
        let (broken, healthy) = (watch::Sender::new(503), watch::Sender::new(200));
        let outage = Outage::new(server(&healthy));
        let client = server(&broken).within(&outage);
        let mut returns = outage.returns();
        fail(&client, 10 * SUSPICIOUS).await;
        sleep(10 * PROBE_EVERY).await;
        assert!(timeout(Duration::from_secs(60), returns.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_anybody_ends_the_suspicion() {
        let status = watch::Sender::new(503);
        let (outage, client) = watched(&status);
        fail(&client, SUSPICIOUS - 1).await;
        status.send_replace(404);
        fail(&client, 1).await;
        status.send_replace(503);
        fail(&client, SUSPICIOUS - 1).await;
        assert!(!outage.shared.probing.load(Ordering::Relaxed));
    }
}
