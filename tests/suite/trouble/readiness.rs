//! How soon pods are Ready, as whoever created them sees it.

use crate::harness::is_running;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

/// Before a watch that broke is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// When pods were created, and when they were seen to be Ready.
#[derive(Default)]
pub struct Readiness(Mutex<HashMap<String, Life>>);

/// Something of the pod has ended though nobody has asked for that.
fn has_broken(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.container_statuses.iter().flatten();
    let ended = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        container.restart_count > 0 || state.is_some_and(|state| state.terminated.is_some())
    };
    let over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    pod.metadata.deletion_timestamp.is_none() && (over || containers.into_iter().any(ended))
}

struct Life {
    broken: bool,
    created: Timestamp,
    /// Until it was Ready, or, for one that was told to go before, so long at least.
    ready: Option<Timestamp>,
}

/// How long it took.
pub struct Times {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub most: Duration,
}

impl Readiness {
    /// A pod is about to be created. Where that fails and is tried again, the first try counts: it may have had its effect.
    pub fn created(&self, name: &str) {
        let life = Life {
            broken: false,
            created: Timestamp::now(),
            ready: None,
        };
        self.lives().entry(name.to_owned()).or_insert(life);
    }

    /// It is told to go: if it was not Ready so far, that took longer than this.
    pub fn deleted(&self, name: &str) {
        self.ended(name);
    }

    fn ended(&self, name: &str) {
        if let Some(life) = self.lives().get_mut(name) {
            life.ready.get_or_insert_with(Timestamp::now);
        }
    }

    /// Looks on until it is aborted, also past an API server that goes away.
    pub async fn watch(self: Arc<Self>, pods: Api<Pod>) {
        loop {
            // What broke it does not matter: what was missed is in the next list.
            let _ = self.look_on(&pods).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look_on(&self, pods: &Api<Pod>) -> kube::Result<()> {
        let list = pods.list(&ListParams::default()).await?;
        list.items.iter().for_each(|pod| self.seen(pod));
        let version = list.metadata.resource_version.unwrap_or_default();
        let mut watch = pods.watch(&WatchParams::default(), &version).await?.boxed();
        while let Some(event) = watch.next().await {
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event? {
                self.seen(&pod);
            }
        }
        Ok(())
    }

    /// Pods that did not run from their beginning until they were deleted.
    pub fn broken(&self) -> Vec<String> {
        let lives = self.lives();
        let broken = lives.iter().filter(|(_, life)| life.broken);
        broken.map(|(name, _)| name.clone()).collect()
    }

    fn seen(&self, pod: &Pod) {
        if has_broken(pod)
            && let Some(life) = self.lives().get_mut(&pod.name_any())
        {
            life.broken = true;
        }
        if is_running(pod)
            && let Some(name) = &pod.metadata.name
        {
            self.ended(name);
        }
    }

    /// How long those took that count by when they were created; what falls into one of these spans is left out. One that
    /// never was Ready has taken until now.
    pub fn times(&self, counts: impl Fn(Timestamp) -> bool, without: &[(Timestamp, Timestamp)]) -> Times {
        let now = Timestamp::now();
        let without = united(without);
        let mut all: Vec<Duration> = self
            .lives()
            .values()
            .filter(|life| counts(life.created))
            .map(|life| {
                let (from, to) = (life.created, life.ready.unwrap_or(now));
                let away = without
                    .iter()
                    .map(|(began, ended)| span(from.max(*began), to.min(*ended)));
                span(from, to).saturating_sub(away.sum())
            })
            .collect();
        all.sort_unstable();
        let at = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1));
        Times {
            count: all.len(),
            p50: at(50).copied().unwrap_or_default(),
            p99: at(99).copied().unwrap_or_default(),
            most: all.last().copied().unwrap_or_default(),
        }
    }

    fn lives(&self) -> MutexGuard<'_, HashMap<String, Life>> {
        self.0.lock().unwrap()
    }
}

/// From one time to a later one; nothing if it is none.
fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The same spans, those that overlap as one.
fn united(spans: &[(Timestamp, Timestamp)]) -> Vec<(Timestamp, Timestamp)> {
    let mut all = spans.to_vec();
    all.sort_unstable();
    let mut united: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (from, to) in all {
        match united.last_mut() {
            Some((_, end)) if *end >= from => *end = to.max(*end),
            _ => united.push((from, to)),
        }
    }
    united
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, most } = self;
        write!(f, "{count} pods, p50 {p50:.3?}, p99 {p99:.3?}, longest {most:.3?}")
    }
}

#[test]
fn spans_without_an_api_server_are_left_out_once() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let readiness = Readiness::default();
    let life = |created, ready| Life {
        broken: false,
        created: at(created),
        ready: Some(at(ready)),
    };
    readiness.lives().insert("a".to_owned(), life(10, 20));
    readiness.lives().insert("b".to_owned(), life(30, 31));
    let away = [(at(14), at(16)), (at(0), at(12)), (at(11), at(15)), (at(40), at(50))];
    let times = readiness.times(|_| true, &away);
    assert_eq!((times.count, times.most.as_secs(), times.p50.as_secs()), (2, 4, 1));
    assert_eq!(readiness.times(|created| created > at(20), &away).count, 1);
}
