//! Pods that run and go, and pods that come to an end.

use super::case::Case;
use super::case::RUNS_ON;
use super::case::ended;
use super::case::is_over;
use super::case::restarts;
use super::case::waits;
use super::pair::same;
use crate::harness::is_running;
use crate::harness::pod_condition;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

/// Long enough for a kubelet, which looks once a second, to see that it ran.
const TWO_SECONDS: &[(&str, &str)] = &[("runTime", "2s")];
const STUBBORN: &str = "trap '' TERM; while :; do sleep 3600 & wait $!; done";

#[tokio::test]
async fn a_pod_that_runs() {
    same("runs", Case::shell(RUNS_ON, json!({}), is_running)).await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_and_ends_when_it_is_told_to() {
    same("deleted", Case::shell(RUNS_ON, json!({}), is_running).deleted()).await;
}

#[tokio::test]
async fn a_pod_that_is_deleted_and_does_not_listen() {
    let grace = json!({ "terminationGracePeriodSeconds": 2 });
    let case = Case::shell(STUBBORN, grace, is_running).mock(&[("stopDelay", "never")]);
    same("killed", case.deleted()).await;
}

fn never() -> Value {
    json!({ "restartPolicy": "Never" })
}

#[tokio::test]
async fn a_pod_that_succeeds() {
    same("succeeds", Case::shell("sleep 2", never(), is_over).mock(TWO_SECONDS)).await;
}

#[tokio::test]
async fn a_pod_that_fails() {
    let case = Case::shell("sleep 2; exit 3", never(), is_over).mock(TWO_SECONDS);
    same("fails", case.mock(&[("exitCode", "3")])).await;
}

#[tokio::test]
async fn a_pod_that_succeeds_and_is_deleted() {
    let case = Case::shell("sleep 2", never(), is_over).mock(TWO_SECONDS);
    same("done_deleted", case.deleted()).await;
}

#[tokio::test]
async fn a_pod_that_is_started_again_and_again() {
    let policy = json!({ "restartPolicy": "OnFailure" });
    let case = Case::shell("sleep 2; exit 3", policy, |pod| {
        waits(pod, "app") == "CrashLoopBackOff" && restarts(pod, "app") == 1
    });
    same("crashes", case.mock(TWO_SECONDS).mock(&[("exitCode", "3")])).await;
}

#[tokio::test]
async fn a_pod_of_which_one_container_has_ended() {
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [
            { "name": "app", "command": ["sh", "-c", RUNS_ON] },
            { "name": "short", "command": ["sh", "-c", "sleep 2"] },
        ],
    });
    let case = Case::new(spec, |pod| ended(pod, "short"));
    same("one_ended", case.mock(&[("short/runTime", "2s")])).await;
}

#[tokio::test]
async fn a_pod_whose_readiness_gate_nobody_opens() {
    let gate = json!({ "readinessGates": [{ "conditionType": "example.com/registered" }] });
    let ready = |pod: &Pod| pod_condition(pod, "ContainersReady").as_deref() == Some("True");
    same("gate", Case::shell(RUNS_ON, gate, ready)).await;
}

#[tokio::test]
async fn a_pod_that_takes_longer_than_it_may() {
    let case = Case::shell(
        RUNS_ON,
        json!({ "activeDeadlineSeconds": 10, "terminationGracePeriodSeconds": 5 }),
        is_over,
    );
    same("deadline", case).await;
}
