//! Host name, domain and aliases.

use super::World;
use crate::material::FaultKind;
use outrigger_plugin::Level;
use serde_json::{Value, json};

/// `hostname/domain/what the kernel says`.
fn names(world: &World, spec: Value) -> Result<String, String> {
    let mut spec = spec;
    spec["containers"] = json!([{ "name": "app" }]);
    match world.resolve(&spec) {
        Ok(resolved) => {
            let materials = resolved.materials;
            let kernel = materials.kernel_hostname();
            Ok(format!("{}/{}/{kernel}", materials.hostname, materials.domain))
        }
        Err(held) => {
            assert_eq!(held.faults[0].kind, FaultKind::Sandbox);
            Err(held.faults[0].message.clone())
        }
    }
}

#[test]
fn names_of_a_pod() {
    // kubelet GeneratePodHostNameAndDomain, util GetNodenameForKernel, kuberuntime generatePodSandboxConfig
    let long = "a".repeat(62) + "-bc";
    for (spec, expected) in [
        (json!({}), Ok("web-0//web-0")),
        (json!({ "hostname": "db" }), Ok("db//db")),
        (
            json!({ "subdomain": "pool" }),
            Ok("web-0/pool.shop.svc.cluster.local/web-0"),
        ),
        (
            json!({ "hostname": "db", "subdomain": "pool", "setHostnameAsFQDN": true }),
            Ok("db/pool.shop.svc.cluster.local/db.pool.shop.svc.cluster.local"),
        ),
        (json!({ "setHostnameAsFQDN": true }), Ok("web-0//web-0")),
        (
            json!({ "hostnameOverride": "my.own.name" }),
            Ok("my.own.name//my.own.name"),
        ),
        (
            json!({ "hostnameOverride": long.clone() }),
            Err("is not a valid DNS subdomain"),
        ),
        (
            json!({ "hostnameOverride": format!("{}.b", "a".repeat(62)) }),
            Ok("@//@"),
        ),
        (json!({ "hostname": "No_Good" }), Err("is not a valid DNS label")),
        (json!({ "subdomain": "-no" }), Err("is not a valid DNS label")),
        (json!({ "hostNetwork": true, "subdomain": "pool" }), Ok("//")),
        (
            json!({ "hostname": "a".repeat(60), "subdomain": "pool", "setHostnameAsFQDN": true }),
            Err("is too long (64 characters is the max, 88 characters requested)"),
        ),
    ] {
        let got = names(&World::new(), spec.clone());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected.replace('@', &"a".repeat(62)), "{spec}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{spec}: {got}"),
            (got, expected) => panic!("{spec}: {got:?} for {expected:?}"),
        }
    }
}

#[test]
fn a_long_name_is_cut_where_a_name_can_end() {
    // kubelet truncatePodHostnameIfNeeded
    for (name, expected) in [
        ("n".repeat(64), "n".repeat(63)),
        (format!("{}-.-bcd", "n".repeat(60)), "n".repeat(60)),
        ("n".repeat(63), "n".repeat(63)),
    ] {
        let mut world = World::new();
        world.metadata = json!({ "name": name });
        assert_eq!(names(&world, json!({})).unwrap(), format!("{expected}//{expected}"));
    }
}

#[test]
fn aliases_are_passed_on() {
    // kubelet hostsEntriesFromHostAliases
    let spec = |network: bool| {
        json!({ "containers": [{ "name": "app" }], "hostNetwork": network,
                "hostAliases": [{ "ip": "10.9.9.9", "hostnames": ["db", "db.old"] }, { "ip": "::9", "hostnames": ["six"] }] })
    };
    let mut world = World::new();
    for network in [false, true] {
        let materials = world.resolve(&spec(network)).unwrap().materials;
        let lines = "\n# Entries added by HostAliases.\n10.9.9.9\tdb\tdb.old\n::9\tsix\n";
        assert_eq!(materials.hosts_aliases(), lines);
    }
    world.support = world.support.with("hostAliases", Level::Ignored);
    assert_eq!(world.resolve(&spec(false)).unwrap().materials.hosts_aliases(), "");
}

#[test]
fn names_that_a_provider_ignores_are_not_there() {
    let mut world = World::new();
    let keys = ["hostname", "subdomain", "hostnameOverride", "setHostnameAsFQDN"];
    world.support = world.support.with_all(keys, Level::Ignored);
    let spec = json!({ "hostname": "db", "subdomain": "pool", "setHostnameAsFQDN": true, "hostnameOverride": "x.y" });
    assert_eq!(names(&world, spec).unwrap(), "web-0//web-0");
}
