//! Rows of pods. STATUS says the most telling thing of its containers, in the order in which the real printer looks.

use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, name, or_none, since};

pub const COLUMNS: &[Column] = &[
    NAME,
    Column("Ready", "string", false),
    Column("Status", "string", false),
    Column("Restarts", "string", false),
    AGE,
    Column("IP", "string", true),
    Column("Node", "string", true),
    Column("Nominated Node", "string", true),
    Column("Readiness Gates", "string", true),
];

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn is_sidecar(pod: &Value, name: &Value) -> bool {
    list(&pod["spec"], "initContainers")
        .iter()
        .any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
}

#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<String>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        // Times of one format sort as text.
        let finished = status["lastState"]["terminated"]["finishedAt"]
            .as_str()
            .map(str::to_owned);
        self.last = self.last.take().max(finished);
    }

    fn cell(&self) -> Value {
        match &self.last {
            Some(when) if self.count > 0 => format!(
                "{} ({} ago)",
                self.count,
                since(&json!(when)).as_str().unwrap_or_default()
            )
            .into(),
            _ => self.count.to_string().into(),
        }
    }
}

/// What a terminated container is shown as.
fn ended(terminated: &Value) -> String {
    match terminated["reason"].as_str().filter(|r| !r.is_empty()) {
        Some(reason) => reason.to_owned(),
        None => match terminated["signal"].as_i64().unwrap_or(0) {
            0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
            signal => format!("Signal:{signal}"),
        },
    }
}

/// What init containers have to say: the first that isn't done decides.
fn initializing(pod: &Value, restarts: &mut Restarts, ready: &mut usize, total: &mut usize) -> Option<String> {
    let all = list(&pod["spec"], "initContainers");
    *total += all.iter().filter(|c| c["restartPolicy"] == "Always").count();
    let mut verdict = None;
    for (at, status) in list(&pod["status"], "initContainerStatuses").iter().enumerate() {
        restarts.add(status);
        let sidecar = is_sidecar(pod, &status["name"]);
        if sidecar && status["ready"] == true && status["started"] == true {
            *ready += 1;
        }
        if verdict.is_some() {
            continue;
        }
        let state = &status["state"];
        verdict = match () {
            () if state["terminated"]["exitCode"] == 0 => None,
            () if sidecar && status["started"] == true => None,
            () if state["terminated"].is_object() => Some(format!("Init:{}", ended(&state["terminated"]))),
            () => match state["waiting"]["reason"].as_str() {
                Some(reason) if !reason.is_empty() && reason != "PodInitializing" => Some(format!("Init:{reason}")),
                _ => Some(format!("Init:{at}/{}", all.len())),
            },
        };
    }
    verdict
}

fn is_initialized(pod: &Value) -> bool {
    list(&pod["status"], "conditions")
        .iter()
        .any(|c| c["type"] == "Initialized" && c["status"] == "True")
}

struct Row {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

fn row(pod: &Value) -> Row {
    let status = &pod["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    let mut reason = status["reason"]
        .as_str()
        .filter(|r| !r.is_empty())
        .unwrap_or(phase)
        .to_owned();
    if list(status, "conditions")
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated")
    {
        reason = "SchedulingGated".into();
    }
    let mut total = list(&pod["spec"], "containers").len();
    let mut ready = 0;
    let mut init = Restarts::default();
    let verdict = initializing(pod, &mut init, &mut ready, &mut total);
    let waiting_for_init = verdict.is_some();
    if let Some(verdict) = verdict {
        reason = verdict;
    }
    let mut restarts = init;
    if !waiting_for_init || is_initialized(pod) {
        // Restarts of init containers count while they last; afterwards the sidecars' do.
        let sidecars = list(status, "initContainerStatuses")
            .iter()
            .filter(|s| is_sidecar(pod, &s["name"]));
        restarts = Restarts::default();
        sidecars.for_each(|s| restarts.add(s));
        let mut running = false;
        for container in list(status, "containerStatuses").iter().rev() {
            restarts.add(container);
            let state = &container["state"];
            if let Some(why) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
                reason = why.to_owned();
            } else if state["terminated"].is_object() {
                reason = ended(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            let pod_ready = list(status, "conditions")
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            reason = if pod_ready { "Running".into() } else { "NotReady".into() };
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if status["reason"] == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".into();
        }
    }
    Row {
        ready,
        total,
        reason,
        restarts,
    }
}

pub fn cells(pod: &Value) -> Vec<Value> {
    let Row {
        ready,
        total,
        reason,
        restarts,
    } = row(pod);
    let ip = match list(&pod["status"], "podIPs").first() {
        Some(first) => or_none(&first["ip"]),
        None => or_none(&pod["status"]["podIP"]),
    };
    let gates = list(&pod["spec"], "readinessGates");
    let open = gates
        .iter()
        .filter(|g| {
            list(&pod["status"], "conditions")
                .iter()
                .any(|c| c["type"] == g["conditionType"] && c["status"] == "True")
        })
        .count();
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        format!("{open}/{}", gates.len())
    };
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.cell(),
        age(pod),
        ip,
        or_none(&pod["spec"]["nodeName"]),
        or_none(&pod["status"]["nominatedNodeName"]),
        gates.into(),
    ]
}

/// Finished pods are marked, so that clients may leave them out.
pub fn row_conditions(pod: &Value) -> Option<Value> {
    let phase = pod["status"]["phase"].as_str()?;
    if !matches!(phase, "Succeeded" | "Failed") {
        return None;
    }
    let message = if phase == "Succeeded" {
        "The pod has completed successfully."
    } else {
        "The pod failed."
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pod: Value) -> (Value, Value) {
        let cells = cells(&pod);
        (cells[1].clone(), cells[2].clone())
    }

    fn pod(status: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}, "status": status})
    }

    #[test]
    fn status_tells_what_matters() {
        let one = |state: Value, ready: bool| json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": ready, "state": state, "restartCount": 0}]});
        for (status, ready, expected) in [
            (json!({"phase": "Pending"}), "0/1", "Pending"),
            (one(json!({"running": {}}), true), "1/1", "Running"),
            (one(json!({"running": {}}), false), "0/1", "Running"),
            (
                one(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false),
                "0/1",
                "CrashLoopBackOff",
            ),
            (
                one(json!({"terminated": {"reason": "Completed", "exitCode": 0}}), false),
                "0/1",
                "Completed",
            ),
            (one(json!({"terminated": {"exitCode": 3}}), false), "0/1", "ExitCode:3"),
            (one(json!({"terminated": {"signal": 9}}), false), "0/1", "Signal:9"),
            (json!({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted"),
        ] {
            assert_eq!(shown(pod(status.clone())), (ready.into(), expected.into()), "{status}");
        }
        let mut going = pod(json!({"phase": "Running"}));
        going["metadata"]["deletionTimestamp"] = json!("t");
        assert_eq!(shown(going).1, "Terminating");
    }

    #[test]
    fn init_containers_and_sidecars_are_told_apart() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}},
                {"name": "i", "state": {"running": {}}}]}});
        assert_eq!(shown(pod.clone()), (json!("1/2"), json!("Init:1/2")));
        pod["status"]["initContainerStatuses"][1]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert_eq!(shown(pod.clone()).1, "Init:CrashLoopBackOff");
        pod["status"]["initContainerStatuses"][1]["state"] = json!({"terminated": {"exitCode": 0}});
        pod["status"]["phase"] = json!("Running");
        pod["status"]["containerStatuses"] = json!([{"name": "a", "ready": true, "state": {"running": {}}}]);
        assert_eq!(shown(pod), (json!("2/2"), json!("Running")));
    }

    #[test]
    fn restarts_say_when_the_last_was() {
        let finished = crate::time::in_seconds(-30);
        let status = json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 2, "ready": true, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": finished}}}]});
        let cell = cells(&pod(status))[3].as_str().unwrap().to_owned();
        assert!(cell.starts_with("2 (3") && cell.ends_with("s ago)"), "{cell}");
    }
}
