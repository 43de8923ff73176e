//! Volumes from ConfigMaps, Secrets and fields of the pod.

use super::{check_volumes, gives, holds};
use serde_json::{Value, json};

const MAP: &str = "pkg/volume/configmap MakePayload";
const SECRET: &str = "pkg/volume/secret MakePayload";
const DOWNWARD: &str = "pkg/volume/downwardapi CollectData";
const WRITER: &str = "pkg/volume/util AtomicWriter validatePayload";

fn map(name: &str, extra: Value) -> Value {
    let mut volume = json!({ "configMap": { "name": name, "defaultMode": 420 } });
    super::merge(&mut volume["configMap"], &extra);
    volume
}

fn secret(name: &str, extra: Value) -> Value {
    let mut volume = json!({ "secret": { "secretName": name, "defaultMode": 420 } });
    super::merge(&mut volume["secret"], &extra);
    volume
}

#[test]
fn config_maps() {
    check_volumes(vec![
        gives(
            "all keys, binary ones too",
            MAP,
            map("settings", json!({})),
            [
                "COLOR 0644 blue",
                "log.level 0644 debug",
                "logo 0644 [ff, 00]",
                "size 0644 10",
            ],
        ),
        gives(
            "the API server's default mode",
            "API SetDefaults_ConfigMapVolumeSource",
            json!({ "configMap": { "name": "more" } }),
            ["COLOR 0644 red"],
        ),
        gives(
            "a mode for all",
            MAP,
            map("more", json!({ "defaultMode": 0o400 })),
            ["COLOR 0400 red"],
        ),
        gives(
            "listed keys, at paths and with modes of their own",
            MAP,
            map(
                "settings",
                json!({ "items": [
                { "key": "COLOR", "path": "theme/color" }, { "key": "logo", "path": "logo.bin", "mode": 0o755 } ] }),
            ),
            ["logo.bin 0755 [ff, 00]", "theme/color 0644 blue"],
        ),
        gives(
            "a key twice",
            MAP,
            map(
                "more",
                json!({ "items": [{ "key": "COLOR", "path": "a" }, { "key": "COLOR", "path": "b" }] }),
            ),
            ["a 0644 red", "b 0644 red"],
        ),
        gives(
            "two keys at one path: the later wins",
            MAP,
            map(
                "settings",
                json!({ "items": [{ "key": "COLOR", "path": "a" }, { "key": "size", "path": "a" }] }),
            ),
            ["a 0644 10"],
        ),
        holds(
            "a missing one",
            MAP,
            map("gone", json!({})),
            r#"configmap "gone" not found"#,
        ),
        gives(
            "a missing optional one is empty",
            MAP,
            map("gone", json!({ "optional": true })),
            [],
        ),
        gives(
            "a missing optional one with listed keys is empty",
            MAP,
            map(
                "gone",
                json!({ "optional": true, "items": [{ "key": "a", "path": "a" }] }),
            ),
            [],
        ),
        holds(
            "a listed key that is missing",
            MAP,
            map("settings", json!({ "items": [{ "key": "SHAPE", "path": "shape" }] })),
            "configmap references non-existent config key: SHAPE",
        ),
        gives(
            "a listed key that is missing and optional",
            MAP,
            map(
                "more",
                json!({ "optional": true, "items": [
                { "key": "SHAPE", "path": "shape" }, { "key": "COLOR", "path": "color" } ] }),
            ),
            ["color 0644 red"],
        ),
        gives("an empty one", MAP, map("empty", json!({})), []),
        holds(
            "one that may not be read, optional or not",
            "pkg/volume/configmap SetUpAt",
            map("forbidden", json!({ "optional": true })),
            r#"failed to sync configmap cache: configmaps "forbidden" is forbidden"#,
        ),
    ]);
}

#[test]
fn secrets() {
    check_volumes(vec![
        gives(
            "all keys are marked",
            SECRET,
            secret("login", json!({ "defaultMode": 0o400 })),
            ["password 0400 hunter2 [secret]", "user 0400 admin [secret]"],
        ),
        gives(
            "bytes",
            SECRET,
            secret("binary", json!({})),
            ["bytes 0644 [ff, fe] [secret]"],
        ),
        gives(
            "a listed key",
            SECRET,
            secret(
                "login",
                json!({ "items": [{ "key": "user", "path": "db/user", "mode": 0o440 }] }),
            ),
            ["db/user 0440 admin [secret]"],
        ),
        holds(
            "a missing one",
            SECRET,
            secret("gone", json!({})),
            r#"secret "gone" not found"#,
        ),
        gives(
            "a missing optional one is empty",
            SECRET,
            secret("gone", json!({ "optional": true })),
            [],
        ),
        holds(
            "a listed key that is missing",
            SECRET,
            secret("login", json!({ "items": [{ "key": "otp", "path": "otp" }] })),
            "references non-existent secret key: otp",
        ),
        gives(
            "a listed key that is missing and optional",
            SECRET,
            secret(
                "login",
                json!({ "optional": true, "items": [{ "key": "otp", "path": "otp" }] }),
            ),
            [],
        ),
    ]);
}

#[test]
fn fields() {
    let field = |path: &str| json!({ "path": "f", "fieldRef": { "fieldPath": path } });
    let volume = |items: Value| json!({ "downwardAPI": { "items": items, "defaultMode": 420 } });
    let one = |path: &str| volume(json!([field(path)]));
    let resource = |name: &str, resource: &str| {
        volume(
            json!([{ "path": "f", "resourceFieldRef": { "containerName": name, "resource": resource, "divisor": "1m" } }]),
        )
    };
    let extract = "pkg/fieldpath ExtractFieldPathAsString";
    check_volumes(vec![
        gives("name", extract, one("metadata.name"), ["f 0644 web-0"]),
        gives("uid", extract, one("metadata.uid"), ["f 0644 11111111-2222"]),
        gives(
            "all labels, quoted",
            extract,
            one("metadata.labels"),
            ["f 0644 app=\"web\"\nzone=\"a\\\"b\""],
        ),
        gives(
            "all annotations, quoted",
            extract,
            one("metadata.annotations"),
            ["f 0644 build=\"7\"\nnote=\"line one\\nline two\""],
        ),
        gives("one label", extract, one("metadata.labels['app']"), ["f 0644 web"]),
        gives(
            "a label that there isn't",
            extract,
            one("metadata.labels['x']"),
            ["f 0644 "],
        ),
        holds(
            "an address is none of these",
            "pkg/fieldpath ExtractFieldPathAsString; API validVolumeDownwardAPIFieldPathExpressions",
            one("status.podIP"),
            "unsupported fieldPath: status.podIP",
        ),
        holds(
            "a key of what has none",
            extract,
            one("spec.nodeName['x']"),
            r#"fieldPath "spec.nodeName['x']" does not support subscript"#,
        ),
        holds(
            "all that is wrong",
            "apimachinery NewAggregate",
            volume(json!([field("spec.a"), field("spec.b"), field("spec.a")])),
            "[unsupported fieldPath: spec.a, unsupported fieldPath: spec.b]",
        ),
        gives("a resource", DOWNWARD, resource("app", "limits.cpu"), ["f 0644 250"]).in_pod(json!({
            "containers": [{ "name": "app", "resources": { "limits": { "cpu": "250m" } } }] })),
        gives(
            "no limit: the node's",
            "pkg/api/v1/resource ExtractResourceValueByContainerNameAndNodeAllocatable",
            resource("app", "limits.cpu"),
            ["f 0644 3920"],
        ),
        gives(
            "no limit: the node's, though the pod has one",
            "kubelet GetNodeAllocatable of volumes knows no pod's",
            resource("app", "limits.cpu"),
            ["f 0644 3920"],
        )
        .in_pod(json!({ "resources": { "limits": { "cpu": "100m" } } })),
        gives(
            "no limit of an init container: the node's",
            DOWNWARD,
            resource("first", "limits.cpu"),
            ["f 0644 3920"],
        )
        .in_pod(json!({ "initContainers": [{ "name": "first" }] })),
        holds(
            "a resource of nobody",
            DOWNWARD,
            resource("ghost", "limits.cpu"),
            "container ghost not found",
        ),
        gives(
            "a mode of its own",
            DOWNWARD,
            volume(json!([{ "path": "d/f", "mode": 0o400, "fieldRef": { "fieldPath": "metadata.name" } }])),
            ["d/f 0400 web-0"],
        ),
    ]);
}

#[test]
fn paths() {
    let at = |path: &str| map("more", json!({ "items": [{ "key": "COLOR", "path": path }] }));
    let long: &'static str = "n".repeat(256).leak();
    check_volumes(vec![
        gives(
            "needless parts are left out",
            WRITER,
            at("./a//b/./c"),
            ["a/b/c 0644 red"],
        ),
        gives("dots within", WRITER, at("a..b/..."), ["a..b/... 0644 red"]),
        holds(
            "from the root",
            WRITER,
            at("/etc/x"),
            "invalid path: must be relative path: /etc/x",
        ),
        holds(
            "out of the volume",
            WRITER,
            at("a/../../b"),
            "invalid path: must not contain '..': a/../../b",
        ),
        holds(
            "the writer's own names",
            WRITER,
            at("..data"),
            "invalid path: must not start with '..': ..data",
        ),
        holds("none", WRITER, at(""), r#"invalid path: must not be empty: """#),
        holds(
            "a name that is too long",
            WRITER,
            at(long),
            "invalid path: filenames must be less than or equal to 255 characters",
        ),
        holds(
            "a file as a directory",
            "ours: the kubelet fails to write it, in words of the file system",
            map(
                "settings",
                json!({ "items": [{ "key": "COLOR", "path": "a" }, { "key": "size", "path": "a/b" }] }),
            ),
            "invalid path: a/b is below a, which is a file",
        ),
    ]);
}
