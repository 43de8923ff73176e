//! The environment of a container, and its command.

use super::case::Case;
use super::case::is_over;
use super::given;
use super::pair::Pair;
use crate::contract::put_config_map;
use crate::contract::put_secret;
use crate::harness::Shown;
use serde_json::Value;
use serde_json::json;

/// What the image and the runtime put into every environment.
const IMAGES: [&str; 3] = ["PATH", "HOME", "HOSTNAME"];

pub fn field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } })
}

fn resource(name: &str, resource: &str, divisor: &str) -> Value {
    json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } })
}

fn plain(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn variables(log: &str) -> Vec<(String, String)> {
    let lines = log.lines().filter_map(|line| line.split_once('='));
    let given = lines.filter(|(name, _)| !IMAGES.contains(name));
    given
        .map(|(name, value)| (format!("env {name}"), value.to_owned()))
        .collect()
}

fn shown_variables(shown: &Shown) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().map(ToOwned::to_owned);
    let all = shown.0.iter();
    all.filter_map(|line| Some((format!("env {}", text(line, "env")?), text(line, "value")?)))
        .collect()
}

/// A pod that prints its environment, with these variables, in this order.
pub fn printer(env: Value, rest: Value, spec: Value) -> Case {
    let mut container = json!({ "name": "app", "command": ["env"], "env": env });
    container
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    let mut all = json!({ "containers": [container], "restartPolicy": "Never" });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Case::new(all, is_over)
}

pub async fn same(pair: &Pair, name: &str, case: Case) {
    given::same(pair, name, case, variables, shown_variables).await;
}

#[tokio::test]
async fn fields_of_the_pod() {
    let Some(pair) = Pair::new("or_fields").await else {
        return;
    };
    let env = json!([
        field("NAME", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("UID_OF_POD", "metadata.uid"),
        field("TIER", "metadata.labels['example.com/tier']"),
        field("NO_LABEL", "metadata.labels['nobody']"),
        field("NOTE", "metadata.annotations['example.com/note']"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("IP", "status.podIP"),
        field("IPS", "status.podIPs"),
        field("HOST", "status.hostIP"),
        field("HOSTS", "status.hostIPs"),
    ]);
    let mut case = printer(env, json!({}), json!({}));
    case.pod["metadata"] = json!({
        "labels": { "example.com/tier": "front" },
        "annotations": { "example.com/note": "it's \"quoted\" = here" },
    });
    same(&pair, "fields", case).await;
}

#[tokio::test]
async fn resources_of_containers() {
    let Some(pair) = Pair::new("or_resources").await else {
        return;
    };
    let env = json!([
        resource("CPU", "limits.cpu", "0"),
        resource("CPU_1", "limits.cpu", "1"),
        resource("CPU_MILLIS", "limits.cpu", "1m"),
        resource("CPU_REQUEST", "requests.cpu", "1m"),
        resource("CPU_REQUEST_CORES", "requests.cpu", "1"),
        resource("MEMORY", "limits.memory", "0"),
        resource("MEMORY_KI", "limits.memory", "1Ki"),
        resource("MEMORY_K", "limits.memory", "1k"),
        resource("MEMORY_MI", "requests.memory", "1Mi"),
        resource("MEMORY_GI", "requests.memory", "1Gi"),
        resource("STORAGE", "requests.ephemeral-storage", "1Mi"),
    ]);
    let resources = json!({
        "requests": { "cpu": "250m", "memory": "64Mi", "ephemeral-storage": "10Mi" },
        "limits": { "cpu": "1500m", "memory": "100M" },
    });
    same(
        &pair,
        "resources",
        printer(env, json!({ "resources": resources }), json!({})),
    )
    .await;
}

#[tokio::test]
async fn resources_that_have_no_limit_but_the_node() {
    let Some(pair) = Pair::new("or_unlimited").await else {
        return;
    };
    let env = json!([
        resource("CPU", "limits.cpu", "1m"),
        resource("MEMORY", "limits.memory", "1"),
        resource("CPU_REQUEST", "requests.cpu", "1m"),
        resource("MEMORY_REQUEST", "requests.memory", "1"),
    ]);
    same(&pair, "unlimited", printer(env, json!({}), json!({}))).await;
}

#[tokio::test]
async fn values_made_of_others() {
    let Some(pair) = Pair::new("or_expansions").await else {
        return;
    };
    put_config_map(&pair.test, "settings", json!({ "data": { "color": "blue" } })).await;
    let env = json!([
        plain("EARLY", "$(LATE)"),
        plain("ONE", "1"),
        plain("TWO", "$(ONE)+$(ONE)"),
        plain("ESCAPED", "$$(ONE) $$$(ONE) $$$$(ONE)"),
        plain("NOBODY", "$(NOBODY_KNOWS)"),
        plain("BROKEN", "$(ONE $ONE ${ONE} $() $"),
        plain("EMPTY", ""),
        plain("OF_EMPTY", "[$(EMPTY)]"),
        json!({ "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "color" } } }),
        plain("OF_COLOR", "$(COLOR)!"),
        plain("OF_SERVICE", "$(KUBERNETES_SERVICE_HOST)"),
        plain("LATE", "late"),
        plain("ONE", "one again"),
        plain("THREE", "$(ONE)"),
        json!({ "name": "ABSENT", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "none", "optional": true } } }),
        plain("OF_ABSENT", "$(ABSENT)"),
    ]);
    same(&pair, "expansions", printer(env, json!({}), json!({}))).await;
}

#[tokio::test]
async fn whole_objects() {
    let Some(pair) = Pair::new("or_env_from").await else {
        return;
    };
    let data =
        json!({ "data": { "color": "blue", "not-a-name": "x", "1st": "first", "with.dot": "y", "SHARED": "map" } });
    put_config_map(&pair.test, "settings", data).await;
    put_secret(&pair.test, "login", json!({ "user": "ada", "SHARED": "secret" })).await;
    let from = json!({ "envFrom": [
        { "configMapRef": { "name": "settings" } },
        { "prefix": "P_", "configMapRef": { "name": "settings" } },
        { "secretRef": { "name": "login" } },
        { "prefix": "X", "secretRef": { "name": "none", "optional": true } },
    ]});
    let env = json!([plain("user", "over it"), plain("OF_IT", "$(color) $(P_color)")]);
    same(&pair, "env_from_all", printer(env, from, json!({}))).await;
}
