//! Variables from ConfigMaps and Secrets.

use super::{check_env, gives, holds};
use serde_json::json;

const MAKE: &str = "kubelet makeEnvironmentVariables";
const NOT_FOUND: &str = "kubelet util/manager watchBasedManager (NewNotFound)";

#[test]
fn literal_values() {
    check_env(vec![
        gives(
            "a value is itself",
            MAKE,
            json!({ "env": [{ "name": "A", "value": "1" }] }),
            ["A=1"],
        ),
        gives(
            "no value is the empty one",
            MAKE,
            json!({ "env": [{ "name": "A" }] }),
            ["A="],
        ),
        gives(
            "an empty value is set",
            MAKE,
            json!({ "env": [{ "name": "A", "value": "" }] }),
            ["A="],
        ),
        gives(
            "a value keeps its lines and blanks",
            MAKE,
            json!({ "env": [{ "name": "A", "value": " a\n\tb " }] }),
            ["A= a\n\tb "],
        ),
        gives(
            "of two variables of one name the later wins",
            MAKE,
            json!({ "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }, { "name": "A", "value": "3" }] }),
            ["A=3", "B=2"],
        ),
        gives(
            "any printable name but one with an equals sign",
            "API ValidateEnvVars, KEP-4369 (since 1.34)",
            json!({ "env": [{ "name": "1.a-b/c d", "value": "x" }] }),
            ["1.a-b/c d=x"],
        ),
    ]);
}

#[test]
fn keys_of_config_maps_and_secrets() {
    let key = |kind: &str, name: &str, key: &str, optional: bool| {
        json!({ "env": [
            { "name": "BEFORE", "value": "b" },
            { "name": "X", "valueFrom": { kind: { "name": name, "key": key, "optional": optional } } },
        ] })
    };
    let (map, secret) = ("configMapKeyRef", "secretKeyRef");
    check_env(vec![
        gives(
            "a key of a ConfigMap",
            MAKE,
            key(map, "settings", "COLOR", false),
            ["BEFORE=b", "X=blue"],
        ),
        gives(
            "a key that is no variable's name",
            MAKE,
            key(map, "settings", "log.level", false),
            ["BEFORE=b", "X=debug"],
        ),
        gives(
            "a key of a Secret is marked",
            MAKE,
            key(secret, "login", "password", false),
            ["BEFORE=b", "X=hunter2 [secret]"],
        ),
        holds(
            "a missing ConfigMap",
            NOT_FOUND,
            key(map, "gone", "k", false),
            r#"configmap "gone" not found"#,
        ),
        holds(
            "a missing Secret",
            NOT_FOUND,
            key(secret, "gone", "k", false),
            r#"secret "gone" not found"#,
        ),
        gives(
            "a missing optional ConfigMap",
            MAKE,
            key(map, "gone", "k", true),
            ["BEFORE=b"],
        ),
        gives(
            "a missing optional Secret",
            MAKE,
            key(secret, "gone", "k", true),
            ["BEFORE=b"],
        ),
        holds(
            "a missing key of a ConfigMap",
            MAKE,
            key(map, "settings", "SHAPE", false),
            "couldn't find key SHAPE in ConfigMap shop/settings",
        ),
        holds(
            "a missing key of a Secret",
            MAKE,
            key(secret, "login", "otp", false),
            "couldn't find key otp in Secret shop/login",
        ),
        gives(
            "a missing optional key of a ConfigMap",
            MAKE,
            key(map, "settings", "SHAPE", true),
            ["BEFORE=b"],
        ),
        gives(
            "a missing optional key of a Secret",
            MAKE,
            key(secret, "login", "otp", true),
            ["BEFORE=b"],
        ),
        holds(
            "binary data is not seen by variables",
            MAKE,
            key(map, "settings", "logo", false),
            "couldn't find key logo in ConfigMap shop/settings",
        ),
        holds(
            "a ConfigMap that may not be read, optional or not",
            "kubelet util/manager objectCache.Get",
            key(map, "forbidden", "k", true),
            r#"failed to sync configmap cache: configmaps "forbidden" is forbidden"#,
        ),
        holds(
            "a Secret that may not be read",
            "kubelet util/manager objectCache.Get",
            key(secret, "forbidden", "k", false),
            r#"failed to sync secret cache: secrets "forbidden" is forbidden"#,
        ),
        holds(
            "a reference without a name",
            "API (kept for old objects, kubernetes #99454)",
            key(map, "", "k", false),
            r#"configmap "" not found"#,
        ),
        holds(
            "a Secret that is no text",
            "ours: the kubelet of 1.37 passes it on as bytes, those before fail; few backends could",
            key(secret, "binary", "bytes", false),
            r#"the value of environment variable "X" is no UTF-8 text"#,
        ),
        holds(
            "a Secret with a zero byte",
            "ours: with a kubelet the container fails to start",
            key(secret, "zero", "zero", false),
            r#"the value of environment variable "X" has a zero byte"#,
        ),
    ]);
}

#[test]
fn whole_config_maps_and_secrets() {
    let from = |sources: serde_json::Value| json!({ "envFrom": sources });
    let map = |name: &str| json!({ "configMapRef": { "name": name } });
    let secret = |name: &str| json!({ "secretRef": { "name": name } });
    let optional = |name: &str| json!({ "configMapRef": { "name": name, "optional": true } });
    check_env(vec![
        gives(
            "all keys of a ConfigMap",
            MAKE,
            from(json!([map("settings")])),
            ["COLOR=blue", "log.level=debug", "size=10"],
        ),
        gives(
            "all keys of a Secret are marked",
            MAKE,
            from(json!([secret("login")])),
            ["password=hunter2 [secret]", "user=admin [secret]"],
        ),
        gives(
            "a prefix",
            MAKE,
            from(json!([{ "prefix": "DB_", "secretRef": { "name": "login" } }])),
            ["DB_password=hunter2 [secret]", "DB_user=admin [secret]"],
        ),
        gives(
            "of two sources with one key the later wins",
            MAKE,
            from(json!([map("settings"), map("more")])),
            ["COLOR=red", "log.level=debug", "size=10"],
        ),
        gives(
            "the same source twice, with and without a prefix",
            MAKE,
            from(json!([map("more"), { "prefix": "OLD_", "configMapRef": { "name": "more" } }])),
            ["COLOR=red", "OLD_COLOR=red"],
        ),
        gives("an empty ConfigMap", MAKE, from(json!([map("empty")])), []),
        holds(
            "a missing ConfigMap",
            MAKE,
            from(json!([map("gone")])),
            r#"configmap "gone" not found"#,
        ),
        holds(
            "a missing Secret",
            MAKE,
            from(json!([secret("gone")])),
            r#"secret "gone" not found"#,
        ),
        gives(
            "a missing optional one",
            MAKE,
            from(json!([optional("gone"), map("more")])),
            ["COLOR=red"],
        ),
        holds(
            "the first of two missing ones is named",
            MAKE,
            from(json!([map("gone"), secret("gone")])),
            r#"configmap "gone" not found"#,
        ),
        gives(
            "env takes the place of envFrom",
            MAKE,
            json!({ "envFrom": [map("settings")], "env": [{ "name": "COLOR", "value": "mine" }] }),
            ["COLOR=mine", "log.level=debug", "size=10"],
        ),
        gives(
            "a Secret's mark goes when a literal takes its place",
            MAKE,
            json!({ "envFrom": [secret("login")], "env": [{ "name": "password", "value": "x" }] }),
            ["password=x", "user=admin [secret]"],
        ),
        gives(
            "a key that can be no variable's name is left out",
            "kubelet before 1.34, makeEnvironmentVariables: the API server of later ones takes no such key",
            from(json!([map("odd")])),
            ["good=2"],
        ),
        gives(
            "an optional variable that is missing leaves what envFrom brought",
            MAKE,
            json!({ "envFrom": [map("more")], "env": [
                { "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "gone", "key": "k", "optional": true } } } ] }),
            ["COLOR=red"],
        ),
    ]);
}
