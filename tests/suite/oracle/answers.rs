//! What a kubelet port answers, through the API server's proxy: codes, kinds of content and texts.

use super::case::Case;
use super::case::RUNS_ON;
use super::compare;
use super::course::Facts;
use super::pair::Pair;
use super::words::Words;
use crate::harness::Test;
use crate::harness::is_running;
use http_body_util::BodyExt;
use serde_json::json;
use std::time::Duration;

/// Method and path of what is asked, with `POD` for one that runs and `WAITING` for one whose container does not.
const LOGS: &[&str] = &[
    "GET containerLogs/NS/nobody/app",
    "GET containerLogs/nowhere/POD/app",
    "GET containerLogs/NS/POD/nobody",
    "GET containerLogs/NS/POD",
    "GET containerLogs/NS/WAITING/app",
    "GET containerLogs/NS/WAITING/app?previous=true",
    "GET containerLogs/NS/POD/app?previous=true",
    "GET containerLogs/NS/POD/app?tailLines=-1",
    "GET containerLogs/NS/POD/app?tailLines=many",
    "GET containerLogs/NS/POD/app?limitBytes=0",
    "GET containerLogs/NS/POD/app?limitBytes=-1",
    "GET containerLogs/NS/POD/app?sinceSeconds=0",
    "GET containerLogs/NS/POD/app?sinceSeconds=-5",
    "GET containerLogs/NS/POD/app?sinceTime=yesterday",
    "GET containerLogs/NS/POD/app?sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z",
    "GET containerLogs/NS/POD/app?follow=perhaps",
    "GET containerLogs/NS/POD/app?stream=Nothing",
    "GET containerLogs/NS/POD/app?stream=Stdout&tailLines=1",
    "GET containerLogs/NS/POD/app?tailLines=0",
    "POST containerLogs/NS/POD/app",
];

const COMMANDS: &[&str] = &[
    "POST exec/NS/POD/app?command=true&output=1",
    "GET exec/NS/POD/app?command=true&output=1",
    "POST exec/NS/POD/app?command=true",
    "POST exec/NS/nobody/app?command=true&output=1",
    "POST exec/NS/POD/nobody?command=true&output=1",
    "POST exec/NS/WAITING/app?command=true&output=1",
    "PUT exec/NS/POD/app?command=true&output=1",
    "POST attach/NS/POD/app?output=1",
    "POST attach/NS/POD/app",
    "POST attach/NS/nobody/app?output=1",
    "POST attach/NS/POD/nobody?output=1",
    "POST portForward/NS/POD",
    "POST portForward/NS/nobody",
    "POST portForward/NS/WAITING",
    "GET portForward/NS/POD",
    "POST run/NS/nobody/app?cmd=true",
    "POST run/NS/POD/nobody?cmd=true",
];

const REST: &[&str] = &[
    "GET healthz",
    "GET healthz/ping",
    "GET healthz/log",
    "GET healthz/syncloop",
    "GET healthz/nothing",
    "POST pods",
    "GET nothing",
    "GET",
    "GET logs/nothing",
    "GET stats",
    "GET stats/nothing",
    "POST stats/summary",
    "GET spec",
    "GET debug/nothing",
    "GET run/NS/POD/app",
    "POST checkpoint/NS/nobody/app",
];

/// Longer than an answer takes that has an end.
const ENOUGH: Duration = Duration::from_secs(5);

/// What came back.
pub struct Answer {
    code: u16,
    kind: String,
    pub body: String,
}

/// Asks by way of the API server.
pub async fn ask(test: &Test, method: &str, path: &str) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(kube::client::Body::empty())
        .unwrap();
    let answer = test.client.send(request).await.unwrap();
    let code = answer.status().as_u16();
    let kind = answer
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().to_owned());
    // Some have no end, as a log that is followed.
    let body = match tokio::time::timeout(ENOUGH, answer.into_body().collect()).await {
        Ok(whole) => String::from_utf8_lossy(&whole.unwrap().to_bytes()).into_owned(),
        Err(_) => "it goes on".to_owned(),
    };
    Answer {
        code,
        kind: kind.unwrap_or_default(),
        body,
    }
}

/// A pod that runs and has logged, and one that waits, on both nodes.
pub async fn pods(pair: &Pair) {
    let missing = json!([{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "nobody", "key": "a" } } }]);
    let mut waiting = Case::shell(RUNS_ON, json!({}), |_| true);
    waiting.pod["spec"]["containers"][0]["env"] = missing;
    pair.create_more(&waiting, "-waiting").await;
    pair.create(&Case::shell(&format!("echo line; {RUNS_ON}"), json!({}), is_running))
        .await;
    for (pod, _) in pair.sides() {
        pair.test.running(pod).await;
        let waits =
            |pod: &k8s_openapi::api::core::v1::Pod| super::case::waits(pod, "app") == "CreateContainerConfigError";
        pair.test.pod_until(&format!("{pod}-waiting"), "it waits", waits).await;
    }
}

async fn facts(pair: &Pair, pod: &str, node: &str, questions: &[&str]) -> Facts {
    let mut words = Words::default();
    for (thing, word) in [(pod, "<pod>"), (node, "<node>"), (&pair.test.id, "<namespace>")] {
        words.add(thing, word);
    }
    let mut facts = Facts::new();
    for question in questions {
        let (method, path) = question.split_once(' ').unwrap_or((question, ""));
        let path = path
            .replace("NS", &pair.test.id)
            .replace("WAITING", &format!("{pod}-waiting"))
            .replace("POD", pod);
        let answer = ask(&pair.test, method, &format!("/api/v1/nodes/{node}/proxy/{path}")).await;
        facts.insert(format!("{question} code"), answer.code.to_string());
        facts.insert(format!("{question} kind"), answer.kind);
        // What a log says is the container's.
        let is_log = answer.code == 200 && path.starts_with("containerLogs") && answer.body.contains("line");
        let said = if is_log {
            "a log".to_owned()
        } else {
            words.text(&answer.body)
        };
        facts.insert(format!("{question} body"), said);
    }
    facts
}

async fn same(name: &str, questions: &[&str]) {
    let Some(pair) = Pair::new(&format!("or_{}", name.replace(' ', "_"))).await else {
        return;
    };
    pods(&pair).await;
    let [(their_pod, their_node), (our_pod, our_node)] = pair.sides();
    let kubelet = facts(&pair, their_pod, &their_node, questions).await;
    let ours = facts(&pair, our_pod, &our_node, questions).await;
    compare::assert_allowed(name, &compare::between(&kubelet, &ours));
}

#[tokio::test]
async fn about_logs() {
    same("port logs", LOGS).await;
}

#[tokio::test]
async fn about_commands() {
    same("port commands", COMMANDS).await;
}

#[tokio::test]
async fn about_the_rest() {
    same("port paths", REST).await;
}
