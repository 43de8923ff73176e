//! Jobs: how they succeed, how they fail, and what they wait for.

use super::Field;
use super::LONG;
use super::change;
use super::create;
use super::pods_of;
use super::pods_until;
use super::template;
use super::until;
use super::when;
use crate::harness::Recording;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::pod_condition;
use crate::harness::uid;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use serde_json::Value;
use serde_json::json;

/// A Job whose containers behave like this.
fn job(test: &Test, behaviour: Value, policy: &str, rest: Value) -> Value {
    let annotations = behaviour.as_object().unwrap().iter();
    let annotations: Value = annotations
        .map(|(key, value)| (format!("mock.outrigger.dev/{key}"), value.clone()))
        .collect();
    let mut spec = json!({ "template": template(test, "sum", annotations, json!({ "restartPolicy": policy })) });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({ "metadata": { "name": "sum" }, "spec": spec })
}

/// Waits for the end of the Job, and returns it.
async fn ended(test: &Test, kind: &str, reason: &str) -> Value {
    when::<Job>(test, "sum", &format!("it is {kind} because of {reason}"), |found| {
        let conditions = found["status"]["conditions"].as_array();
        conditions.is_some_and(|conditions| {
            let is = |condition: &Value| condition["type"] == kind && condition["status"] == "True";
            conditions
                .iter()
                .any(|condition| is(condition) && condition["reason"] == reason)
        })
    })
    .await
}

async fn one_runs(test: &Test) -> Pod {
    let pods = pods_until(test, "sum", "one runs", |pods| pods.iter().any(is_running)).await;
    pods.into_iter().find(is_running).unwrap()
}

#[tokio::test]
async fn a_job_completes_every_index() {
    let Some(field) = Field::new("wl_job_index", 2, json!({})).await else {
        return;
    };
    let test = &field.test;
    let rest = json!({ "completionMode": "Indexed", "completions": 6, "parallelism": 3 });
    create::<Job>(test, job(test, json!({ "runTime": "300ms" }), "Never", rest)).await;
    let job = ended(test, "Complete", "CompletionsReached").await;
    assert_eq!(job["status"]["succeeded"], 6, "{job}");
    assert_eq!(job["status"]["completedIndexes"], "0-5");
    assert!(pods_of(test, "sum").await.iter().all(|pod| phase(pod) == "Succeeded"));
}

#[tokio::test]
async fn a_job_completes_though_its_pods_have_a_sidecar() {
    let Some(field) = Field::new("wl_job_sidecar", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let rest = json!({ "completions": 2, "parallelism": 2 });
    let mut manifest = job(test, json!({ "runTime": "300ms" }), "Never", rest);
    manifest["spec"]["template"]["spec"]["initContainers"] = json!([
        { "name": "prepare", "image": "registry.example/prepare:1" },
        { "name": "proxy", "image": "registry.example/proxy:1", "restartPolicy": "Always" },
    ]);
    create::<Job>(test, manifest).await;
    let job = ended(test, "Complete", "CompletionsReached").await;
    assert_eq!(job["status"]["succeeded"], 2, "{job}");
    for pod in pods_of(test, "sum").await {
        assert_eq!(phase(&pod), "Succeeded");
        let sidecar = pod.status.unwrap().init_container_statuses.unwrap().remove(1);
        let ran = sidecar.state.unwrap().terminated.unwrap();
        assert!(ran.started_at.is_some(), "it ran beside the container: {ran:?}");
    }
}

#[tokio::test]
async fn a_job_gives_up_after_its_backoff_limit_of_pods() {
    let Some(field) = Field::new("wl_job_backoff", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let failing = json!({ "runTime": "100ms", "exitCode": "3" });
    create::<Job>(test, job(test, failing, "Never", json!({ "backoffLimit": 1 }))).await;
    let job = ended(test, "Failed", "BackoffLimitExceeded").await;
    assert_eq!(job["status"]["failed"], 2, "{job}");
}

#[tokio::test]
async fn a_job_gives_up_after_its_backoff_limit_of_restarts() {
    let Some(field) = Field::new("wl_job_restarts", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let failing = json!({ "runTime": "100ms", "exitCode": "3", "backOff": "200ms", "backOffMax": "200ms" });
    create::<Job>(test, job(test, failing, "OnFailure", json!({ "backoffLimit": 2 }))).await;
    ended(test, "Failed", "BackoffLimitExceeded").await;
    pods_until(
        test,
        "sum",
        "the pod that was started again and again is gone",
        <[Pod]>::is_empty,
    )
    .await;
}

#[tokio::test]
async fn an_exit_code_fails_a_job_at_once_by_its_pod_failure_policy() {
    let Some(field) = Field::new("wl_job_policy", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let rule = json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] } });
    let rest = json!({ "backoffLimit": 6, "podFailurePolicy": { "rules": [rule] } });
    create::<Job>(
        test,
        job(test, json!({ "runTime": "100ms", "exitCode": "42" }), "Never", rest),
    )
    .await;
    let job = ended(test, "Failed", "PodFailurePolicy").await;
    assert_eq!(job["status"]["failed"], 1, "{job}");
}

#[tokio::test]
async fn a_disruption_does_not_count_as_a_failure_by_the_pod_failure_policy() {
    let Some(field) = Field::new("wl_job_ignore", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let recording = Recording::start(test).await;
    let rule = json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget" }] });
    let rest = json!({ "backoffLimit": 0, "podFailurePolicy": { "rules": [rule] } });
    let patient = json!({ "runTime": "4s", "stopExitCode": "143" });
    create::<Job>(test, job(test, patient, "Never", rest)).await;
    let first = one_runs(test).await;
    let name = first.metadata.name.clone().unwrap();
    test.pods().evict(&name, &EvictParams::default()).await.unwrap();
    let job = ended(test, "Complete", "CompletionsReached").await;
    assert_eq!(job["status"]["failed"].as_i64().unwrap_or(0), 0, "{job}");
    let last = recording.last_word(&uid(&first)).expect("it was evicted");
    assert_eq!(pod_condition(&last, "DisruptionTarget").as_deref(), Some("True"));
    assert_eq!(phase(&last), "Failed");
}

#[tokio::test]
async fn a_job_that_waits_for_the_end_of_a_pod_gets_it() {
    let Some(field) = Field::new("wl_job_replace", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let slow = json!({ "runTime": "3s", "stopDelay": "500ms", "stopExitCode": "143" });
    create::<Job>(
        test,
        job(test, slow, "Never", json!({ "podReplacementPolicy": "Failed" })),
    )
    .await;
    let first = one_runs(test).await;
    let recording = Recording::start(test).await;
    test.delete(&first.metadata.name.clone().unwrap(), None).await;
    ended(test, "Complete", "CompletionsReached").await;
    let last = recording.last_word(&uid(&first)).expect("it was deleted");
    assert_eq!(phase(&last), "Failed", "the terminal phase is the last word");
    let second = pods_of(test, "sum")
        .await
        .into_iter()
        .find(|pod| phase(pod) == "Succeeded")
        .unwrap();
    let came = recording.came(&second.metadata.name.unwrap()).unwrap();
    let over = recording.over(&uid(&first)).unwrap();
    assert!(came > over, "the second came before the first had ended");
}

#[tokio::test]
async fn a_jobs_deadline_ends_its_pods() {
    let Some(field) = Field::new("wl_job_deadline", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let recording = Recording::start(test).await;
    let rest = json!({ "activeDeadlineSeconds": 3, "parallelism": 2, "completions": 2 });
    create::<Job>(test, job(test, json!({ "stopExitCode": "143" }), "Never", rest)).await;
    let pod = one_runs(test).await;
    ended(test, "Failed", "DeadlineExceeded").await;
    pods_until(test, "sum", "its pods are gone", <[Pod]>::is_empty).await;
    let last = eventually(LONG, "the pod's last word is known", || async {
        recording.last_word(&uid(&pod)).ok_or("it is not")
    })
    .await;
    assert_eq!(phase(&last), "Failed");
}

#[tokio::test]
async fn a_suspended_job_rests_and_goes_on() {
    let Some(field) = Field::new("wl_job_suspend", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let suspend = |suspended: bool| json!({ "spec": { "suspend": suspended } });
    let rest = json!({ "suspend": true, "completions": 2, "parallelism": 2 });
    create::<Job>(test, job(test, json!({ "runTime": "4s" }), "Never", rest)).await;
    ended(test, "Suspended", "JobSuspended").await;
    assert!(pods_of(test, "sum").await.is_empty(), "it was born suspended");

    change::<Job>(test, "sum", suspend(false)).await;
    let first = one_runs(test).await;
    change::<Job>(test, "sum", suspend(true)).await;
    pods_until(test, "sum", "its pods are gone", <[Pod]>::is_empty).await;
    until::<Job>(test, "sum", json!({ "active": null })).await;

    change::<Job>(test, "sum", suspend(false)).await;
    let job = ended(test, "Complete", "CompletionsReached").await;
    assert_eq!(job["status"]["succeeded"], 2, "{job}");
    assert!(pods_of(test, "sum").await.iter().all(|pod| uid(pod) != uid(&first)));
}
