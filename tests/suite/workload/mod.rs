//! Workloads as controllers make them, put on virtual nodes by the scheduler.
//!
//! What is here needs real controllers; where there are none it is skipped. What needs nothing but an API server is in
//! [`crate::contract`].

mod cleanup;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod job;
mod node_loss;
mod pod_features;
mod scheduling;
mod statefulset;
mod taints;
mod together;

use crate::harness::Host;
use crate::harness::HostConfig;
use crate::harness::LABEL;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::skip;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Resource;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;
use std::fmt::Debug;
use std::time::Duration;

/// For what takes controllers many steps, or one of their slower rounds.
const LONG: Duration = Duration::from_secs(180);

trait Workload:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}
impl<K> Workload for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// A test on a cluster with all controllers, and a host with nodes for it. The host goes first.
struct Field {
    host: Host,
    test: Test,
}

impl Field {
    /// A host with so many nodes of a mock with this config; `None` where there are no controllers.
    async fn new(name: &str, nodes: usize, provider: Value) -> Option<Self> {
        let test = Test::new(name).await;
        if !test.cluster.has_all_controllers() {
            skip(name, "this cluster has no such controllers; use the real control plane");
            return None;
        }
        let config = test
            .config()
            .mock("mock", provider)
            .node(&test.node(), "mock", json!({ "count": nodes }));
        Some(Self::start(test, &config, nodes).await)
    }

    async fn start(test: Test, config: &HostConfig, nodes: usize) -> Self {
        let host = test.start(config);
        let field = Self { host, test };
        for number in 0..nodes {
            // A node that has just become Ready is still kept from the scheduler for a moment.
            let node = field.node(number);
            field.test.node_until(&node, "pods may be put on it", is_open).await;
        }
        field
    }

    /// The name of a node; `count` gives each a number.
    fn node(&self, number: usize) -> String {
        format!("{}-{number}", self.test.node())
    }
}

/// Whether a node is Ready and has none of the node controller's taints.
fn is_open(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let closed = taints
        .unwrap_or_default()
        .iter()
        .any(|taint| taint.key.starts_with("node.kubernetes.io/"));
    condition(node, "Ready").as_deref() == Some("True") && !closed
}

fn api<K: Workload>(test: &Test) -> Api<K> {
    Api::namespaced(test.client.clone(), &test.id)
}

/// What a controller makes pods of: for the test's nodes, whatever their providers.
fn template(test: &Test, app: &str, annotations: Value, rest: Value) -> Value {
    let mut spec = json!({
        "containers": [{ "name": "app", "image": "registry.example/app:1" }],
        "nodeSelector": { LABEL: test.id },
        "tolerations": [{ "key": "virtual-kubelet.io/provider", "operator": "Exists" }],
    });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    json!({ "metadata": { "labels": { "app": app }, "annotations": annotations }, "spec": spec })
}

fn plain(test: &Test, app: &str) -> Value {
    template(test, app, json!({}), json!({}))
}

/// A workload that selects its pods by label `app`.
fn selected(app: &str, rest: Value, template: Value) -> Value {
    let mut all = json!({
        "metadata": { "name": app },
        "spec": { "selector": { "matchLabels": { "app": app } }, "template": template },
    });
    all["spec"]
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    all
}

/// A pod for the scheduler, of the test's nodes.
fn scheduled(test: &Test, name: &str, annotations: Value, rest: Value) -> Value {
    let mut pod = template(test, name, annotations, rest);
    pod["metadata"]["name"] = name.into();
    pod
}

async fn create<K: Workload>(test: &Test, manifest: Value) -> K {
    let created = api::<K>(test).create(&PostParams::default(), &object(manifest)).await;
    created.unwrap()
}

async fn change<K: Workload>(test: &Test, name: &str, change: Value) {
    let (api, patch) = (api::<K>(test), Patch::Strategic(change));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// A new image for the template's container.
fn image(tag: u32) -> Value {
    let container = json!({ "name": "app", "image": format!("registry.example/app:{tag}") });
    json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
}

async fn roll<K: Workload>(test: &Test, name: &str) {
    change::<K>(test, name, image(2)).await;
}

async fn delete<K: Workload>(test: &Test, name: &str) {
    api::<K>(test).delete(name, &DeleteParams::background()).await.unwrap();
}

/// Waits until a workload is as wanted, and returns it; its status must be of its newest generation.
async fn when<K: Workload>(test: &Test, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let api = api::<K>(test);
    eventually(LONG, &format!("{name}: {what}"), || async {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let found = serde_json::to_value(found).unwrap();
        let status = &found["status"];
        let newest =
            status["observedGeneration"].is_null() || status["observedGeneration"] == found["metadata"]["generation"];
        if newest && wanted(&found) {
            Ok(found)
        } else {
            Err(status.to_string())
        }
    })
    .await
}

/// Waits until numbers in the status of a workload are these.
async fn until<K: Workload>(test: &Test, name: &str, wanted: Value) {
    let what = wanted.to_string();
    when::<K>(test, name, &what, |found| {
        let mut fields = wanted.as_object().unwrap().iter();
        fields.all(|(field, value)| found["status"][field] == *value)
    })
    .await;
}

/// The test's pods of a workload.
async fn pods_of(test: &Test, app: &str) -> Vec<Pod> {
    let labelled = ListParams::default().labels(&format!("app={app}"));
    test.pods().list(&labelled).await.unwrap().items
}

/// Waits until the pods of a workload are as wanted.
async fn pods_until(test: &Test, app: &str, what: &str, wanted: impl Fn(&[Pod]) -> bool) -> Vec<Pod> {
    eventually(LONG, &format!("pods of {app}: {what}"), || async {
        let pods = pods_of(test, app).await;
        let seen = || {
            let short = pods.iter().map(|pod| {
                let (name, deleted) = (&pod.metadata.name, &pod.metadata.deletion_timestamp);
                json!({ "name": name, "deleted": deleted, "status": pod.status })
            });
            Value::from_iter(short).to_string()
        };
        if wanted(&pods) { Ok(pods.clone()) } else { Err(seen()) }
    })
    .await
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
