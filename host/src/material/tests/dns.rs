//! Name resolution.

use super::World;
use crate::material::read_resolv_conf;
use outrigger_plugin::{Dns, Level};
use serde_json::{Value, json};

/// `nameservers; searches; options`, with `+` in front where the backend's own come first.
fn show(dns: &Dns) -> String {
    let lines = [&dns.nameservers, &dns.searches, &dns.options].map(|list| list.join(" "));
    format!("{}{}", if dns.inherit { "+" } else { "" }, lines.join("; "))
}

fn dns(world: &World, spec: Value) -> String {
    let mut spec = spec;
    spec["containers"] = json!([{ "name": "app" }]);
    show(&world.resolve(&spec).unwrap().materials.dns)
}

const CLUSTER: &str = "10.0.0.10; shop.svc.cluster.local svc.cluster.local cluster.local; ndots:5";

#[test]
fn policies() {
    // kubelet network/dns GetPodDNS
    let mut known = World::new();
    known.node_dns = Some(read_resolv_conf(
        "search corp.example. example.\nnameserver 9.9.9.9\noptions edns0\n",
    ));
    let unknown = World::new();
    let with_node = "10.0.0.10; shop.svc.cluster.local svc.cluster.local cluster.local corp.example example; ndots:5";
    let of_node = "9.9.9.9; corp.example example; edns0";
    for (spec, expected_unknown, expected_known) in [
        (json!({ "dnsPolicy": "ClusterFirst" }), CLUSTER, with_node),
        (json!({}), CLUSTER, with_node),
        (
            json!({ "dnsPolicy": "ClusterFirst", "hostNetwork": true }),
            "+; ; ",
            of_node,
        ),
        (
            json!({ "dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true }),
            CLUSTER,
            with_node,
        ),
        (json!({ "dnsPolicy": "Default" }), "+; ; ", of_node),
        (
            json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["1.1.1.1"], "searches": ["a.b"] } }),
            "1.1.1.1; a.b; ",
            "1.1.1.1; a.b; ",
        ),
    ] {
        assert_eq!(dns(&unknown, spec.clone()), expected_unknown, "{spec}");
        assert_eq!(dns(&known, spec.clone()), expected_known, "{spec}");
    }
}

#[test]
fn a_pods_own_settings_are_added() {
    // kubelet network/dns appendDNSConfig, mergeDNSOptions
    let config = json!({ "dnsConfig": {
        "nameservers": ["10.0.0.10", "1.1.1.1"], "searches": ["svc.cluster.local", "x.y"],
        "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }, { "name": "timeout", "value": "" }],
    } });
    let world = World::new();
    assert_eq!(
        dns(&world, config.clone()),
        "10.0.0.10 1.1.1.1; shop.svc.cluster.local svc.cluster.local cluster.local x.y; ndots:2 edns0 timeout"
    );
    let mut node = config;
    node["dnsPolicy"] = json!("Default");
    assert_eq!(
        dns(&world, node),
        "+10.0.0.10 1.1.1.1; svc.cluster.local x.y; ndots:2 edns0 timeout"
    );
}

#[test]
fn without_the_clusters_servers_the_nodes_are_taken() {
    let mut world = World::new();
    world.cluster_dns.clear();
    assert_eq!(dns(&world, json!({ "dnsPolicy": "ClusterFirst" })), "+; ; ");
    world.cluster_domain = "";
    world.cluster_dns = vec!["fd00::a".parse().unwrap()];
    assert_eq!(dns(&world, json!({})), "fd00::a; ; ndots:5");
}

#[test]
fn what_a_provider_ignores_is_not_there() {
    let mut world = World::new();
    world.support = world.support.with_all(["dnsConfig", "dnsPolicy.None"], Level::Ignored);
    let none = json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": ["1.1.1.1"] } });
    assert_eq!(dns(&world, none), CLUSTER);
}

fn limited(config: Value) -> (Dns, Vec<String>) {
    let spec = json!({ "containers": [{ "name": "app" }], "dnsPolicy": "None", "dnsConfig": config });
    let resolved = World::new().resolve(&spec).unwrap();
    let says = |notice: crate::material::Notice| {
        assert!(notice.warning && notice.reason == "DNSConfigForming");
        notice.message
    };
    (resolved.materials.dns, resolved.notices.into_iter().map(says).collect())
}

#[test]
fn a_fourth_server_is_left_out_with_an_event() {
    // kubelet network/dns formDNSNameserversFitsLimits
    let (dns, said) = limited(json!({ "nameservers": ["1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4"] }));
    assert_eq!(dns.nameservers, ["1.0.0.1", "1.0.0.2", "1.0.0.3"]);
    assert_eq!(
        said,
        [
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
          1.0.0.1 1.0.0.2 1.0.0.3"
        ]
    );
}

#[test]
fn domains_beyond_the_limits_are_left_out_with_an_event() {
    // kubelet network/dns formDNSSearchFitsLimits
    let many: Vec<_> = (0..33).map(|n| format!("d{n}")).collect();
    let (dns, said) = limited(json!({ "searches": many }));
    assert_eq!(dns.searches, many[..32]);
    assert!(said[0].starts_with("Search Line limits were exceeded, some search paths have been omitted, the applied"));

    let (dns, said) = limited(json!({ "searches": ["a", "b".repeat(254), "c"] }));
    assert_eq!(dns.searches, ["a", "c"]);
    assert_eq!(said.len(), 1);

    // 9 * 253 and 8 blanks is more than 2048, 8 * 253 and 7 blanks is not.
    let long: Vec<_> = (0..9).map(|n| n.to_string().repeat(253)).collect();
    let (dns, said) = limited(json!({ "searches": long }));
    assert_eq!(dns.searches, long[..8]);
    assert_eq!(said.len(), 1);

    let (_, said) = limited(json!({ "searches": ["a"], "nameservers": ["1.0.0.1"] }));
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn a_resolv_conf_is_read_as_resolvers_do() {
    // kubelet network/dns parseResolvConf
    let text = "# a comment\n; another\nsearch first.example\nnameserver 1.1.1.1 # not this\n  nameserver\t::1\nnameserver\n\
                options timeout:1 edns0\noptions timeout:3\nsearch a.example. . b.example\nsortlist 1.2.3.4\n";
    assert_eq!(
        show(&read_resolv_conf(text)),
        "1.1.1.1 ::1; a.example b.example; timeout:3 edns0"
    );
    assert_eq!(show(&read_resolv_conf("")), "; ; ");
}
