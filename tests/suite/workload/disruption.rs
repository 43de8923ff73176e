//! Voluntary disruptions: evictions within a budget, drained and cordoned nodes.

use super::Field;
use super::LONG;
use super::change;
use super::create;
use super::is_going;
use super::plain;
use super::pods_of;
use super::pods_until;
use super::selected;
use super::until;
use super::when;
use crate::harness::Recording;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::EvictParams;
use serde_json::json;

async fn deployment(test: &Test, replicas: u32) {
    create::<Deployment>(
        test,
        selected("web", json!({ "replicas": replicas }), plain(test, "web")),
    )
    .await;
    until::<Deployment>(test, "web", json!({ "availableReplicas": replicas })).await;
}

async fn budget_allows(test: &Test, disruptions: i64) {
    when::<PodDisruptionBudget>(test, "web", "the budget is counted", |found| {
        let status = &found["status"];
        status["currentHealthy"] == 2 && status["disruptionsAllowed"].as_i64() == Some(disruptions)
    })
    .await;
}

#[tokio::test]
async fn evictions_keep_to_the_budget_and_end_pods_in_order() {
    let Some(field) = Field::new("wl_evict", 2, json!({ "pods": { "stopDelay": "100ms" } })).await else {
        return;
    };
    let test = &field.test;
    deployment(test, 2).await;
    let budget = json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } });
    create::<PodDisruptionBudget>(test, json!({ "metadata": { "name": "web" }, "spec": budget })).await;
    budget_allows(test, 0).await;
    let victim = pods_of(test, "web").await.remove(0);
    let name = victim.metadata.name.clone().unwrap();
    let pods = test.pods_without_retries().await;
    let refused = pods.evict(&name, &EvictParams::default()).await;
    let Err(kube::Error::Api(refused)) = refused else {
        panic!("the budget was exceeded")
    };
    assert_eq!(refused.code, 429, "{refused:?}");

    change::<PodDisruptionBudget>(test, "web", json!({ "spec": { "minAvailable": 1 } })).await;
    budget_allows(test, 1).await;
    let recording = Recording::start(test).await;
    test.pods().evict(&name, &EvictParams::default()).await.unwrap();
    let last = eventually(LONG, "the evicted pod is gone", || async {
        recording.last_word(&uid(&victim)).ok_or("it is not")
    })
    .await;
    assert_eq!(phase(&last), "Succeeded", "its containers ended with 0");
    let conditions = last.status.unwrap().conditions.unwrap();
    let target = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionTarget");
    let reason = target.and_then(|condition| condition.reason.as_deref());
    assert_eq!(reason, Some("EvictionByEvictionAPI"), "what others have written stays");
    until::<Deployment>(test, "web", json!({ "availableReplicas": 2, "replicas": 2 })).await;
}

fn on(pods: &[Pod], node: &str) -> usize {
    let there = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(node);
    pods.iter().filter(there).count()
}

#[tokio::test]
async fn a_drained_node_is_empty_and_gets_nothing_until_it_is_uncordoned() {
    let Some(field) = Field::new("wl_drain", 2, json!({ "pods": { "stopDelay": "100ms" } })).await else {
        return;
    };
    let test = &field.test;
    let Some(kubectl) = test.kubectl() else { return };
    deployment(test, 6).await;
    let (drained, other) = (field.node(0), field.node(1));
    assert!(on(&pods_of(test, "web").await, &drained) > 0, "both nodes are used");

    let drain = format!("drain {drained} --ignore-daemonsets --delete-emptydir-data --timeout=120s");
    kubectl.run(&drain).await;
    let moved = pods_until(test, "web", "all are on the other node", |pods| {
        pods.len() == 6 && on(pods, &other) == 6 && !pods.iter().any(is_going)
    })
    .await;
    assert_eq!(on(&moved, &drained), 0);
    let node = test.nodes().get(&drained).await.unwrap();
    assert_eq!(
        node.spec.unwrap().unschedulable,
        Some(true),
        "a cordon is the administrator's"
    );
    change::<Deployment>(test, "web", json!({ "spec": { "replicas": 8 } })).await;
    until::<Deployment>(test, "web", json!({ "availableReplicas": 8 })).await;
    assert_eq!(on(&pods_of(test, "web").await, &drained), 0, "it is still cordoned");

    kubectl.run(&format!("uncordon {drained}")).await;
    change::<Deployment>(test, "web", json!({ "spec": { "replicas": 14 } })).await;
    until::<Deployment>(test, "web", json!({ "availableReplicas": 14 })).await;
    assert!(on(&pods_of(test, "web").await, &drained) > 0, "it is in use again");
}
