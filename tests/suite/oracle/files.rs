//! The files of volumes: paths, contents, modes, owners.

use super::case::Case;
use super::case::is_over;
use super::given;
use super::pair::Pair;
use crate::contract::put_config_map;
use crate::contract::put_secret;
use crate::harness::Shown;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

/// A line for each file: path, mode, owner, and its content, if it may be read. The kubelet's links into directories of its
/// own are followed.
const PRINT: &str = r#"cd /v && find -L . -type f | grep -v '/\.\.' | sort | while read -r file; do
    echo "$file $(stat -L -c '%a %u %g' "$file") $(base64 -w 0 "$file" 2>/dev/null || echo ?)"; done"#;

fn printed(log: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for line in log.lines() {
        let mut parts = line.splitn(5, ' ');
        let mut next = || parts.next().unwrap_or_default();
        let (path, mode, user, group, content) = (next(), next(), next(), next(), next());
        let path = path.trim_start_matches("./");
        let content = match content {
            "?" => b"who may not read it".to_vec(),
            encoded => STANDARD
                .decode(encoded)
                .unwrap_or_else(|error| panic!("{error}: {log}")),
        };
        push(&mut all, path, &format!("{mode:0>4}"), user, group, content);
    }
    all
}

fn shown(shown: &Shown) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for line in &shown.0 {
        let Some(path) = line["file"]
            .as_str()
            .filter(|path| !path.starts_with("kube-api-access-"))
        else {
            continue;
        };
        let content = match line["base64"].as_str() {
            Some(encoded) => STANDARD.decode(encoded).unwrap(),
            None => line["text"].as_str().unwrap().as_bytes().to_vec(),
        };
        // What has no owner is root's.
        let owner = |key: &str| line[key].as_u64().unwrap_or_default().to_string();
        push(
            &mut all,
            path,
            line["mode"].as_str().unwrap(),
            &owner("user"),
            &owner("group"),
            content,
        );
    }
    all
}

fn push(all: &mut Vec<(String, String)>, path: &str, mode: &str, user: &str, group: &str, content: Vec<u8>) {
    // Tokens differ from pod to pod; that there is one has to do.
    let content = match String::from_utf8(content) {
        Ok(token) if token.starts_with("ey") && token.matches('.').count() == 2 => "a token".to_owned(),
        Ok(text) => text,
        Err(error) => format!("{:?}", error.into_bytes()),
    };
    for (what, value) in [("mode", mode), ("user", user), ("group", group), ("content", &content)] {
        all.push((format!("file {path} {what}"), value.to_owned()));
    }
}

fn case(volumes: Value, security: Value) -> Case {
    let mounts = volumes.as_array().unwrap().iter();
    let mounts: Vec<_> = mounts
        .map(|volume| volume["name"].as_str().unwrap())
        .map(|name| json!({ "name": name, "mountPath": format!("/v/{name}") }))
        .collect();
    let app = json!({
        "name": "app", "command": ["sh", "-c", PRINT], "volumeMounts": mounts,
        "resources": { "requests": { "cpu": "100m" }, "limits": { "cpu": "500m", "memory": "64Mi" } },
    });
    let spec =
        json!({ "containers": [app], "restartPolicy": "Never", "volumes": volumes, "securityContext": security });
    let mut case = Case::new(spec, is_over);
    case.pod["metadata"] = json!({
        "labels": { "tier": "front", "app": "web" },
        "annotations": { "example.com/note": "two\nlines, a \"quote\" and a \\", "example.com/umlaut": "ü" },
    });
    case
}

async fn same(name: &str, volumes: Value, security: Value) {
    let Some(pair) = Pair::new(&format!("or_{name}")).await else {
        return;
    };
    let map = json!({ "data": { "color": "blue\n", "shape.txt": "" }, "binaryData": { "logo": "/wA=" } });
    put_config_map(&pair.test, "settings", map).await;
    put_secret(&pair.test, "login", json!({ "user": "ada", "password": "words" })).await;
    given::same(&pair, name, case(volumes, security), printed, shown).await;
}

#[tokio::test]
async fn of_config_maps() {
    let items =
        json!([{ "key": "color", "path": "deep/er/color" }, { "key": "logo", "path": "logo.png", "mode": 0o400 }]);
    let volumes = json!([
        { "name": "all", "configMap": { "name": "settings" } },
        { "name": "some", "configMap": { "name": "settings", "items": items, "defaultMode": 0o640 } },
        { "name": "executable", "configMap": { "name": "settings", "defaultMode": 0o755 } },
        { "name": "none", "configMap": { "name": "nobody", "optional": true } },
    ]);
    same("maps", volumes, json!({})).await;
}

#[tokio::test]
async fn of_secrets() {
    let items = json!([{ "key": "user", "path": "name", "mode": 0o444 }]);
    let volumes = json!([
        { "name": "all", "secret": { "secretName": "login", "defaultMode": 0o400 } },
        { "name": "some", "secret": { "secretName": "login", "items": items } },
    ]);
    same("secrets", volumes, json!({})).await;
}

fn field(path: &str, field: &str) -> Value {
    json!({ "path": path, "fieldRef": { "fieldPath": field } })
}

fn resource(path: &str, resource: &str, divisor: &str) -> Value {
    json!({ "path": path, "resourceFieldRef": { "containerName": "app", "resource": resource, "divisor": divisor } })
}

fn about() -> Value {
    json!([
        field("labels", "metadata.labels"),
        field("label", "metadata.labels['tier']"),
        field("annotation", "metadata.annotations['example.com/note']"),
        field("name", "metadata.name"),
        field("uid", "metadata.uid"),
        resource("cpu", "limits.cpu", "1m"),
        resource("cpu_request", "requests.cpu", "1"),
        resource("memory", "limits.memory", "1Mi"),
        resource("memory_request", "requests.memory", "1Mi"),
    ])
}

#[tokio::test]
async fn of_the_pod_itself() {
    let volumes = json!([{ "name": "about", "downwardAPI": { "items": about(), "defaultMode": 0o444 } }]);
    same("about", volumes, json!({})).await;
}

fn projected() -> Value {
    let token = json!({ "path": "token", "audience": "vault", "expirationSeconds": 600 });
    json!([{ "name": "all", "projected": { "sources": [
        { "configMap": { "name": "settings", "items": [{ "key": "color", "path": "config/color", "mode": 0o600 }] } },
        { "secret": { "name": "login" } },
        { "downwardAPI": { "items": about() } },
        { "serviceAccountToken": token },
    ]}}])
}

#[tokio::test]
async fn of_all_sources_together() {
    same("projected", projected(), json!({})).await;
}

#[tokio::test]
async fn of_a_user_who_is_not_root() {
    same("as_user", projected(), json!({ "runAsUser": 1000 })).await;
}

#[tokio::test]
async fn of_a_group() {
    let mut volumes = projected();
    volumes.as_array_mut().unwrap().extend([
        json!({ "name": "config", "configMap": { "name": "settings" } }),
        json!({ "name": "login", "secret": { "secretName": "login", "defaultMode": 0o400 } }),
    ]);
    same("of_group", volumes, json!({ "runAsUser": 1000, "fsGroup": 2000 })).await;
}
