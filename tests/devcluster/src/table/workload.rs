//! Rows of deployments, replica sets and jobs.

use serde_json::Value;

use super::{AGE, Column, NAME, age, human, labels, name, since};
use crate::time;

pub const DEPLOYMENT: &[Column] = &[
    NAME,
    Column("Ready", "string", false),
    Column("Up-to-date", "string", false),
    Column("Available", "string", false),
    AGE,
    Column("Containers", "string", true),
    Column("Images", "string", true),
    Column("Selector", "string", true),
];

pub const REPLICA_SET: &[Column] = &[
    NAME,
    Column("Desired", "integer", false),
    Column("Current", "integer", false),
    Column("Ready", "integer", false),
    AGE,
    Column("Containers", "string", true),
    Column("Images", "string", true),
    Column("Selector", "string", true),
];

pub const JOB: &[Column] = &[
    NAME,
    Column("Status", "string", false),
    Column("Completions", "string", false),
    Column("Duration", "string", false),
    AGE,
    Column("Containers", "string", true),
    Column("Images", "string", true),
    Column("Selector", "string", true),
];

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Containers, images and selector: what `-o wide` adds to all three.
fn wide(object: &Value, mut cells: Vec<Value>) -> Vec<Value> {
    let join = |field: &str| -> Value {
        let containers = object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten();
        containers
            .filter_map(|c| c[field].as_str())
            .collect::<Vec<_>>()
            .join(",")
            .into()
    };
    cells.extend([
        join("name"),
        join("image"),
        labels(&object["spec"]["selector"]["matchLabels"]),
    ]);
    cells
}

pub fn deployment(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    let updated = number(&status["updatedReplicas"]).to_string();
    let available = number(&status["availableReplicas"]).to_string();
    wide(
        object,
        vec![
            name(object),
            ready.into(),
            updated.into(),
            available.into(),
            age(object),
        ],
    )
}

pub fn replica_set(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [&spec["replicas"], &status["replicas"], &status["readyReplicas"]].map(|v| number(v).into());
    let [desired, current, ready] = counts;
    wide(object, vec![name(object), desired, current, ready, age(object)])
}

pub fn job(object: &Value) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let has = |kind: &str| {
        status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    let state = match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if object["metadata"]["deletionTimestamp"].is_string() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    let succeeded = number(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), number(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let duration: Value = match (status["startTime"].as_str(), status["completionTime"].as_str()) {
        (None, _) => "".into(),
        (Some(_), None) => since(&status["startTime"]),
        (Some(start), Some(end)) => human(time::age_seconds(start) - time::age_seconds(end)).into(),
    };
    wide(
        object,
        vec![name(object), state.into(), completions.into(), duration, age(object)],
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workloads_count_their_pods() {
        let object = json!({"metadata": {"name": "w"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}},
            "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 3}});
        assert_eq!(deployment(&object)[1..4], [json!("1/3"), json!("2"), json!("1")]);
        assert_eq!(replica_set(&object)[1..4], [json!(3), json!(3), json!(1)]);
        assert_eq!(deployment(&object)[5..], [json!("c,d"), json!("i,j"), json!("a=b")]);
    }

    #[test]
    fn a_job_says_how_far_it_is() {
        let object = json!({"metadata": {"name": "j"}, "spec": {"completions": 2, "parallelism": 1},
            "status": {"succeeded": 2, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:07Z",
                "conditions": [{"type": "Complete", "status": "True"}]}});
        let cells = job(&object);
        assert_eq!(cells[1..3], [json!("Complete"), json!("2/2")]);
        assert!(["6s", "7s"].contains(&cells[3].as_str().unwrap()));
    }
}
