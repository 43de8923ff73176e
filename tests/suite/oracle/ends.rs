//! Ends of pods that take more than one container, or more than one run.

use super::case::Case;
use super::case::RUNS_ON;
use super::case::ended;
use super::case::is_over;
use super::case::restarts;
use super::case::waits;
use super::pair::same;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

fn crashed(pod: &Pod) -> bool {
    waits(pod, "app") == "CrashLoopBackOff" && restarts(pod, "app") == 1
}

#[tokio::test]
async fn a_last_message() {
    let script = "sleep 2; printf farewell >/dev/termination-log; exit 3";
    let case = Case::shell(script, json!({ "restartPolicy": "Never" }), is_over);
    let behaviour = [("runTime", "2s"), ("exitCode", "3"), ("message", "farewell")];
    same("message", case.mock(&behaviour)).await;
}

#[tokio::test]
async fn one_that_succeeds_and_one_that_fails() {
    let spec = json!({
        "restartPolicy": "OnFailure",
        "containers": [
            { "name": "app", "command": ["sh", "-c", "sleep 2; exit 3"] },
            { "name": "good", "command": ["sh", "-c", "sleep 1"] },
        ],
    });
    let behaviour = [("app/runTime", "2s"), ("app/exitCode", "3"), ("good/runTime", "1s")];
    same("two crashes", Case::new(spec, crashed).mock(&behaviour)).await;
}

#[tokio::test]
async fn both_fail_for_good() {
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [
            { "name": "app", "command": ["sh", "-c", "sleep 2; exit 3"] },
            { "name": "other", "command": ["sh", "-c", "sleep 1; exit 4"] },
        ],
    });
    let behaviour = [
        ("app/runTime", "2s"),
        ("app/exitCode", "3"),
        ("other/runTime", "1s"),
        ("other/exitCode", "4"),
    ];
    same("both_fail", Case::new(spec, is_over).mock(&behaviour)).await;
}

#[tokio::test]
async fn one_that_succeeds_and_is_to_run_always() {
    let case = Case::shell("sleep 2", json!({}), crashed);
    same("completed crashes", case.mock(&[("runTime", "2s")])).await;
}

#[tokio::test]
async fn one_that_is_deleted_between_two_runs() {
    // A kubelet shows for some seconds that it has ended, and then for how long it waits.
    let between = |pod: &Pod| restarts(pod, "app") == 1 && (crashed(pod) || ended(pod, "app"));
    let case = Case::shell("sleep 2; exit 3", json!({}), between);
    // Ours is there first, and has to wait for the kubelet's.
    let case = case.mock(&[("runTime", "2s"), ("exitCode", "3"), ("backOff", "1m")]);
    same("crashed_deleted", case.deleted()).await;
}

#[tokio::test]
async fn one_that_is_deleted_while_it_is_initialized() {
    let init = json!([{ "name": "first", "command": ["sh", "-c", RUNS_ON] }]);
    let initializing = |pod: &Pod| {
        let status = serde_json::to_value(&pod.status).unwrap();
        !status["initContainerStatuses"][0]["state"]["running"].is_null()
    };
    let case = Case::shell(RUNS_ON, json!({ "initContainers": init }), initializing);
    same("init_deleted", case.mock(&[("first/runTime", "never")]).deleted()).await;
}
