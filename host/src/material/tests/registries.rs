//! Pull secrets.

use super::World;
use crate::material::{Found, Notice, SecretData};
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::Arc;

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn secret(kind: &str, key: &str, content: &str) -> Found<Arc<SecretData>> {
    let raw = json!({ "type": kind, "data": { key: base64(content) } });
    Found::Here(Arc::new(SecretData::read(raw.to_string().as_bytes()).unwrap()))
}

fn config(auths: Value) -> Found<Arc<SecretData>> {
    let content = json!({ "auths": auths }).to_string();
    secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", &content)
}

/// `registry user:password` of each.
fn resolve(world: &World, names: &[&str]) -> (Vec<String>, Vec<Notice>, Option<Notice>) {
    let names: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
    let spec = json!({ "containers": [{ "name": "app" }], "imagePullSecrets": names });
    let resolved = world.resolve(&spec).unwrap();
    let all = resolved.materials.registries.iter();
    let all = all.map(|one| format!("{} {}:{}", one.registry, one.username, one.password));
    (all.collect(), resolved.notices, resolved.if_pull_fails)
}

#[test]
fn both_forms_are_read_and_the_more_specific_place_comes_first() {
    // pkg/credentialprovider secretsToTrackedDockerConfigs, BasicDockerKeyring.Add
    let mut world = World::new();
    world.secrets.insert(
        "json",
        config(json!({
            "https://index.docker.io/v1/": { "auth": base64("hub:p:w"), "email": "x@y" },
            "quay.io": { "username": "q", "password": "1" },
            "quay.io/team/": { "username": "t", "password": "2" },
            "http://reg.example:5000/v2/deep": { "username": "d", "password": "3" },
        })),
    );
    let old = json!({ "quay.io": { "username": "old", "password": "4" }, "*.azurecr.io": { "auth": "YTpi\n" } });
    world
        .secrets
        .insert("old", secret("kubernetes.io/dockercfg", ".dockercfg", &old.to_string()));
    let (all, notices, later) = resolve(&world, &["json", "old", ""]);
    assert_eq!(
        all,
        [
            "reg.example:5000/deep d:3",
            "quay.io/team/ t:2",
            "quay.io q:1",
            "quay.io old:4",
            "index.docker.io hub:p:w",
            "*.azurecr.io a:b",
        ]
    );
    assert!(notices.is_empty() && later.is_none());
}

#[test]
fn a_missing_pull_secret_holds_nothing() {
    // kubelet getPullSecretsForPod; SyncPod says so when a pull fails
    let (all, notices, later) = resolve(&World::new(), &["gone", "forbidden", "login"]);
    // The last one is no registry's.
    assert!(all.is_empty() && notices.is_empty());
    let later = later.unwrap();
    assert!(later.warning);
    assert_eq!(later.reason, "FailedToRetrieveImagePullSecret");
    assert_eq!(
        later.message,
        "Unable to retrieve some image pull secrets (gone, forbidden); attempting to pull the image may not succeed."
    );
}

#[test]
fn a_broken_pull_secret_holds_nothing_and_shows_nothing() {
    // ours: the kubelet fails each pull, though the image may be public
    for broken in [
        r#"{"auths": {"r": {"auth": "hunter2"}}}"#.to_owned(),
        format!(r#"{{"auths": {{"r": {{"auth": "{}"}}}}}}"#, base64("hunter2")),
        r#"{"auths": ["hunter2"]}"#.to_owned(),
        "hunter2".to_owned(),
    ] {
        let mut world = World::new();
        let kind = "kubernetes.io/dockerconfigjson";
        world
            .secrets
            .insert("broken", secret(kind, ".dockerconfigjson", &broken));
        let (all, notices, _) = resolve(&world, &["broken"]);
        assert!(all.is_empty());
        assert_eq!(notices[0].reason, "FailedToRetrieveImagePullSecret");
        assert!(notices[0].message.contains("broken"), "{}", notices[0].message);
        assert!(!notices[0].message.contains("hunter2"));
    }
}

#[test]
fn a_pull_secret_that_is_not_known_yet_is_waited_for() {
    let spec = json!({ "containers": [{ "name": "app" }], "imagePullSecrets": [{ "name": "unknown" }] });
    assert!(World::new().resolve(&spec).unwrap_err().is_waiting());
}
