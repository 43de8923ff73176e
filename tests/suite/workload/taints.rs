//! Taints that drive pods away.

use super::Field;
use super::scheduled;
use crate::harness::Test;
use crate::harness::is_running;
use crate::harness::uid;
use serde_json::Value;
use serde_json::json;

async fn pod(test: &Test, name: &str, toleration: Option<Value>) -> String {
    let mut pod = scheduled(test, name, json!({}), json!({}));
    let tolerations = pod["spec"]["tolerations"].as_array_mut().unwrap();
    tolerations.extend(toleration);
    test.create(pod).await;
    uid(&test.running(name).await)
}

#[tokio::test]
async fn a_taint_drives_away_who_does_not_tolerate_it_in_time() {
    let Some(field) = Field::new("wl_taint", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let Some(kubectl) = test.kubectl() else { return };
    let tolerated = json!({ "key": "example.com/maintenance", "operator": "Exists", "effect": "NoExecute" });
    let mut for_a_while = tolerated.clone();
    for_a_while["tolerationSeconds"] = 4.into();
    let leaves = pod(test, "leaves", None).await;
    let later = pod(test, "later", Some(for_a_while)).await;
    let stays = pod(test, "stays", Some(tolerated)).await;

    let node = field.node(0);
    kubectl
        .run(&format!("taint node {node} example.com/maintenance=now:NoExecute"))
        .await;
    test.gone("leaves", &leaves).await;
    let seen = test.pods().get("later").await.unwrap();
    assert!(
        is_running(&seen) && uid(&seen) == later,
        "it has four seconds: {:?}",
        seen.status
    );
    test.gone("later", &later).await;
    let seen = test.pods().get("stays").await.unwrap();
    assert!(is_running(&seen) && uid(&seen) == stays && seen.metadata.deletion_timestamp.is_none());

    kubectl
        .run(&format!("taint node {node} example.com/maintenance-"))
        .await;
    pod(test, "leaves", None).await;
    let taints = test.nodes().get(&node).await.unwrap().spec.unwrap().taints.unwrap();
    let own = taints.iter().any(|taint| taint.key == "virtual-kubelet.io/provider");
    assert!(
        own && !taints.iter().any(|taint| taint.key == "example.com/maintenance"),
        "{taints:?}"
    );
}
