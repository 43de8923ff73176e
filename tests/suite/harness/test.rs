//! One test: its names, its directory, its part of the cluster, and what is left to look at when it fails.

use super::artifacts;
use super::backend::MockBackend;
use super::cluster::Cluster;
use super::config::HostConfig;
use super::host::Environment;
use super::host::Host;
use super::kubectl::Kubectl;
use super::skip::skip;
use super::wait::SOON;
use super::wait::eventually;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::Client;
use kube::Config;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use serde_json::Value;
use serde_json::json;
use std::cell::Cell;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Marks the nodes of a test.
pub const LABEL: &str = "suite.outrigger.dev/test";

thread_local! {
    static SHARES_WATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test whose hosts have one watch for all their nodes, however few these are.
pub fn sharing_watches(test: fn()) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            SHARES_WATCHES.set(false);
        }
    }
    SHARES_WATCHES.set(true);
    let _reset = Reset;
    test();
}

/// A running test. Dropped last, after its hosts: it takes everything of the test out of the cluster.
pub struct Test {
    /// Unique on the cluster: the test's namespace, and what its nodes' names begin with.
    pub id: String,
    /// The cluster.
    pub cluster: &'static Cluster,
    /// The administrator.
    pub client: Client,
    directory: Option<tempfile::TempDir>,
    hosts: AtomicUsize,
    shares_watches: bool,
}

impl Test {
    /// Begins a test of this name.
    pub async fn new(name: &str) -> Self {
        Self::on(Cluster::get().await, name).await
    }

    /// Begins a test of this name on a cluster.
    pub async fn on(cluster: &'static Cluster, name: &str) -> Self {
        artifacts::directory();
        let client = client(cluster, true).await;
        let unique: String = std::iter::repeat_with(fastrand::lowercase).take(5).collect();
        let id = format!("{}-{unique}", name.replace('_', "-"));
        let directory = tempfile::Builder::new()
            .prefix(&format!("outrigger-{id}-"))
            .tempdir()
            .unwrap();
        let test = Self {
            id,
            cluster,
            client,
            directory: Some(directory),
            hosts: AtomicUsize::new(0),
            shares_watches: SHARES_WATCHES.get(),
        };
        test.make_namespace().await;
        test
    }

    /// Admission wants the namespace's default account to exist before its first pod.
    async fn make_namespace(&self) {
        let namespace: Namespace = object(json!({ "metadata": { "name": self.id } }));
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.id);
        eventually(SOON, "the namespace has its default account", || {
            accounts.get("default")
        })
        .await;
    }

    /// Where the test's files are.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// A configuration for this cluster, without providers and nodes yet.
    pub fn config(&self) -> HostConfig {
        let config = HostConfig::new(json!({
            "apiVersion": "outrigger.dev/v1alpha1",
            "kind": "HostConfig",
            "cluster": { "kubeconfig": self.cluster.host_kubeconfig },
            "log": { "level": "info,outrigger=debug" },
            "plugins": { "directories": [artifacts::directory()] },
            "kubelet": { "listen": self.cluster.host_address, "clientCAFile": self.cluster.kubelet_client_ca },
            "nodeBase": { "address": self.cluster.host_address, "labels": { LABEL: self.id } },
        }));
        match self.shares_watches {
            true => config.with(json!({ "cluster": { "watchesPerNodeUpTo": 0 } })),
            false => config,
        }
    }

    /// A configuration with one node of a mock with this config.
    pub fn mock(&self, config: Value) -> HostConfig {
        self.config().mock("mock", config).node(&self.node(), "mock", json!({}))
    }

    /// The name of the test's node, if it has one.
    pub fn node(&self) -> String {
        format!("{}-node", self.id)
    }

    /// Starts a host.
    pub fn start(&self, config: &HostConfig) -> Host {
        self.launch(config, &[], Environment::new(), None)
    }

    /// Starts a host through a program that becomes it.
    pub fn start_through(&self, config: &HostConfig, program: &Path, environment: Environment) -> Host {
        self.launch(config, &[], environment, Some(program))
    }

    /// Starts a host with these variables in its environment.
    pub fn start_under(&self, config: &HostConfig, environment: Environment) -> Host {
        self.launch(config, &[], environment, None)
    }

    /// Starts a host with more arguments than its file.
    pub fn start_with(&self, config: &HostConfig, args: &[&str]) -> Host {
        self.launch(config, args, Environment::new(), None)
    }

    fn launch(&self, config: &HostConfig, args: &[&str], environment: Environment, through: Option<&Path>) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let name = format!("host-{number}");
        Host::start(self.directory(), &name, config, args, environment, through)
    }

    /// Starts an external backend for mocks.
    pub async fn backend(&self) -> MockBackend {
        MockBackend::start(self.directory()).await
    }

    /// kubectl; without one the rest of the test is skipped.
    pub fn kubectl(&self) -> Option<Kubectl> {
        let kubectl = Kubectl::new(self.cluster, &self.id, self.directory().join("kubectl-cache"));
        if kubectl.is_none() {
            skip(&self.id, "there is no kubectl in PATH");
        }
        kubectl
    }

    /// The test's pods, by a client to which a refusal is an answer.
    pub async fn pods_without_retries(&self) -> Api<Pod> {
        Api::namespaced(client(self.cluster, false).await, &self.id)
    }

    /// The test's pods.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.id)
    }

    /// The events of the test's pods.
    pub async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.id);
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// What a node's kubelet port answers through the API server's proxy.
    pub async fn node_text(&self, node: &str, path: &str) -> Result<String, kube::Error> {
        let path = format!("/api/v1/nodes/{node}/proxy/{path}");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request_text(request).await
    }

    /// The events of one of the test's pods for one reason.
    pub async fn events_of(&self, pod: &str, reason: &str) -> Vec<Event> {
        let mut events = self.events().await;
        events.retain(|event| {
            event.involved_object.name.as_deref() == Some(pod) && event.reason.as_deref() == Some(reason)
        });
        events
    }

    /// All nodes.
    pub fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// The leases of nodes.
    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "kube-node-lease")
    }

    /// Waits until a node is Ready.
    pub async fn node_ready(&self, name: &str) -> Node {
        self.node_until(name, "it is Ready", |node| {
            condition(node, "Ready").as_deref() == Some("True")
        })
        .await
    }

    /// Waits until a node is as wanted.
    pub async fn node_until(&self, name: &str, what: &str, wanted: impl Fn(&Node) -> bool) -> Node {
        let nodes = self.nodes();
        eventually(SOON, &format!("node {name}: {what}"), || async {
            let node = nodes.get(name).await.map_err(|error| error.to_string())?;
            let seen = || {
                serde_json::to_string(&json!({ "metadata": node.metadata, "spec": node.spec, "status": node.status }))
                    .unwrap()
            };
            if wanted(&node) { Ok(node) } else { Err(seen()) }
        })
        .await
    }

    /// A pod of one container on the test's node, with whatever else `rest` says.
    pub fn pod(&self, name: &str, rest: Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": self.id },
            "spec": {
                "nodeName": self.node(),
                "containers": [{ "name": "app", "image": "registry.example/app:1" }],
                "tolerations": [{ "operator": "Exists" }],
            },
        });
        super::config::merge(&mut pod, rest);
        pod
    }

    /// Creates a pod.
    pub async fn create(&self, pod: Value) -> Pod {
        self.pods().create(&PostParams::default(), &object(pod)).await.unwrap()
    }

    /// Waits until a pod is as wanted.
    pub async fn pod_until(&self, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
        self.pod_until_within(SOON, name, what, wanted).await
    }

    /// The same with a deadline of its own.
    pub async fn pod_until_within(
        &self,
        within: Duration,
        name: &str,
        what: &str,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Pod {
        let pods = self.pods();
        eventually(within, &format!("pod {name}: {what}"), || async {
            let pod = pods.get(name).await.map_err(|error| error.to_string())?;
            let seen = || serde_json::to_string(&pod.status).unwrap();
            if wanted(&pod) { Ok(pod) } else { Err(seen()) }
        })
        .await
    }

    /// Waits until a pod runs and is Ready.
    pub async fn running(&self, name: &str) -> Pod {
        self.pod_until(name, "it runs and is Ready", is_running).await
    }

    /// Deletes a pod; `grace` is the manifest's without one.
    pub async fn delete(&self, name: &str, grace: Option<u32>) {
        let params = DeleteParams {
            grace_period_seconds: grace,
            ..DeleteParams::default()
        };
        self.pods().delete(name, &params).await.unwrap();
    }

    /// Waits until there is no pod of this name, or another one.
    pub async fn gone(&self, name: &str, uid: &str) {
        let pods = self.pods();
        eventually(SOON, &format!("pod {name}: it is gone"), || async {
            match pods.get_opt(name).await.map_err(|error| error.to_string())? {
                Some(pod) if pod.metadata.uid.as_deref() == Some(uid) => Err(serde_json::to_string(&pod).unwrap()),
                _ => Ok(()),
            }
        })
        .await;
    }
}

/// An object from its JSON.
pub fn object<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).unwrap()
}

/// The status of a node's condition.
pub fn condition(node: &Node, kind: &str) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(found.status.clone())
}

/// The status of a pod's condition.
pub fn pod_condition(pod: &Pod, kind: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some(found.status.clone())
}

/// A pod's phase.
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether a pod runs and is Ready.
pub fn is_running(pod: &Pod) -> bool {
    phase(pod) == "Running" && pod_condition(pod, "Ready").as_deref() == Some("True")
}

/// A pod's UID.
pub fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap()
}

/// kube's client asks again for minutes after a 429, unless it is told not to.
async fn client(cluster: &Cluster, retries: bool) -> Client {
    let kubeconfig = Kubeconfig::read_from(&cluster.admin_kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    config.default_retry = retries;
    Client::try_from(config).unwrap()
}

impl Drop for Test {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed && let Some(directory) = self.directory.take() {
            let path = directory.keep();
            eprintln!("{}", logs(&path));
        }
        // In a runtime of its own, since this one may be the test's.
        let (cluster, id) = (self.cluster, self.id.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                const LIMIT: Duration = Duration::from_secs(30);
                let client = client(cluster, true).await;
                let report = tokio::time::timeout(LIMIT, leave(&client, &id, failed)).await;
                report.unwrap_or_else(|_| Ok(format!("the cluster did not answer within {LIMIT:?}")))
            })
        });
        match cleaning.join() {
            Ok(Ok(report)) if report.is_empty() => {}
            Ok(Ok(report)) => eprintln!("{report}"),
            Ok(Err(error)) => eprintln!("unable to clean up after {}: {error}", self.id),
            Err(_) => eprintln!("unable to clean up after {}", self.id),
        }
    }
}

/// Takes everything of a test out of the cluster; tells before what was there.
async fn leave(client: &Client, id: &str, tell: bool) -> Result<String, kube::Error> {
    let mut report = String::new();
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), id);
    let own = ListParams::default().labels(&format!("{LABEL}={id}"));
    if tell {
        for node in nodes.list(&own).await? {
            let _ = writeln!(report, "node {}", serde_json::to_string(&node).unwrap_or_default());
        }
        for mut pod in pods.list(&ListParams::default()).await?.items.into_iter().take(10) {
            pod.metadata.managed_fields = None;
            let _ = writeln!(report, "pod {}", serde_json::to_string(&pod).unwrap_or_default());
        }
        let events: Api<Event> = Api::namespaced(client.clone(), id);
        for event in events.list(&ListParams::default()).await?.items.into_iter().take(50) {
            let (about, reason, message) = (event.involved_object.name, event.reason, event.message);
            let _ = writeln!(
                report,
                "event of {}: {} {}",
                about.unwrap_or_default(),
                reason.unwrap_or_default(),
                message.unwrap_or_default()
            );
        }
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(id, &DeleteParams::default()).await?;
    let at_once = DeleteParams::default().grace_period(0);
    for pod in pods.list(&ListParams::default()).await? {
        // The namespace's end takes what this misses.
        let _ = pods.delete(&pod.metadata.name.unwrap_or_default(), &at_once).await;
    }
    for node in nodes.list(&own).await? {
        nodes
            .delete(&node.metadata.name.unwrap_or_default(), &DeleteParams::default())
            .await?;
    }
    Ok(report)
}

/// The ends of the logs in a directory.
fn logs(directory: &Path) -> String {
    const LINES: usize = 80;
    let mut text = format!("files of this test: {}\n", directory.display());
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
    {
        let log = std::fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let _ = writeln!(text, "--- the last {LINES} lines of {}", path.display());
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
