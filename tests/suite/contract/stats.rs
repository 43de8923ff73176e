//! Resource use and metrics of nodes, through the API server's node proxy.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::skip;
use serde_json::Value;
use serde_json::json;

async fn get(test: &Test, node: &str, path: &str) -> String {
    test.node_text(node, path).await.unwrap()
}

#[tokio::test]
async fn two_nodes_tell_of_their_own_pods_alone() {
    let test = Test::new("stats").await;
    if let Some(reason) = &test.cluster.no_node_proxy {
        return skip("stats", reason);
    }
    let nodes = [format!("{}-a", test.id), format!("{}-b", test.id)];
    let mut config = test
        .config()
        .mock("mock", json!({ "pods": { "cpu": "250m", "memory": "64Mi" } }));
    for node in &nodes {
        config = config.node(node, "mock", json!({}));
    }
    let _host = test.start(&config);
    for (node, pod) in nodes.iter().zip(["first", "second"]) {
        test.node_ready(node).await;
        test.create(test.pod(pod, json!({ "spec": { "nodeName": node } })))
            .await;
        test.running(pod).await;
    }
    for (node, pods) in nodes.iter().zip([["first", "second"], ["second", "first"]]) {
        let [own, other] = pods;
        let samples = eventually(SOON, "the container has used some CPU", || async {
            let samples = get(&test, node, "metrics/resource").await;
            let series = format!(
                "container_cpu_usage_seconds_total{{container=\"app\",namespace=\"{}\",pod=\"{own}\"}} ",
                test.id
            );
            if samples.contains(&series) {
                Ok(samples)
            } else {
                Err(samples)
            }
        })
        .await;
        assert!(samples.contains("\nnode_cpu_usage_seconds_total ") && samples.contains("\nscrape_error 0\n"));
        let summary: Value = serde_json::from_str(&get(&test, node, "stats/summary").await).unwrap();
        assert_eq!(summary["node"]["nodeName"], *node);
        let pods = summary["pods"].as_array().unwrap();
        assert_eq!(pods.len(), 1, "{summary}");
        assert_eq!(pods[0]["podRef"]["name"], own);
        assert_eq!(pods[0]["cpu"]["usageNanoCores"], 250_000_000);
        assert_eq!(pods[0]["memory"]["workingSetBytes"], 64 << 20);
        for path in [
            "metrics/resource",
            "metrics/cadvisor",
            "metrics",
            "pods",
            "runningpods/",
        ] {
            let page = get(&test, node, path).await;
            assert!(
                !page.contains(&format!("\"{other}\"")),
                "{path} of {node} tells of {other}: {page}"
            );
        }
        let metrics = get(&test, node, "metrics").await;
        assert!(metrics.contains("\nkubelet_running_pods 1\n"), "{metrics}");
        assert!(
            metrics.contains(&format!("kubelet_node_name{{node=\"{node}\"}} 1\n")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn health_and_settings_are_told() {
    let test = Test::new("node_healthz").await;
    if let Some(reason) = &test.cluster.no_node_proxy {
        return skip("node_healthz", reason);
    }
    let _host = test.start(&test.mock(json!({})));
    let node = test.node_ready(&test.node()).await;
    let verbose = get(&test, &test.node(), "healthz?verbose").await;
    assert!(verbose.contains("[+]syncloop ok\n"), "{verbose}");
    let settings: Value = serde_json::from_str(&get(&test, &test.node(), "configz").await).unwrap();
    let endpoints = node.status.unwrap().daemon_endpoints.unwrap();
    let port = endpoints.kubelet_endpoint.unwrap().port;
    assert_eq!(settings["kubeletconfig"]["port"], port);
    assert_eq!(
        settings["kubeletconfig"]["authentication"]["anonymous"]["enabled"],
        false
    );
}

#[tokio::test]
async fn nodes_share_a_port_where_the_config_says_so() {
    let test = Test::new("shared_port").await;
    let nodes = [format!("{}-a", test.id), format!("{}-b", test.id)];
    let mut config = test.config().with(json!({ "kubelet": { "sharedListener": 0 } })).mock(
        "mock",
        json!({ "exec": "local-process", "scratch": test.directory().join("scratch") }),
    );
    for node in &nodes {
        config = config.node(node, "mock", json!({}));
    }
    let _host = test.start(&config);
    let mut ports = Vec::new();
    for (node, pod) in nodes.iter().zip(["first", "second"]) {
        let found = test.node_ready(node).await;
        let annotations = found.metadata.annotations.unwrap();
        let path = &annotations["metrics.k8s.io/resource-metrics-path"];
        assert_eq!(*path, format!("/nodes/{node}/metrics/resource"));
        let endpoints = found.status.unwrap().daemon_endpoints.unwrap();
        ports.push(endpoints.kubelet_endpoint.unwrap().port);
        test.create(test.pod(pod, json!({ "spec": { "nodeName": node } })))
            .await;
        test.running(pod).await;
        if test.cluster.no_node_proxy.is_none() {
            let own = get(&test, node, &format!("nodes/{node}/pods")).await;
            assert!(own.contains(&format!("\"{pod}\"")), "{own}");
            let whose = get(&test, node, "healthz").await;
            assert_eq!(whose, "ok");
        }
    }
    assert!(ports[0] > 0 && ports[0] == ports[1], "{ports:?}");
    let Some(kubectl) = test.kubectl() else { return };
    for pod in ["first", "second"] {
        let printed = kubectl
            .output(&["exec", pod, "--", "sh", "-c", "echo $HOSTNAME; exit 5"])
            .await;
        assert_eq!(printed.status.code(), Some(5));
        assert_eq!(String::from_utf8_lossy(&printed.stdout), format!("{pod}\n"));
        let log = kubectl.run(&format!("logs --tail=1 {pod}")).await;
        assert!(log.contains(" of app, run 0"), "{log}");
    }
}
