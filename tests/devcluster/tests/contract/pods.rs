use serde_json::{Value, json};

use crate::support::{PODS, node, pod, start};

#[tokio::test]
async fn a_new_pod_is_complete() {
    let cluster = start().await;
    let (_, pod) = cluster.post(PODS, pod("p", "")).await;
    assert_eq!(pod["metadata"]["generation"], 1);
    assert_eq!(pod["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let spec = &pod["spec"];
    let defaults = [
        "restartPolicy",
        "dnsPolicy",
        "terminationGracePeriodSeconds",
        "schedulerName",
        "serviceAccountName",
    ];
    assert_eq!(
        defaults.map(|f| spec[f].clone()),
        [
            json!("Always"),
            json!("ClusterFirst"),
            json!(30),
            json!("default-scheduler"),
            json!("default")
        ]
    );
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-"));
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn deletion_is_graceful_only_on_a_node() {
    let cluster = start().await;
    let path = format!("{PODS}/p");
    cluster.post(PODS, pod("p", "")).await;
    cluster.delete(&path, Value::Null).await;
    assert_eq!(cluster.get(&path).await.0, 404, "nobody has to stop it");

    let (_, created) = cluster.post(PODS, pod("p", "n")).await;
    let uid = created["metadata"]["uid"].clone();
    let (code, going) = cluster.delete(&path, Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(
        (
            &going["metadata"]["deletionGracePeriodSeconds"],
            &going["metadata"]["generation"]
        ),
        (&json!(30), &json!(2))
    );
    let (_, same) = cluster.delete(&path, Value::Null).await;
    assert_eq!(
        same["metadata"]["resourceVersion"], going["metadata"]["resourceVersion"],
        "a repeated delete changes nothing"
    );
    let (_, shorter) = cluster.delete(&path, json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(
        (
            &shorter["metadata"]["deletionGracePeriodSeconds"],
            &shorter["metadata"]["generation"]
        ),
        (&json!(5), &json!(2)),
        "the first mark alone is a new generation"
    );
    assert!(shorter["metadata"]["deletionTimestamp"].as_str() < going["metadata"]["deletionTimestamp"].as_str());
    let wrong = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}});
    assert_eq!(cluster.delete(&path, wrong).await.0, 409);
    assert_eq!(
        cluster
            .delete(&path, json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}))
            .await
            .0,
        200
    );
    assert_eq!(cluster.get(&path).await.0, 404);
    assert_eq!(cluster.delete(&path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn ended_pods_go_at_once_and_finalizers_hold() {
    let cluster = start().await;
    let path = format!("{PODS}/p");
    cluster.post(PODS, pod("p", "n")).await;
    cluster
        .patch(
            "merge",
            &format!("{path}/status"),
            json!({"status": {"phase": "Succeeded"}}),
        )
        .await;
    cluster.delete(&path, Value::Null).await;
    assert_eq!(cluster.get(&path).await.0, 404);

    let mut held = pod("p", "n");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.post(PODS, held).await;
    cluster.delete(&path, json!({"gracePeriodSeconds": 0})).await;
    let (_, held) = cluster.get(&path).await;
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    cluster
        .patch("merge", &path, json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(cluster.get(&path).await.0, 404);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = start().await;
    let path = format!("{PODS}/p");
    cluster.post(PODS, pod("p", "n")).await;
    let status = format!("{path}/status");
    let patch = json!({"spec": {"nodeName": "other"}, "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let (code, written) = cluster.patch("strategic-merge", &status, patch).await;
    assert_eq!(
        (code, &written["spec"]["nodeName"], &written["metadata"]["generation"]),
        (200, &json!("n"), &json!(1))
    );
    assert_eq!(written["status"]["qosClass"], "BestEffort");
    let moved = json!({"status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}]}});
    assert_eq!(cluster.patch("strategic-merge", &status, moved).await.0, 422);
    let moved = json!({"status": {"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]}});
    assert_eq!(
        cluster.patch("strategic-merge", &status, moved).await.1["status"]["podIPs"],
        json!([{"ip": "10.0.0.2"}])
    );

    let mut whole = cluster.get(&path).await.1;
    whole["status"]["phase"] = json!("Failed");
    whole["spec"]["containers"][0]["image"] = json!("nginx:2");
    let (_, replaced) = cluster.put(&path, whole.clone()).await;
    assert_eq!(
        (&replaced["status"]["phase"], &replaced["metadata"]["generation"]),
        (&json!("Running"), &json!(2))
    );
    let mut command = replaced;
    command["spec"]["containers"][0]["command"] = json!(["x"]);
    assert_eq!(cluster.put(&path, command).await.0, 422);
}

#[tokio::test]
async fn binding_and_eviction() {
    let cluster = start().await;
    cluster.post("/api/v1/nodes", node("n")).await;
    cluster.post(PODS, pod("p", "")).await;
    let binding = json!({"target": {"kind": "Node", "name": "n"}});
    assert_eq!(cluster.post(&format!("{PODS}/p/binding"), binding.clone()).await.0, 201);
    let (_, bound) = cluster.get(&format!("{PODS}/p")).await;
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n"), &json!("PodScheduled"))
    );
    assert_eq!(cluster.post(&format!("{PODS}/p/binding"), binding).await.0, 409);
    assert_eq!(
        cluster
            .post(
                &format!("{PODS}/p/eviction"),
                json!({"deleteOptions": {"gracePeriodSeconds": 0}})
            )
            .await
            .0,
        201
    );
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.0, 404);
}
