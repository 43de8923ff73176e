use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, WatchEvent, WatchParams};
use outrigger_devcluster::{DevCluster, Kind};
use serde_json::{Value, json};

use crate::support::{DEADLINE, PODS, pod, quiet, start, start_with, types};

#[tokio::test]
async fn a_watch_sees_a_pod_through_its_life() {
    let cluster = start().await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let params = WatchParams::default().fields("spec.nodeName=n1");
    let mut stream = Box::pin(pods.watch(&params, "0").await.unwrap());
    cluster.post(PODS, pod("other", "n2")).await;
    cluster.post(PODS, pod("p", "n1")).await;
    cluster
        .patch(
            "merge",
            &format!("{PODS}/p/status"),
            json!({"status": {"phase": "Running"}}),
        )
        .await;
    cluster
        .delete(&format!("{PODS}/p"), json!({"gracePeriodSeconds": 0}))
        .await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = tokio::time::timeout(DEADLINE, stream.try_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        seen.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(p) => {
                assert_eq!(p.status.unwrap().phase.as_deref(), Some("Running"));
                "modified"
            }
            WatchEvent::Deleted(_) => "deleted",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
}

#[tokio::test]
async fn watches_start_where_they_are_asked_to() {
    let cluster = start().await;
    cluster.post(PODS, pod("a", "")).await;
    let (_, list) = cluster.get(PODS).await;
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.post(PODS, pod("b", "")).await;
    let lines = cluster
        .watch(&format!("{PODS}?watch=1&resourceVersion={revision}&timeoutSeconds=1"))
        .await;
    assert_eq!(
        (types(&lines), &lines[0]["object"]["metadata"]["name"]),
        (vec!["ADDED"], &json!("b"))
    );
    let all = cluster.watch(&format!("{PODS}?watch=1&timeoutSeconds=1")).await;
    assert_eq!(types(&all), ["ADDED", "ADDED"]);

    let path = format!(
        "{PODS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let listed = cluster.watch(&path).await;
    assert_eq!(types(&listed), ["ADDED", "ADDED", "BOOKMARK"]);
    assert_eq!(
        listed[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    assert!(
        listed[2]["object"]["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > revision.parse().unwrap()
    );

    cluster.running.forget_history(Kind::Pods);
    let gone = cluster
        .watch(&format!("{PODS}?watch=1&resourceVersion={revision}&timeoutSeconds=5"))
        .await;
    assert_eq!(
        (
            &gone[0]["type"],
            &gone[0]["object"]["code"],
            &gone[0]["object"]["reason"]
        ),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
}

#[tokio::test]
async fn bookmarks_follow_the_events_that_they_stand_for() {
    let builder = DevCluster::builder()
        .controllers(quiet())
        .bookmark_interval(Duration::from_millis(20));
    let cluster = start_with(builder).await;
    let request = http::Request::get(format!(
        "{PODS}?watch=1&allowWatchBookmarks=true&resourceVersion=0&timeoutSeconds=2"
    ))
    .body(Vec::new().into())
    .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    let mut body = http_body_util::BodyExt::into_data_stream(response.into_body());
    for at in 0..50 {
        cluster.post(PODS, pod(&format!("p{at}"), "")).await;
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = tokio::time::timeout(DEADLINE, body.next()).await.unwrap() {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    let lines: Vec<Value> = bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let revisions: Vec<u64> = lines
        .iter()
        .map(|l| {
            l["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
    assert_eq!(lines.iter().filter(|l| l["type"] == "ADDED").count(), 50);
    assert!(lines.iter().any(|l| l["type"] == "BOOKMARK"));
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_the_others_are_not() {
    let builder = DevCluster::builder().controllers(quiet()).watch_queue(64);
    let cluster = start_with(builder).await;
    let request = http::Request::get(format!("{PODS}?watch=1&timeoutSeconds=60"))
        .body(Vec::new().into())
        .unwrap();
    // Opened and never read: its socket fills, then its queue.
    let _idle = cluster.client.send(request).await.unwrap();
    cluster.post(PODS, pod("p", "")).await;
    let filler = "x".repeat(200_000);
    let mut writes = 0;
    while cluster.running.watchers(Kind::Pods) > 0 {
        let patch = json!({"metadata": {"annotations": {"filler": format!("{filler}{writes}")}}});
        assert_eq!(cluster.patch("merge", &format!("{PODS}/p"), patch).await.0, 200);
        writes += 1;
        assert!(writes < 1000, "the watcher was never cut off");
    }
    assert_eq!(cluster.get(PODS).await.0, 200);
}

#[tokio::test]
async fn tables_and_metadata_can_be_watched() {
    let cluster = start().await;
    cluster.post(PODS, pod("p", "")).await;
    for (accept, kind) in [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
        (
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "PartialObjectMetadata",
        ),
    ] {
        let request = http::Request::get(format!("{PODS}?watch=1&timeoutSeconds=1"))
            .header("accept", accept)
            .body(Vec::new().into())
            .unwrap();
        let response = cluster.client.send(request).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        let line: Value = serde_json::from_slice(bytes.split(|b| *b == b'\n').next().unwrap()).unwrap();
        assert_eq!(
            (&line["type"], &line["object"]["kind"]),
            (&json!("ADDED"), &json!(kind))
        );
    }
}
