//! The host is killed again and again, in the middle of its work: nothing is lost, doubled or orphaned.

use crate::harness::Counts;
use crate::harness::Host;
use crate::harness::MockBackend;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::phase;
use crate::harness::settled;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// For the host to catch up with everything.
const CATCH_UP: Duration = Duration::from_secs(180);
/// Clients that create and delete pods.
const WORKERS: usize = 4;
/// Between two of a client's steps.
const STEP: Duration = Duration::from_millis(40);

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// Creates pods and deletes the oldest of them, so that there are about `population` at any time, and a few more that
/// are on their way out: while the host is away, everybody waits.
async fn churn(pods: Api<Pod>, worker: usize, template: Value, population: usize, stop: Arc<AtomicBool>) {
    let mut clock = tokio::time::interval(STEP);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut alive, mut leaving) = (VecDeque::<String>::new(), VecDeque::<String>::new());
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        // The first ones come as fast as they can.
        if alive.len() >= population {
            clock.tick().await;
        }
        if leaving.len() > population / 4
            && let Some(oldest) = leaving.pop_front()
        {
            if pods.get_opt(&oldest).await.unwrap().is_some() {
                leaving.push_front(oldest);
            }
            continue;
        }
        if alive.len() >= population
            && let Some(oldest) = alive.pop_front()
        {
            pods.delete(&oldest, &DeleteParams::default()).await.unwrap();
            leaving.push_back(oldest);
        }
        let name = format!("web-{worker}-{number}");
        number += 1;
        let mut pod = template.clone();
        pod["metadata"]["name"] = name.clone().into();
        pods.create(&PostParams::default(), &object(pod)).await.unwrap();
        alive.push_back(name);
    }
}

/// Whether a call was under way when the host died: one that had its effect in the backend, and whose answer never
/// reached the API.
async fn had_calls_in_flight(pods: &Api<Pod>, backend: &MockBackend) -> bool {
    let counts = backend.counts().await;
    let reported = |pod: &Pod| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        statuses.is_some_and(|all| all.iter().any(|one| one.container_id.is_some()))
    };
    let pods = pods.list(&ListParams::default()).await.unwrap().items;
    pods.iter().any(|pod| {
        let count = counts.pods.get(&uid(pod)).copied().unwrap_or_default();
        let creating = count.creates > 0 && !reported(pod);
        let stopping = count.stops > 0 && !matches!(phase(pod), "Succeeded" | "Failed");
        creating || stopping || count.removes > 0
    })
}

/// Waits for a moment to strike: a random one, or, after the restart, the first in which the host makes pods.
async fn wait_for_a_moment(backend: &MockBackend, busy: bool) {
    let made = |counts: Counts| counts.pods.values().map(|count| count.creates).sum::<u64>();
    let patience = if busy {
        let before = made(backend.counts().await);
        eventually(CATCH_UP, "the host makes pods", || async {
            if made(backend.counts().await) > before {
                Ok(())
            } else {
                Err("it does not")
            }
        })
        .await;
        300
    } else {
        1500
    };
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..patience))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_at_any_moment_loses_doubles_and_forgets_nothing() {
    let (kills, population) = (
        number("OUTRIGGER_SUITE_KILLS", 5),
        number("OUTRIGGER_SUITE_KILL_PODS", 100),
    );
    let test = Test::new("kill").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["pods"] = json!({
        "create": { "latency": "400ms" },
        "stop": { "latency": "200ms" },
        "remove": { "latency": "100ms" },
        "stopDelay": "100ms",
    });
    let mut host: Host = test.start(&test.mock(provider));
    test.node_ready(&test.node()).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let template = test.pod("", json!({}));
        workers.spawn(churn(
            test.pods(),
            worker,
            template,
            population / WORKERS,
            Arc::clone(&stop),
        ));
    }
    let mut in_flight = 0;
    for kill in 0..kills {
        wait_for_a_moment(&backend, kill % 2 == 0).await;
        assert!(host.is_running(), "the host ended by itself");
        host.kill9().await;
        in_flight += usize::from(had_calls_in_flight(&test.pods(), &backend).await);
        host.start_again();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    assert!(in_flight * 2 >= kills, "only {in_flight} of {kills} kills hit a call");

    let settled = settled(&test, &backend, CATCH_UP).await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    for pod in &settled {
        assert_eq!(counts.pods[&uid(pod)].creates, 1);
        let containers = pod.status.clone().unwrap().container_statuses.unwrap();
        assert_eq!(containers[0].restart_count, 0, "{:?}", pod.metadata.name);
    }
    eprintln!(
        "{kills} kills, {in_flight} with a call in flight, {} pods made",
        counts.pods.len()
    );
}
