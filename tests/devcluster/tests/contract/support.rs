//! A cluster per test, a client, and waiting with a deadline.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::Write;
use std::time::Duration;

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use outrigger_devcluster::{Builder, Controllers, DevCluster, Running};
use serde_json::{Value, json};

pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Cluster {
    pub running: Running,
    pub client: Client,
}

/// Notes that a test is not run, and why: on stderr, past the test harness's capture, and as a line of the file that
/// `OUTRIGGER_SKIPS` names.
pub fn skip(what: &str, reason: &str) {
    let line = format!("SKIPPED {what}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("OUTRIGGER_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// No controllers: nothing happens but what the test does.
pub fn quiet() -> Controllers {
    Controllers {
        scheduler: false,
        node_lifecycle: false,
        workloads: false,
        pod_gc: false,
        ..Controllers::default()
    }
}

pub async fn start() -> Cluster {
    start_with(DevCluster::builder().controllers(quiet())).await
}

pub async fn start_with(builder: Builder) -> Cluster {
    let running = builder.start().await.unwrap();
    let client = client(&running).await;
    Cluster { running, client }
}

pub async fn client(running: &Running) -> Client {
    let kubeconfig = Kubeconfig::read_from(running.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    // Faults are looked at, not waited out.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

impl Cluster {
    /// A request as it is; the status of the answer and its JSON.
    pub async fn request(&self, method: Method, path: &str, content_type: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body.into())
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        (
            code,
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
        )
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, "application/json", Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::POST, path, "application/json", body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::PUT, path, "application/json", body).await
    }

    pub async fn delete(&self, path: &str, body: Value) -> (u16, Value) {
        self.request(Method::DELETE, path, "application/json", body).await
    }

    pub async fn patch(&self, kind: &str, path: &str, body: Value) -> (u16, Value) {
        let suffix = if kind == "apply" { "yaml" } else { "json" };
        self.request(Method::PATCH, path, &format!("application/{kind}-patch+{suffix}"), body)
            .await
    }

    /// The lines of a watch that ends.
    pub async fn watch(&self, path: &str) -> Vec<Value> {
        let request = Request::get(path).body(Vec::new().into()).unwrap();
        let response = tokio::time::timeout(DEADLINE, self.client.send(request))
            .await
            .unwrap()
            .unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body());
        let bytes = tokio::time::timeout(DEADLINE, body).await.unwrap().unwrap().to_bytes();
        bytes
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .map(|l| serde_json::from_slice(l).unwrap())
            .collect()
    }
}

/// Asks until the answer is there.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
    }
}

pub fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}

pub fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "100"}, "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}})
}

pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|l| l["type"].as_str().unwrap()).collect()
}
