//! What a provider is given of a pod, as it arrives on its side of the boundary: names, credentials, resources, Services
//! and what is expanded of them. The mock shows it in a container's log.

use super::materials::pod;
use super::materials::put_config_map;
use super::materials::put_pull_secret;
use crate::harness::Test;
use crate::harness::look;
use crate::harness::object;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

/// The line that shows this.
fn line<'a>(shown: &'a [Value], key: &str) -> &'a Value {
    let found = shown.iter().find(|line| !line[key].is_null());
    found.unwrap_or_else(|| panic!("nothing shows {key}: {shown:?}"))
}

#[tokio::test]
async fn names_resolvers_and_pull_credentials_reach_the_provider() {
    let test = Test::new("given").await;
    let resolv_conf = test.directory().join("resolv.conf");
    std::fs::write(
        &resolv_conf,
        "nameserver 192.0.2.1\nsearch node.example\noptions rotate\n",
    )
    .unwrap();
    let cluster = json!({
        "clusterDNS": ["192.0.2.53"], "clusterDomain": "suite.example", "resolvConf": resolv_conf,
    });
    let _host = test.start(&test.mock(json!({})).with(json!({ "kubelet": cluster })));
    test.node_ready(&test.node()).await;
    let auths = json!({ "auths": {
        "registry.example": { "username": "robot", "password": "words" },
        "registry.example/team": { "username": "team", "password": "other words" },
    }});
    put_pull_secret(&test, "pull", auths).await;
    let spec = json!({
        "imagePullSecrets": [{ "name": "pull" }],
        "hostname": "box",
        "subdomain": "boxes",
        "setHostnameAsFQDN": true,
        "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["db", "db.example"] }],
        "dnsConfig": {
            "nameservers": ["192.0.2.54"], "searches": ["pod.example"], "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
        },
    });
    test.create(pod(&test, "web", spec, json!({}))).await;
    let of_node = json!({ "dnsPolicy": "Default" });
    test.create(pod(&test, "plain", of_node, json!({}))).await;
    test.running("web").await;
    let shown = look(&test, "web").await.unwrap().0;
    let credentials: Vec<_> = shown.iter().filter(|line| !line["registry"].is_null()).collect();
    assert_eq!(
        credentials,
        [
            &json!({ "registry": "registry.example/team", "username": "team", "password": "other words" }),
            &json!({ "registry": "registry.example", "username": "robot", "password": "words" }),
        ],
        "the more specific one first"
    );
    let namespace = &test.id;
    let names = line(&shown, "hostname");
    let domain = format!("boxes.{namespace}.svc.suite.example");
    assert_eq!(names["hostname"], format!("box.{domain}"), "it is to be the whole one");
    assert_eq!(names["domain"], domain);
    assert_eq!(
        names["hosts"],
        json!([{ "ip": "192.0.2.7", "names": ["db", "db.example"] }])
    );
    let searches = [
        format!("{namespace}.svc.suite.example"),
        "svc.suite.example".to_owned(),
        "suite.example".to_owned(),
        "node.example".to_owned(),
        "pod.example".to_owned(),
    ];
    let dns = json!({
        "inherit": false, "nameservers": ["192.0.2.53", "192.0.2.54"], "searches": searches, "options": ["ndots:2", "edns0"],
    });
    assert_eq!(names["dns"], dns);

    test.running("plain").await;
    let shown = look(&test, "plain").await.unwrap().0;
    let names = line(&shown, "hostname");
    assert_eq!(
        (&names["hostname"], &names["domain"]),
        (&json!("plain"), &json!("")),
        "the pod's own name, and no other"
    );
    let dns = json!({
        "inherit": false, "nameservers": ["192.0.2.1"], "searches": ["node.example"], "options": ["rotate"],
    });
    assert_eq!(names["dns"], dns);
}

async fn service(test: &Test) -> String {
    let services: Api<Service> = Api::namespaced(test.client.clone(), &test.id);
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "admin", "port": 8080 }]);
    let shop: Service = object(json!({
        "metadata": { "name": "web-shop" }, "spec": { "selector": { "app": "shop" }, "ports": ports },
    }));
    let made = services.create(&PostParams::default(), &shop).await.unwrap();
    made.spec.unwrap().cluster_ip.unwrap()
}

#[tokio::test]
async fn resources_addresses_services_and_expansions_reach_the_provider() {
    let test = Test::new("given_env").await;
    let _host = test.start(&test.mock(json!({ "ips": ["10.241.0.0/16", "fd00:41::/64"] })));
    test.node_ready(&test.node()).await;
    let address = service(&test).await;
    put_config_map(
        &test,
        "settings",
        json!({ "data": { "color": "blue", "shape": "round" } }),
    )
    .await;
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let resource = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let container = json!({
        "command": ["run", "--name=$(NAME)", "--ip=$(IP)", "--shop=$(WEB_SHOP_SERVICE_HOST)"],
        "args": ["$(MILLIS)m", "$$(NAME)", "$(NOBODY)"],
        "resources": { "requests": { "cpu": "250m", "memory": "64Mi" }, "limits": { "cpu": "500m", "memory": "128Mi" } },
        "env": [
            field("NAME", "metadata.name"),
            field("TIER", "metadata.labels['tier']"),
            field("IP", "status.podIP"),
            field("IPS", "status.podIPs"),
            field("HOST", "status.hostIP"),
            field("HOSTS", "status.hostIPs"),
            resource("MILLIS", "limits.cpu", "1m"),
            resource("CORES", "limits.cpu", "1"),
            resource("MEGABYTES", "requests.memory", "1Mi"),
        ],
        "volumeMounts": [{ "name": "data", "mountPath": "/data", "subPathExpr": "$(NAME)/$(TIER)" }],
    });
    let in_file = json!({ "containerName": "app", "resource": "limits.memory", "divisor": "1Ki" });
    let spec = json!({ "volumes": [
        { "name": "data", "emptyDir": {} },
        { "name": "config", "configMap": {
            "name": "settings", "items": [{ "key": "color", "path": "deep/color.txt", "mode": 0o440 }],
        }},
        { "name": "about", "downwardAPI": { "items": [{ "path": "limit", "resourceFieldRef": in_file }] } },
    ]});
    let mut web = pod(&test, "web", spec, container);
    web["metadata"]["labels"] = json!({ "tier": "front" });
    test.create(web).await;
    let status = test.running("web").await.status.unwrap();
    let shown = look(&test, "web").await.unwrap();

    let pod_ips: Vec<String> = status.pod_ips.unwrap().into_iter().map(|one| one.ip).collect();
    assert_eq!(pod_ips.len(), 2, "{pod_ips:?}");
    assert_eq!(shown.env("IP"), status.pod_ip.as_deref());
    assert_eq!(shown.env("IPS"), Some(pod_ips.join(",").as_str()));
    assert_eq!(shown.env("HOST"), status.host_ip.as_deref());
    let host_ips: Vec<String> = status.host_ips.unwrap().into_iter().map(|one| one.ip).collect();
    assert_eq!(shown.env("HOSTS"), Some(host_ips.join(",").as_str()));
    for (name, value) in [
        ("NAME", "web"),
        ("TIER", "front"),
        ("MILLIS", "500"),
        ("CORES", "1"),
        ("MEGABYTES", "64"),
        ("WEB_SHOP_SERVICE_HOST", address.as_str()),
        ("WEB_SHOP_SERVICE_PORT", "80"),
        ("WEB_SHOP_SERVICE_PORT_ADMIN", "8080"),
        ("WEB_SHOP_PORT_8080_TCP_PROTO", "tcp"),
    ] {
        assert_eq!(shown.env(name), Some(value), "{name}");
    }
    let command = line(&shown.0, "command");
    let ip = status.pod_ip.unwrap();
    let whole = json!(["run", "--name=web", format!("--ip={ip}"), format!("--shop={address}")]);
    assert_eq!(command["command"], whole);
    assert_eq!(command["args"], json!(["500m", "$(NAME)", "$(NOBODY)"]));
    let sub_path = line(&shown.0, "subPath");
    assert_eq!(
        (&sub_path["subPath"], &sub_path["value"]),
        (&json!("/data"), &json!("web/front"))
    );
    let color = shown.file("config/deep/color.txt").unwrap();
    assert_eq!((&color["text"], &color["mode"]), (&json!("blue"), &json!("0440")));
    assert!(
        shown.file("config/shape").is_none(),
        "only the items that were asked for"
    );
    assert_eq!(shown.text("about/limit"), Some("131072"));
}
