//! Tests of materials and their late values.

use super::*;

fn late() -> Value {
    Value::Late(vec![
        Part::Text("http://".into()),
        Part::PodIp,
        Part::Text(":80/?all=".into()),
        Part::PodIps,
    ])
}

fn addresses() -> [IpAddr; 2] {
    ["10.1.2.3".parse().unwrap(), "fd00::7".parse().unwrap()]
}

fn var(name: &str, value: Value) -> EnvVar {
    EnvVar {
        name: name.into(),
        value,
        secret: false,
    }
}

#[test]
fn a_late_value_waits_for_an_address() {
    assert!(late().is_late());
    assert_eq!(late().finish(&[]), None);
}

#[test]
fn a_late_value_is_finished_with_the_addresses() {
    assert_eq!(
        late().finish(&addresses()).unwrap(),
        "http://10.1.2.3:80/?all=10.1.2.3,fd00::7"
    );
}

#[test]
fn a_known_value_needs_no_address() {
    assert_eq!(Value::Now("x".into()).finish(&[]).unwrap(), "x");
}

#[test]
fn a_value_that_waits_for_a_file_takes_the_address_already() {
    let key = FileKey {
        volume: "v".into(),
        path: "f".into(),
        key: "K".into(),
        optional: false,
        reference: "K".into(),
    };
    let mut value = Value::Late(vec![Part::PodIp, Part::FileKey(key.clone())]);
    assert_eq!(value.finish(&addresses()), None);
    value.advance(&addresses());
    assert!(value == Value::Late(vec![Part::Text("10.1.2.3".into()), Part::FileKey(key)]));
}

#[test]
fn all_late_values_of_a_pod_are_finished_at_once() {
    let mut materials = Materials::default();
    assert!(!materials.is_late());
    materials.env.insert("app".into(), vec![var("URL", late())]);
    let command = Command {
        args: vec![late()],
        ..Command::default()
    };
    materials.commands.insert("app".into(), command);
    let paths = BTreeMap::from([("/data".to_owned(), late())]);
    materials.sub_paths.insert("app".into(), paths);
    let file = File {
        path: "ip".into(),
        mode: 0o644,
        user: None,
        group: None,
        content: Content::Text(late()),
        secret: false,
    };
    materials.files.insert("info".into(), vec![file]);
    assert!(materials.is_late());
    materials.finish(&[]);
    assert!(materials.is_late());
    materials.finish(&addresses());
    assert!(!materials.is_late());
    let url = "http://10.1.2.3:80/?all=10.1.2.3,fd00::7";
    let known = Value::Now(url.into());
    assert!(materials.env["app"][0].value == known);
    assert!(materials.commands["app"].args[0] == known);
    assert!(materials.sub_paths["app"]["/data"] == known);
    assert_eq!(materials.files["info"][0].content.bytes(&[]).unwrap(), url.as_bytes());
}

#[test]
fn debug_output_holds_no_secret() {
    let mut materials = Materials::default();
    let secret = EnvVar {
        secret: true,
        ..var("PASSWORD", Value::Now("hunter2".into()))
    };
    materials.env.insert("app".into(), vec![secret]);
    assert!(!format!("{materials:?}").contains("hunter2"));
}

#[test]
fn materials_cross_as_json_and_nothing_costs_nothing() {
    assert_eq!(serde_json::to_string(&Materials::default()).unwrap(), "{}");
    let materials = Materials {
        hostname: "web-0".into(),
        dns: Dns {
            inherit: false,
            nameservers: vec!["10.0.0.10".into()],
            ..Dns::default()
        },
        ..Materials::default()
    };
    let text = serde_json::to_string(&materials).unwrap();
    let back: Materials = serde_json::from_str(&text).unwrap();
    assert!(back == materials, "{text}");
}

#[test]
fn the_hosts_file_is_the_kubelets() {
    let materials = Materials {
        hostname: "web-0".into(),
        domain: "web.shop.svc.cluster.local".into(),
        hosts: vec![HostsEntry {
            ip: "10.9.9.9".into(),
            names: vec!["db".into(), "db.old".into()],
        }],
        ..Materials::default()
    };
    let text = materials.hosts_file(&addresses());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "# Kubernetes-managed hosts file.");
    assert_eq!(
        lines[7..],
        [
            "10.1.2.3\tweb-0.web.shop.svc.cluster.local\tweb-0",
            "fd00::7\tweb-0.web.shop.svc.cluster.local\tweb-0",
            "",
            "# Entries added by HostAliases.",
            "10.9.9.9\tdb\tdb.old",
        ]
    );
}

#[test]
fn name_resolution_is_written_as_the_file_has_it() {
    let dns = Dns {
        inherit: false,
        nameservers: vec!["10.0.0.10".into(), "fd00::a".into()],
        searches: vec!["a.svc.cluster.local".into(), "svc.cluster.local".into()],
        options: vec!["ndots:5".into()],
    };
    assert_eq!(
        dns.resolv_conf(),
        "search a.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n"
    );
}
