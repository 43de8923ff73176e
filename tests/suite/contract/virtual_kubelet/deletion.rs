//! The way down: the provider first, the object last, whatever state the pod is in.

use crate::harness::MockBackend;
use crate::harness::Recording;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

/// A pod that behaves like this.
fn pod(test: &Test, name: &str, behaviour: Value, spec: Value) -> Value {
    let annotations: Value = behaviour
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| {
            let container = key.contains('/');
            let key = if container {
                key.replace('/', ".mock.outrigger.dev/")
            } else {
                format!("mock.outrigger.dev/{key}")
            };
            (key, value.clone())
        })
        .collect();
    test.pod(
        name,
        json!({ "metadata": { "annotations": annotations }, "spec": spec }),
    )
}

/// Deletes a pod and waits until its object is gone: by then the backend must have released it, in good order.
async fn delete(test: &Test, backend: &MockBackend, name: &str, grace: u32) -> Pod {
    let uid = uid(&test.pods().get(name).await.unwrap());
    let recording = Recording::start(test).await;
    test.delete(name, Some(grace)).await;
    test.gone(name, &uid).await;
    let counts = backend.counts().await;
    assert!(
        !counts.present.contains_key(&uid),
        "the object of {name} went before the pod"
    );
    let count = counts.pods[&uid];
    assert_eq!((count.creates, count.removes), (1, 1), "{name}: {count:?}");
    assert!(count.stops >= 1, "{name} was not stopped");
    eventually(SOON, "the pod's last word is known", || async {
        recording.last_word(&uid).ok_or("it is not")
    })
    .await
}

#[tokio::test]
async fn a_pod_that_is_being_made_is_stopped_before_its_object_goes_vk_989() {
    let test = Test::new("vk_989").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    // The call has taken effect after a second and a half and is answered as much later.
    test.create(pod(&test, "web", json!({ "create.latency": "3s" }), json!({})))
        .await;
    eventually(SOON, "the backend has it", || async {
        let there = backend.counts().await.present.len();
        (there == 1).then_some(()).ok_or("it has not")
    })
    .await;
    delete(&test, &backend, "web", 30).await;
}

#[tokio::test]
async fn a_pod_in_its_init_containers_is_stopped_in_its_grace_period_vk_989() {
    let test = Test::new("vk_989_init").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let init = json!({ "initContainers": [{ "name": "prepare", "image": "registry.example/prepare:1" }] });
    let behaviour = json!({ "prepare/runTime": "never", "prepare/stopDelay": "500ms", "prepare/stopExitCode": "7" });
    test.create(pod(&test, "web", behaviour, init)).await;
    let state = |pod: &Pod| {
        let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
        statuses.first()?.state.clone()
    };
    test.pod_until("web", "it initialises", |pod| {
        state(pod).is_some_and(|state| state.running.is_some())
    })
    .await;
    let last = delete(&test, &backend, "web", 30).await;
    assert_eq!(
        state(&last).unwrap().terminated.unwrap().exit_code,
        7,
        "it ended by itself"
    );
    assert_eq!(phase(&last), "Failed");
}

#[tokio::test]
async fn a_pod_between_two_runs_is_stopped_too_vk_989() {
    let test = Test::new("vk_989_loop").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let behaviour = json!({ "runTime": "50ms", "exitCode": "1", "backOff": "1h", "backOffMax": "1h" });
    test.create(pod(&test, "web", behaviour, json!({}))).await;
    let reason = |pod: &Pod| {
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        status.state.as_ref()?.waiting.as_ref()?.reason.clone()
    };
    test.pod_until("web", "it waits to be started again", |pod| {
        reason(pod).as_deref() == Some("CrashLoopBackOff")
    })
    .await;
    delete(&test, &backend, "web", 30).await;
}

#[tokio::test]
async fn a_provider_slower_than_the_grace_period_is_not_overtaken_vk_587() {
    let test = Test::new("vk_587").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(pod(&test, "web", json!({ "stop.latency": "4s" }), json!({})))
        .await;
    test.running("web").await;
    delete(&test, &backend, "web", 1).await;
}

#[tokio::test]
async fn a_stop_that_fails_is_asked_for_until_it_succeeds_vk_938() {
    let test = Test::new("vk_938").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(pod(
        &test,
        "web",
        json!({ "stop.failures": "3", "remove.failures": "2" }),
        json!({}),
    ))
    .await;
    test.running("web").await;
    let last = delete(&test, &backend, "web", 30).await;
    assert_eq!(phase(&last), "Succeeded");
    let events = test.events().await;
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("FailedKillPod")),
        "nobody was told why it took so long"
    );
}
