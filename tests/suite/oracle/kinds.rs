//! Pods whose status has something to say beyond the ordinary.

use super::case::Case;
use super::case::RUNS_ON;
use super::pair::same;
use crate::harness::is_running;
use crate::harness::phase;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

fn with_resources(resources: Value) -> Case {
    let mut case = Case::shell(RUNS_ON, json!({}), is_running);
    case.pod["spec"]["containers"][0]["resources"] = resources;
    case
}

#[tokio::test]
async fn a_burstable_one() {
    let resources = json!({ "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } });
    same("burstable", with_resources(resources)).await;
}

#[tokio::test]
async fn a_guaranteed_one() {
    let resources = json!({ "limits": { "cpu": "100m", "memory": "64Mi" } });
    same("guaranteed", with_resources(resources)).await;
}

#[tokio::test]
async fn one_in_its_nodes_network() {
    same(
        "host_network",
        Case::shell(RUNS_ON, json!({ "hostNetwork": true }), is_running),
    )
    .await;
}

#[tokio::test]
async fn one_that_is_not_ready() {
    let runs = |pod: &Pod| phase(pod) == "Running";
    let mut case = Case::shell(RUNS_ON, json!({}), runs);
    case.pod["spec"]["containers"][0]["readinessProbe"] = json!({ "exec": { "command": ["false"] } });
    same("unready", case.mock(&[("readyDelay", "never")])).await;
}
