//! Init containers and sidecars.

use super::case::Case;
use super::case::RUNS_ON;
use super::case::is_over;
use super::case::restarts;
use super::case::waits;
use super::pair::same;
use crate::harness::is_running;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

fn shell(name: &str, script: &str) -> Value {
    json!({ "name": name, "command": ["sh", "-c", script] })
}

fn sidecar(script: &str) -> Value {
    let mut sidecar = shell("side", script);
    sidecar["restartPolicy"] = json!("Always");
    sidecar
}

fn case(init: Value, app: &str, policy: &str, until: fn(&Pod) -> bool) -> Case {
    let spec = json!({ "initContainers": init, "containers": [shell("app", app)], "restartPolicy": policy });
    Case::new(spec, until)
}

#[tokio::test]
async fn init_containers_that_succeed() {
    let init = json!([shell("first", "true"), shell("second", "true")]);
    same("init", case(init, RUNS_ON, "Always", is_running)).await;
}

#[tokio::test]
async fn an_init_container_that_fails_for_good() {
    let init = json!([shell("first", "exit 4"), shell("second", "true")]);
    let case = case(init, RUNS_ON, "Never", is_over);
    same("init_fails", case.mock(&[("first/exitCode", "4")])).await;
}

#[tokio::test]
async fn an_init_container_that_fails_again_and_again() {
    let init = json!([shell("first", "sleep 1; exit 4")]);
    let case = case(init, RUNS_ON, "Always", |pod| {
        waits(pod, "first") == "CrashLoopBackOff" && restarts(pod, "first") == 1
    });
    same(
        "init_crashes",
        case.mock(&[("first/exitCode", "4"), ("first/runTime", "1s")]),
    )
    .await;
}

#[tokio::test]
async fn a_sidecar_beside_a_container_that_runs() {
    same(
        "sidecar",
        case(json!([sidecar(RUNS_ON)]), RUNS_ON, "Always", is_running),
    )
    .await;
}

#[tokio::test]
async fn a_sidecar_that_ends_with_its_pod() {
    let case = case(json!([sidecar(RUNS_ON)]), "sleep 2", "Never", is_over);
    same("sidecar_ends", case.mock(&[("app/runTime", "2s")])).await;
}
