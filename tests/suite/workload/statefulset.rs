//! StatefulSets: one after the other, or all at once.

use super::Field;
use super::LONG;
use super::change;
use super::create;
use super::plain;
use super::selected;
use super::until;
use crate::harness::Recording;
use crate::harness::eventually;
use crate::harness::uid;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;
use serde_json::json;

async fn field(name: &str, ready_delay: &str, policy: &str) -> Option<(Field, Recording)> {
    let field = Field::new(
        name,
        2,
        json!({ "pods": { "readyDelay": ready_delay, "stopDelay": "100ms" } }),
    )
    .await?;
    let recording = Recording::start(&field.test).await;
    let spec = json!({ "replicas": 3, "serviceName": "db", "podManagementPolicy": policy });
    create::<StatefulSet>(&field.test, selected("db", spec, plain(&field.test, "db"))).await;
    until::<StatefulSet>(&field.test, "db", json!({ "readyReplicas": 3 })).await;
    Some((field, recording))
}

fn scale(replicas: u32) -> Value {
    json!({ "spec": { "replicas": replicas } })
}

#[tokio::test]
async fn an_ordered_statefulset_comes_and_goes_one_by_one() {
    let Some((field, recording)) = field("wl_ordered", "300ms", "OrderedReady").await else {
        return;
    };
    let test = &field.test;
    for (before, after) in [("db-0", "db-1"), ("db-1", "db-2")] {
        let ready = recording.ready(before).expect("it was Ready");
        assert!(
            recording.came(after).unwrap() > ready,
            "{after} came before {before} was Ready"
        );
    }
    change::<StatefulSet>(test, "db", scale(1)).await;
    until::<StatefulSet>(test, "db", json!({ "replicas": 1, "readyReplicas": 1 })).await;
    eventually(LONG, "the others are gone", || async {
        recording.gone("db-1").and(recording.gone("db-2")).ok_or("they are not")
    })
    .await;
    let (told, gone) = (recording.told_to_go("db-1").unwrap(), recording.gone("db-2").unwrap());
    assert!(told > gone, "db-1 was told to go before db-2 was gone");
    assert_eq!(recording.told_to_go("db-0"), None);
}

#[tokio::test]
async fn a_statefulsets_pod_comes_back_under_its_name_and_no_sooner() {
    let Some((field, recording)) = field("wl_identity", "50ms", "OrderedReady").await else {
        return;
    };
    let test = &field.test;
    let first = uid(&test.pods().get("db-1").await.unwrap());
    test.delete("db-1", None).await;
    test.gone("db-1", &first).await;
    let second = uid(&test.running("db-1").await);
    assert_ne!(first, second);
    assert!(
        recording.last_word(&first).is_some(),
        "the first was gone before the second came"
    );
    until::<StatefulSet>(test, "db", json!({ "readyReplicas": 3 })).await;
}

#[tokio::test]
async fn a_parallel_statefulset_waits_for_nobody() {
    let Some((field, recording)) = field("wl_parallel", "3s", "Parallel").await else {
        return;
    };
    let names = ["db-0", "db-1", "db-2"];
    let last = names.iter().map(|name| recording.came(name).unwrap()).max();
    let first = names.iter().map(|name| recording.ready(name).unwrap()).min();
    assert!(last < first, "all are there before the first is Ready");
    change::<StatefulSet>(&field.test, "db", scale(0)).await;
    eventually(LONG, "all are gone", || async {
        names
            .iter()
            .all(|name| recording.gone(name).is_some())
            .then_some(())
            .ok_or("they are not")
    })
    .await;
}
