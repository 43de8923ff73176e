//! In-place resize (KEP-1287): the provider's word on it becomes the pod's status.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

fn resources(cpu: &str) -> Value {
    json!({ "requests": { "cpu": cpu, "memory": "64Mi" }, "limits": { "cpu": "2", "memory": "64Mi" } })
}

/// A pod whose provider answers a resize like this.
fn pod(test: &Test, name: &str, answer: &str) -> Value {
    let mut pod = test.pod(
        name,
        json!({ "metadata": { "annotations": { "mock.outrigger.dev/resize": answer } } }),
    );
    pod["spec"]["containers"][0]["resources"] = resources("100m");
    pod
}

async fn resize(test: &Test, name: &str, cpu: &str) {
    let change = json!({ "spec": { "containers": [{ "name": "app", "resources": resources(cpu) }] } });
    let (pods, change) = (test.pods(), Patch::Strategic(change));
    let params = PatchParams::default();
    pods.patch_subresource("resize", name, &params, &change).await.unwrap();
}

/// The cpu that the container was given, by both fields that tell, and reason and message of a resize that waits.
fn given(pod: &Pod) -> (Value, Value, Option<(String, String)>) {
    let status = serde_json::to_value(&pod.status).unwrap();
    let container = &status["containerStatuses"][0];
    let conditions = status["conditions"].as_array();
    let pending = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "PodResizePending");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        container["resources"]["requests"]["cpu"].clone(),
        container["allocatedResources"]["cpu"].clone(),
        pending.map(|condition| (text(&condition["reason"]), text(&condition["message"]))),
    )
}

fn is(cpu: &str) -> impl Fn(&Pod) -> bool {
    move |pod| given(pod) == (cpu.into(), cpu.into(), None)
}

#[tokio::test]
async fn a_resize_that_is_made_is_shown() {
    let test = Test::new("resize_done").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(pod(&test, "web", "done")).await;
    test.pod_until("web", "it has what it asked for", is("100m")).await;
    resize(&test, "web", "200m").await;
    let after = test.pod_until("web", "it has what it asks for now", is("200m")).await;
    let container = &after.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 0, "in place");
    if let Some(generation) = after.metadata.generation {
        assert_eq!(after.status.unwrap().observed_generation, Some(generation));
    }
    eventually(SOON, "an event says so", || async {
        let events = test.events().await;
        let said = events
            .iter()
            .any(|event| event.reason.as_deref() == Some("ResizeCompleted"));
        said.then_some(())
            .ok_or_else(|| format!("there are {} events", events.len()))
    })
    .await;
}

#[tokio::test]
async fn a_deferred_resize_is_asked_for_again_by_a_restarted_host_too() {
    let test = Test::new("resize_deferred").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(pod(&test, "web", "deferred")).await;
    test.pod_until("web", "it has what it asked for", is("100m")).await;
    resize(&test, "web", "200m").await;
    let deferred = |pod: &Pod| {
        let (cpu, allocated, pending) = given(pod);
        let reason = pending.map(|(reason, _)| reason);
        cpu == "100m" && allocated == "100m" && reason.as_deref() == Some("Deferred")
    };
    let pod = test.pod_until("web", "its resize waits", deferred).await;
    let (_, _, pending) = given(&pod);
    assert_eq!(
        pending.unwrap().1,
        "annotated to be deferred",
        "the provider's own words"
    );

    host.kill9().await;
    let possible = json!({ "metadata": { "annotations": { "mock.outrigger.dev/resize": "done" } } });
    let params = PatchParams::default();
    test.pods()
        .patch("web", &params, &Patch::Merge(possible))
        .await
        .unwrap();
    host.start_again();
    test.pod_until("web", "its resize was made", is("200m")).await;
    backend.counts().await.assert_made_once();
}

#[tokio::test]
async fn an_infeasible_resize_can_be_taken_back() {
    let test = Test::new("resize_infeasible").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(pod(&test, "web", "infeasible")).await;
    test.pod_until("web", "it has what it asked for", is("100m")).await;
    resize(&test, "web", "1500m").await;
    test.pod_until("web", "its resize is impossible", |pod| {
        let (cpu, _, pending) = given(pod);
        cpu == "100m" && pending.is_some_and(|(reason, _)| reason == "Infeasible")
    })
    .await;
    resize(&test, "web", "100m").await;
    test.pod_until("web", "nothing is asked for any more", is("100m")).await;
}

#[tokio::test]
async fn a_provider_that_refuses_a_change_leaves_the_pod_as_it_is_and_the_resize_is_infeasible() {
    let test = Test::new("resize_refused").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let mut refusing = pod(&test, "web", "done");
    let annotations = refusing["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.insert("mock.outrigger.dev/update.failures".to_owned(), "100".into());
    annotations.insert("mock.outrigger.dev/update.error".to_owned(), "invalid".into());
    test.create(refusing).await;
    let before = test.pod_until("web", "it has what it asked for", is("100m")).await;
    resize(&test, "web", "200m").await;
    let after = test
        .pod_until("web", "its resize is impossible", |pod| {
            let (cpu, allocated, pending) = given(pod);
            let reason = pending.map(|(reason, _)| reason);
            cpu == "100m" && allocated == "100m" && reason.as_deref() == Some("Infeasible")
        })
        .await;
    assert!(is_running(&after), "it goes on");
    assert_eq!(
        after.status.as_ref().unwrap().container_statuses,
        before.status.unwrap().container_statuses
    );
    let (_, _, pending) = given(&after);
    let words = pending.unwrap().1;
    assert!(!words.is_empty(), "the provider's own words");
    eventually(SOON, "an event says so", || async {
        let events = test.events().await;
        let said = events.iter().any(|event| {
            let message = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some("FailedUpdate") && message.contains(&words)
        });
        said.then_some(())
            .ok_or_else(|| format!("there are {} events", events.len()))
    })
    .await;
    // Asked for what it has, there is nothing left to be impossible.
    resize(&test, "web", "100m").await;
    test.pod_until("web", "nothing is asked for any more", is("100m")).await;
}
