//! Services in the environment of a container, and what its command is made of.

use super::given;
use super::pair::Pair;
use super::variables::field;
use super::variables::printer;
use super::variables::same;
use crate::harness::Shown;
use crate::harness::Test;
use crate::harness::object;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

async fn service(test: &Test, name: &str, spec: Value) {
    let services: Api<Service> = Api::namespaced(test.client.clone(), &test.id);
    let service: Service = object(json!({ "metadata": { "name": name }, "spec": spec }));
    services.create(&PostParams::default(), &service).await.unwrap();
}

#[tokio::test]
async fn services() {
    let Some(pair) = Pair::new("or_services").await else {
        return;
    };
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "with-dash", "port": 8080, "protocol": "UDP" }]);
    service(
        &pair.test,
        "web-shop",
        json!({ "selector": { "a": "b" }, "ports": ports }),
    )
    .await;
    service(
        &pair.test,
        "headless",
        json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }),
    )
    .await;
    service(&pair.test, "plain", json!({ "ports": [{ "port": 5432 }] })).await;
    same(&pair, "services", printer(json!([]), json!({}), json!({}))).await;
}

#[tokio::test]
async fn no_services_where_the_pod_wants_none() {
    let Some(pair) = Pair::new("or_no_services").await else {
        return;
    };
    service(&pair.test, "plain", json!({ "ports": [{ "port": 5432 }] })).await;
    let case = printer(json!([]), json!({}), json!({ "enableServiceLinks": false }));
    same(&pair, "no_services", case).await;
}

#[tokio::test]
async fn commands() {
    let Some(pair) = Pair::new("or_commands").await else {
        return;
    };
    let words = [
        "$(NAME)",
        "$$(NAME)",
        "$(NOBODY)",
        "$(KUBERNETES_SERVICE_PORT)",
        "$NAME",
        "a b",
        "",
    ];
    let mut case = printer(json!([field("NAME", "metadata.namespace")]), json!({}), json!({}));
    case.pod["spec"]["containers"][0]["command"] = json!(["printf", "<%s>\n"]);
    case.pod["spec"]["containers"][0]["args"] = json!(words);
    let numbered = |texts: Vec<String>| {
        texts
            .into_iter()
            .enumerate()
            .map(|(at, text)| (format!("arg {at}"), text))
            .collect()
    };
    let printed = |log: &str| numbered(log.lines().map(|line| line[1..line.len() - 1].to_owned()).collect());
    let shown = |shown: &Shown| {
        let line = shown.0.iter().find(|line| line["command"].is_array()).unwrap();
        numbered(serde_json::from_value(line["args"].clone()).unwrap())
    };
    given::same(&pair, "commands", case, printed, shown).await;
}
