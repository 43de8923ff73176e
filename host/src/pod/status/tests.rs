//! The status of a pod, case by case, with what a kubelet makes of it.

use super::{
    Inputs, Situation, desired,
    model::{ContainerStatus, Phase, PodStatus},
    patch,
};
use crate::{
    material::{Fault, FaultKind},
    pod::view,
};
use outrigger_plugin::{
    ContainerReport, ContainerState, PodIdentity, PodReport, ResizeOutcome, Termination, Timestamp,
};
use serde_json::{Value, json};
use std::net::IpAddr;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn identity() -> PodIdentity {
    let text = |text: &str| text.to_owned();
    PodIdentity {
        cluster: text("c"),
        node: text("n"),
        namespace: text("ns"),
        name: text("p"),
        uid: text("u"),
    }
}

fn container(name: &str, state: ContainerState) -> ContainerReport {
    let running = matches!(state, ContainerState::Running { .. });
    ContainerReport {
        name: name.to_owned(),
        state,
        last_termination: None,
        restart_count: 0,
        ready: running,
        started: running,
        image: String::new(),
        image_id: "sha256:1".to_owned(),
        container_id: format!("mock://{name}"),
    }
}

fn running(name: &str) -> ContainerReport {
    container(name, ContainerState::Running { started_at: NOW })
}

fn ended(name: &str, exit_code: i32) -> ContainerReport {
    let end = Termination {
        exit_code,
        signal: 0,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        started_at: Some(NOW),
        finished_at: NOW,
        container_id: format!("mock://{name}"),
    };
    container(name, ContainerState::Terminated(end))
}

fn waiting(name: &str, reason: &str) -> ContainerReport {
    container(
        name,
        ContainerState::Waiting {
            reason: reason.to_owned(),
            message: String::new(),
        },
    )
}

struct Case {
    spec: Value,
    status: Value,
    report: Option<PodReport>,
    situation: Situation<'static>,
    may_run: bool,
    generation: i64,
    /// The generation that the provider has taken.
    taken: i64,
    resize: Option<ResizeOutcome>,
}

impl Case {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            status: json!({}),
            report: None,
            situation: Situation::Normal,
            may_run: true,
            generation: 1,
            taken: 1,
            resize: None,
        }
    }

    fn containers(restart_policy: &str, names: &[&str]) -> Self {
        let containers: Vec<Value> = names.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        Self::new(json!({ "restartPolicy": restart_policy, "containers": containers }))
    }

    fn reports(mut self, containers: Vec<ContainerReport>) -> Self {
        let mut report = PodReport::new(identity());
        report.ips = vec!["10.0.0.1".parse().unwrap()];
        report.containers = containers;
        self.report = Some(report);
        self
    }

    fn situation(mut self, situation: Situation<'static>) -> Self {
        self.situation = situation;
        self
    }

    fn after(mut self, status: &PodStatus) -> Self {
        self.status = serde_json::to_value(status).unwrap();
        self
    }

    fn raw(&self) -> Vec<u8> {
        let metadata = json!({"name": "p", "namespace": "ns", "uid": "u", "generation": self.generation});
        json!({ "metadata": metadata, "spec": self.spec, "status": self.status })
            .to_string()
            .into_bytes()
    }

    fn status(&self) -> PodStatus {
        self.desired().status
    }

    fn desired(&self) -> super::Desired {
        let raw = self.raw();
        let host_ips: [IpAddr; 1] = ["192.0.2.1".parse().unwrap()];
        desired(&Inputs {
            pod: &view::pod(&raw).unwrap(),
            report: self.report.as_ref(),
            situation: self.situation,
            may_run: self.may_run,
            host_ips: &host_ips,
            taken_generation: Some(self.taken),
            resize: self.resize.as_ref(),
            now: NOW,
        })
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> (&'a str, &'a str) {
    let condition = status.condition(kind).unwrap();
    (&condition.status, &condition.reason)
}

#[test]
fn a_running_pod_is_ready_in_one_step() {
    let status = Case::containers("Always", &["b", "a"])
        .reports(vec![running("b"), running("a")])
        .status();
    assert_eq!(status.phase, Phase::Running);
    let names: Vec<_> = status
        .container_statuses
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"], "sorted by name");
    for kind in [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ] {
        assert_eq!(condition(&status, kind), ("True", ""), "{kind}");
        assert_eq!(status.condition(kind).unwrap().observed_generation, Some(1), "{kind}");
    }
    assert_eq!(
        (status.pod_ip.as_str(), status.host_ip.as_str()),
        ("10.0.0.1", "192.0.2.1")
    );
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.start_time.as_deref(), Some("2023-11-14T22:13:20Z"));
}

#[test]
fn phases_follow_the_kubelets_get_phase() {
    use ContainerState::Waiting;
    let crash_loop = || {
        let mut container = ended("a", 1);
        let ContainerState::Terminated(end) = container.state.clone() else {
            unreachable!()
        };
        container.last_termination = Some(end);
        container.state = Waiting {
            reason: "CrashLoopBackOff".into(),
            message: String::new(),
        };
        container
    };
    let cases: Vec<(&str, Vec<ContainerReport>, Phase)> = vec![
        ("Always", vec![waiting("a", "ContainerCreating")], Phase::Pending),
        (
            "Always",
            vec![running("a"), waiting("b", "ContainerCreating")],
            Phase::Pending,
        ),
        ("Always", vec![running("a"), ended("b", 1)], Phase::Running),
        ("Always", vec![ended("a", 0), ended("b", 0)], Phase::Running),
        ("Always", vec![crash_loop()], Phase::Running),
        ("Never", vec![ended("a", 0), ended("b", 0)], Phase::Succeeded),
        ("Never", vec![ended("a", 0), ended("b", 3)], Phase::Failed),
        ("Never", vec![running("a"), ended("b", 3)], Phase::Running),
        ("OnFailure", vec![ended("a", 0)], Phase::Succeeded),
        ("OnFailure", vec![ended("a", 1)], Phase::Running),
    ];
    for (policy, containers, phase) in cases {
        let names: Vec<_> = containers.iter().map(|container| container.name.clone()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let status = Case::containers(policy, &names).reports(containers.clone()).status();
        assert_eq!(status.phase, phase, "{policy}: {containers:?}");
    }
}

#[test]
fn rules_and_policies_of_containers_win_over_the_pods() {
    let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let other = json!([{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1, 2]}}]);
    for (pod, own, rules, exit_code, phase) in [
        ("Never", Some("Never"), Some(&rule), 42, Phase::Running),
        ("Never", Some("Never"), Some(&rule), 1, Phase::Failed),
        ("Never", Some("Never"), Some(&other), 3, Phase::Running),
        ("Never", Some("Never"), Some(&other), 2, Phase::Failed),
        ("Never", Some("OnFailure"), None, 1, Phase::Running),
        ("Never", Some("OnFailure"), None, 0, Phase::Succeeded),
        ("Never", Some("Always"), None, 0, Phase::Running),
        ("Always", Some("Never"), None, 0, Phase::Succeeded),
        ("Always", Some("Never"), None, 1, Phase::Failed),
        ("Always", None, None, 1, Phase::Running),
    ] {
        let container =
            json!({"name": "a", "restartPolicy": own, "restartPolicyRules": rules.cloned().unwrap_or(json!([]))});
        let case = Case::new(json!({"restartPolicy": pod, "containers": [container.clone()]}));
        let status = case.reports(vec![ended("a", exit_code)]).status();
        assert_eq!(status.phase, phase, "{pod}: {container} ended with {exit_code}");
    }
}

#[test]
fn a_pod_runs_until_its_sidecars_have_ended() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let mut case = Case::new(spec).reports(vec![ended("a", 0)]);
    case.report.as_mut().unwrap().init_containers = vec![running("s")];
    assert_eq!(case.status().phase, Phase::Running);
    case.report.as_mut().unwrap().init_containers = vec![ended("s", 143)];
    assert_eq!(case.status().phase, Phase::Succeeded);
}

#[test]
fn a_sidecar_that_starts_again_does_not_put_a_pod_back() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let mut sidecar = running("s");
    sidecar.started = false;
    let mut case = Case::new(spec).reports(vec![running("a")]);
    case.report.as_mut().unwrap().init_containers = vec![sidecar.clone()];
    assert_eq!(case.status().phase, Phase::Running);
    let report = case.report.as_mut().unwrap();
    report.containers = vec![waiting("a", "PodInitializing")];
    assert_eq!(case.status().phase, Phase::Pending);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_is_never_restarted() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
    let mut case = Case::new(spec).reports(vec![waiting("a", "PodInitializing")]);
    case.report.as_mut().unwrap().init_containers = vec![ended("i", 2)];
    let status = case.status();
    assert_eq!(status.phase, Phase::Failed);
    case.report.as_mut().unwrap().init_containers = vec![running("i")];
    let status = case.status();
    assert_eq!(status.phase, Phase::Pending);
    assert_eq!(condition(&status, "Initialized"), ("False", "ContainersNotInitialized"));
    assert_eq!(
        status.condition("Initialized").unwrap().message,
        "containers with incomplete status: [i]"
    );
}

#[test]
fn a_sidecar_counts_for_readiness_and_not_for_success() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let mut case = Case::new(spec).reports(vec![running("a")]);
    let mut sidecar = running("s");
    sidecar.ready = false;
    case.report.as_mut().unwrap().init_containers = vec![sidecar];
    let status = case.status();
    assert_eq!(condition(&status, "Ready"), ("False", "ContainersNotReady"));
    assert_eq!(condition(&status, "Initialized"), ("True", ""));
    case.report.as_mut().unwrap().containers = vec![ended("a", 0)];
    case.report.as_mut().unwrap().init_containers = vec![ended("s", 137)];
    assert_eq!(case.status().phase, Phase::Succeeded);
}

#[test]
fn readiness_gates_are_asked_for() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "a"}],
        "readinessGates": [{"conditionType": "x/lb"}]});
    let mut case = Case::new(spec).reports(vec![running("a")]);
    assert_eq!(condition(&case.status(), "Ready"), ("False", "ReadinessGatesNotReady"));
    assert_eq!(condition(&case.status(), "ContainersReady"), ("True", ""));
    case.status = json!({"conditions": [{"type": "x/lb", "status": "True"}]});
    assert_eq!(condition(&case.status(), "Ready"), ("True", ""));
}

#[test]
fn an_unchanged_condition_keeps_its_transition_time() {
    let mut case = Case::containers("Always", &["a"]).reports(vec![running("a")]);
    let first = case.status();
    case.status = serde_json::to_value(&first).unwrap();
    case.status["conditions"][2]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
    let second = case.status();
    assert_eq!(
        second.conditions[2].last_transition_time.as_deref(),
        Some("2020-01-01T00:00:00Z")
    );
    assert_eq!(second.start_time, first.start_time);
}

#[test]
fn a_held_pod_is_pending_and_says_why() {
    let case = Case::containers("Always", &["a"]).situation(Situation::Held {
        reason: "CreateContainerConfigError",
        message: "no hostPID here",
    });
    let status = case.status();
    assert_eq!(status.phase, Phase::Pending);
    let waiting = status.container_statuses[0].state.waiting.as_ref().unwrap();
    assert_eq!(
        (waiting.reason.as_str(), waiting.message.as_str()),
        ("CreateContainerConfigError", "no hostPID here")
    );
    assert_eq!(
        condition(&status, "PodReadyToStartContainers"),
        ("False", "PodSandboxNotReady")
    );
    assert_eq!(condition(&status, "Ready"), ("False", "ContainersNotReady"));
}

fn fault(kind: FaultKind) -> &'static [Fault] {
    let fault = Fault {
        kind,
        message: "configmap \"x\" not found".to_owned(),
        object: None,
        peer: None,
    };
    Box::leak(Box::new([fault]))
}

fn waits(status: &PodStatus) -> Vec<(&str, &str, &str)> {
    let of = |status: &'_ ContainerStatus| status.state.waiting.is_some();
    assert!(
        status.container_statuses.iter().all(of),
        "{:?}",
        status.container_statuses
    );
    let all = status.container_statuses.iter();
    all.filter_map(|status| {
        let waiting = status.state.waiting.as_ref()?;
        Some((status.name.as_str(), waiting.reason.as_str(), waiting.message.as_str()))
    })
    .collect()
}

#[test]
fn a_container_whose_environment_lacks_something_says_so_alone() {
    let faults = fault(FaultKind::Config {
        container: "b".to_owned(),
    });
    let status = Case::containers("Always", &["a", "b"])
        .situation(Situation::Lacking { faults })
        .status();
    assert_eq!(status.phase, Phase::Pending);
    assert_eq!(
        waits(&status),
        [
            ("a", "ContainerCreating", ""),
            ("b", "CreateContainerConfigError", "configmap \"x\" not found")
        ]
    );
    assert_eq!(condition(&status, "Ready"), ("False", "ContainersNotReady"));
}

#[test]
fn a_pod_whose_volume_lacks_something_is_being_created() {
    for kind in [FaultKind::Mount { volume: "v".to_owned() }, FaultKind::Sandbox] {
        let situation = Situation::Lacking { faults: fault(kind) };
        let status = Case::containers("Always", &["a"]).situation(situation).status();
        assert_eq!(status.phase, Phase::Pending);
        assert_eq!(waits(&status), [("a", "ContainerCreating", "")]);
    }
}

#[test]
fn a_rejected_pod_fails_without_container_statuses() {
    let situation = Situation::Rejected {
        reason: "OutOfpods",
        message: "full",
    };
    let status = Case::containers("Always", &["a"]).situation(situation).status();
    assert_eq!((status.phase, status.reason.as_str()), (Phase::Failed, "OutOfpods"));
    assert_eq!(status.message, "Pod was rejected: full");
    assert!(status.container_statuses.is_empty());
}

#[test]
fn a_deleted_pod_ends_with_its_exit_codes() {
    let base = Case::containers("Always", &["a"]).reports(vec![running("a")]).status();
    let clean = Case::containers("Always", &["a"])
        .reports(vec![ended("a", 0)])
        .situation(Situation::Ended)
        .after(&base);
    let status = clean.status();
    assert_eq!(status.phase, Phase::Succeeded);
    assert_eq!(condition(&status, "Ready"), ("False", "PodCompleted"));
    let killed = Case::containers("Always", &["a"])
        .reports(vec![ended("a", 137)])
        .situation(Situation::Ended)
        .after(&base);
    let status = killed.status();
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!(condition(&status, "Ready"), ("False", "PodFailed"));
    assert_eq!(
        status.container_statuses[0]
            .state
            .terminated
            .as_ref()
            .unwrap()
            .exit_code,
        137
    );
    assert_eq!(status.pod_ip, "10.0.0.1", "the address stays to the end");
}

#[test]
fn a_container_that_cannot_be_found_ended_with_137() {
    let base = Case::containers("Never", &["a"]).reports(vec![running("a")]).status();
    for situation in [Situation::Ended, Situation::Vanished { again: false }] {
        let status = Case::containers("Never", &["a"])
            .situation(situation)
            .after(&base)
            .status();
        assert_eq!(status.phase, Phase::Failed, "{situation:?}");
        let end = status.container_statuses[0].state.terminated.as_ref().unwrap();
        assert_eq!((end.exit_code, end.reason.as_str()), (137, "ContainerStatusUnknown"));
    }
}

#[test]
fn a_container_that_never_came_to_run_ended_with_137_as_well() {
    let message = |status: &PodStatus| {
        let conditions = status.condition("PodReadyToStartContainers").unwrap();
        conditions.message.clone()
    };
    let base = Case::containers("Never", &["a"]).status();
    let status = Case::containers("Never", &["a"])
        .situation(Situation::Ended)
        .after(&base)
        .status();
    let end = status.container_statuses[0].state.terminated.as_ref().unwrap();
    assert_eq!((end.exit_code, end.reason.as_str()), (137, "ContainerStatusUnknown"));
    assert_eq!((&end.finished_at, end.container_id.as_str()), (&None, ""));
    assert_eq!(message(&status), "no pod sandbox exists");

    // Its turn had not come.
    let mut spec = Case::containers("Never", &["a"]).spec;
    spec["initContainers"] = json!([{ "name": "init", "image": "i" }]);
    let base = Case::new(spec.clone()).status();
    let status = Case::new(spec).situation(Situation::Ended).after(&base).status();
    assert!(status.container_statuses[0].state.waiting.is_some());
}

#[test]
fn a_pod_made_again_after_it_vanished_counts_on_and_shows_the_lost_run() {
    let base = Case::containers("Always", &["a"]).reports(vec![running("a")]).status();
    let mut again = running("a");
    again.restart_count = 1;
    let status = Case::containers("Always", &["a"])
        .reports(vec![again])
        .after(&base)
        .status();
    let container = &status.container_statuses[0];
    assert_eq!(container.restart_count, 1);
    let lost = container.last_state.terminated.as_ref().unwrap();
    assert_eq!((lost.exit_code, lost.reason.as_str()), (137, "ContainerStatusUnknown"));
    assert_eq!(status.phase, Phase::Running);
}

#[test]
fn what_has_ended_for_good_is_not_taken_back_by_a_pod_that_is_made_again() {
    let spec = |policy: &str| {
        json!({
            "restartPolicy": policy,
            "containers": [{ "name": "a", "image": "i" }],
            "ephemeralContainers": [{ "name": "debug", "image": "i" }],
        })
    };
    let reported = |policy: &str, app: ContainerReport, debug: ContainerReport| {
        let mut case = Case::new(spec(policy)).reports(vec![app]);
        if let Some(report) = &mut case.report {
            report.ephemeral_containers = vec![debug];
        }
        case
    };
    for (policy, exit_code, starts_again) in [
        ("Always", 0, true),
        ("OnFailure", 1, true),
        ("OnFailure", 0, false),
        ("Never", 1, false),
    ] {
        let before = reported(policy, ended("a", exit_code), ended("debug", 0)).status();
        let status = reported(policy, running("a"), running("debug")).after(&before).status();
        let app = &status.container_statuses[0].state;
        assert_eq!(app.running.is_some(), starts_again, "{policy} {exit_code}");
        assert_eq!(app.terminated.is_some(), !starts_again, "{policy} {exit_code}");
        let debug = &status.ephemeral_container_statuses[0].state;
        assert!(
            debug.terminated.is_some(),
            "{policy}: no ephemeral container starts again"
        );
    }
}

#[test]
fn a_rule_that_restarts_all_containers_takes_back_ends_that_hold_otherwise() {
    let pod = |action: &str| {
        let rule = json!({ "action": action, "exitCodes": { "operator": "In", "values": [42] } });
        json!({ "restartPolicy": "Never", "containers": [
            { "name": "a", "image": "i", "restartPolicy": "Never", "restartPolicyRules": [rule] },
            { "name": "b", "image": "i" },
        ]})
    };
    for (action, runs_again) in [("RestartAllContainers", true), ("Restart", false)] {
        let before = Case::new(pod(action))
            .reports(vec![ended("a", 42), ended("b", 137)])
            .status();
        let again = vec![running("a"), running("b")];
        let status = Case::new(pod(action)).reports(again).after(&before).status();
        let runs = |index: usize| status.container_statuses[index].state.running.is_some();
        assert_eq!((runs(0), runs(1)), (true, runs_again), "{action}");
    }
}

#[test]
fn the_deadline_fails_the_pod_with_the_kubelets_words() {
    let base = Case::containers("Always", &["a"]).reports(vec![running("a")]).status();
    let status = Case::containers("Always", &["a"])
        .reports(vec![ended("a", 143)])
        .situation(Situation::DeadlineExceeded)
        .after(&base)
        .status();
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Failed, "DeadlineExceeded")
    );
}

#[test]
fn a_terminal_phase_is_final() {
    let mut case = Case::containers("Never", &["a"]).reports(vec![ended("a", 1)]);
    let failed = case.status();
    assert_eq!(failed.phase, Phase::Failed);
    case = Case::containers("Never", &["a"])
        .reports(vec![ended("a", 0)])
        .after(&failed);
    assert_eq!(case.status().phase, Phase::Failed);
}

#[test]
fn host_network_pods_have_the_nodes_addresses_from_the_first_status_on() {
    let spec = json!({"restartPolicy": "Always", "hostNetwork": true, "containers": [{"name": "a"}]});
    assert_eq!(Case::new(spec.clone()).status().pod_ip, "192.0.2.1");
    let status = Case::new(spec.clone()).reports(vec![running("a")]).status();
    assert_eq!(status.pod_ip, "192.0.2.1");
    // And keep them when there is no word of them any more.
    let without = Case::new(spec).after(&status).status();
    assert_eq!(without.pod_ips, status.pod_ips);
}

#[test]
fn nothing_is_sent_when_nothing_differs() {
    let case = Case::containers("Always", &["a"]).reports(vec![running("a")]);
    let first = case.status();
    assert!(!patch::is_current(&first, &PodStatus::default()));
    let again = Case::containers("Always", &["a"])
        .reports(vec![running("a")])
        .after(&first)
        .status();
    assert!(patch::is_current(&again, &first), "{again:?}\n{first:?}");
}

#[test]
fn a_patch_may_ask_for_the_version_that_was_known() {
    let before = Case::containers("Never", &["a"]).reports(vec![running("a")]).status();
    let after = Case::containers("Never", &["a"]).reports(vec![ended("a", 0)]).status();
    for (version, expected) in [
        (None, json!({ "uid": "u" })),
        (Some(7), json!({ "uid": "u", "resourceVersion": "7" })),
    ] {
        let body: Value = serde_json::from_slice(&patch::body("u", version, &after, &before).unwrap()).unwrap();
        assert_eq!(body["metadata"], expected);
    }
}

#[test]
fn a_patch_names_the_uid_and_takes_back_by_name_what_a_merge_would_keep_vk_1399() {
    let first = Case::containers("Always", &["a"])
        .reports(vec![waiting("a", "ContainerCreating")])
        .status();
    let mut second = Case::containers("Always", &["a"])
        .reports(vec![running("a")])
        .after(&first);
    second.report.as_mut().unwrap().ips = vec!["10.0.0.2".parse().unwrap()];
    let body: Value = serde_json::from_slice(&patch::body("u", None, &second.status(), &first).unwrap()).unwrap();
    assert_eq!(body["metadata"]["uid"], "u");
    assert_eq!(
        body["status"]["podIPs"],
        json!([{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}])
    );
    let conditions = body["status"]["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    assert_eq!(
        (&ready["status"], &ready["reason"], &ready["message"]),
        (&json!("True"), &Value::Null, &Value::Null)
    );
    assert!(
        conditions.iter().all(|condition| condition["type"] != "PodScheduled"),
        "unchanged ones are left out"
    );
}

/// A running pod whose container asks for so much cpu, and what the provider said of that; `before` is its status so far.
fn resized(cpu: &str, generation: i64, taken: i64, resize: Option<ResizeOutcome>, before: &PodStatus) -> PodStatus {
    let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": "4"}});
    let containers = json!([{"name": "a", "resources": resources}]);
    let mut case = Case::new(json!({"restartPolicy": "Always", "containers": containers}))
        .reports(vec![running("a")])
        .after(before);
    (case.generation, case.taken, case.resize) = (generation, taken, resize);
    case.status()
}

fn cpu_given(status: &PodStatus) -> (&str, &str) {
    let container = &status.container_statuses[0];
    let given = &container.resources.as_ref().unwrap().requests["cpu"];
    (given, &container.allocated_resources["cpu"])
}

fn deferred() -> Option<ResizeOutcome> {
    let message = "no room now".to_owned();
    Some(ResizeOutcome::Deferred { message })
}

fn infeasible() -> Option<ResizeOutcome> {
    let message = "a size that is not sold".to_owned();
    Some(ResizeOutcome::Infeasible { message })
}

#[test]
fn a_container_shows_the_resources_that_it_was_given() {
    let one = resized("1", 1, 1, Some(ResizeOutcome::Done), &PodStatus::default());
    assert_eq!(cpu_given(&one), ("1", "1"));
    // The manifest has changed, and the provider was not asked yet.
    let asked = resized("2", 2, 1, Some(ResizeOutcome::Done), &one);
    assert_eq!(cpu_given(&asked), ("1", "1"));
    assert!(asked.condition("PodResizePending").is_none());
    let done = resized("2", 2, 2, Some(ResizeOutcome::Done), &asked);
    assert_eq!(cpu_given(&done), ("2", "2"));
    assert!(done.condition("PodResizePending").is_none());
}

#[test]
fn a_container_without_resources_shows_empty_ones() {
    let status = Case::containers("Always", &["a"]).reports(vec![running("a")]).status();
    assert_eq!(status.container_statuses[0].resources, Some(Default::default()));
}

#[test]
fn a_resize_that_was_not_made_is_a_condition_until_it_is_made_or_taken_back() {
    let one = resized("1", 1, 1, None, &PodStatus::default());
    for (outcome, reason) in [(deferred(), "Deferred"), (infeasible(), "Infeasible")] {
        let pending = resized("2", 2, 2, outcome.clone(), &one);
        assert_eq!(condition(&pending, "PodResizePending"), ("True", reason));
        assert_eq!(
            pending.condition("PodResizePending").unwrap().observed_generation,
            Some(2)
        );
        assert_eq!(cpu_given(&pending), ("1", "1"));

        let made = resized("2", 2, 2, Some(ResizeOutcome::Done), &pending);
        assert_eq!(cpu_given(&made), ("2", "2"));
        let taken_back = resized("1", 3, 3, Some(ResizeOutcome::Done), &pending);
        assert_eq!(cpu_given(&taken_back), ("1", "1"));
        for after in [made, taken_back] {
            assert!(after.condition("PodResizePending").is_none(), "{after:?}");
            assert!(!patch::is_current(&after, &pending));
            let body: Value = serde_json::from_slice(&patch::body("u", None, &after, &pending).unwrap()).unwrap();
            let conditions = body["status"]["conditions"].as_array().unwrap();
            assert!(
                conditions.contains(&json!({"$patch": "delete", "type": "PodResizePending"})),
                "{body}"
            );
        }
    }
}

#[test]
fn a_restarted_host_goes_on_with_the_resize_that_the_status_shows() {
    let one = resized("1", 1, 1, None, &PodStatus::default());
    let pending = resized("2", 2, 2, deferred(), &one);
    let after = resized("2", 2, 2, None, &pending);
    assert_eq!(cpu_given(&after), ("1", "1"));
    assert!(patch::is_current(&after, &pending), "{after:?}");
    assert!(super::resize::is_deferred(&after));
}

#[test]
fn an_update_that_a_provider_cannot_make_is_no_resize_where_the_resources_are_the_same() {
    let one = resized("1", 1, 1, None, &PodStatus::default());
    let after = resized("1", 2, 2, infeasible(), &one);
    assert!(after.condition("PodResizePending").is_none());
    assert_eq!(cpu_given(&after), ("1", "1"));
}

#[test]
fn a_phase_is_not_final_while_something_runs() {
    // The main container has done its work, one for debugging runs on.
    let mut case = Case::containers("Never", &["main"]).reports(vec![ended("main", 0)]);
    case.spec["ephemeralContainers"] = json!([{ "name": "debug", "image": "i" }]);
    case.status = json!({ "phase": "Running" });
    let report = case.report.as_mut().unwrap();
    report.ephemeral_containers = vec![running("debug")];
    let desired = case.desired();
    assert!(desired.finishing);
    assert_eq!(desired.status.phase, Phase::Running);
    // The provider no longer has it, whatever it said last: there is nothing to wait for.
    case.may_run = false;
    let desired = case.desired();
    assert_eq!((desired.finishing, desired.status.phase), (false, Phase::Succeeded));
    case.may_run = true;
    let report = case.report.as_mut().unwrap();
    report.ephemeral_containers = vec![ended("debug", 137)];
    let desired = case.desired();
    assert!(!desired.finishing);
    assert_eq!(desired.status.phase, Phase::Succeeded);
}

#[test]
fn what_has_not_started_is_not_ready_nor_an_init_container_that_runs() {
    let starting = |name| ContainerReport {
        started: false,
        ..running(name)
    };
    let status = Case::containers("Always", &["a"]).reports(vec![starting("a")]).status();
    assert!(!status.container_statuses[0].ready);
    assert_eq!(condition(&status, "Ready").0, "False");

    let ready = |case: &Case| -> Vec<bool> {
        let statuses = case.status().init_container_statuses;
        statuses.iter().map(|status| status.ready).collect()
    };
    let mut case = Case::containers("Always", &["a"]).reports(vec![]);
    case.spec["initContainers"] =
        json!([{ "name": "init", "image": "i" }, { "name": "side", "image": "i", "restartPolicy": "Always" }]);
    let report = case.report.as_mut().unwrap();
    report.init_containers = vec![running("init"), starting("side")];
    assert_eq!(ready(&case), [false, false]);
    let report = case.report.as_mut().unwrap();
    report.init_containers = vec![ended("init", 0), running("side")];
    assert_eq!(ready(&case), [true, true]);
}
