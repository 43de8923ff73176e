use super::tests::{World, at, one};
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
