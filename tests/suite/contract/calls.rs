//! What becomes of calls to a provider: those that fail, those that are made again, those that the host's end meets.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

/// The codes of a provider's errors. The mock's config has them with a small first letter.
const CODES: [&str; 8] = [
    "NotFound",
    "AlreadyExists",
    "Invalid",
    "Unsupported",
    "RetryAfter",
    "Unavailable",
    "Timeout",
    "Internal",
];

/// None of them ends a pod: a ReplicaSet would make another one at once. Each is shown, and tried again.
#[tokio::test]
async fn every_error_of_a_create_is_told_and_tried_again() {
    let test = Test::new("calls_errors").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let name = |code: &str| code.to_lowercase();
    for code in CODES {
        let annotations = json!({
            "mock.outrigger.dev/create.failures": "2",
            "mock.outrigger.dev/create.error": format!("{}{}", code[..1].to_lowercase(), &code[1..]),
        });
        test.create(test.pod(&name(code), json!({ "metadata": { "annotations": annotations } })))
            .await;
    }
    for code in CODES {
        let told = eventually(SOON, &format!("an event tells of {code}"), || async {
            test.events_of(&name(code), "FailedCreatePodSandBox")
                .await
                .pop()
                .ok_or("there is none")
        })
        .await;
        let message = told.message.unwrap_or_default();
        let expected = format!("unable to create pod: {code}: simulated failure of create");
        assert_eq!(message, expected, "{code}");
        let runs = |pod: &Pod| {
            assert_ne!(phase(pod), "Failed", "{:?}", pod.status);
            is_running(pod)
        };
        let pod = test.pod_until(&name(code), "it runs at last", runs).await;
        assert_eq!(backend.counts().await.pods[&uid(&pod)].creates, 1, "{code}");
    }
}

/// A pod that ignores its stop signal, of somebody who loses patience.
#[tokio::test]
async fn a_second_deletion_with_less_grace_ends_the_first() {
    let test = Test::new("calls_grace").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let stubborn = json!({
        "metadata": { "annotations": { "mock.outrigger.dev/stopDelay": "never" } },
        "spec": { "terminationGracePeriodSeconds": 3600 },
    });
    test.create(test.pod("web", stubborn)).await;
    let pod = uid(&test.running("web").await);
    let stops = || async { backend.counts().await.pods[&pod].stops };
    test.delete("web", None).await;
    eventually(SOON, "the provider stops it", || async {
        (stops().await == 1).then_some(()).ok_or("it does not")
    })
    .await;
    assert_eq!(
        phase(&test.pods().get("web").await.unwrap()),
        "Running",
        "it has an hour"
    );
    test.delete("web", Some(1)).await;
    test.gone("web", &pod).await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    let count = counts.pods[&pod];
    assert_eq!((count.stops, count.removes), (2, 1), "stopped again, with less grace");
}

/// Waits until a call to the provider is under way for some time: pings come and go.
async fn under_way(test: &Test) {
    let node = test.node();
    eventually(SOON, "a call is under way", || async {
        for _ in 0..3 {
            let page = test
                .node_text(&node, "metrics")
                .await
                .map_err(|error| error.to_string())?;
            let calls = page
                .lines()
                .find(|line| line.starts_with("outrigger_provider_calls_in_flight{"));
            let calls = calls
                .and_then(|line| line.rsplit_once(' '))
                .ok_or_else(|| page.clone())?
                .1;
            if calls == "0" {
                return Err("there is none".to_owned());
            }
        }
        Ok(())
    })
    .await;
}

fn with_create_latency(latency: &str) -> serde_json::Value {
    json!({ "metadata": { "annotations": { "mock.outrigger.dev/create.latency": latency } } })
}

#[tokio::test]
async fn a_polite_end_waits_for_calls_and_tells_what_came_of_them() {
    let test = Test::new("calls_finish").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let pod = test.create(test.pod("web", with_create_latency("8s"))).await;
    // Half of its time is over when the backend has it; the host has no answer before the other half is.
    eventually(SOON, "the backend has it", || async {
        let there = backend.counts().await.present.contains_key(&uid(&pod));
        there.then_some(()).ok_or("it has not")
    })
    .await;
    assert!(
        !is_running(&test.pods().get("web").await.unwrap()),
        "the call is under way"
    );
    host.term();
    host.ends_with(0).await;
    let log = host.log();
    assert!(!log.contains("shutdown limit reached"), "{log}");
    assert!(is_running(&test.pods().get("web").await.unwrap()), "{log}");
    backend.counts().await.assert_made_once();
}

#[tokio::test]
async fn a_polite_end_waits_for_a_call_that_hangs_no_longer_than_its_limit() {
    let test = Test::new("calls_limit").await;
    if let Some(reason) = &test.cluster.no_node_proxy {
        return skip("calls_limit", reason);
    }
    let backend = test.backend().await;
    let config = test.mock(backend.config()).with(json!({ "shutdownTimeout": "2s" }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    let pod = test.create(test.pod("web", with_create_latency("never"))).await;
    under_way(&test).await;
    host.term();
    host.ends_with(0).await;
    assert!(host.log().contains("shutdown limit reached"), "{}", host.log());
    let left = test.pods().get("web").await.unwrap();
    assert_eq!((phase(&left), uid(&left)), ("Pending", uid(&pod)));
    assert!(left.metadata.deletion_timestamp.is_none());
    let node = test.leases().get(&test.node()).await.unwrap();
    assert_eq!(
        node.spec.unwrap().holder_identity.unwrap_or_default(),
        "",
        "the claim is given back"
    );
    assert!(backend.counts().await.present.is_empty());
}
