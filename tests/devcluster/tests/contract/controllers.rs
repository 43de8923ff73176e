use std::time::Duration;

use outrigger_devcluster::{Controllers, DevCluster, Kind, Running};
use serde_json::{Value, json};

use crate::support::{Cluster, PODS, eventually, node, pod, start_with};

fn patient() -> Controllers {
    Controllers {
        node_grace: Duration::from_millis(400),
        pod_gc_grace: Duration::from_millis(200),
        ..Controllers::default()
    }
}

async fn cluster() -> Cluster {
    let cluster = start_with(DevCluster::builder().controllers(Controllers {
        node_lifecycle: false,
        ..patient()
    }))
    .await;
    cluster.post("/api/v1/nodes", node("n1")).await;
    cluster
}

fn pods(running: &Running) -> Vec<Value> {
    running.list(Kind::Pods, "default")
}

/// Plays the kubelet once: pods on a node become Running and Ready, pods being deleted go.
async fn kubelet(cluster: &Cluster) {
    for pod in pods(&cluster.running)
        .iter()
        .filter(|p| p["spec"]["nodeName"].is_string())
    {
        let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap());
        if pod["metadata"]["deletionTimestamp"].is_string() {
            cluster
                .patch(
                    "strategic-merge",
                    &format!("{path}/status"),
                    json!({"status": {"phase": "Failed"}}),
                )
                .await;
            cluster.delete(&path, json!({"gracePeriodSeconds": 0})).await;
        } else if pod["status"]["phase"] == "Pending" {
            let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
            cluster
                .patch("strategic-merge", &format!("{path}/status"), status)
                .await;
        }
    }
}

fn deployment(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 4, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn the_scheduler_spreads_and_explains() {
    let cluster = cluster().await;
    cluster.post("/api/v1/nodes", node("n2")).await;
    let mut tainted = node("n3");
    tainted["spec"] = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    cluster.post("/api/v1/nodes", tainted).await;
    for at in 0..6 {
        cluster.post(PODS, pod(&format!("p{at}"), "")).await;
    }
    let mut picky = pod("picky", "");
    picky["spec"]["nodeSelector"] = json!({"none": "such"});
    cluster.post(PODS, picky).await;
    let count = |node: &str| {
        pods(&cluster.running)
            .iter()
            .filter(|p| p["spec"]["nodeName"] == node)
            .count()
    };
    eventually("all are bound", || async {
        (count("n1") + count("n2") == 6).then_some(())
    })
    .await;
    assert_eq!((count("n1"), count("n2"), count("n3")), (3, 3, 0));
    let condition = eventually("the picky one hears why", || async {
        let pod = cluster.running.get(Kind::Pods, "default", "picky")?;
        let conditions = pod["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|c| c["type"] == "PodScheduled")
    })
    .await;
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("Unschedulable"))
    );
    assert!(
        condition["message"]
            .as_str()
            .unwrap()
            .starts_with("0/3 nodes are available: "),
        "{condition}"
    );
    cluster
        .patch(
            "merge",
            "/api/v1/nodes/n1",
            json!({"metadata": {"labels": {"none": "such"}}}),
        )
        .await;
    eventually("a place appears", || async {
        (cluster.running.get(Kind::Pods, "default", "picky")?["spec"]["nodeName"] == "n1").then_some(())
    })
    .await;
    let events = cluster.running.list(Kind::Events, "default");
    let has = |reason: &str| events.iter().any(|e| e["reason"] == reason);
    assert!(has("Scheduled") && has("FailedScheduling"));
}

#[tokio::test]
async fn a_deployment_rolls_scales_and_goes() {
    let cluster = cluster().await;
    let web = || cluster.running.get(Kind::Deployments, "default", "web").unwrap();
    let done = |image: &'static str, replicas: usize| {
        let cluster = &cluster;
        move || async move {
            kubelet(cluster).await;
            let status = cluster.running.get(Kind::Deployments, "default", "web")?["status"].clone();
            let all = pods(&cluster.running);
            let right = all.len() == replicas && all.iter().all(|p| p["spec"]["containers"][0]["image"] == image);
            (right && status["updatedReplicas"] == replicas && status["readyReplicas"] == replicas).then_some(())
        }
    };
    assert_eq!(cluster.post(DEPLOYMENTS, deployment("one")).await.0, 201);
    eventually("four pods run", done("one", 4)).await;
    cluster
        .patch(
            "merge",
            &format!("{DEPLOYMENTS}/web"),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}),
        )
        .await;
    eventually("four new pods run", done("two", 4)).await;
    assert_eq!(cluster.running.count(Kind::ReplicaSets), 2);
    assert_eq!(
        web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "2"
    );
    assert_eq!(web()["status"]["observedGeneration"], web()["metadata"]["generation"]);
    let (code, scale) = cluster
        .patch(
            "merge",
            &format!("{DEPLOYMENTS}/web/scale"),
            json!({"spec": {"replicas": 1}}),
        )
        .await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(1)));
    eventually("one pod runs", done("two", 1)).await;
    cluster
        .patch(
            "merge",
            &format!("{DEPLOYMENTS}/web"),
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "one"}]}}}}),
        )
        .await;
    eventually("the first template is back", done("one", 1)).await;
    assert_eq!(
        (
            cluster.running.count(Kind::ReplicaSets),
            web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
        ),
        (2, json!("3"))
    );
    cluster
        .delete(
            &format!("{DEPLOYMENTS}/web"),
            json!({"propagationPolicy": "Background"}),
        )
        .await;
    eventually("everything of it is gone", || async {
        kubelet(&cluster).await;
        (cluster.running.count(Kind::ReplicaSets) + pods(&cluster.running).len() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_counts_its_pods() {
    let cluster = cluster().await;
    let job = json!({"metadata": {"name": "j"}, "spec": {"completions": 3, "parallelism": 2, "podReplacementPolicy": "Failed",
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(cluster.post("/apis/batch/v1/namespaces/default/jobs", job).await.0, 201);
    let bound = || {
        pods(&cluster.running)
            .into_iter()
            .filter(|p| p["spec"]["nodeName"].is_string())
            .collect::<Vec<_>>()
    };
    eventually("two pods", || async { (bound().len() == 2).then_some(()) }).await;
    // A pod that its node removes without a last word counts as failed, and is replaced only then.
    let victim = bound()[0].clone();
    assert_eq!(
        victim["metadata"]["finalizers"],
        json!(["batch.kubernetes.io/job-tracking"])
    );
    let path = format!("{PODS}/{}", victim["metadata"]["name"].as_str().unwrap());
    cluster.delete(&path, Value::Null).await;
    assert_eq!(pods(&cluster.running).len(), 2);
    cluster.delete(&path, json!({"gracePeriodSeconds": 0})).await;
    let status = eventually("the job is complete", || async {
        for pod in pods(&cluster.running)
            .iter()
            .filter(|p| p["status"]["phase"] == "Pending" && p["spec"]["nodeName"].is_string())
        {
            let path = format!("{PODS}/{}/status", pod["metadata"]["name"].as_str().unwrap());
            cluster
                .patch("merge", &path, json!({"status": {"phase": "Succeeded"}}))
                .await;
        }
        let status = cluster.running.get(Kind::Jobs, "default", "j")?["status"].clone();
        status["completionTime"].is_string().then_some(status)
    })
    .await;
    assert_eq!((&status["succeeded"], &status["failed"]), (&json!(3), &json!(1)));
    assert!(
        status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["type"] == "Complete")
    );
    eventually("no pod is held", || async {
        pods(&cluster.running)
            .iter()
            .all(|p| p["metadata"]["finalizers"].is_null())
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_in_it() {
    let cluster = cluster().await;
    cluster
        .post("/api/v1/namespaces", json!({"metadata": {"name": "demo"}}))
        .await;
    let inside = "/api/v1/namespaces/demo/pods";
    assert_eq!(cluster.post(inside, pod("p", "n1")).await.0, 201);
    let (_, going) = cluster.delete("/api/v1/namespaces/demo", Value::Null).await;
    assert_ne!(going["status"]["phase"], "Active");
    assert_eq!(cluster.post(inside, pod("q", "n1")).await.0, 403);
    eventually("the pod is being deleted", || async {
        cluster.running.get(Kind::Pods, "demo", "p")?["metadata"]["deletionTimestamp"]
            .is_string()
            .then_some(())
    })
    .await;
    cluster
        .delete(&format!("{inside}/p"), json!({"gracePeriodSeconds": 0}))
        .await;
    eventually("the namespace is gone", || async {
        cluster
            .running
            .get(Kind::Namespaces, "", "demo")
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_silent_node_is_marked_and_comes_back() {
    let cluster = start_with(DevCluster::builder().controllers(patient())).await;
    cluster.post("/api/v1/nodes", node("n1")).await;
    cluster.post(PODS, pod("p", "n1")).await;
    kubelet(&cluster).await;
    let ready = || {
        let node = cluster.running.get(Kind::Nodes, "", "n1").unwrap();
        (
            node["status"]["conditions"][0]["status"].as_str().unwrap().to_owned(),
            node["spec"]["taints"].as_array().map_or(0, Vec::len),
        )
    };
    eventually("the node is unknown", || async {
        (ready() == ("Unknown".to_owned(), 2)).then_some(())
    })
    .await;
    eventually("its pod is not ready", || async {
        (cluster.running.get(Kind::Pods, "default", "p")?["status"]["conditions"][0]["status"] == "False").then_some(())
    })
    .await;
    eventually("it is back", || async {
        let now = format!("{:?}", tokio::time::Instant::now());
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]}});
        cluster
            .patch("strategic-merge", "/api/v1/nodes/n1/status", status)
            .await;
        (ready() == ("True".to_owned(), 0)).then_some(())
    })
    .await;
    cluster.delete("/api/v1/nodes/n1", Value::Null).await;
    eventually("its pods are removed", || async {
        pods(&cluster.running).is_empty().then_some(())
    })
    .await;
}
