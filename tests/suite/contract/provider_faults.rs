//! Calls of a provider that hang or panic, with its node and pods beside those of a sound one.

use crate::harness::HostConfig;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::phase;
use crate::harness::plugin;
use crate::harness::uid;
use serde_json::Value;
use serde_json::json;

/// More calls that hang than a host makes of one provider at a time.
const HANGING: usize = 300;

/// A host with a sound provider for the test's node, and another one with a node of its own.
fn beside(test: &Test, name: &str, provider: Value) -> (HostConfig, String) {
    let node = format!("{}-{name}", test.id);
    let config = test
        .mock(json!({}))
        .with(json!({ "intervals": { "ping": "500ms", "pingTimeout": "500ms", "statusReport": "500ms" } }))
        .provider(provider)
        .node(&node, name, json!({ "notReadyAfter": "1s" }));
    (config, node)
}

/// Of a pod on that node that takes nothing of its provider.
fn bare(node: &str) -> Value {
    json!({ "spec": { "nodeName": node, "automountServiceAccountToken": false } })
}

/// A pod of the sound provider runs, and goes.
async fn a_sound_life(test: &Test, name: &str) {
    let uid = uid(&test.create(test.pod(name, json!({}))).await);
    test.running(name).await;
    test.delete(name, None).await;
    test.gone(name, &uid).await;
}

/// Waits for an event about a pod.
async fn told(test: &Test, pod: &str, reason: &str, text: &str) {
    eventually(SOON, &format!("{pod}: {reason} with {text:?}"), || async {
        let all = test.events().await.into_iter();
        let of_pod: Vec<_> = all
            .filter(|event| event.involved_object.name.as_deref() == Some(pod))
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect();
        let found = of_pod
            .iter()
            .any(|(why, message)| why == reason && message.contains(text));
        if found { Ok(()) } else { Err(format!("{of_pod:?}")) }
    })
    .await;
}

#[tokio::test]
async fn calls_that_hang_hold_up_no_other_provider() {
    let test = Test::new("fault_hang").await;
    let hanging = json!({
        "name": "hang", "plugin": "mock",
        "config": { "capacity": { "pods": "1000" }, "pods": { "create": { "latency": "never" } } },
    });
    let (config, node) = beside(&test, "hang", hanging);
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.node_ready(&node).await;
    let mut uids = Vec::new();
    for number in 0..HANGING {
        let pod = test.pod(&format!("hang-{number}"), bare(&node));
        uids.push(uid(&test.create(pod).await));
    }
    a_sound_life(&test, "web").await;
    // They are asked to go, and what is under way is given up for it.
    for number in 0..HANGING {
        let name = format!("hang-{number}");
        assert_eq!(phase(&test.pods().get(&name).await.unwrap()), "Pending");
        test.delete(&name, Some(1)).await;
    }
    for (number, uid) in uids.iter().enumerate() {
        test.gone(&format!("hang-{number}"), uid).await;
    }
    // Its places are free again.
    let sound = json!({ "metadata": { "annotations": { "mock.outrigger.dev/create.latency": "0" } } });
    let mut pod = test.pod("sound", sound);
    pod["spec"]["nodeName"] = json!(node);
    test.create(pod).await;
    test.running("sound").await;
}

#[tokio::test]
async fn a_provider_that_blocks_its_thread_costs_only_its_own_node() {
    let test = Test::new("fault_block").await;
    let file = plugin("fixture_hang");
    let blocking =
        json!({ "name": "hang", "plugin": "hang", "path": file, "config": { "at": "create", "block": true } });
    let (config, node) = beside(&test, "hang", blocking);
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.node_ready(&node).await;
    // More than the plugin can have threads.
    for number in 0..64 {
        let pod = test.pod(&format!("stuck-{number}"), bare(&node));
        test.create(pod).await;
    }
    test.node_until(&node, "its provider is not healthy", |node| {
        condition(node, "ProviderHealthy").as_deref() == Some("False")
    })
    .await;
    a_sound_life(&test, "web").await;
    assert!(host.is_running());
}

#[tokio::test]
async fn a_provider_that_panics_at_each_pod_fails_none_and_costs_only_its_own_node() {
    let test = Test::new("fault_panic").await;
    let file = plugin("fixture_panic");
    let panicking = json!({ "name": "panic", "plugin": "panic", "path": file, "config": { "at": "create" } });
    let (config, node) = beside(&test, "panic", panicking);
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.node_ready(&node).await;
    let pod = test.create(test.pod("victim", bare(&node))).await;
    told(&test, "victim", "FailedCreatePodSandBox", "panicked").await;
    test.node_until(&node, "its provider is not healthy", |node| {
        condition(node, "ProviderHealthy").as_deref() == Some("False")
    })
    .await;
    a_sound_life(&test, "web").await;
    let after = test.pods().get("victim").await.unwrap();
    assert_eq!(
        (uid(&after), phase(&after)),
        (uid(&pod), "Pending"),
        "{:?}",
        after.status
    );
    assert!(host.is_running());
}
