use super::tests::{World, at, one};
use outrigger_plugin::{ContainerState, Termination};
use serde_json::json;

/// Nanoseconds of CPU time of the only container, and what it uses now.
fn used(world: &World, seconds: f64) -> (u64, u64) {
    let usage = world.engine.usage("node", at(seconds)).remove(0).usage;
    (usage.cpu_core_nanoseconds.unwrap(), usage.cpu_nanocores.unwrap())
}

#[test]
fn cpu_time_rises_with_the_rate_of_its_time() {
    let mut world = World::new(&[("cpu", "2")], one("Always"));
    assert_eq!(used(&world, 3.0), (6_000_000_000, 2_000_000_000));
    world.update(10.0, &[("cpu", "100m")], one("Always"));
    assert_eq!(used(&world, 10.0), (20_000_000_000, 100_000_000));
    assert_eq!(used(&world, 20.0), (21_000_000_000, 100_000_000));
    world.update(20.0, &[("cpu", "1")], one("Always"));
    assert_eq!(used(&world, 21.0).0, 22_000_000_000);
}

#[test]
fn cpu_time_begins_anew_with_each_run() {
    let mut world = World::new(&[("cpu", "1"), ("runTime", "10s")], one("Always"));
    assert_eq!(used(&world, 9.0).0, 9_000_000_000);
    world.after(12.0);
    let usage = world.engine.usage("node", at(12.0)).remove(0);
    assert_eq!(usage.started_at, at(10.0));
    assert_eq!(usage.usage.cpu_core_nanoseconds, Some(2_000_000_000));
}

#[test]
fn a_pod_is_open_where_its_containers_run() {
    let manifest = json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "prepare", "ports": [{"containerPort": 1}]}],
        "containers": [{
            "name": "app",
            "stdin": true,
            "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
        }],
    });
    let mut world = World::new(&[("runTime", "10s")], manifest.clone());
    let doors = |world: &World| {
        let doors = world.engine.doors(&world.identity).unwrap();
        let facts = |door: super::Door| (door.container, door.run, door.stdin, door.ports);
        doors.into_iter().map(facts).collect::<Vec<_>>()
    };
    let closed = ("prepare".to_owned(), None, false, vec![1]);
    let app = |run| ("app".to_owned(), run, true, vec![80]);
    assert_eq!(doors(&world), [closed.clone(), app(Some(0))]);
    world.after(10.0);
    assert_eq!(doors(&world), [closed, app(None)]);
    world.engine.remove(&world.identity.uid);
    assert!(world.engine.doors(&world.identity).is_err());
}

#[test]
fn a_run_has_a_number_of_its_own() {
    let mut world = World::new(&[("runTime", "10s"), ("backOff", "1ms")], one("Always"));
    let run = |world: &World| world.engine.doors(&world.identity).unwrap()[0].run;
    assert_eq!(run(&world), Some(0));
    world.after(11.0);
    assert_eq!(run(&world), Some(1));
}

#[test]
fn what_has_happened_is_told_the_same_after_an_update() {
    let then = [
        ("runTime", "5s"),
        ("signal", "9"),
        ("reason", "OOMKilled"),
        ("message", "all gone"),
        ("logRate", "3"),
        ("logLineBytes", "80"),
    ];
    let now = [
        ("reason", "Other"),
        ("message", "fine"),
        ("logRate", "7"),
        ("vanishAfter", "1s"),
    ];
    let ended = |world: &mut World| -> [Option<Termination>; 2] {
        let app = world.after(11.0).containers.remove(0);
        let newest = match app.state {
            ContainerState::Terminated(end) => Some(end),
            _ => None,
        };
        [newest, app.last_termination]
    };
    let log = |world: &World, previous| world.engine.log_source(&world.identity, "app", previous).unwrap();
    for policy in ["Always", "Never"] {
        let mut world = World::new(&then, one(policy));
        let (before, runs) = (ended(&mut world), policy == "Always");
        let log_before = log(&world, runs);
        assert_eq!((log_before.rate, log_before.line_bytes), (3.0, 80));
        let end = before.iter().flatten().next().unwrap();
        assert_eq!((&*end.reason, &*end.message, end.signal), ("OOMKilled", "all gone", 9));
        world.update(11.0, &now, one(policy));
        assert_eq!(ended(&mut world), before, "{policy}");
        assert_eq!(log(&world, runs), log_before, "{policy}");
    }
}

/// As it was written before ends had their behaviour, but for keys with their defaults.
#[test]
fn an_older_journal_can_be_read() {
    let behaviour = json!({"runTime": "20ms", "exitCode": 3, "reason": "OOMKilled"});
    let old = json!({
        "identity": {"cluster": "c", "node": "n", "namespace": "ns", "name": "web", "uid": "u"},
        "stage": "up",
        "containers": [{
            "spec": {
                "name": "app", "image": "app:1", "kind": "regular", "restart_policy": null, "resources": 0,
                "restarts": 0, "ports": [80], "stdin": false, "behaviour": behaviour,
            },
            "run": {"backOff": {"until": null, "pause": "never"}},
            "end": {"run": 1, "started": 1_000, "finished": 1_020, "cause": "natural", "exit_code": 3},
            "previous": null, "restarts": 1, "in_a_row": 2, "cpu": {"since": 1_000, "used": 0},
        }],
        "addresses": ["10.9.0.100"],
        "behaviour": behaviour,
        "ranges": ["10.9.0.0/24"],
        "restart_policy": "Always",
        "grace": {"secs": 30, "nanos": 0},
        "addresses_change_at": null,
        "vanishes_at": null,
    });
    let pod: super::Pod = serde_json::from_value(old.clone()).unwrap();
    let report = super::report::report(&pod);
    assert_eq!(report.ips.len(), 1);
    let last = report.containers[0].last_termination.as_ref().unwrap();
    assert_eq!((&*last.reason, last.exit_code), ("OOMKilled", 3));
    let written = serde_json::to_value(&pod).unwrap();
    let keys = |pod: &serde_json::Value| pod.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&written), keys(&old));
}
