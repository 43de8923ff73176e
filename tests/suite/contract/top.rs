//! kubectl top and autoscaling, through the real metrics-server, which knows a node only by its kubelet port.

use crate::harness::Kubectl;
use crate::harness::MetricsServer;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::skip;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// Two scrapes, 10 s apart, and what there is to it; then a round of the autoscaler.
const MINUTES: Duration = Duration::from_secs(300);

/// A deployment's pods for a node of the test, with an autoscaler.
fn scaled(test: &Test) -> Value {
    let labels = json!({ "app": "scaled" });
    let container =
        json!({ "name": "app", "image": "registry.example/app:1", "resources": { "requests": { "cpu": "100m" } } });
    json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": { "name": "scaled" },
                "spec": {
                    "selector": { "matchLabels": labels },
                    "template": {
                        "metadata": { "labels": labels },
                        "spec": {
                            "containers": [container],
                            "nodeSelector": { "kubernetes.io/hostname": test.node() },
                            "tolerations": [{ "operator": "Exists" }],
                        },
                    },
                },
            },
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": { "name": "scaled" },
                "spec": {
                    "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled" },
                    "minReplicas": 1,
                    "maxReplicas": 3,
                    "metrics": [{
                        "type": "Resource",
                        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 80 } },
                    }],
                },
            },
        ],
    })
}

/// The words of the line that begins with `name`, once there is one.
async fn line(kubectl: &Kubectl, command: &str, name: &str) -> Vec<String> {
    eventually(MINUTES, &format!("{command} shows {name}"), || async {
        let printed = kubectl.try_run(command).await;
        let line = printed.stdout.lines().find(|line| line.starts_with(name));
        let words = line.map(|line| line.split_whitespace().map(str::to_owned).collect());
        words.ok_or_else(|| format!("{}{}", printed.stdout, printed.stderr))
    })
    .await
}

fn number(word: &str, unit: &str) -> u64 {
    let number = word.strip_suffix(unit).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{word:?} is no number of {unit}"))
}

#[tokio::test]
async fn kubectl_top_and_autoscalers_see_what_pods_use() {
    let test = Test::new("top").await;
    if !test.cluster.has_aggregation() {
        return skip(
            "top",
            "this cluster's API server has no aggregation layer to put a metrics-server behind",
        );
    }
    let Some(kubectl) = test.kubectl() else { return };
    // Once with a port of its own for the node, and once with the annotation that leads to a shared one.
    let config = test
        .mock(json!({ "pods": { "cpu": "250m", "memory": "64Mi" } }))
        .with(json!({ "kubelet": { "sharedListener": 0 } }));
    let _host = test.start(&config);
    let other = format!("{}-own", test.id);
    let own_port = test
        .config()
        .mock("mock", json!({ "pods": { "cpu": "500m", "memory": "32Mi" } }));
    let _other_host = test.start(&own_port.node(&other, "mock", json!({})));
    test.node_ready(&test.node()).await;
    test.node_ready(&other).await;
    test.create(test.pod("web", json!({}))).await;
    test.create(test.pod("elsewhere", json!({ "spec": { "nodeName": other } })))
        .await;
    let manifest = test.directory().join("scaled.json");
    std::fs::write(&manifest, scaled(&test).to_string()).unwrap();
    kubectl.run(&format!("apply -f {}", manifest.display())).await;

    let _metrics_server = MetricsServer::start(&test, &kubectl).await;
    for (pod, cpu, memory) in [("web", 250, 64), ("elsewhere", 500, 32)] {
        let words = line(&kubectl, "top pods --no-headers", pod).await;
        // A rate between two times in whole milliseconds.
        let (used, held) = (number(&words[1], "m"), number(&words[2], "Mi"));
        assert!(used.abs_diff(cpu) <= 5 && held == memory, "{words:?}");
    }
    let words = line(&kubectl, "top nodes --no-headers", &test.node()).await;
    assert!(
        number(&words[1], "m") >= 250 && number(&words[3], "Mi") >= 64,
        "{words:?}"
    );
    eventually(MINUTES, "the autoscaler makes more pods", || async {
        let replicas = kubectl
            .run("get deployment scaled -o jsonpath={.status.replicas}")
            .await;
        let described = kubectl.run("describe hpa scaled").await;
        if replicas == "3" {
            Ok(())
        } else {
            Err(format!("{replicas} of 3: {described}"))
        }
    })
    .await;
}
