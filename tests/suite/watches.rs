//! How many watches a host has, and what breaks where one serves all of its nodes: nothing.

use crate::harness::HostConfig;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::own_devcluster;
use kube::api::DeleteParams;
use kube::api::ListParams;
use outrigger_devcluster::Kind;
use outrigger_devcluster::Selection;
use serde_json::Value;
use serde_json::json;

fn nodes(test: &Test, provider: Value, count: usize, own_up_to: usize) -> HostConfig {
    test.config()
        .mock("mock", provider)
        .node(&test.id, "mock", json!({ "count": count }))
        .with(json!({ "cluster": { "watchesPerNodeUpTo": own_up_to } }))
}

async fn ready(test: &Test, count: usize) {
    for index in 0..count {
        test.node_ready(&format!("{}-{index}", test.id)).await;
    }
}

fn pod(test: &Test, name: &str, node: &str) -> Value {
    let mut pod = test.pod(name, json!({}));
    pod["spec"]["nodeName"] = node.into();
    pod
}

#[tokio::test]
async fn few_nodes_have_watches_each_and_more_share_one() {
    let (cluster, server) = own_devcluster("watches").await;
    for (nodes_of_host, own_up_to, expected) in [(3, 3, 3), (3, 2, 1)] {
        let test = Test::on(cluster, "watches_count").await;
        let before = [Kind::Pods, Kind::Nodes].map(|kind| server.watchers(kind));
        let mut host = test.start(&nodes(&test, json!({}), nodes_of_host, own_up_to));
        ready(&test, nodes_of_host).await;
        for index in 0..nodes_of_host {
            let node = format!("{}-{index}", test.id);
            test.create(pod(&test, &format!("p{index}"), &node)).await;
            test.running(&format!("p{index}")).await;
        }
        for (kind, before) in [Kind::Pods, Kind::Nodes].into_iter().zip(before) {
            let now = server.watchers(kind) - before;
            assert_eq!(now, expected, "{kind:?} with watches of their own up to {own_up_to}");
        }
        host.kill9().await;
    }
}

#[tokio::test]
async fn a_shared_watch_that_breaks_loses_nothing_and_touches_no_stranger() {
    const NODES: usize = 3;
    const ROUNDS: usize = 4;
    let (cluster, server) = own_devcluster("watches-broken").await;
    let test = Test::on(cluster, "watches_broken").await;
    let backend = test.backend().await;
    let _host = test.start(&nodes(&test, backend.config(), NODES, 0));
    ready(&test, NODES).await;
    // Of a node that nobody here runs.
    test.create(pod(&test, "stranger", "worker")).await;
    let now = DeleteParams::default().grace_period(0);
    for round in 0..ROUNDS {
        for index in 0..NODES {
            let node = format!("{}-{index}", test.id);
            for name in ["stays", "goes"] {
                test.create(pod(&test, &format!("{name}-{round}-{index}"), &node)).await;
            }
        }
        for index in 0..NODES {
            test.running(&format!("goes-{round}-{index}")).await;
        }
        // What happens while the watch is broken is too old to be told afterwards.
        let faults = server.faults();
        let rules = ["pods", "nodes"].map(|resource| {
            let watches = Selection {
                verb: "WATCH".to_owned(),
                resource: resource.to_owned(),
                ..Selection::default()
            };
            faults.fail(watches, 503, None, u64::MAX)
        });
        server.drop_watches(Kind::Pods);
        server.drop_watches(Kind::Nodes);
        for index in 0..NODES {
            test.pods()
                .delete(&format!("goes-{round}-{index}"), &now)
                .await
                .unwrap();
        }
        server.forget_history(Kind::Pods);
        let node = format!("{}-{}", test.id, round % NODES);
        test.nodes().delete(&node, &DeleteParams::default()).await.unwrap();
        server.forget_history(Kind::Nodes);
        for rule in rules {
            faults.remove(rule);
        }
        test.node_ready(&node).await;
    }
    let pods = test.pods();
    eventually(SOON, "what stays runs, and nothing else is in the backend", || async {
        let list = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let running: Vec<_> = list.items.iter().filter(|pod| is_running(pod)).collect();
        let mut expected: Vec<_> = running.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        expected.sort();
        let present: Vec<_> = backend.counts().await.present.into_keys().collect();
        if running.len() == NODES * ROUNDS && present == expected {
            Ok(())
        } else {
            Err(format!("{} run, the backend has {}", running.len(), present.len()))
        }
    })
    .await;
    backend.counts().await.assert_made_once();
    let stranger = pods.get("stranger").await.unwrap();
    assert!(stranger.status.unwrap_or_default().container_statuses.is_none());
}
