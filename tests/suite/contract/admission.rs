//! What a node refuses that was bound to it without the scheduler: with the kubelet's reasons.

use crate::harness::Test;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

fn wants(test: &Test, name: &str, requests: Value) -> Value {
    let mut pod = test.pod(name, json!({}));
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": requests });
    pod
}

async fn refused(test: &Test, pod: Value, reason: &str) {
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    test.create(pod).await;
    let pod = test
        .pod_until(&name, "it was refused", |pod| phase(pod) == "Failed")
        .await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some(reason), "{name}");
    assert!(status.message.unwrap().starts_with("Pod was rejected: "), "{name}");
    assert!(status.container_statuses.is_none(), "nothing of it ever had a state");
}

#[tokio::test]
async fn a_node_refuses_what_it_has_no_room_for() {
    let test = Test::new("admit_room").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["capacity"] = json!({ "cpu": "2", "memory": "1Gi", "pods": "3" });
    let mut host = test.start(&test.mock(provider));
    test.node_ready(&test.node()).await;
    let one_cpu = json!({ "cpu": "1" });
    for name in ["first", "second"] {
        test.create(wants(&test, name, one_cpu.clone())).await;
        test.running(name).await;
    }
    refused(&test, wants(&test, "third", json!({ "cpu": "1m" })), "OutOfcpu").await;
    refused(&test, wants(&test, "fat", json!({ "memory": "1025Mi" })), "OutOfmemory").await;
    // Who was refused takes no room.
    test.create(test.pod("small", json!({}))).await;
    test.running("small").await;
    refused(&test, test.pod("fourth", json!({})), "OutOfpods").await;

    // Who is gone takes none, and who runs does after a restart of the host, too.
    let first = uid(&test.pods().get("first").await.unwrap());
    test.delete("first", None).await;
    test.gone("first", &first).await;
    host.kill9().await;
    test.create(wants(&test, "next", one_cpu.clone())).await;
    host.start_again();
    test.running("next").await;
    test.delete("small", Some(0)).await;
    refused(&test, wants(&test, "late", one_cpu), "OutOfcpu").await;
    assert!(crate::harness::is_running(&test.pods().get("second").await.unwrap()));
    backend.counts().await.assert_made_once();
}

#[tokio::test]
async fn a_node_refuses_who_asks_for_another_one() {
    let test = Test::new("admit_affinity").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let required = |operator: &str| {
        let term = json!({ "matchExpressions": [{ "key": "example.com/rack", "operator": operator }] });
        let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } });
        json!({ "spec": { "affinity": { "nodeAffinity": required } } })
    };
    let selector = json!({ "spec": { "nodeSelector": { "example.com/rack": "7" } } });
    refused(&test, test.pod("selector", selector), "NodeAffinity").await;
    refused(&test, test.pod("affinity", required("Exists")), "NodeAffinity").await;
    test.create(test.pod("fits", required("DoesNotExist"))).await;
    test.running("fits").await;
    refused(
        &test,
        test.pod("windows", json!({ "spec": { "os": { "name": "windows" } } })),
        "PodOSNotSupported",
    )
    .await;
}

/// A label that a node was given a moment before its pod: the host may hear of the pod first.
#[tokio::test]
async fn nobody_is_refused_by_an_old_look_at_the_node() {
    const TIMES: usize = 20;
    let test = Test::new("admit_fresh").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    for number in 0..TIMES {
        let (name, value) = (format!("web-{number}"), number.to_string());
        let label = json!({ "metadata": { "labels": { "example.com/round": value } } });
        let (params, label) = (PatchParams::default(), Patch::Merge(label));
        test.nodes().patch(&test.node(), &params, &label).await.unwrap();
        test.create(test.pod(
            &name,
            json!({ "spec": { "nodeSelector": { "example.com/round": value } } }),
        ))
        .await;
        let seen: Pod = test
            .pod_until(&name, "it is decided on", |pod| phase(pod) != "Pending")
            .await;
        assert_eq!(phase(&seen), "Running", "{:?}", seen.status);
    }
}
