use std::time::Duration;

use http::Method;
use outrigger_devcluster::{Action, Kind, Rule, Selection};
use serde_json::{Value, json};

use crate::support::{DEADLINE, PODS, pod, start};

fn on(verb: &str, resource: &str, subresource: &str) -> Selection {
    Selection {
        verb: verb.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        ..Selection::default()
    }
}

#[tokio::test]
async fn selected_requests_fail_as_often_as_told() {
    let cluster = start().await;
    cluster.post(PODS, pod("p", "n")).await;
    let status = format!("{PODS}/p/status");
    let patch = json!({"status": {"phase": "Running"}});
    cluster
        .running
        .faults()
        .fail(on("PATCH", "pods", "status"), 500, None, 2);
    let codes = [
        cluster.patch("strategic-merge", &status, patch.clone()).await.0,
        cluster.get(&status).await.0,
        cluster.patch("strategic-merge", &status, patch.clone()).await.0,
        cluster.patch("strategic-merge", &status, patch.clone()).await.0,
    ];
    assert_eq!(codes, [500, 200, 500, 200]);
    let rule = cluster.running.faults().add(Rule {
        select: on("PATCH", "pods", "status"),
        action: Action::Conflict,
        times: None,
    });
    assert_eq!(
        cluster.patch("strategic-merge", &status, patch.clone()).await.1["reason"],
        "Conflict"
    );
    assert!(cluster.running.faults().remove(rule));
    assert_eq!(cluster.patch("strategic-merge", &status, patch).await.0, 200);
}

#[tokio::test]
async fn a_pause_holds_everything_until_it_ends() {
    let cluster = start().await;
    let rule = cluster.running.faults().pause();
    let get = cluster.get(PODS);
    tokio::pin!(get);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut get)
            .await
            .is_err(),
        "answered while paused"
    );
    cluster.running.faults().remove(rule);
    assert_eq!(tokio::time::timeout(DEADLINE, get).await.unwrap().0, 200);
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_work_was_done() {
    let cluster = start().await;
    let rule = Rule {
        select: on("POST", "pods", "-"),
        action: Action::LoseAnswer,
        times: Some(1),
    };
    cluster.running.faults().add(rule);
    let request = http::Request::post(PODS)
        .header("content-type", "application/json")
        .body(pod("p", "n").to_string().into_bytes().into())
        .unwrap();
    assert!(cluster.client.send(request).await.is_err());
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.0, 200);
}

#[tokio::test]
async fn watches_can_be_dropped_and_lists_made_stale() {
    let cluster = start().await;
    let watch = tokio::spawn({
        let client = cluster.client.clone();
        async move {
            let request = http::Request::get(format!("{PODS}?watch=1"))
                .body(Vec::new().into())
                .unwrap();
            let response = client.send(request).await.unwrap();
            http_body_util::BodyExt::collect(response.into_body()).await.map(|_| ())
        }
    });
    crate::support::eventually("the watch is open", || async {
        (cluster.running.watchers(Kind::Pods) == 1).then_some(())
    })
    .await;
    assert_eq!(cluster.running.drop_watches(Kind::Pods), 1);
    tokio::time::timeout(DEADLINE, watch).await.unwrap().unwrap().unwrap();

    cluster.running.freeze_lists(Kind::Pods, true);
    cluster.post(PODS, pod("p", "n")).await;
    assert!(cluster.get(PODS).await.1["items"].as_array().unwrap().is_empty());
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.0, 200);
    cluster.running.freeze_lists(Kind::Pods, false);
    assert_eq!(cluster.get(PODS).await.1["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn switches_are_there_over_http() {
    let cluster = start().await;
    let rule = json!({"select": {"verb": "LIST", "resource": "pods"}, "action": {"status": {"code": 429, "retryAfter": 0}}, "times": 1});
    let (code, added) = cluster.post("/_devcluster/faults", rule).await;
    assert_eq!(code, 200, "{added}");
    assert_eq!(
        cluster.get("/_devcluster/faults").await.1["faults"][0]["id"],
        added["id"]
    );
    let refused = cluster.get(PODS).await;
    assert_eq!((refused.0, &refused.1["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(cluster.get(PODS).await.0, 200);
    assert_eq!(cluster.running.requests("LIST", "pods"), 2);
    assert_eq!(
        cluster
            .post("/_devcluster/faults", json!({"action": {"status": {"code": 200}}}))
            .await
            .0,
        400
    );
    cluster
        .post(
            "/_devcluster/faults",
            json!({"select": {"resource": "nodes"}, "action": "conflict"}),
        )
        .await;
    assert_eq!(cluster.get("/api/v1/nodes").await.0, 409);
    assert_eq!(
        cluster
            .request(Method::DELETE, "/_devcluster/faults", "application/json", Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(cluster.get("/api/v1/nodes").await.0, 200);
    assert_eq!(
        cluster
            .post("/_devcluster/watches/drop?resource=pods", Value::Null)
            .await
            .1["dropped"],
        0
    );
    assert_eq!(
        cluster
            .post("/_devcluster/history/forget?resource=none", Value::Null)
            .await
            .0,
        400
    );
}
