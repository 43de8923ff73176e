//! The status: only ours, never lost, and final once it is.

use crate::harness::Proxy;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|all| all.first())
        .map_or(0, |status| status.restart_count)
}

/// A pod that ends by itself after a while, with this code.
fn ending(test: &Test, name: &str, after: &str, code: &str) -> Value {
    let annotations = json!({ "mock.outrigger.dev/runTime": after, "mock.outrigger.dev/exitCode": code });
    test.pod(
        name,
        json!({ "metadata": { "annotations": annotations }, "spec": { "restartPolicy": "Never" } }),
    )
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

#[tokio::test]
async fn what_others_write_on_a_pod_survives_its_status_vk_976_988() {
    let test = Test::new("vk_976").await;
    let loops = json!({ "pods": { "runTime": "100ms", "exitCode": 1, "backOff": "100ms", "backOffMax": "100ms" } });
    let _host = test.start(&test.mock(loops));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    for round in 1..=5 {
        let own = json!({ "labels": { "example.com/round": round.to_string() }, "annotations": { "example.com/note": "mine" } });
        let patch = Patch::Merge(json!({ "metadata": own }));
        let patched = test.pods().patch("web", &PatchParams::default(), &patch).await.unwrap();
        let before = restarts(&patched);
        let pod = test
            .pod_until("web", "its status was written meanwhile", |pod| restarts(pod) > before)
            .await;
        assert_eq!(pod.metadata.labels.unwrap()["example.com/round"], round.to_string());
        assert_eq!(pod.metadata.annotations.unwrap()["example.com/note"], "mine");
    }
}

#[tokio::test]
async fn a_status_that_somebody_rewrote_is_healed_vk_899() {
    let test = Test::new("vk_899").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let before = test.running("web").await.status.unwrap();
    // As the node lifecycle controller does for a node that it has given up, and more.
    let wrong = json!({ "status": {
        "phase": "Pending",
        "conditions": [{ "type": "Ready", "status": "False", "reason": "NodeNotReady" }],
        "containerStatuses": [],
    } });
    let params = PatchParams::default();
    test.pods()
        .patch_status("web", &params, &Patch::Merge(wrong))
        .await
        .unwrap();
    let after = test.running("web").await.status.unwrap();
    assert_eq!(after.container_statuses, before.container_statuses);
    assert_eq!((after.pod_ip, after.start_time), (before.pod_ip, before.start_time));
}

#[tokio::test]
async fn an_end_that_came_while_the_api_server_was_away_is_told_vk_712() {
    let test = Test::new("vk_712").await;
    let (proxy, kubeconfig) = Proxy::detour(&test, true).await;
    let config = test
        .mock(json!({}))
        .with(json!({ "cluster": { "kubeconfig": kubeconfig } }));
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(ending(&test, "web", "3s", "9")).await;
    test.running("web").await;
    proxy.set_open(false);
    // It ends meanwhile, and its status is tried in vain.
    let tries = proxy.tries();
    eventually(SOON, "the host tries again", || async {
        (proxy.tries() > tries + 5).then_some(()).ok_or("it does not")
    })
    .await;
    let pod = test.pods().get("web").await.unwrap();
    assert_eq!(phase(&pod), "Running");
    proxy.set_open(true);
    let pod = test
        .pod_until("web", "its end is told", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(exit_code(&pod), Some(9));
}

#[tokio::test]
async fn an_end_that_came_while_the_host_was_away_is_told_vk_712() {
    let test = Test::new("vk_712_host").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(ending(&test, "web", "2s", "9")).await;
    test.running("web").await;
    host.kill9().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    host.start_again();
    let pod = test
        .pod_until("web", "its end is told", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(exit_code(&pod), Some(9));
    backend.counts().await.assert_made_once();
}

#[tokio::test]
async fn a_pod_that_has_ended_is_never_made_again() {
    let test = Test::new("vk_finished").await;
    let backend = test.backend().await;
    let config = test.mock(backend.config());
    // One is over before there is a host.
    let over = test.create(test.pod("over", json!({}))).await;
    let failed = Patch::Merge(json!({ "status": { "phase": "Failed", "reason": "Evicted" } }));
    test.pods()
        .patch_status("over", &PatchParams::default(), &failed)
        .await
        .unwrap();
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(ending(&test, "done", "100ms", "0")).await;
    let done = test
        .pod_until("done", "it has succeeded", |pod| phase(pod) == "Succeeded")
        .await;
    host.kill9().await;
    host.start_again();
    test.create(test.pod("next", json!({}))).await;
    test.running("next").await;

    let counts = backend.counts().await;
    assert_eq!(counts.pods[&uid(&done)].creates, 1);
    assert!(!counts.pods.contains_key(&uid(&over)), "it was made after its end");
    let over = test.pods().get("over").await.unwrap();
    assert_eq!(
        (phase(&over), over.status.as_ref().unwrap().reason.as_deref()),
        ("Failed", Some("Evicted"))
    );
    // Its end is not changed by whatever somebody writes on it, either.
    let label = Patch::Merge(json!({ "metadata": { "labels": { "seen": "yes" } } }));
    test.pods()
        .patch("done", &PatchParams::default(), &label)
        .await
        .unwrap();
    assert!(is_running(&test.pods().get("next").await.unwrap()));
    assert_eq!(phase(&test.pods().get("done").await.unwrap()), "Succeeded");
}
