//! What the scheduler decides, and the node has to go along with.

use super::Field;
use super::LONG;
use super::scheduled;
use crate::harness::Recording;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

fn wants(cpu: &str, rest: Value) -> Value {
    let container =
        json!({ "name": "app", "image": "registry.example/app:1", "resources": { "requests": { "cpu": cpu } } });
    let mut spec = json!({ "containers": [container] });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    spec
}

fn condition(pod: &Pod, kind: &str) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).cloned()
}

fn unscheduled(pod: &Pod, reason: &str) -> bool {
    condition(pod, "PodScheduled").is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

#[tokio::test]
async fn a_full_node_has_room_again_when_a_pod_has_ended_or_gone() {
    let Some(field) = Field::new("wl_room", 1, json!({ "capacity": { "cpu": "2" } })).await else {
        return;
    };
    let test = &field.test;
    let short = json!({ "mock.outrigger.dev/runTime": "4s" });
    let never = json!({ "restartPolicy": "Never" });
    test.create(scheduled(test, "short", short, wants("1", never))).await;
    test.create(scheduled(test, "long", json!({}), wants("1", json!({}))))
        .await;
    let long = uid(&test.running("long").await);
    for name in ["first", "second"] {
        test.create(scheduled(test, name, json!({}), wants("1", json!({}))))
            .await;
    }
    test.pod_until("second", "there is no room for it", |pod| {
        unscheduled(pod, "Unschedulable")
    })
    .await;
    test.delete("long", None).await;
    test.gone("long", &long).await;
    // One took the place of the pod that went, the other that of the one that ended and is still there.
    test.running("first").await;
    test.running("second").await;
    assert_eq!(phase(&test.pods().get("short").await.unwrap()), "Succeeded");
}

#[tokio::test]
async fn a_pod_makes_way_for_a_more_important_one() {
    let Some(field) = Field::new(
        "wl_preempt",
        1,
        json!({ "capacity": { "cpu": "2" }, "pods": { "stopDelay": "300ms" } }),
    )
    .await
    else {
        return;
    };
    let test = &field.test;
    let classes: Api<PriorityClass> = Api::all(test.client.clone());
    let high: PriorityClass = object(json!({ "metadata": { "name": test.id }, "value": 1000 }));
    classes.create(&PostParams::default(), &high).await.unwrap();
    let recording = Recording::start(test).await;
    test.create(scheduled(test, "low", json!({}), wants("2", json!({}))))
        .await;
    let low = uid(&test.running("low").await);
    test.create(scheduled(
        test,
        "high",
        json!({}),
        wants("2", json!({ "priorityClassName": test.id })),
    ))
    .await;
    test.running("high").await;
    let last = eventually(LONG, "the pod that made way is gone", || async {
        recording.last_word(&low).ok_or("it is not")
    })
    .await;
    let target = condition(&last, "DisruptionTarget").unwrap();
    assert_eq!(target.reason.as_deref(), Some("PreemptionByScheduler"));
    assert!(matches!(phase(&last), "Succeeded" | "Failed"), "{:?}", last.status);
    classes.delete(&test.id, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_scheduling_gate_keeps_a_pod_from_the_node() {
    let Some(field) = Field::new("wl_gate", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let gates = json!([{ "name": "example.com/paid" }]);
    test.create(scheduled(test, "web", json!({}), json!({ "schedulingGates": gates })))
        .await;
    let pod = test
        .pod_until("web", "it is gated", |pod| unscheduled(pod, "SchedulingGated"))
        .await;
    assert_eq!(pod.spec.unwrap().node_name, None);
    open_gates(test, "web").await;
    test.running("web").await;
}

async fn open_gates(test: &Test, name: &str) {
    let open = Patch::Merge(json!({ "spec": { "schedulingGates": null } }));
    test.pods().patch(name, &PatchParams::default(), &open).await.unwrap();
}
