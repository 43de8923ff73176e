//! Others have a say: readiness gates, finalizers.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::pod_condition;
use crate::harness::uid;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

async fn status(test: &Test, change: Value) {
    let (pods, change) = (test.pods(), Patch::Strategic(json!({ "status": change })));
    pods.patch_status("web", &PatchParams::default(), &change)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_readiness_gate_is_waited_for_and_its_condition_left_alone() {
    const GATE: &str = "example.com/registered";
    let test = Test::new("gate_ready").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod(
        "web",
        json!({ "spec": { "readinessGates": [{ "conditionType": GATE }] } }),
    ))
    .await;
    let waiting = test
        .pod_until("web", "only the gate is missing", |pod| {
            pod_condition(pod, "ContainersReady").as_deref() == Some("True")
                && pod_condition(pod, "Ready").as_deref() == Some("False")
        })
        .await;
    let conditions = waiting.status.unwrap().conditions.unwrap();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert!(ready.message.as_ref().unwrap().contains(GATE), "{ready:?}");

    status(&test, json!({ "conditions": [{ "type": GATE, "status": "True" }] })).await;
    test.running("web").await;
    status(&test, json!({ "conditions": [{ "type": GATE, "status": "False" }] })).await;
    let unready = test
        .pod_until("web", "the gate is closed again", |pod| !is_running(pod))
        .await;
    assert_eq!(pod_condition(&unready, GATE).as_deref(), Some("False"));
    assert_eq!(phase(&unready), "Running");
}

#[tokio::test]
async fn a_finalizer_keeps_the_object_and_nothing_else() {
    let test = Test::new("gate_finalizer").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let finalizer = json!({ "metadata": { "finalizers": ["example.com/accounting"] } });
    test.create(test.pod("web", finalizer)).await;
    let first = uid(&test.running("web").await);
    test.delete("web", None).await;
    eventually(SOON, "the backend has released it", || async {
        let present = backend.counts().await.present.len();
        if present == 0 { Ok(()) } else { Err("it has not") }
    })
    .await;
    let kept = test
        .pod_until("web", "its end is told", |pod| phase(pod) == "Succeeded")
        .await;
    assert_eq!(uid(&kept), first);
    assert!(kept.metadata.deletion_timestamp.is_some());

    let done = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    test.pods().patch("web", &PatchParams::default(), &done).await.unwrap();
    test.gone("web", &first).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    backend.counts().await.assert_made_once();
}
