use super::*;
use crate::{
    annotations::Defaults,
    behaviour::{Behaviour, Resize},
    dice,
    engine::spec::{ContainerSpec, Kind, RestartPolicy},
    manifest::{self, Surroundings},
};
use outrigger_plugin::{ContainerReport, ContainerState, PodRequest, ResizeOutcome, Termination};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

const START: Timestamp = Timestamp(1_000_000);

pub(super) fn at(seconds: f64) -> Timestamp {
    Timestamp(START.0 + (seconds * 1_000.0) as i64)
}

fn request(uid: &str, annotations: &[(&str, &str)], spec: Value) -> PodRequest {
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .map(|(key, value)| match key.split_once('/') {
            Some((container, key)) => (format!("{container}.mock.outrigger.dev/{key}"), *value),
            None => (format!("mock.outrigger.dev/{key}"), *value),
        })
        .collect();
    let pod = json!({"metadata": {"annotations": annotations}, "spec": spec});
    PodRequest {
        identity: PodIdentity {
            cluster: "cluster".into(),
            node: "node".into(),
            namespace: "default".into(),
            name: format!("pod-{uid}"),
            uid: uid.into(),
        },
        pod: serde_json::value::to_raw_value(&pod).unwrap(),
        materials: Default::default(),
        restart_counts: BTreeMap::new(),
        ended: BTreeMap::new(),
    }
}

fn around() -> Surroundings {
    Surroundings {
        seed: 0,
        defaults: Defaults::new(Behaviour::default()),
        ranges: vec!["10.9.0.0/24".parse().unwrap()],
    }
}

fn spec(annotations: &[(&str, &str)], spec: Value) -> PodSpec {
    manifest::read(&request("1", annotations, spec), &around()).unwrap()
}

/// A pod with one container `app`.
pub(super) fn one(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "app", "image": "example.com/app:1"}]})
}

/// An engine with one pod, made at [`START`].
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) identity: PodIdentity,
}

impl World {
    pub(super) fn new(annotations: &[(&str, &str)], manifest: Value) -> Self {
        let mut engine = Engine::default();
        let spec = spec(annotations, manifest);
        let identity = spec.identity.clone();
        assert_eq!(engine.create(spec, START).unwrap().1, Made::New);
        Self { engine, identity }
    }

    /// Its state so many seconds after its making.
    pub(super) fn after(&mut self, seconds: f64) -> PodReport {
        self.engine.advance(at(seconds), usize::MAX);
        self.engine.get(&self.identity).unwrap()
    }

    pub(super) fn stop(&mut self, seconds: f64, grace: u64) -> PodReport {
        self.engine.advance(at(seconds), usize::MAX);
        self.engine
            .stop(&self.identity, Duration::from_secs(grace), at(seconds))
            .unwrap()
    }

    pub(super) fn update(&mut self, seconds: f64, annotations: &[(&str, &str)], manifest: Value) -> UpdateOutcome {
        self.engine.advance(at(seconds), usize::MAX);
        self.engine.update(spec(annotations, manifest), at(seconds)).unwrap()
    }
}

fn find<'a>(report: &'a PodReport, name: &str) -> &'a ContainerReport {
    report
        .init_containers
        .iter()
        .chain(&report.containers)
        .chain(&report.ephemeral_containers)
        .find(|container| container.name == name)
        .unwrap()
}

fn runs(report: &PodReport, name: &str) -> bool {
    matches!(find(report, name).state, ContainerState::Running { .. })
}

fn waits<'a>(report: &'a PodReport, name: &str) -> &'a str {
    match &find(report, name).state {
        ContainerState::Waiting { reason, .. } => reason,
        other => panic!("{name} does not wait: {other:?}"),
    }
}

fn ended<'a>(report: &'a PodReport, name: &str) -> &'a Termination {
    match &find(report, name).state {
        ContainerState::Terminated(end) => end,
        other => panic!("{name} has not ended: {other:?}"),
    }
}

#[test]
fn a_plain_pod_runs_at_once_and_needs_no_timer() {
    let mut world = World::new(&[], one("Always"));
    assert_eq!(world.engine.next(), None);
    let report = world.after(0.0);
    let app = find(&report, "app");
    assert_eq!(app.state, ContainerState::Running { started_at: START });
    assert!(app.ready && app.started);
    assert_eq!(report.ips.len(), 1);
    assert!(app.container_id.starts_with("mock://"), "{}", app.container_id);
    assert!(app.image_id.starts_with("example.com/app@sha256:"), "{}", app.image_id);
}

#[test]
fn creating_again_changes_nothing() {
    let mut world = World::new(&[("runTime", "10s")], one("Never"));
    let before = world.after(1.0);
    let (report, made) = world.engine.create(spec(&[], one("Never")), at(2.0)).unwrap();
    assert_eq!(made, Made::Repeated);
    assert_eq!(report.containers, before.containers);
    assert!(report.sequence > before.sequence);
    assert_eq!(world.engine.next(), Some(at(10.0)));
}

#[test]
fn a_start_takes_its_time_and_shows_no_address_before() {
    let mut world = World::new(&[("startDelay", "5s"), ("readyDelay", "2s")], one("Always"));
    let report = world.after(4.9);
    assert_eq!(waits(&report, "app"), "ContainerCreating");
    assert!(report.ips.is_empty());
    let report = world.after(5.0);
    assert!(runs(&report, "app") && !find(&report, "app").ready && find(&report, "app").started);
    assert_eq!(report.ips.len(), 1);
    assert!(find(&world.after(7.0), "app").ready);
    assert_eq!(world.engine.next(), None);
}

#[test]
fn jitter_is_the_same_each_time_and_stays_in_its_bounds() {
    let jitter = [("startDelay", "1s"), ("startJitter", "2s")];
    let delay = |uid: &str, seed| {
        let around = Surroundings { seed, ..around() };
        let spec = manifest::read(&request(uid, &jitter, one("Always")), &around).unwrap();
        spec.start_delay.finite().unwrap()
    };
    let delays: HashSet<_> = (0..100).map(|uid: u32| delay(&uid.to_string(), 7)).collect();
    assert!(delays.len() > 90, "{} different delays of 100", delays.len());
    assert!(delays.iter().all(|delay| (1_000..3_000).contains(&delay.as_millis())));
    assert_eq!(delay("a", 7), delay("a", 7));
    assert_ne!(delay("a", 7), delay("a", 8));
}

#[test]
fn a_job_ends_with_what_was_declared() {
    let declared = [
        ("runTime", "3s"),
        ("exitCode", "42"),
        ("reason", "OOMKilled"),
        ("message", "all gone"),
    ];
    let mut world = World::new(&declared, one("Never"));
    let report = world.after(10.0);
    let end = ended(&report, "app");
    assert_eq!(
        (end.exit_code, &*end.reason, &*end.message),
        (42, "OOMKilled", "all gone")
    );
    assert_eq!((end.started_at, end.finished_at), (Some(START), at(3.0)));
    assert_eq!(find(&report, "app").restart_count, 0);
    assert!(!find(&report, "app").ready);
    assert!(world.engine.has_stopped("1"));
    let report = world.stop(20.0, 30);
    assert_eq!(ended(&report, "app").finished_at, at(3.0));
}

#[test]
fn a_signal_gives_its_code() {
    let mut world = World::new(&[("runTime", "1s"), ("signal", "11")], one("Never"));
    let report = world.after(1.0);
    let end = ended(&report, "app");
    assert_eq!((end.exit_code, end.signal, &*end.reason), (139, 11, "Error"));
}

#[test]
fn restart_policies_are_honoured() {
    for (policy, code, restarted) in [
        ("Always", "0", true),
        ("Always", "1", true),
        ("OnFailure", "0", false),
        ("OnFailure", "1", true),
        ("Never", "0", false),
        ("Never", "1", false),
    ] {
        let mut world = World::new(&[("runTime", "5s"), ("exitCode", code)], one(policy));
        let report = world.after(6.0);
        let app = find(&report, "app");
        assert_eq!(runs(&report, "app"), restarted, "{policy} after exit code {code}");
        assert_eq!(app.restart_count, u32::from(restarted));
        assert_eq!(app.last_termination.is_some(), restarted);
    }
}

#[test]
fn a_container_can_have_a_policy_of_its_own() {
    let containers = json!([{"name": "a", "restartPolicy": "Never"}, {"name": "b"}]);
    let manifest = json!({"restartPolicy": "Always", "containers": containers});
    let mut world = World::new(&[("runTime", "5s")], manifest);
    let report = world.after(6.0);
    assert_eq!(ended(&report, "a").exit_code, 0);
    assert!(runs(&report, "b"));
}

#[test]
fn a_crash_loop_backs_off_as_a_kubelet_does() {
    let mut world = World::new(&[("runTime", "1s"), ("exitCode", "1")], one("Always"));
    // Ends at 1, starts at once, ends at 2, waits 10, runs 12-13, waits 20, runs 33-34, waits 40, runs 74-75, waits 80.
    for (seconds, restarts, running) in [
        (0.5, 0, true),
        (1.5, 1, true),
        (2.0, 1, false),
        (11.9, 1, false),
        (12.0, 2, true),
        (13.0, 2, false),
        (33.0, 3, true),
        (73.9, 3, false),
        (74.0, 4, true),
        (75.0, 4, false),
    ] {
        let report = world.after(seconds);
        assert_eq!(find(&report, "app").restart_count, restarts, "after {seconds} s");
        assert_eq!(runs(&report, "app"), running, "after {seconds} s");
        if !running {
            assert_eq!(waits(&report, "app"), "CrashLoopBackOff");
            let last = find(&report, "app").last_termination.as_ref().unwrap();
            assert_eq!(last.exit_code, 1);
        }
    }
    // In the end it waits the maximum between runs.
    world.after(10_000.0);
    let before = find(&world.after(10_000.0), "app").restart_count;
    let after = find(&world.after(10_000.0 + 3_010.0), "app").restart_count;
    assert_eq!(after - before, 10);
}

#[test]
fn the_back_off_can_be_scaled_and_forgets() {
    let scaled = [
        ("runTime", "1s"),
        ("exitCode", "1"),
        ("backOff", "10ms"),
        ("backOffMax", "40ms"),
    ];
    // Each run lasts for more than twice the maximum: every restart is a first one, at once.
    let mut world = World::new(&scaled, one("Always"));
    assert_eq!(find(&world.after(10.5), "app").restart_count, 10);
    let never = [("runTime", "1s"), ("backOff", "never"), ("backOffMax", "never")];
    let mut world = World::new(&never, one("Always"));
    assert_eq!(waits(&world.after(1e6), "app"), "CrashLoopBackOff");
    assert_eq!(find(&world.after(1e6), "app").restart_count, 1);
}

#[test]
fn a_container_that_ends_at_once_still_pauses() {
    let mut world = World::new(&[("runTime", "0"), ("backOff", "1s")], one("Always"));
    let report = world.after(0.0);
    assert_eq!(waits(&report, "app"), "CrashLoopBackOff");
    assert_eq!(find(&report, "app").restart_count, 1);
}

fn with_init() -> Value {
    json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "first"},
            {"name": "proxy", "restartPolicy": "Always"},
            {"name": "second"},
        ],
        "containers": [{"name": "app"}],
    })
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let slow = [("first/runTime", "1s"), ("second/runTime", "2s"), ("runTime", "10s")];
    let mut world = World::new(&slow, with_init());
    let report = world.after(0.5);
    assert!(runs(&report, "first"));
    for waiting in ["proxy", "second", "app"] {
        assert_eq!(waits(&report, waiting), "PodInitializing");
    }
    let report = world.after(1.5);
    assert_eq!(ended(&report, "first").exit_code, 0);
    assert!(find(&report, "first").ready);
    assert!(runs(&report, "proxy") && runs(&report, "second"));
    assert_eq!(waits(&report, "app"), "PodInitializing");
    let report = world.after(3.0);
    assert!(runs(&report, "proxy") && runs(&report, "app"));
    // The last regular container has ended for good: the sidecar is stopped, the pod is done.
    let report = world.after(13.0);
    assert_eq!(ended(&report, "app").finished_at, at(13.0));
    assert_eq!(ended(&report, "proxy").exit_code, 0);
    assert!(world.engine.has_stopped("1"));
}

#[test]
fn without_delays_all_of_that_happens_at_once() {
    let mut world = World::new(&[], with_init());
    let report = world.after(0.0);
    assert!(runs(&report, "proxy") && runs(&report, "app"));
    assert_eq!(ended(&report, "second").exit_code, 0);
    assert_eq!(world.engine.next(), None);
}

#[test]
fn a_failed_init_container_ends_the_pod_or_is_tried_again() {
    let failing = [("second/exitCode", "3"), ("second/runTime", "1s")];
    let mut world = World::new(&failing, with_init());
    let report = world.after(1.0);
    assert_eq!(ended(&report, "second").exit_code, 3);
    assert_eq!(waits(&report, "app"), "PodInitializing");
    assert_eq!(ended(&report, "proxy").exit_code, 0);
    assert!(world.engine.has_stopped("1"));

    let mut again = with_init();
    again["restartPolicy"] = json!("Always");
    let mut world = World::new(&failing, again);
    let report = world.after(1.5);
    assert!(runs(&report, "second"));
    assert_eq!(find(&report, "second").restart_count, 1);
    assert_eq!(waits(&report, "app"), "PodInitializing");
}

#[test]
fn a_stop_without_delay_ends_at_once() {
    let mut world = World::new(&[], with_init());
    let report = world.stop(5.0, 30);
    assert!(report.all_ended());
    let end = ended(&report, "app");
    assert_eq!(
        (end.exit_code, end.finished_at, &*end.reason),
        (0, at(5.0), "Completed")
    );
    assert_eq!(ended(&report, "proxy").finished_at, at(5.0));
    assert!(world.engine.has_stopped("1"));
    assert_eq!(world.after(6.0).ips.len(), 1, "the address stays until the removal");
}

#[test]
fn a_stop_takes_its_time_with_its_code() {
    let mut world = World::new(&[("stopDelay", "4s"), ("stopExitCode", "143")], one("Always"));
    let report = world.stop(1.0, 30);
    assert!(runs(&report, "app") && !world.engine.has_stopped("1"));
    let report = world.after(5.0);
    let end = ended(&report, "app");
    assert_eq!((end.exit_code, end.finished_at, &*end.reason), (143, at(5.0), "Error"));
    assert_eq!(find(&report, "app").restart_count, 0, "a stopping pod restarts nothing");
}

#[test]
fn who_ignores_the_signal_is_killed_at_the_end_of_the_grace_period() {
    let mut world = World::new(&[("stopDelay", "never")], one("Always"));
    world.stop(1.0, 30);
    assert!(runs(&world.after(30.9), "app"));
    let report = world.after(31.0);
    assert_eq!(ended(&report, "app").exit_code, 137);

    // A shorter one that comes later counts, a longer one does not.
    let mut world = World::new(&[("stopDelay", "never")], one("Always"));
    world.stop(1.0, 30);
    world.stop(2.0, 5);
    world.stop(3.0, 60);
    let report = world.after(60.0);
    let end = ended(&report, "app");
    assert_eq!((end.exit_code, end.finished_at), (137, at(7.0)));

    let mut world = World::new(&[("stopDelay", "never")], one("Always"));
    assert_eq!(ended(&world.stop(1.0, 0), "app").exit_code, 137);
}

#[test]
fn sidecars_are_stopped_last_within_the_same_grace_period() {
    let slow = [("stopDelay", "2s"), ("proxy/stopDelay", "3s")];
    let mut world = World::new(&slow, with_init());
    world.stop(10.0, 30);
    let report = world.after(12.5);
    assert_eq!(ended(&report, "app").finished_at, at(12.0));
    assert!(runs(&report, "proxy"));
    assert_eq!(ended(&world.after(20.0), "proxy").finished_at, at(15.0));

    let mut world = World::new(&slow, with_init());
    world.stop(10.0, 4);
    let report = world.after(20.0);
    let end = ended(&report, "proxy");
    assert_eq!((end.exit_code, end.finished_at), (137, at(14.0)));
}

#[test]
fn a_stop_ends_a_crash_loop_and_a_start() {
    let mut world = World::new(&[("runTime", "0"), ("exitCode", "7")], one("Always"));
    assert_eq!(ended(&world.stop(1.0, 30), "app").exit_code, 7);
    assert_eq!(world.engine.next(), None);

    let mut world = World::new(&[("startDelay", "never")], one("Always"));
    let report = world.stop(1.0, 30);
    assert_eq!(waits(&report, "app"), "ContainerCreating");
    assert!(report.all_ended() && report.ips.is_empty() && world.engine.has_stopped("1"));
}

#[test]
fn removing_frees_the_address_and_can_be_repeated() {
    let mut engine = Engine::default();
    let around = Surroundings {
        ranges: vec!["10.9.0.4/32".parse().unwrap()],
        ..around()
    };
    let spec = |uid: &str| manifest::read(&request(uid, &[], one("Always")), &around).unwrap();
    engine.create(spec("1"), START).unwrap();
    let error = engine.create(spec("2"), START).unwrap_err();
    assert_eq!(error.code, ErrorCode::RetryAfter(Duration::from_secs(1)));
    assert!(engine.remove("1"));
    assert!(!engine.remove("1"));
    engine.create(spec("2"), START).unwrap();
    assert_eq!(engine.get(&spec("1").identity).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn on_the_nodes_network_a_pod_has_no_address_of_its_own() {
    let mut manifest = one("Always");
    manifest["hostNetwork"] = json!(true);
    assert!(World::new(&[], manifest).after(0.0).ips.is_empty());
}

#[test]
fn addresses_change_once() {
    let mut world = World::new(&[("ipChangeAfter", "5s")], one("Always"));
    let before = world.after(4.0).ips;
    let changes = world.engine.advance(at(5.0), usize::MAX);
    let [Change::Report(report)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_ne!(report.ips, before);
    assert_eq!(world.after(1e6).ips, report.ips);
}

#[test]
fn a_pod_vanishes_and_stays_when_it_is_made_again() {
    let mut world = World::new(&[("vanishAfter", "5s")], one("Always"));
    let changes = world.engine.advance(at(5.0), usize::MAX);
    let gone = Change::Gone {
        identity: world.identity.clone(),
        silently: false,
    };
    assert_eq!(changes, [gone]);
    assert_eq!(world.engine.get(&world.identity).unwrap_err().code, ErrorCode::NotFound);

    let mut again = request("1", &[("vanishAfter", "5s")], one("Always"));
    again.restart_counts.insert("app".into(), 3);
    world
        .engine
        .create(manifest::read(&again, &around()).unwrap(), at(6.0))
        .unwrap();
    assert_eq!(find(&world.after(1e6), "app").restart_count, 3);

    let mut silent = World::new(&[("vanishAfter", "5s"), ("vanishSilently", "true")], one("Always"));
    let changes = silent.engine.advance(at(5.0), usize::MAX);
    assert!(matches!(&changes[..], [Change::Gone { silently: true, .. }]));
}

#[test]
fn another_image_restarts_its_container_alone() {
    let containers = |image: &str| json!([{"name": "a", "image": image}, {"name": "b", "image": "b:1"}]);
    let manifest = |image: &str| json!({"restartPolicy": "Always", "containers": containers(image)});
    let mut world = World::new(&[("stopExitCode", "143")], manifest("a:1"));
    let outcome = world.update(5.0, &[("stopExitCode", "143")], manifest("a:2"));
    assert_eq!(outcome.resize, None);
    let a = find(&outcome.report, "a");
    assert_eq!((a.restart_count, &*a.image), (1, "a:2"));
    assert_eq!(a.state, ContainerState::Running { started_at: at(5.0) });
    assert_eq!(a.last_termination.as_ref().unwrap().exit_code, 143);
    assert_eq!(find(&outcome.report, "b").restart_count, 0);
    // The same again changes nothing.
    let outcome = world.update(6.0, &[], manifest("a:2"));
    assert_eq!(find(&outcome.report, "a").restart_count, 1);
}

#[test]
fn a_resize_has_the_declared_outcome() {
    let manifest = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": "4"}});
        json!({"containers": [{"name": "app", "resources": resources}]})
    };
    let mut world = World::new(&[], manifest("1"));
    assert_eq!(world.update(1.0, &[], manifest("1")).resize, None);
    assert_eq!(world.update(2.0, &[], manifest("2")).resize, Some(ResizeOutcome::Done));
    assert_eq!(world.update(3.0, &[], manifest("2")).resize, None);
    let deferred = world.update(4.0, &[("resize", "deferred")], manifest("3")).resize;
    assert!(matches!(deferred, Some(ResizeOutcome::Deferred { .. })));
    let infeasible = world.update(5.0, &[("resize", "infeasible")], manifest("3")).resize;
    assert!(matches!(infeasible, Some(ResizeOutcome::Infeasible { .. })));
    assert_eq!(world.update(6.0, &[], manifest("3")).resize, Some(ResizeOutcome::Done));
}

#[test]
fn debug_containers_come_later_and_are_not_restarted() {
    let mut world = World::new(&[], one("Always"));
    let mut manifest = one("Always");
    manifest["ephemeralContainers"] = json!([{"name": "debug"}]);
    let outcome = world.update(5.0, &[("debug/runTime", "2s")], manifest);
    assert!(runs(&outcome.report, "debug"));
    assert_eq!(outcome.report.ephemeral_containers.len(), 1);
    assert_eq!(ended(&world.after(7.0), "debug").exit_code, 0);
    assert!(runs(&world.after(1e6), "app"));
}

#[test]
fn logs_belong_to_runs() {
    let mut world = World::new(&[("runTime", "5s"), ("exitCode", "1"), ("logRate", "3")], one("Always"));
    world.after(6.0);
    let source = |world: &World, previous| world.engine.log_source(&world.identity, "app", previous).unwrap();
    let newest = source(&world, false);
    assert_eq!(
        (newest.run, newest.started, newest.ended, newest.rate),
        (1, at(5.0), None, 3.0)
    );
    let previous = source(&world, true);
    assert_eq!(
        (previous.run, previous.started, previous.ended),
        (0, START, Some(at(5.0)))
    );
    let missing = world.engine.log_source(&world.identity, "ghost", false).unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);

    let fresh = World::new(&[("startDelay", "1s")], one("Always"));
    let early = fresh.engine.log_source(&fresh.identity, "app", false).unwrap_err();
    assert_eq!(early.code, ErrorCode::Invalid);
    assert!(early.message.contains("waits to be started"), "{}", early.message);
}

#[test]
fn usage_is_of_running_containers_of_the_node() {
    let world = World::new(&[("cpu", "500m"), ("memory", "1Mi")], with_init());
    let usage = world.engine.usage("node", at(2.0));
    let names: HashSet<_> = usage.iter().map(|usage| usage.container.as_str()).collect();
    assert_eq!(names, HashSet::from(["app", "proxy"]));
    let app = usage.iter().find(|usage| usage.container == "app").unwrap();
    assert_eq!(app.usage.cpu_core_nanoseconds, Some(1_000_000_000));
    assert_eq!(app.usage.memory_working_set_bytes, Some(1 << 20));
    assert!(world.engine.usage("other", at(2.0)).is_empty());
}

#[test]
fn a_pod_survives_being_written_down() {
    let mut world = World::new(
        &[("runTime", "3s"), ("exitCode", "1"), ("vanishAfter", "1h")],
        with_init(),
    );
    world.after(1.0);
    let text = serde_json::to_string(world.engine.pod("1").unwrap()).unwrap();
    let mut other = Engine::default();
    other.restore(serde_json::from_str(&text).unwrap());
    assert_eq!(other.pod("1"), world.engine.pod("1"));
    assert_eq!(other.next(), world.engine.next());
    let address = other.get(&world.identity).unwrap().ips;
    let mut pools = HashSet::from([address]);
    for uid in 2..200 {
        let spec = manifest::read(&request(&uid.to_string(), &[], one("Always")), &around()).unwrap();
        let (report, _) = other.create(spec, START).unwrap();
        assert!(pools.insert(report.ips), "an address was given twice");
    }
}

/// Any pod: what it declares comes from the number.
fn any_pod(number: u64) -> PodSpec {
    let pick = |of: &str, choices: &[&'static str]| choices[dice::hash(number, [of]) as usize % choices.len()];
    let annotations = [
        ("startDelay", pick("start", &["0", "1s", "20s"])),
        ("runTime", pick("run", &["0", "1s", "7s", "never"])),
        ("exitCode", pick("code", &["0", "1"])),
        ("readyDelay", pick("ready", &["0", "2s", "never"])),
        ("stopDelay", pick("stop", &["0", "3s", "never"])),
        ("backOff", pick("back", &["100ms", "5s"])),
        ("ipChangeAfter", pick("ip", &["never", "15s"])),
        ("vanishAfter", pick("vanish", &["never", "never", "40s"])),
        ("first/runTime", pick("first", &["0", "2s"])),
        ("second/exitCode", pick("second", &["0", "0", "2"])),
        ("proxy/runTime", pick("proxy", &["never", "4s"])),
    ];
    let mut manifest = with_init();
    manifest["restartPolicy"] = json!(pick("policy", &["Always", "OnFailure", "Never"]));
    let mut spec = spec(&annotations, manifest);
    spec.identity.uid = number.to_string();
    spec
}

#[test]
fn it_makes_no_difference_how_often_time_is_looked_at() {
    for number in 0..300 {
        let (mut often, mut once) = (Engine::default(), Engine::default());
        for engine in [&mut often, &mut once] {
            engine.create(any_pod(number), START).unwrap();
        }
        let stop_at = (dice::hash(number, ["stop at"]) % 60) as f64;
        let identity = any_pod(number).identity;
        let mut tick = 0.0;
        while tick < stop_at {
            often.advance(at(tick), usize::MAX);
            tick += 0.35;
        }
        for engine in [&mut often, &mut once] {
            engine.advance(at(stop_at), usize::MAX);
            let stopped = engine.stop(&identity, Duration::from_secs(9), at(stop_at));
            assert_eq!(stopped.is_ok(), engine.pod(&identity.uid).is_some());
        }
        while tick < 100.0 {
            often.advance(at(tick), usize::MAX);
            tick += 0.35;
        }
        for engine in [&mut often, &mut once] {
            engine.advance(at(100.0), usize::MAX);
        }
        assert_eq!(often.pod(&identity.uid), once.pod(&identity.uid), "pod {number}");
    }
}

#[test]
fn every_state_on_the_way_makes_sense() {
    for number in 0..300 {
        let mut engine = Engine::default();
        let identity = any_pod(number).identity;
        let (mut report, _) = engine.create(any_pod(number), START).unwrap();
        let mut now = START;
        let mut stopped = false;
        for _ in 0..60 {
            check(&report, number);
            let Some(next) = engine.next() else { break };
            assert!(next >= now, "pod {number}: time went back");
            now = next;
            match engine.advance(now, usize::MAX).pop() {
                Some(Change::Report(newer)) => {
                    for (old, new) in report.containers.iter().zip(&newer.containers) {
                        assert!(new.restart_count >= old.restart_count, "pod {number}");
                    }
                    assert!(newer.sequence > report.sequence);
                    report = newer;
                }
                Some(Change::Gone { .. }) => break,
                None => panic!("pod {number}: nothing happened when it was due"),
            }
            if !stopped && now >= at(30.0) {
                report = engine.stop(&identity, Duration::from_secs(9), now).unwrap();
                stopped = true;
            }
        }
        if stopped && engine.pod(&identity.uid).is_some() {
            engine.advance(later_by(now, 10), usize::MAX);
            assert!(
                engine.has_stopped(&identity.uid) || engine.pod(&identity.uid).is_none(),
                "pod {number}"
            );
        }
    }
}

fn later_by(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp(now.0 + seconds * 1_000)
}

fn check(report: &PodReport, number: u64) {
    let initialised = report.init_containers.iter().all(|container| match &container.state {
        ContainerState::Terminated(end) => container.name == "proxy" || end.exit_code == 0,
        ContainerState::Running { .. } => container.name == "proxy",
        ContainerState::Waiting { .. } => container.name == "proxy" && container.restart_count > 0,
    });
    for container in report.containers.iter().chain(&report.init_containers) {
        let running = matches!(container.state, ContainerState::Running { .. });
        assert_eq!(container.started, running, "pod {number}: {container:?}");
        if container.restart_count > 0 && running {
            assert!(container.last_termination.is_some(), "pod {number}: {container:?}");
        }
        if let ContainerState::Terminated(end) = &container.state {
            assert!(
                end.started_at.unwrap() <= end.finished_at,
                "pod {number}: {container:?}"
            );
        }
        if running {
            assert!(!report.ips.is_empty(), "pod {number} runs without an address");
        }
    }
    for app in &report.containers {
        if matches!(app.state, ContainerState::Running { .. }) {
            assert!(
                initialised,
                "pod {number} runs before its init containers are done: {report:?}"
            );
        }
    }
}

#[test]
fn a_simple_pod_is_small() {
    let uids = [
        "a5b0c6a8-7c55-4f0c-9d0c-0d6c9f6d3b11",
        "a5b0c6a8-7c55-4f0c-9d0c-0d6c9f6d3b12",
    ];
    let mut engine = Engine::default();
    for uid in uids {
        let request = request(uid, &[("exitCode", "1")], one("Always"));
        engine
            .create(manifest::read(&request, &around()).unwrap(), START)
            .unwrap();
    }
    let [first, pod] = uids.map(|uid| engine.pod(uid).unwrap());
    assert!(Arc::ptr_eq(&first.template, &pod.template));
    assert!(Arc::ptr_eq(&first.containers[0].spec, &pod.containers[0].spec));
    // What is left is its own. An allocation is rounded up.
    let heap = |bytes: usize| bytes.next_multiple_of(16);
    let PodIdentity {
        cluster,
        node,
        namespace,
        name,
        uid,
    } = &pod.identity;
    let texts = [cluster, node, namespace, name, uid].map(|text| heap(text.len()));
    let place = heap(16 + uid.len()) + 2 * size_of::<(Arc<str>, Box<Entry>)>();
    let total = heap(size_of::<Entry>())
        + heap(size_of_val(&*pod.containers))
        + heap(size_of_val(&*pod.addresses))
        + texts.iter().sum::<usize>()
        + place;
    assert!(
        total <= 640,
        "{total} bytes, of which {} {}",
        size_of::<Entry>(),
        size_of_val(&*pod.containers)
    );
}

#[test]
fn kinds_and_policies_decide_on_restarts() {
    let spec = |kind, restart_policy| ContainerSpec {
        name: "c".into(),
        image: String::new(),
        kind,
        restart_policy,
        restart_rules: Vec::new(),
        resources: 0,
        restarts: 0,
        ended: None,
        ports: Vec::new(),
        stdin: false,
        behaviour: spec::Shared(Arc::new(Behaviour {
            run_time: crate::span::Span::seconds(1),
            resize: Resize::Done,
            ..Behaviour::default()
        })),
    };
    for (kind, own, restarted) in [
        (Kind::Regular, None, true),
        (Kind::Regular, Some(RestartPolicy::OnFailure), false),
        (Kind::Sidecar, Some(RestartPolicy::Always), true),
        (Kind::Ephemeral, None, false),
        (Kind::Init, None, false),
    ] {
        let mut container = container::Container::new(spec(kind, own));
        container.start(START);
        container.step(at(1.0), None, RestartPolicy::Always, false);
        assert_eq!(container.is_running(), restarted, "{kind:?} with {own:?}");
    }
}
