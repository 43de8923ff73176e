//! What a provider is asked, how often, and what its troubles mean for pods.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::own_devcluster;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

/// Reason and message with which a pod's container waits.
fn waiting(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.clone()?, waiting.message.clone().unwrap_or_default()))
}

async fn change_image(test: &Test, name: &str) {
    let image = json!({ "spec": { "containers": [{ "name": "app", "image": "registry.example/app:2" }] } });
    let (pods, image) = (test.pods(), Patch::Strategic(image));
    pods.patch(name, &PatchParams::default(), &image).await.unwrap();
}

fn failing(test: &Test, name: &str, behaviour: Value) -> Value {
    test.pod(
        name,
        json!({ "metadata": { "annotations": behaviour }, "spec": { "restartPolicy": "Never" } }),
    )
}

#[tokio::test]
async fn an_error_of_the_provider_fails_no_pod_and_is_shown_vk_399_1257() {
    let test = Test::new("vk_1257").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let failures = json!({ "mock.outrigger.dev/create.failures": "4" });
    test.create(failing(&test, "web", failures)).await;
    let pod = test
        .pod_until("web", "it says what it waits for", |pod| {
            waiting(pod).is_some_and(|(reason, _)| reason != "ContainerCreating")
        })
        .await;
    let (reason, message) = waiting(&pod).unwrap();
    assert_eq!((phase(&pod), reason.as_str()), ("Pending", "CreateContainerError"));
    assert!(message.contains("unable to create pod"), "{message}");
    test.running("web").await;
}

#[tokio::test]
async fn a_change_or_a_deletion_cuts_a_long_wait_short() {
    let test = Test::new("vk_backoff").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let later = json!({
        "mock.outrigger.dev/create.failures": "1", "mock.outrigger.dev/create.error": "retryAfter",
        "mock.outrigger.dev/create.retryAfter": "1h",
    });
    for name in ["changed", "deleted"] {
        test.create(failing(&test, name, later.clone())).await;
        test.pod_until(name, "it waits for an hour", |pod| {
            waiting(pod).is_some_and(|(reason, _)| reason == "CreateContainerError")
        })
        .await;
    }
    change_image(&test, "changed").await;
    test.running("changed").await;
    let deleted = uid(&test.pods().get("deleted").await.unwrap());
    test.delete("deleted", None).await;
    test.gone("deleted", &deleted).await;
}

#[tokio::test]
async fn nothing_is_asked_of_the_provider_while_the_spec_is_the_same_vk_649_1364_1431() {
    let test = Test::new("vk_1364").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    // A pod with a token gets a new one from a restarted host: nobody keeps the old one.
    provider["support"] = json!({ "volumes.projected": "ignored" });
    let mut host = test.start(&test.mock(provider));
    test.node_ready(&test.node()).await;
    let mut pod = test.pod("web", json!({}));
    let env: Vec<_> = (0..20)
        .map(|number| json!({ "name": format!("V{number}"), "value": "x" }))
        .collect();
    pod["spec"]["containers"][0]["env"] = env.into();
    let uid = uid(&test.create(pod).await);
    test.running("web").await;

    let params = PatchParams::default();
    let note = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "c": "d" } } }));
    test.pods().patch("web", &params, &note).await.unwrap();
    let condition = json!({ "status": { "conditions": [{ "type": "example.com/seen", "status": "True" }] } });
    test.pods()
        .patch_status("web", &params, &Patch::Strategic(condition))
        .await
        .unwrap();
    host.kill9().await;
    host.start_again();
    // Once it acts again, it has looked at the pod as well.
    test.create(test.pod("next", json!({}))).await;
    test.running("next").await;
    let count = backend.counts().await.pods[&uid];
    assert_eq!((count.creates, count.updates, count.stops), (1, 0, 0), "{count:?}");

    change_image(&test, "web").await;
    eventually(SOON, "a change of the spec is one update", || async {
        let updates = backend.counts().await.pods[&uid].updates;
        (updates == 1).then_some(()).ok_or_else(|| format!("{updates} so far"))
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_vanished_in_silence_is_missed_vk_978() {
    let test = Test::new("vk_978").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let behaviour = json!({ "mock.outrigger.dev/vanishAfter": "2s", "mock.outrigger.dev/vanishSilently": "true" });
    let created = test
        .create(test.pod("web", json!({ "metadata": { "annotations": behaviour } })))
        .await;
    test.running("web").await;
    host.kill9().await;
    eventually(SOON, "the backend has lost it", || async {
        backend
            .counts()
            .await
            .present
            .is_empty()
            .then_some(())
            .ok_or("it has not")
    })
    .await;
    host.start_again();
    let restarts = |pod: &Pod| {
        pod.status
            .as_ref()?
            .container_statuses
            .as_ref()?
            .first()
            .map(|status| status.restart_count)
    };
    let pod = test
        .pod_until("web", "it runs again", |pod| {
            phase(pod) == "Running" && restarts(pod) == Some(1)
        })
        .await;
    assert_eq!(uid(&pod), uid(&created));
}

#[tokio::test]
async fn a_host_with_a_wrong_kubeconfig_deletes_nothing_k3k_1021_kip_107() {
    let test = Test::new("vk_kubeconfig").await;
    let backend = test.backend().await;
    let sweeping = json!({ "orphans": { "after": "1s" } });
    let config = test.mock(backend.config()).with(sweeping.clone());
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    // Few among many, so that no limit but the mark stands between them and a sweep.
    for number in 0..6 {
        test.create(test.pod(&format!("web-{number}"), json!({}))).await;
    }
    for number in 0..6 {
        test.running(&format!("web-{number}")).await;
    }
    let before: Vec<_> = backend.counts().await.present.into_keys().collect();
    host.kill9().await;

    // The same node and backend, in a cluster that knows none of these pods.
    let (cluster, _running) = own_devcluster("vk-kubeconfig").await;
    let other = Test::on(cluster, "vk_kubeconfig").await;
    let elsewhere = json!({ "cluster": { "kubeconfig": cluster.host_kubeconfig } });
    let config = config.with(elsewhere);
    let _wrong = other.start(&config);
    let node = test.node();
    other.node_ready(&node).await;
    let mut pod = other.pod("theirs", json!({}));
    pod["spec"]["nodeName"] = node.into();
    other.create(pod).await;
    let theirs = uid(&other.running("theirs").await);
    // An orphan of its own is swept, after the time in which the others could have been.
    other.delete("theirs", Some(0)).await;
    eventually(SOON, "its own pod is gone", || async {
        (!backend.counts().await.present.contains_key(&theirs))
            .then_some(())
            .ok_or("it is not")
    })
    .await;
    let after: Vec<_> = backend.counts().await.present.into_keys().collect();
    assert_eq!(before, after);
    assert!(
        backend
            .counts()
            .await
            .pods
            .iter()
            .all(|(uid, count)| *uid == theirs || count.stops == 0)
    );
}
