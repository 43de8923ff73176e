//! Deployments: rolling over, back, and not at all.

use super::Field;
use super::change;
use super::create;
use super::image;
use super::is_going;
use super::plain;
use super::pods_of;
use super::pods_until;
use super::selected;
use super::until;
use super::when;
use crate::harness::Test;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::BTreeSet;

const NODES: usize = 3;

/// How many replicas; the whole check takes 200.
fn replicas() -> i64 {
    std::env::var("OUTRIGGER_SUITE_REPLICAS").map_or(24, |number| number.parse().unwrap())
}

fn has_image(pod: &Pod, tag: u32) -> bool {
    let image = format!("registry.example/app:{tag}");
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses.is_some_and(|all| all.iter().all(|status| status.image == image))
}

async fn field(name: &str) -> Option<Field> {
    // Not all at once, so that the controller has to wait for some.
    let pods = json!({ "startJitter": "300ms", "readyDelay": "50ms", "stopDelay": "50ms" });
    let field = Field::new(name, NODES, json!({ "pods": pods })).await?;
    let spec = json!({ "replicas": replicas(), "revisionHistoryLimit": 3 });
    create::<Deployment>(&field.test, selected("web", spec, plain(&field.test, "web"))).await;
    all_run(&field.test, 1).await;
    Some(field)
}

/// Waits until all replicas run this image and nothing else is left. Until then there are never fewer than the strategy
/// (25% at most may be missing) allows.
async fn all_run(test: &Test, tag: u32) {
    let (all, first) = (replicas(), tag == 1);
    when::<Deployment>(test, "web", &format!("all run image {tag}"), |found| {
        let status = &found["status"];
        let available = status["availableReplicas"].as_i64().unwrap_or(0);
        assert!(first || available >= all - all / 4, "too few are left: {status}");
        ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"].map(|field| status[field].as_i64())
            == [Some(all); 4]
    })
    .await;
    let whole = usize::try_from(all).unwrap();
    pods_until(test, "web", "they have the image, and no other is left", |pods| {
        pods.len() == whole && pods.iter().all(|pod| has_image(pod, tag) && !is_going(pod))
    })
    .await;
}

#[tokio::test]
async fn a_deployment_rolls_over_and_back_and_keeps_its_floor() {
    let Some(field) = field("wl_roll").await else { return };
    let test = &field.test;
    let nodes: BTreeSet<_> = pods_of(test, "web")
        .await
        .into_iter()
        .filter_map(|pod| pod.spec?.node_name)
        .collect();
    assert_eq!(nodes.len(), NODES, "the scheduler used every node: {nodes:?}");

    change::<Deployment>(test, "web", image(2)).await;
    // From here on there is something to lose.
    all_run(test, 2).await;
    let Some(kubectl) = test.kubectl() else { return };
    kubectl.run("rollout undo deployment/web").await;
    kubectl.run("rollout status deployment/web --timeout=180s").await;
    let whole = usize::try_from(replicas()).unwrap();
    pods_until(test, "web", "they are back at the first image", |pods| {
        pods.len() == whole && pods.iter().all(|pod| has_image(pod, 1))
    })
    .await;
}

#[tokio::test]
async fn a_paused_deployment_is_scaled_and_not_rolled_over() {
    let Some(field) = field("wl_paused").await else { return };
    let test = &field.test;
    let more = replicas() + 3;
    let mut paused = image(2);
    paused["spec"]["paused"] = true.into();
    paused["spec"]["replicas"] = more.into();
    change::<Deployment>(test, "web", paused).await;
    until::<Deployment>(test, "web", json!({ "replicas": more, "availableReplicas": more })).await;
    assert!(
        pods_of(test, "web").await.iter().all(|pod| has_image(pod, 1)),
        "paused is paused"
    );

    change::<Deployment>(
        test,
        "web",
        json!({ "spec": { "paused": false, "replicas": replicas() } }),
    )
    .await;
    all_run(test, 2).await;
}
