//! A host whose clock is wrong, and whose clock is set while it runs.

use crate::harness::Clock;
use crate::harness::Recording;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::certificates_api;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::sign;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::jiff::SignedDuration;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::DynamicObject;
use kube::api::ListParams;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

const AHEAD: Duration = Duration::from_secs(3 * 3600);
/// Certificates of a cluster begin a little before they were made, and none is good earlier than that.
const BEHIND: Duration = Duration::from_secs(30 * 60);

/// Renewals after a clock was put back for which a node has to stay Ready; eight take longer than a cluster waits for one.
fn renewals() -> usize {
    std::env::var("OUTRIGGER_SUITE_SKEW_RENEWALS").map_or(1, |number| number.parse().unwrap())
}

async fn renewed(test: &Test) -> Timestamp {
    let lease = test.leases().get(&test.node()).await.unwrap();
    lease.spec.unwrap().renew_time.unwrap().0
}

/// Waits until the lease was renewed, by a later time, and returns that.
async fn next_renewal(test: &Test) -> Timestamp {
    let before = renewed(test).await;
    eventually(SOON, "the lease is renewed", || async {
        let now = renewed(test).await;
        if now == before { Err("it is not") } else { Ok(now) }
    })
    .await
}

/// A pod runs, is told to go, ends by itself within its grace period, and is gone.
async fn a_whole_life(test: &Test, recording: &Recording, name: &str) {
    let slow = json!({ "metadata": { "annotations": { "mock.outrigger.dev/stopDelay": "2s" } } });
    let uid = uid(&test.create(test.pod(name, slow)).await);
    test.running(name).await;
    test.delete(name, None).await;
    test.gone(name, &uid).await;
    let last = eventually(SOON, "the pod's end was seen", || async {
        recording.last_word(&uid).ok_or("it was not")
    })
    .await;
    let state = last
        .status
        .unwrap()
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap();
    assert_eq!(state.terminated.map(|end| end.exit_code), Some(0), "{name} was killed");
}

#[tokio::test]
async fn a_clock_that_is_wrong_or_set_costs_neither_node_nor_pods() {
    let test = Test::new("skew").await;
    let Some(clock) = Clock::new(test.directory()) else {
        return skip("skew", "it takes a C compiler, and there is no `cc` in PATH");
    };
    let backend = test.backend().await;
    let config = test.mock(backend.config());
    clock.ahead(AHEAD);
    let mut host = test.start_under(&config, clock.environment());
    test.node_ready(&test.node()).await;
    let recording = Recording::start(&test).await;
    let ahead = renewed(&test).await;
    let right = Timestamp::now();
    let hours = SignedDuration::from_hours(2);
    assert!(ahead.duration_since(right) > hours, "its clock is right: {ahead}");
    test.create(test.pod("stays", json!({}))).await;
    let stays = uid(&test.running("stays").await);
    a_whole_life(&test, &recording, "ahead").await;

    // Put back while it runs. A renewal by an earlier time would be none for the node lifecycle controller.
    clock.behind(BEHIND);
    a_whole_life(&test, &recording, "behind").await;
    let mut last = renewed(&test).await;
    for _ in 0..renewals() {
        let next = next_renewal(&test).await;
        assert!(next > last, "a renewal at {next} after one at {last}");
        last = next;
        let node = test.nodes().get(&test.node()).await.unwrap();
        assert_eq!(condition(&node, "Ready").as_deref(), Some("True"));
    }
    clock.ahead(AHEAD);
    a_whole_life(&test, &recording, "ahead-again").await;

    // One whose clock is right waits for the other, and goes on from its time.
    let second = test.start(&config);
    second.logs("another host acts for the node, waiting").await;
    let holder = || async {
        test.leases()
            .get(&test.node())
            .await
            .unwrap()
            .spec
            .unwrap()
            .holder_identity
    };
    let first = holder().await;
    next_renewal(&test).await;
    assert_eq!(holder().await, first, "the first one goes on");
    let last = renewed(&test).await;
    host.kill9().await;
    second.logs("acting for the node").await;
    assert!(renewed(&test).await > last);
    a_whole_life(&test, &recording, "right").await;

    assert_eq!(uid(&test.running("stays").await), stays);
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.present.len(), 1);
}

/// To a clock that is ahead every certificate looks as if it had to be renewed.
#[tokio::test]
async fn a_clock_that_is_ahead_does_not_ask_for_certificates_without_end() {
    let test = Test::new("skew_certificates").await;
    let Some(requests) = certificates_api(&test, "PodCertificateRequest", "podcertificaterequests").await else {
        return skip(&test.id, "this cluster has no PodCertificateRequests");
    };
    let Some(clock) = Clock::new(test.directory()) else {
        return skip(&test.id, "it takes a C compiler, and there is no `cc` in PATH");
    };
    clock.ahead(AHEAD);
    let _host = test.start_under(&test.mock(json!({})), clock.environment());
    test.node_ready(&test.node()).await;
    let source = json!({ "podCertificate": {
        "signerName": "suite.outrigger.dev/signer", "keyType": "ECDSAP256",
        "keyPath": "key.pem", "certificateChainPath": "chain.pem",
    }});
    let volumes = json!([{ "name": "identity", "projected": { "sources": [source] } }]);
    test.create(test.pod("web", json!({ "spec": { "volumes": volumes } })))
        .await;

    // Whatever is asked for is signed, until the host has had the time for hundreds of requests.
    let requests: Api<DynamicObject> = Api::namespaced_with(test.client.clone(), &test.id, &requests);
    let before = renewed(&test).await;
    let signed = Mutex::new(HashSet::new());
    let count = || signed.lock().unwrap().len();
    eventually(SOON, "the lease is renewed while certificates are signed", || async {
        let all = requests.list(&ListParams::default()).await;
        for request in all.map_err(|error| error.to_string())? {
            let new = signed.lock().unwrap().insert(request.metadata.name.clone());
            if new {
                sign(&requests, &request).await;
            }
        }
        match count() > 0 && renewed(&test).await > before {
            true => Ok(()),
            false => Err(format!("{} signed", count())),
        }
    })
    .await;
    test.running("web").await;
    assert!(count() <= 2, "{} certificates for one pod", count());
}
