//! Variables of Services.

use super::World;
use crate::material::{Found, Service, ServiceLinks, ServicePort};
use serde_json::{Value, json};

fn service(name: &str, ip: &str, ports: &[(&str, u16, &str)]) -> Service {
    Service {
        name: name.to_owned(),
        cluster_ip: ip.to_owned(),
        ports: ports
            .iter()
            .map(|(name, port, protocol)| ServicePort {
                name: (*name).to_owned(),
                port: *port,
                protocol: (*protocol).to_owned(),
            })
            .collect(),
    }
}

fn links(api_server: Option<&Service>, services: &[Service]) -> Vec<String> {
    let links = ServiceLinks::new(api_server, services);
    links.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn a_service_with_two_ports() {
    // kubelet envvars FromServices
    let cache = service(
        "my-cache",
        "10.0.0.7",
        &[("client", 6379, "TCP"), ("gossip-in", 53, "UDP")],
    );
    assert_eq!(
        links(None, &[cache]),
        [
            "MY_CACHE_PORT=tcp://10.0.0.7:6379",
            "MY_CACHE_PORT_53_UDP=udp://10.0.0.7:53",
            "MY_CACHE_PORT_53_UDP_ADDR=10.0.0.7",
            "MY_CACHE_PORT_53_UDP_PORT=53",
            "MY_CACHE_PORT_53_UDP_PROTO=udp",
            "MY_CACHE_PORT_6379_TCP=tcp://10.0.0.7:6379",
            "MY_CACHE_PORT_6379_TCP_ADDR=10.0.0.7",
            "MY_CACHE_PORT_6379_TCP_PORT=6379",
            "MY_CACHE_PORT_6379_TCP_PROTO=tcp",
            "MY_CACHE_SERVICE_HOST=10.0.0.7",
            "MY_CACHE_SERVICE_PORT=6379",
            "MY_CACHE_SERVICE_PORT_CLIENT=6379",
            "MY_CACHE_SERVICE_PORT_GOSSIP_IN=53",
        ]
    );
}

#[test]
fn an_unnamed_port_without_a_protocol_on_ipv6() {
    // kubelet envvars makeLinkVariables: JoinHostPort, and TCP where nothing is said
    assert_eq!(
        links(None, &[service("a", "fd00::7", &[("", 80, "")])]),
        [
            "A_PORT=tcp://[fd00::7]:80",
            "A_PORT_80_TCP=tcp://[fd00::7]:80",
            "A_PORT_80_TCP_ADDR=fd00::7",
            "A_PORT_80_TCP_PORT=80",
            "A_PORT_80_TCP_PROTO=tcp",
            "A_SERVICE_HOST=fd00::7",
            "A_SERVICE_PORT=80",
        ]
    );
}

#[test]
fn services_without_an_address_have_none() {
    // pkg/apis/core/v1/helper IsServiceIPSet
    let services = [
        service("headless", "None", &[("", 80, "TCP")]),
        service("external", "", &[("", 80, "TCP")]),
    ];
    assert_eq!(links(None, &services), Vec::<String>::new());
}

#[test]
fn a_service_named_kubernetes_in_the_namespace_hides_the_api_server() {
    // kubelet getServiceEnvVarMap
    let api = service("kubernetes", "10.0.0.1", &[("https", 443, "TCP")]);
    let own = service("kubernetes", "10.0.0.99", &[("", 80, "TCP")]);
    let host = |vars: Vec<String>| vars.into_iter().find(|var| var.starts_with("KUBERNETES_SERVICE_HOST"));
    assert_eq!(
        host(links(Some(&api), &[])).unwrap(),
        "KUBERNETES_SERVICE_HOST=10.0.0.1"
    );
    assert_eq!(
        host(links(Some(&api), &[own])).unwrap(),
        "KUBERNETES_SERVICE_HOST=10.0.0.99"
    );
}

fn names(world: &World, spec: Value) -> Vec<String> {
    let mut spec = spec;
    spec["containers"] = json!([{ "name": "app", "env": [{ "name": "WEB_PORT", "value": "mine" }] }]);
    let materials = world.resolve(&spec).unwrap().materials;
    let env = materials.env["app"].iter();
    env.map(|var| format!("{}={}", var.name, super::show(&var.value)))
        .collect()
}

#[test]
fn a_pod_sees_the_services_of_its_namespace_and_the_api_server() {
    let all = names(&World::new(), json!({}));
    for var in [
        "KUBERNETES_SERVICE_HOST=10.0.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "KUBERNETES_SERVICE_PORT_HTTPS=443",
        "KUBERNETES_PORT=tcp://10.0.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO=tcp",
        "WEB_SERVICE_HOST=10.0.0.20",
    ] {
        assert!(all.iter().any(|have| have == var), "{var} in {all:?}");
    }
    // What the container says itself is not replaced, nor said twice.
    let own: Vec<_> = all.iter().filter(|var| var.starts_with("WEB_PORT=")).collect();
    assert_eq!(own, ["WEB_PORT=mine"]);
}

#[test]
fn without_service_links_only_the_api_server_is_left() {
    let all = names(&World::new(), json!({ "enableServiceLinks": false }));
    assert!(all.iter().any(|var| var == "KUBERNETES_SERVICE_HOST=10.0.0.1"));
    assert!(!all.iter().any(|var| var.starts_with("WEB_SERVICE_HOST")), "{all:?}");
}

#[test]
fn no_service_gives_no_variable() {
    let mut world = World::new();
    world.services = Found::Missing;
    assert_eq!(names(&world, json!({})), ["WEB_PORT=mine"]);
}

#[test]
fn a_pod_waits_for_services_that_are_not_read_yet() {
    // kubelet makeEnvironmentVariables: serviceHasSynced
    let mut world = World::new();
    world.services = Found::Unknown;
    let held = world
        .resolve(&json!({ "containers": [{ "name": "app" }] }))
        .unwrap_err();
    assert!(held.is_waiting());
    world.services = Found::Unavailable("forbidden".into());
    let held = world
        .resolve(&json!({ "containers": [{ "name": "app" }] }))
        .unwrap_err();
    assert_eq!(
        held.faults[0].message,
        "failed to list services when setting up env vars: forbidden"
    );
}
