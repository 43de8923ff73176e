//! Modes and owners by the pod's security context.

use super::{check_volumes, gives};
use serde_json::{Value, json};

const OWNERSHIP: &str = "pkg/volume VolumeOwnership (changeFilePermission)";
const TOKEN: &str = "pkg/volume/projected collectData";
const USER: &str = "pkg/volume/util FsUserFrom";
const KEP: &str = "KEP-5936 (ResolvesFsUser)";

fn token() -> Value {
    json!({ "projected": { "defaultMode": 420, "sources": [{ "serviceAccountToken": { "path": "token" } }] } })
}

fn users(pod: Option<u32>, containers: &[Option<u32>]) -> Value {
    let security = |user: &Option<u32>| match user {
        Some(user) => json!({ "runAsUser": user }),
        None => json!({}),
    };
    let all: Vec<_> = containers
        .iter()
        .enumerate()
        .map(|(index, user)| json!({ "name": format!("c{index}"), "securityContext": security(user) }))
        .collect();
    json!({ "securityContext": security(&pod), "containers": all })
}

#[test]
fn the_group_of_the_pod() {
    let group = || json!({ "securityContext": { "fsGroup": 2000 } });
    let map = |mode: u32| json!({ "configMap": { "name": "more", "defaultMode": mode } });
    check_volumes(vec![
        gives("may read", OWNERSHIP, map(0o400), ["COLOR 0440 -:2000 red"]).in_pod(group()),
        gives("what others may already", OWNERSHIP, map(0o644), ["COLOR 0644 -:2000 red"]).in_pod(group()),
        gives("even what nobody may", OWNERSHIP, map(0o000), ["COLOR 0440 -:2000 red"]).in_pod(group()),
        gives(
            "a Secret",
            OWNERSHIP,
            json!({ "secret": { "secretName": "login", "defaultMode": 0o600, "items": [{ "key": "user", "path": "u" }] } }),
            ["u 0640 -:2000 admin [secret]"],
        )
        .in_pod(group()),
        gives("a token: 0600 made 0640", TOKEN, token(), ["token 0640 -:2000 token-of-web [secret]"]).in_pod(group()),
    ]);
}

#[test]
fn the_user_of_all_containers_owns_tokens() {
    let mine = ["token 0600 7:- token-of-web [secret]"];
    let open = ["token 0644 token-of-web [secret]"];
    check_volumes(vec![
        gives("the pod's user", USER, token(), mine).in_pod(users(Some(7), &[None, None])),
        gives("the containers' user", USER, token(), mine).in_pod(users(None, &[Some(7), Some(7)])),
        gives("two users", USER, token(), open).in_pod(users(Some(7), &[None, Some(8)])),
        gives("one container without", USER, token(), open).in_pod(users(None, &[Some(7), None])),
        gives("an init container of another user", USER, token(), open).in_pod(json!({
            "securityContext": { "runAsUser": 7 },
            "initContainers": [{ "name": "first", "securityContext": { "runAsUser": 0 } }] })),
        gives(
            "user and group",
            TOKEN,
            token(),
            ["token 0640 7:2000 token-of-web [secret]"],
        )
        .in_pod(json!({ "securityContext": { "runAsUser": 7, "fsGroup": 2000 } })),
        gives(
            "other files belong to root",
            TOKEN,
            json!({ "configMap": { "name": "more" } }),
            ["COLOR 0644 red"],
        )
        .in_pod(users(Some(7), &[None])),
    ]);
}

#[test]
fn users_of_files() {
    check_volumes(vec![
        gives(
            "of a volume, and of one file",
            KEP,
            json!({ "configMap": { "name": "settings", "defaultUser": 5, "items": [
                { "key": "COLOR", "path": "a" }, { "key": "size", "path": "b", "user": 6 } ] } }),
            ["a 0644 5:- blue", "b 0644 6:- 10"],
        ),
        gives(
            "of a token, before that of the containers",
            KEP,
            json!({ "projected": { "sources": [{ "serviceAccountToken": { "path": "token", "user": 9 } }] } }),
            ["token 0600 9:- token-of-web [secret]"],
        )
        .in_pod(users(Some(7), &[None])),
    ]);
}
