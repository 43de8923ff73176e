//! An etcd that was restored from a backup and counts its revisions on from there: versions that the host has seen come a
//! second time, of other states. An API server takes a watch from one that is yet to come, and is silent until then.

use crate::contract::put_config_map;
use crate::harness::ControlPlane;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::look;
use crate::harness::phase;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

/// Revisions between backup and restore: more than come by themselves for as long as the test takes.
const REVISIONS: usize = 3_000;
const AT_A_TIME: usize = 16;

/// Writes that change nothing that matters.
async fn spend_revisions(test: &Test) {
    let spend = |number: usize| async move {
        let name = format!("counter-{number}");
        for count in 0..REVISIONS / AT_A_TIME {
            put_config_map(test, &name, json!({ "data": { "count": count.to_string() } })).await;
        }
    };
    futures::future::join_all((0..AT_A_TIME).map(spend)).await;
}

async fn patch(test: &Test, pod: &str, change: Value) {
    let params = PatchParams::default();
    test.pods()
        .patch(pod, &params, &Patch::Strategic(change))
        .await
        .unwrap();
}

fn image(pod: &Pod) -> Option<&str> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(&statuses.first()?.image)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses.map_or(0, |statuses| statuses.iter().map(|status| status.restart_count).sum())
}

async fn color_is(test: &Test, wanted: &str) {
    eventually(SOON, &format!("the ConfigMap is {wanted}"), || async {
        let shown = look(test, "reader").await?;
        match shown.text("config/color") {
            Some(color) if color == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn restored(name: &str, watches: Value) {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(name, "it needs an etcd; run `make test-cluster`");
    }
    let plane = ControlPlane::start(name).await;
    let test = Test::on(plane.cluster, name).await;
    let backend = test.backend().await;
    let config = test
        .mock(backend.config())
        .with(watches)
        .with(json!({ "orphans": { "after": "1s" } }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    put_config_map(&test, "settings", json!({ "data": { "color": "blue" } })).await;
    let spec = json!({ "volumes": [{ "name": "config", "configMap": { "name": "settings" } }] });
    let shows = json!({ "annotations": { "mock.outrigger.dev/showMaterials": "true" } });
    test.create(test.pod("reader", json!({ "metadata": shows, "spec": spec })))
        .await;
    let mut uids = Vec::new();
    for name in ["kept", "changed", "deleted"] {
        test.create(test.pod(name, json!({}))).await;
        uids.push(uid(&test.running(name).await));
    }
    let slow = json!({ "annotations": { "mock.outrigger.dev/stopDelay": "20s" } });
    uids.push(uid(&test
        .create(test.pod("leaving", json!({ "metadata": slow })))
        .await));
    let short = json!({ "annotations": { "mock.outrigger.dev/runTime": "20s" } });
    let once = json!({ "metadata": short, "spec": { "restartPolicy": "Never" } });
    uids.push(uid(&test.create(test.pod("once", once)).await));
    for name in ["reader", "leaving", "once"] {
        test.running(name).await;
    }

    plane.back_up().await;
    patch(
        &test,
        "kept",
        json!({ "metadata": { "labels": { "since": "backup" } } }),
    )
    .await;
    let container = json!({ "name": "app", "image": "registry.example/app:2" });
    patch(&test, "changed", json!({ "spec": { "containers": [container] } })).await;
    test.pod_until("changed", "it runs the new image", |pod| {
        is_running(pod) && image(pod) == Some("registry.example/app:2")
    })
    .await;
    test.delete("deleted", None).await;
    test.gone("deleted", &uids[2]).await;
    test.pod_until("once", "it has done its work", |pod| phase(pod) == "Succeeded")
        .await;
    test.delete("once", None).await;
    test.gone("once", &uids[4]).await;
    let made = uid(&test.create(test.pod("made", json!({}))).await);
    test.running("made").await;
    put_config_map(&test, "settings", json!({ "data": { "color": "red" } })).await;
    color_is(&test, "red").await;
    spend_revisions(&test).await;
    test.delete("leaving", None).await;
    plane.restore().await;

    // What there is now is what there was then.
    host.logs("was restored from a backup").await;
    let changed = test
        .pod_until("changed", "it runs the old image again", |pod| {
            is_running(pod) && image(pod) == Some("registry.example/app:1")
        })
        .await;
    assert_eq!(uid(&changed), uids[1]);
    assert_eq!(uid(&test.running("deleted").await), uids[2]);
    test.pod_until("leaving", "it has ended and runs again", |pod| {
        is_running(pod) && pod.metadata.deletion_timestamp.is_none() && restarts(pod) == 1
    })
    .await;
    let once = test
        .pod_until("once", "it is known not to run", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(uid(&once), uids[4], "it is not run a second time");
    color_is(&test, "blue").await;
    host.logs("keeping them as orphans").await;
    eventually(
        SOON,
        "what was made since is swept as an orphan, as it is one of few among many",
        || async {
            let present = backend.counts().await.present;
            if present.contains_key(&made) {
                Err("it is there")
            } else {
                Ok(())
            }
        },
    )
    .await;

    // And from there on everything goes on.
    test.delete("kept", None).await;
    test.gone("kept", &uids[0]).await;
    test.create(test.pod("next", json!({}))).await;
    test.running("next").await;
    put_config_map(&test, "settings", json!({ "data": { "color": "green" } })).await;
    color_is(&test, "green").await;
    let nodes = test.nodes();
    let tainted = json!({ "spec": { "unschedulable": true } });
    nodes
        .patch(&test.node(), &PatchParams::default(), &Patch::Merge(tainted))
        .await
        .unwrap();
    let lease = test.leases().get(&test.node()).await.unwrap().spec.unwrap().renew_time;
    eventually(SOON, "the lease is renewed", || async {
        let spec = test.leases().get(&test.node()).await.unwrap().spec.unwrap();
        if spec.renew_time > lease {
            Ok(())
        } else {
            Err(format!("{:?}", spec.renew_time))
        }
    })
    .await;
    let node = test.node_ready(&test.node()).await;
    assert_eq!(condition(&node, "OrphanedPods"), None);
    assert!(host.is_running());
    for (uid, count) in backend.counts().await.pods {
        let creates = if [&uids[2], &uids[3]].contains(&&uid) { 2 } else { 1 };
        assert_eq!(count.creates, creates, "of {uid}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_go_on_from_what_a_restored_store_has() {
    restored("restored", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_do_where_nodes_share_a_watch() {
    restored("restored_shared", json!({ "cluster": { "watchesPerNodeUpTo": 0 } })).await;
}
