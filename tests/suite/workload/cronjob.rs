//! CronJobs.

use super::Field;
use super::change;
use super::create;
use super::pods_until;
use super::template;
use super::when;
use crate::harness::phase;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::json;

#[tokio::test]
async fn a_cronjob_runs_when_its_minute_comes() {
    let Some(field) = Field::new("wl_cron", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let short = json!({ "mock.outrigger.dev/runTime": "200ms" });
    let template = template(test, "tick", short, json!({ "restartPolicy": "OnFailure" }));
    let spec = json!({ "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template } } });
    create::<CronJob>(test, json!({ "metadata": { "name": "tick" }, "spec": spec })).await;
    when::<CronJob>(test, "tick", "it has succeeded once", |found| {
        !found["status"]["lastSuccessfulTime"].is_null()
    })
    .await;
    change::<CronJob>(test, "tick", json!({ "spec": { "suspend": true } })).await;
    pods_until(test, "tick", "its pod has succeeded", |pods| {
        pods.iter().any(|pod| phase(pod) == "Succeeded")
    })
    .await;
}
