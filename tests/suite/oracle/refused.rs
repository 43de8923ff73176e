//! Pods that a node does not take, though somebody put them there.

use super::case::Case;
use super::case::RUNS_ON;
use super::case::is_over;
use super::pair::Pair;
use super::pair::same;
use crate::harness::is_running;
use serde_json::Value;
use serde_json::json;

fn case(rest: Value) -> Case {
    Case::shell(RUNS_ON, rest, is_over)
}

fn requests(requests: Value) -> Case {
    let mut case = case(json!({}));
    case.pod["spec"]["containers"][0]["resources"] = json!({ "requests": requests });
    case
}

#[tokio::test]
async fn for_a_label_that_it_does_not_have() {
    same(
        "refused selector",
        case(json!({ "nodeSelector": { "example.com/disk": "fast" } })),
    )
    .await;
}

#[tokio::test]
async fn for_an_affinity_that_it_does_not_meet() {
    let terms = json!([{ "matchExpressions": [{ "key": "example.com/disk", "operator": "Exists" }] }]);
    let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } });
    same(
        "refused affinity",
        case(json!({ "affinity": { "nodeAffinity": required } })),
    )
    .await;
}

#[tokio::test]
async fn for_more_cpu_than_it_has() {
    same("refused cpu", requests(json!({ "cpu": "9999" }))).await;
}

#[tokio::test]
async fn for_more_memory_than_it_has() {
    same("refused memory", requests(json!({ "memory": "9999Gi" }))).await;
}

#[tokio::test]
async fn for_a_resource_that_it_does_not_know() {
    // Which a kubelet leaves to the scheduler.
    let mut case = Case::shell(RUNS_ON, json!({}), is_running);
    case.pod["spec"]["containers"][0]["resources"] = json!({ "limits": { "example.com/gpu": "1" } });
    same("unknown_resource", case).await;
}

#[tokio::test]
async fn for_another_operating_system() {
    same("refused system", case(json!({ "os": { "name": "windows" } }))).await;
}

#[tokio::test]
async fn for_a_port_of_the_node_that_is_taken() {
    let Some(pair) = Pair::new("or_port").await else {
        return;
    };
    let on_a_port = |until| {
        let mut case = Case::shell(RUNS_ON, json!({}), until);
        case.pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 31_234 }]);
        case
    };
    pair.create_more(&on_a_port(is_running), "-first").await;
    for (pod, _) in pair.sides() {
        pair.test.running(&format!("{pod}-first")).await;
    }
    pair.same("host port", on_a_port(|pod| is_over(pod) || is_running(pod)))
        .await;
}
