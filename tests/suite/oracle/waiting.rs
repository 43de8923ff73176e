//! Pods that refer to what is not there.

use super::case::Case;
use super::case::RUNS_ON;
use super::case::waits;
use super::pair::Pair;
use super::pair::same;
use crate::contract::put_config_map;
use crate::contract::put_secret;
use crate::harness::is_running;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use serde_json::json;

fn case(env: Value, volumes: Value, until: fn(&Pod) -> bool) -> Case {
    let named = |volume: &Value| json!({ "name": volume["name"], "mountPath": format!("/v/{}", volume["name"].as_str().unwrap()) });
    let mounts: Vec<Value> = volumes.as_array().unwrap().iter().map(named).collect();
    let app = json!({ "name": "app", "command": ["sh", "-c", RUNS_ON], "env": env, "volumeMounts": mounts });
    Case::new(json!({ "containers": [app], "volumes": volumes }), until)
}

fn key(kind: &str, optional: bool) -> Value {
    json!([{ "name": "COLOR", "valueFrom": { kind: { "name": "settings", "key": "color", "optional": optional } } }])
}

fn is_not_configured(pod: &Pod) -> bool {
    waits(pod, "app") == "CreateContainerConfigError"
}

fn is_being_made(pod: &Pod) -> bool {
    waits(pod, "app") == "ContainerCreating"
}

#[tokio::test]
async fn for_a_config_map_of_its_environment() {
    same(
        "environment map",
        case(key("configMapKeyRef", false), json!([]), is_not_configured),
    )
    .await;
}

#[tokio::test]
async fn for_a_secret_of_its_environment() {
    same(
        "environment secret",
        case(key("secretKeyRef", false), json!([]), is_not_configured),
    )
    .await;
}

#[tokio::test]
async fn for_a_key_of_its_environment() {
    let Some(pair) = Pair::new("or_env_key").await else {
        return;
    };
    put_config_map(&pair.test, "settings", json!({ "data": { "shape": "round" } })).await;
    pair.same(
        "environment key",
        case(key("configMapKeyRef", false), json!([]), is_not_configured),
    )
    .await;
}

#[tokio::test]
async fn for_the_whole_environment() {
    let mut case = case(json!([]), json!([]), is_not_configured);
    case.pod["spec"]["containers"][0]["envFrom"] = json!([{ "secretRef": { "name": "login" } }]);
    same("environment whole", case).await;
}

#[tokio::test]
async fn for_a_secret_of_a_volume() {
    let volumes = json!([{ "name": "login", "secret": { "secretName": "login" } }]);
    same("volume_secret", case(json!([]), volumes, is_being_made)).await;
}

#[tokio::test]
async fn for_a_config_map_of_a_volume() {
    let volumes = json!([{ "name": "config", "configMap": { "name": "settings" } }]);
    same("volume_map", case(json!([]), volumes, is_being_made)).await;
}

#[tokio::test]
async fn for_a_key_of_a_volume() {
    let Some(pair) = Pair::new("or_volume_key").await else {
        return;
    };
    put_secret(&pair.test, "login", json!({ "user": "ada" })).await;
    let items = json!([{ "key": "password", "path": "password" }]);
    let volumes = json!([{ "name": "login", "secret": { "secretName": "login", "items": items } }]);
    pair.same("volume_key", case(json!([]), volumes, is_being_made)).await;
}

#[tokio::test]
async fn for_a_source_of_a_projected_volume() {
    let sources = json!([{ "configMap": { "name": "settings" } }, { "secret": { "name": "login", "optional": true } }]);
    let volumes = json!([{ "name": "all", "projected": { "sources": sources } }]);
    same("volume_projected", case(json!([]), volumes, is_being_made)).await;
}

#[tokio::test]
async fn for_nothing_that_is_optional() {
    let volumes = json!([
        { "name": "config", "configMap": { "name": "settings", "optional": true } },
        { "name": "login", "secret": { "secretName": "login", "optional": true } },
    ]);
    same("optional", case(key("secretKeyRef", true), volumes, is_running)).await;
}

#[tokio::test]
async fn and_is_deleted_meanwhile() {
    let volumes = json!([{ "name": "login", "secret": { "secretName": "login" } }]);
    same("volume deleted", case(json!([]), volumes, is_being_made).deleted()).await;
}
