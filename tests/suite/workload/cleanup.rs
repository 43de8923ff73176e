//! What others take away: namespaces with all that is in them, pods of nodes that are no more.

use super::Field;
use super::LONG;
use super::create;
use super::plain;
use super::pods_until;
use super::selected;
use super::template;
use super::until;
use crate::harness::MockBackend;
use crate::harness::Test;
use crate::harness::all_apis;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::skip;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::json;

async fn emptied(backend: &MockBackend) {
    eventually(LONG, "the backend is empty", || async {
        let left = backend.counts().await.present.len();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} are left"))
        }
    })
    .await;
    backend.counts().await.assert_made_once();
}

/// A field whose pods live in a backend of their own.
async fn field(name: &str) -> Option<(Field, MockBackend)> {
    let test = Test::new(name).await;
    if !test.cluster.has_all_controllers() {
        skip(name, "this cluster has no such controllers; use the real control plane");
        return None;
    }
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["pods"] = json!({ "stopDelay": "200ms" });
    let config = test
        .config()
        .mock("mock", provider)
        .with(json!({ "orphans": { "after": "1s" } }));
    let config = config.node(&test.node(), "mock", json!({ "count": 1 }));
    Some((Field::start(test, &config, 1).await, backend))
}

#[tokio::test]
async fn a_namespace_goes_with_everything_in_it() {
    let _apis = all_apis().await;
    let Some((field, backend)) = field("wl_namespace").await else {
        return;
    };
    let test = &field.test;
    let name = format!("{}-doomed", test.id);
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    let doomed: Namespace = object(json!({ "metadata": { "name": name } }));
    namespaces.create(&PostParams::default(), &doomed).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), &name);
    eventually(LONG, "it has its default account", || accounts.get("default")).await;
    let grace = json!({ "terminationGracePeriodSeconds": 600 });
    let spec = template(test, "web", json!({}), grace);
    let deployments: Api<Deployment> = Api::namespaced(test.client.clone(), &name);
    let web: Deployment = object(selected("web", json!({ "replicas": 5 }), spec));
    deployments.create(&PostParams::default(), &web).await.unwrap();
    eventually(LONG, "the backend has them", || async {
        let there = backend.counts().await.present.len();
        if there == 5 {
            Ok(())
        } else {
            Err(format!("{there} are there"))
        }
    })
    .await;

    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually(LONG, "the namespace is gone", || async {
        match namespaces.get_opt(&name).await.map_err(|error| error.to_string())? {
            Some(left) => Err(format!("{:?}", left.status)),
            None => Ok(()),
        }
    })
    .await;
    emptied(&backend).await;
}

/// The garbage collector of pods removes those of a node that is gone, by force and after 40 s. Its host finds them in
/// the backend when it comes back, and asks before it lets them go: a cluster that was restored looks the same.
#[tokio::test]
async fn pods_of_a_node_that_was_removed_are_collected_and_their_remains_too() {
    let Some((mut field, backend)) = field("wl_gc").await else {
        return;
    };
    let node = field.node(0);
    create::<Deployment>(
        &field.test,
        selected("web", json!({ "replicas": 2 }), plain(&field.test, "web")),
    )
    .await;
    until::<Deployment>(&field.test, "web", json!({ "availableReplicas": 2 })).await;
    field.host.kill9().await;
    field
        .test
        .nodes()
        .delete(&node, &DeleteParams::default())
        .await
        .unwrap();
    let old: Vec<_> = backend.counts().await.present.into_keys().collect();
    pods_until(&field.test, "web", "those of the lost node are gone", |pods| {
        !pods.iter().any(|pod| old.contains(pod.metadata.uid.as_ref().unwrap()))
    })
    .await;
    assert_eq!(backend.counts().await.present.len(), 2, "nobody told the backend");

    field.host.start_again();
    until::<Deployment>(&field.test, "web", json!({ "availableReplicas": 2 })).await;
    let asking = field
        .test
        .node_until(&node, "it asks what to do with what it found", |node| {
            question(node).is_some()
        })
        .await;
    let answer = json!({ "metadata": { "annotations": { "outrigger.dev/confirm-orphan-sweep": question(&asking) } } });
    let params = PatchParams::default();
    field
        .test
        .nodes()
        .patch(&node, &params, &Patch::Merge(answer))
        .await
        .unwrap();
    eventually(LONG, "the backend has the new pods alone", || async {
        let present = backend.counts().await.present;
        let left = present.keys().filter(|uid| old.contains(uid)).count();
        if left == 0 && present.len() == 2 {
            Ok(())
        } else {
            Err(format!("{left} of {} are old", present.len()))
        }
    })
    .await;
    backend.counts().await.assert_made_once();
}

/// The digest that a node wants to have confirmed.
fn question(node: &k8s_openapi::api::core::v1::Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let asking = conditions.iter().find(|condition| condition.type_ == "OrphanedPods")?;
    let command = asking.message.as_ref().filter(|_| asking.status == "True")?;
    command.rsplit_once('=').map(|(_, digest)| digest.to_owned())
}
