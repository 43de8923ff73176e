//! DaemonSets: one pod for each node, also for those that come later.

use super::Field;
use super::create;
use super::plain;
use super::pods_of;
use super::pods_until;
use super::roll;
use super::selected;
use super::until;
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_daemonset_follows_the_nodes() {
    let Some(field) = Field::new("wl_daemon", 2, json!({})).await else {
        return;
    };
    let test = &field.test;
    create::<DaemonSet>(test, selected("agent", json!({}), plain(test, "agent"))).await;
    until::<DaemonSet>(test, "agent", json!({ "desiredNumberScheduled": 2, "numberReady": 2 })).await;

    let late = format!("{}-late", test.id);
    let config = test.config().mock("mock", json!({})).node(&late, "mock", json!({}));
    let mut second = test.start(&config.with(json!({ "onShutdown": "deregister" })));
    test.node_ready(&late).await;
    until::<DaemonSet>(
        test,
        "agent",
        json!({ "desiredNumberScheduled": 3, "numberAvailable": 3 }),
    )
    .await;
    let pods = pods_of(test, "agent").await;
    let nodes: BTreeSet<_> = pods.into_iter().filter_map(|pod| pod.spec?.node_name).collect();
    assert_eq!(nodes, BTreeSet::from([field.node(0), field.node(1), late.clone()]));

    roll::<DaemonSet>(test, "agent").await;
    until::<DaemonSet>(
        test,
        "agent",
        json!({ "updatedNumberScheduled": 3, "numberAvailable": 3 }),
    )
    .await;

    second.term();
    second.ends_with(0).await;
    until::<DaemonSet>(test, "agent", json!({ "desiredNumberScheduled": 2, "numberReady": 2 })).await;
    pods_until(test, "agent", "none is left of the node that is gone", |pods| {
        let there =
            |pod: &k8s_openapi::api::core::v1::Pod| pod.spec.as_ref().unwrap().node_name.as_ref() == Some(&late);
        pods.len() == 2 && !pods.iter().any(there)
    })
    .await;
}
