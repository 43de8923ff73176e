//! Variables from fields of the pod. virtual-kubelet resolves neither addresses nor resources (#998, #1011).

use super::{World, check_env, gives, holds, show};
use outrigger_plugin::{EnvVar, Value};
use serde_json::{Value as Json, json};

const FIELD: &str = "kubelet podFieldSelectorRuntimeValue";
const EXTRACT: &str = "pkg/fieldpath ExtractFieldPathAsString";
const CONVERT: &str = "pkg/apis/core/pods ConvertDownwardAPIFieldLabel";

fn field(path: &str) -> Json {
    json!({ "env": [{ "name": "X", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } }] })
}

#[test]
fn fields_of_the_pod_vk_998_1011() {
    check_env(vec![
        gives("name", EXTRACT, field("metadata.name"), ["X=web-0"]),
        gives("namespace", EXTRACT, field("metadata.namespace"), ["X=shop"]),
        gives("uid", EXTRACT, field("metadata.uid"), ["X=11111111-2222"]),
        gives("a label", EXTRACT, field("metadata.labels['app']"), ["X=web"]),
        gives(
            "a label as it is, not quoted",
            EXTRACT,
            field("metadata.labels['zone']"),
            ["X=a\"b"],
        ),
        gives(
            "a label that there isn't",
            EXTRACT,
            field("metadata.labels['tier']"),
            ["X="],
        ),
        gives(
            "an annotation",
            EXTRACT,
            field("metadata.annotations['build']"),
            ["X=7"],
        ),
        gives(
            "an annotation of several lines",
            EXTRACT,
            field("metadata.annotations['note']"),
            ["X=line one\nline two"],
        ),
        gives(
            "an annotation that there isn't",
            EXTRACT,
            field("metadata.annotations['x/y']"),
            ["X="],
        ),
        gives(
            "all labels (the API server takes it for volumes only)",
            EXTRACT,
            field("metadata.labels"),
            ["X=app=\"web\"\nzone=\"a\\\"b\""],
        ),
        gives("the node", FIELD, field("spec.nodeName"), ["X=vk-0"]),
        gives("the node by its name of old", CONVERT, field("spec.host"), ["X=vk-0"]),
        gives(
            "the service account",
            FIELD,
            field("spec.serviceAccountName"),
            ["X=seller"],
        ),
        gives("the node's address", FIELD, field("status.hostIP"), ["X=192.168.1.5"]),
        gives(
            "the node's addresses",
            FIELD,
            field("status.hostIPs"),
            ["X=192.168.1.5,fd00::5"],
        ),
        gives("the pod's address is late", FIELD, field("status.podIP"), ["X=<podIP>"]),
        gives(
            "the pod's addresses are late",
            FIELD,
            field("status.podIPs"),
            ["X=<podIPs>"],
        ),
        gives(
            "the pod's address in the host's network",
            "kubelet generateAPIPodStatus: podIPs of such a pod are hostIPs",
            field("status.podIP"),
            ["X=192.168.1.5"],
        )
        .in_pod(json!({ "hostNetwork": true })),
        gives(
            "the pod's addresses in the host's network",
            "kubelet generateAPIPodStatus",
            field("status.podIPs"),
            ["X=192.168.1.5,fd00::5"],
        )
        .in_pod(json!({ "hostNetwork": true })),
        holds(
            "a field from nowhere",
            CONVERT,
            field("spec.color"),
            "field label not supported: spec.color",
        ),
        holds(
            "a field of metadata from nowhere",
            CONVERT,
            field("metadata.owner"),
            "field label not supported: metadata.owner",
        ),
        holds(
            "a key of what has none",
            CONVERT,
            field("spec.nodeName['x']"),
            "field label does not support subscript: spec.nodeName['x']",
        ),
        holds(
            "a field that was meant to be but is not",
            EXTRACT,
            field("spec.restartPolicy"),
            "unsupported fieldPath: spec.restartPolicy",
        ),
    ]);
}

#[test]
fn a_node_without_an_address_holds_the_pod() {
    let mut world = World::new();
    world.host_ips.clear();
    let mut container = field("status.hostIP");
    container["name"] = json!("app");
    let held = world.resolve(&json!({ "containers": [container] })).unwrap_err();
    // pkg/util/node GetNodeHostIPs
    assert_eq!(held.faults[0].message, "host IP unknown; known addresses: []");
}

#[test]
fn the_order_of_variables_is_always_the_same_vk_1431() {
    // virtual-kubelet #1364, #1431: in random order they look changed on every sync.
    let spec = json!({ "containers": [{ "name": "app",
        "envFrom": [{ "configMapRef": { "name": "settings" } }],
        "env": [{ "name": "Z", "value": "1" }, { "name": "A", "value": "2" }] }] });
    let one = World::new().resolve(&spec).unwrap().materials;
    let names = |vars: &[EnvVar]| vars.iter().map(|var| var.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&one.env["app"])[..5], ["COLOR", "log.level", "size", "Z", "A"]);
    for _ in 0..10 {
        assert!(World::new().resolve(&spec).unwrap().materials == one);
    }
}

#[test]
fn a_file_key_is_left_to_the_provider() {
    let spec = json!({ "containers": [{ "name": "app", "args": ["--token=$(TOKEN)"], "env": [
        { "name": "TOKEN", "valueFrom": { "fileKeyRef": { "volumeName": "cfg", "path": "app.env", "key": "K", "optional": true } } },
        { "name": "URL", "value": "x?$(TOKEN)" },
    ] }] });
    let materials = World::new().resolve(&spec).unwrap().materials;
    let env = &materials.env["app"];
    assert_eq!(show(&env[0].value), "<cfg/app.env:K>");
    assert_eq!(show(&env[1].value), "x?<cfg/app.env:K>");
    assert_eq!(show(&materials.commands["app"].args[0]), "--token=<cfg/app.env:K>");
    // An optional key that is missing leaves the reference as it is written.
    let missing = |value: &Value| value.finish_with(&[], |_| None);
    assert_eq!(missing(&env[0].value), None);
    assert_eq!(missing(&env[1].value).unwrap(), "x?$(TOKEN)");
    assert_eq!(
        env[1]
            .value
            .finish_with(&[], |key| Some(format!("{}!", key.key)))
            .unwrap(),
        "x?K!"
    );
}
