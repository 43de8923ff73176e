//! Where the clients are tried: two nodes, of which one declares that it understands WebSockets, with a pod each.

use super::client::Client;
use super::client::Speaks;
use crate::harness::Host;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::feed;
use serde_json::Value;
use serde_json::json;
use std::fmt::Display;
use std::fmt::Formatter;
use std::process::Output;
use std::process::Stdio;
use tokio::process::Command;

/// Both nodes. The hosts go before the test.
pub struct Field {
    sides: [Side; 2],
    pub test: Test,
}

/// A node with its pod.
pub struct Side {
    pub host: Host,
    pub node: String,
    /// Runs for ever; its commands are real processes, and its port 8080 echoes.
    pub pod: &'static str,
    address: String,
    declares: bool,
}

/// One client at one node.
pub struct Cell<'a> {
    pub field: &'a Field,
    pub side: &'a Side,
    pub client: &'a Client,
}

/// Tries all clients at all nodes that make a difference to them.
pub async fn each(name: &str, clients: impl AsyncFn(&Test) -> Vec<Client>, scenario: impl AsyncFn(&Cell<'_>)) {
    let test = Test::new(&name.replace('_', "-")).await;
    let clients = clients(&test).await;
    if clients.is_empty() {
        // Whoever could not make them has said why.
        return;
    }
    let field = Field::start(test).await;
    for client in &clients {
        for side in field.sides.iter().filter(|side| field.differs(client, side)) {
            let cell = Cell {
                field: &field,
                side,
                client,
            };
            println!("{cell}");
            scenario(&cell).await;
        }
    }
}

impl Field {
    /// Starts both, of which the second declares it.
    pub async fn start(test: Test) -> Self {
        let plain = Side::start(&test, "plain", false).await;
        let declares = Side::start(&test, "declares", true).await;
        Self {
            sides: [plain, declares],
            test,
        }
    }

    /// The one that declares nothing, and the other.
    pub fn sides(&self) -> &[Side; 2] {
        &self.sides
    }

    fn differs(&self, client: &Client, side: &Side) -> bool {
        match (client.speaks, side.declares) {
            // An API server passes it on to all alike.
            (Speaks::Spdy, declares) => !declares,
            (Speaks::WebSocket, _) | (Speaks::NewWebSocket, true) => true,
            (Speaks::NewWebSocket, false) => !client.direct && self.test.cluster.translates(),
        }
    }
}

impl Side {
    async fn start(test: &Test, pod: &'static str, declares: bool) -> Self {
        let node = format!("{}-{pod}", test.id);
        let scratch = test.directory().join(format!("scratch-{pod}"));
        let config = test
            .config()
            .mock("mock", json!({ "exec": "local-process", "scratch": scratch }))
            .node(&node, "mock", json!({}))
            .with(json!({ "kubelet": { "extendWebSockets": declares } }));
        let host = test.start(&config);
        let ready = test.node_ready(&node).await;
        let endpoint = ready.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint;
        let container =
            json!({ "name": "app", "image": "registry.example/app:1", "ports": [{ "containerPort": 8080 }] });
        let spec = json!({ "nodeName": node, "containers": [container] });
        test.create(test.pod(pod, json!({ "spec": spec }))).await;
        test.running(pod).await;
        Self {
            host,
            node,
            pod,
            address: format!("{}:{}", test.cluster.host_address, endpoint.unwrap().port),
            declares,
        }
    }
}

impl Display for Cell<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let node = match self.side.declares {
            true => "a node that declares WebSockets",
            false => "a node that declares nothing",
        };
        write!(f, "{} at {node}", self.client.name)
    }
}

impl Cell<'_> {
    /// A command that is not started yet; it is killed when its child is dropped.
    pub fn command(&self, args: &[&str]) -> Command {
        let (client, test) = (self.client, &self.field.test);
        let mut command = Command::new(&client.program);
        command
            .args(&client.args)
            .env("KUBECONFIG", &test.cluster.admin_kubeconfig);
        if client.is_kubectl {
            command
                .arg("--cache-dir")
                .arg(test.directory().join("kubectl-cache"))
                .args(["--namespace", &test.id]);
        }
        command.env("INTEROP_NAMESPACE", &test.id);
        if client.direct {
            command.env("INTEROP_NODE", &self.side.address);
        }
        command
            .args(args)
            .envs(client.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The same for a command in the pod.
    pub fn exec(&self, flags: &[&str], script: &str) -> Command {
        let what = [self.side.pod, "--", "sh", "-c", script];
        self.command(&[&["exec"], flags, &what].concat())
    }

    /// Runs a command of a shell in the pod.
    pub async fn shell(&self, script: &str) -> Output {
        feed(self.exec(&[], script), b"").await
    }

    /// Follows a log.
    pub fn follow(&self, pod: &str) -> Command {
        match self.client.is_kubectl {
            true => self.command(&["logs", "--follow", pod]),
            false => self.command(&["logs", pod]),
        }
    }

    /// Whether the API server speaks SPDY with the node and WebSocket with the client.
    pub fn is_translated(&self) -> bool {
        let websocket = self.client.speaks != Speaks::Spdy && !self.client.direct;
        websocket && !self.side.declares && self.field.test.cluster.translates()
    }

    /// A pod on this node.
    pub fn pod(&self, name: &str, mut rest: Value) -> Value {
        rest["spec"]["nodeName"] = json!(self.side.node);
        self.field.test.pod(name, rest)
    }

    /// The node's metrics, by what stands before each value. `None` where the API server can't get them.
    pub async fn metrics(&self) -> Option<String> {
        let test = &self.field.test;
        if test.cluster.no_node_proxy.is_some() {
            return None;
        }
        let path = format!("/api/v1/nodes/{}/proxy/metrics", self.side.node);
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        Some(test.client.request_text(request).await.unwrap())
    }

    /// Waits until the server and the provider have no session any more, nor a log that is read.
    pub async fn is_idle(&self) {
        let series = [
            "outrigger_kubelet_sessions{kind=\"exec\"}",
            "outrigger_kubelet_sessions{kind=\"portforward\"}",
            "kubelet_http_inflight_requests{long_running=\"true\",method=\"GET\",path=\"containerLogs\",server_type=\"readwrite\"}",
            // Pings and lists come and go.
            "outrigger_provider_calls_in_flight{provider=\"mock\"}",
        ];
        eventually(SOON, &format!("{self}: nothing goes on at the node"), || async {
            let Some(page) = self.metrics().await else {
                return Ok(());
            };
            let busy = |series: &&str| !matches!(value(&page, series), None | Some("0"));
            match series.iter().find(|series| busy(series)) {
                Some(series) => Err(format!("{series} is {:?}", value(&page, series))),
                None => Ok(()),
            }
        })
        .await;
    }
}

/// The value of a series.
pub fn value<'a>(metrics: &'a str, series: &str) -> Option<&'a str> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map(str::trim)
}
