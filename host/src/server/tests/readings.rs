//! Resource use, metrics, health and settings.

use super::fake::Log;
use super::fake::identity;
use super::*;
use outrigger_plugin::ContainerReport;
use outrigger_plugin::ContainerState;
use outrigger_plugin::ContainerUsage;
use outrigger_plugin::PodReport;
use outrigger_plugin::ProviderError;
use outrigger_plugin::StatsSummary;
use outrigger_plugin::Timestamp;
use outrigger_plugin::Usage;
use serde_json::Value;
use serde_json::json;

/// 2026-11-23T06:00:00Z
const NOW: i64 = 1_795_413_600_000;

fn usage(cpu: u64, memory: u64) -> Usage {
    Usage {
        time: Timestamp(NOW),
        cpu_core_nanoseconds: Some(cpu),
        cpu_nanocores: Some(cpu / 10),
        memory_working_set_bytes: Some(memory),
    }
}

fn container(node: &str, pod: &str, container: &str, usage: Usage) -> ContainerUsage {
    ContainerUsage {
        identity: identity(node, pod),
        container: container.into(),
        started_at: Timestamp(NOW - 60_500),
        usage,
    }
}

/// A node with one pod that it knows, and what is told of others.
fn backend() -> Fake {
    let mut backend = Fake::new(Log::Text(""));
    backend.stats = Ok(StatsSummary {
        node: usage(9_000_000_000, 4096),
        containers: vec![
            container("vk-0", "web", "slow", usage(2_500_000_000, 200)),
            container("vk-0", "web", "app", usage(1_500_000_000, 100)),
            container("vk-0", "web", "starting", usage(0, 0)),
            container("vk-1", "web", "app", usage(77, 77)),
            container("vk-0", "unknown", "app", usage(77, 77)),
        ],
    });
    backend
}

#[tokio::test]
async fn the_summary_holds_what_is_told_of_the_nodes_own_pods() {
    let server = start(backend()).await;
    let reply = server.get("/stats/summary?only_cpu_and_memory=true").await;
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    let mut summary: Value = serde_json::from_str(&reply.body).unwrap();
    let started = summary["node"].as_object_mut().unwrap().remove("startTime").unwrap();
    assert!(started.as_str().unwrap().ends_with('Z'), "{started}");
    let parts = |cpu: u64, memory: u64| {
        (
            json!({ "time": "2026-11-23T06:00:00Z", "usageNanoCores": cpu / 10, "usageCoreNanoSeconds": cpu }),
            json!({ "time": "2026-11-23T06:00:00Z", "workingSetBytes": memory }),
        )
    };
    let container = |name: &str, (cpu, memory): (Value, Value)| json!({ "name": name, "startTime": "2026-11-23T05:58:59Z", "cpu": cpu, "memory": memory });
    let (node, pod) = (parts(9_000_000_000, 4096), parts(4_000_000_000, 300));
    let expected = json!({
        "node": { "nodeName": "vk-0", "cpu": node.0, "memory": node.1 },
        "pods": [{
            "podRef": { "name": "web", "namespace": "default", "uid": "uid-web" },
            "startTime": "2026-11-23T05:00:00Z",
            "containers": [
                container("app", parts(1_500_000_000, 100)),
                container("slow", parts(2_500_000_000, 200)),
                container("starting", parts(0, 0)),
            ],
            "cpu": pod.0,
            "memory": pod.1,
        }],
    });
    assert_eq!(summary, expected);
    server.stop().await;
}

#[tokio::test]
async fn resource_metrics_are_what_the_metrics_server_reads() {
    let server = start(backend()).await;
    let reply = server.get("/metrics/resource").await;
    assert!(
        reply.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        reply.head
    );
    let samples: Vec<&str> = reply.body.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = format!(
        "node_cpu_usage_seconds_total 9.000000000 {NOW}\n\
         node_memory_working_set_bytes 4096 {NOW}\n\
         container_start_time_seconds{{container=\"app\",namespace=\"default\",pod=\"web\"}} 1795413539.500\n\
         container_start_time_seconds{{container=\"slow\",namespace=\"default\",pod=\"web\"}} 1795413539.500\n\
         container_cpu_usage_seconds_total{{container=\"app\",namespace=\"default\",pod=\"web\"}} 1.500000000 {NOW}\n\
         container_cpu_usage_seconds_total{{container=\"slow\",namespace=\"default\",pod=\"web\"}} 2.500000000 {NOW}\n\
         container_memory_working_set_bytes{{container=\"app\",namespace=\"default\",pod=\"web\"}} 100 {NOW}\n\
         container_memory_working_set_bytes{{container=\"slow\",namespace=\"default\",pod=\"web\"}} 200 {NOW}\n\
         pod_cpu_usage_seconds_total{{namespace=\"default\",pod=\"web\"}} 4.000000000 {NOW}\n\
         pod_memory_working_set_bytes{{namespace=\"default\",pod=\"web\"}} 300 {NOW}\n\
         resource_scrape_error 0\n\
         scrape_error 0"
    );
    assert_eq!(samples.join("\n"), expected);
    for family in [
        "node_cpu_usage_seconds_total counter",
        "container_start_time_seconds gauge",
    ] {
        assert!(reply.body.contains(&format!("# TYPE {family}\n")), "{}", reply.body);
    }
    let cadvisor = server.get("/metrics/cadvisor").await.body;
    let line = "container_memory_working_set_bytes{container=\"app\",image=\"app:1\",name=\"fake://1\",\
                namespace=\"default\",pod=\"web\"} 100 ";
    assert!(cadvisor.contains(line), "{cadvisor}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_told_is_an_error_and_not_a_zero() {
    let mut backend = backend();
    backend.stats = Err(ProviderError::unavailable("the backend is away"));
    let server = start(backend.clone()).await;
    let summary = server.get("/stats/summary").await;
    assert_eq!((summary.status, summary.body.as_str()), (500, "the backend is away"));
    let resource = server.get("/metrics/resource").await;
    let samples: Vec<&str> = resource.body.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        (resource.status, samples),
        (200, vec!["resource_scrape_error 1", "scrape_error 1"])
    );
    server.stop().await;

    backend.lacks = vec![Feature::Stats];
    let server = start(backend).await;
    for path in ["/stats/summary", "/metrics/resource", "/metrics/cadvisor"] {
        let reply = server.get(path).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (501, "the fake can't do this"),
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_requests_and_pods() {
    let server = start(backend()).await;
    server.get("/pods").await;
    server.get("/nothing/at/all").await;
    let reply = server.get("/metrics").await;
    assert!(
        reply.head.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        reply.head
    );
    for line in [
        "kubelet_node_name{node=\"vk-0\"} 1",
        "kubelet_running_pods 1",
        "kubelet_running_containers{container_state=\"running\"} 1",
        "kubelet_running_containers{container_state=\"exited\"} 1",
        "kubelet_running_containers{container_state=\"created\"} 1",
        "kubelet_http_requests_total{long_running=\"false\",method=\"GET\",path=\"pods\",server_type=\"readwrite\"} 1",
        "kubelet_http_requests_total{long_running=\"false\",method=\"GET\",path=\"\",server_type=\"readwrite\"} 1",
        "kubelet_http_inflight_requests{long_running=\"false\",method=\"GET\",path=\"metrics\",server_type=\"readwrite\"} 1",
        "kubelet_http_requests_duration_seconds_count{long_running=\"false\",method=\"GET\",path=\"pods\",server_type=\"readwrite\"} 1",
    ] {
        assert!(
            reply.body.lines().any(|found| found == line),
            "{line} in\n{}",
            reply.body
        );
    }
    assert!(reply.body.contains("\nprocess_resident_memory_bytes ") && reply.body.ends_with("# EOF\n"));

    let caller = server.authority.client("kube-apiserver-kubelet-client");
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1\r\nConnection: close\r\n\r\n";
    let reply = ask(server.address, Some(&caller), request).await;
    assert!(
        reply
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{}",
        reply.head
    );
    let probes = server.get("/metrics/probes").await.body;
    assert!(probes.contains("\nprocess_start_time_seconds "), "{probes}");
    server.stop().await;
}

#[tokio::test]
async fn two_nodes_never_mix() {
    let mut other = backend();
    other.pods.clear();
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("cluster");
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let kubelet = KubeletConfig {
        client_ca_file: Some(ca),
        ..KubeletConfig::default()
    };
    let access = access(&kubelet).await.unwrap();
    let caller = authority.client("kube-apiserver-kubelet-client");
    let shutdown = CancellationToken::new();
    let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
    for (node, backend) in [("vk-0", backend()), ("vk-1", other)] {
        let config = Config {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            node: node.to_owned(),
            addresses: Vec::new(),
            access: Arc::clone(&access),
            settings: settings(&kubelet),
        };
        let (server, address) = Server::build(config, Arc::new(backend)).await.unwrap();
        addresses.push(address);
        tasks.push(tokio::spawn(server.run(shutdown.clone())));
    }
    let get = async |node: usize, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ask(addresses[node], Some(&caller), &request).await.body
    };
    for path in ["/pods", "/stats/summary", "/metrics/resource", "/metrics/cadvisor"] {
        assert!(get(0, path).await.contains("web"), "{path}");
        assert!(!get(1, path).await.contains("web"), "{path}");
    }
    assert!(get(1, "/stats/summary").await.contains("\"nodeName\":\"vk-1\""));
    let (first, second) = (get(0, "/metrics").await, get(1, "/metrics").await);
    assert!(first.contains("kubelet_running_pods 1") && second.contains("kubelet_running_pods 0"));
    assert!(!first.contains("vk-1") && !second.contains("vk-0"));
    let of_pods = "path=\"pods\",server_type=\"readwrite\"} 1\n";
    assert!(
        first.contains(of_pods) && second.contains(of_pods),
        "each counts its own requests"
    );
    shutdown.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn running_pods_are_those_of_the_provider() {
    let state = |name: &str, state: ContainerState| ContainerReport {
        name: name.into(),
        state,
        last_termination: None,
        restart_count: 0,
        ready: true,
        started: true,
        image: "app:1".into(),
        image_id: String::new(),
        container_id: String::new(),
    };
    let running = || ContainerState::Running {
        started_at: Timestamp(NOW),
    };
    let waiting = || ContainerState::Waiting {
        reason: "ContainerCreating".into(),
        message: String::new(),
    };
    let report = |node: &str, name: &str, containers: Vec<ContainerReport>| PodReport {
        containers,
        ..PodReport::new(identity(node, name))
    };
    let mut backend = backend();
    backend.reports = Ok(vec![
        report("vk-0", "web", vec![state("app", running()), state("slow", waiting())]),
        report("vk-0", "waits", vec![state("app", waiting())]),
        report("vk-1", "other", vec![state("app", running())]),
    ]);
    let server = start(backend.clone()).await;
    let list: Value = serde_json::from_str(&server.get("/runningpods/").await.body).unwrap();
    let expected = json!([{
        "metadata": { "name": "web", "namespace": "default", "uid": "uid-web", "creationTimestamp": null },
        "spec": { "containers": [{ "name": "app", "image": "app:1", "resources": {} }] },
        "status": {},
    }]);
    assert_eq!((&list["kind"], &list["items"]), (&json!("PodList"), &expected));
    server.stop().await;

    backend.reports = Err(ProviderError::unavailable("the backend is away"));
    let server = start(backend).await;
    assert_eq!(server.get("/runningpods").await.status, 500);
    server.stop().await;
}

#[tokio::test]
async fn health_is_checked_by_name() {
    let mut backend = backend();
    let server = start(backend.clone()).await;
    for path in ["/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "ok"), "{path}");
    }
    let verbose = server.get("/healthz?verbose").await.body;
    assert_eq!(verbose, "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n");
    server.stop().await;

    backend.alive = false;
    let server = start(backend).await;
    let reply = server.get("/healthz").await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.body.starts_with("[+]ping ok\n[+]log ok\n[-]syncloop failed: "),
        "{}",
        reply.body
    );
    assert_eq!(server.get("/healthz/ping").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn settings_are_shown_in_the_kubelets_words() {
    let server = start(backend()).await;
    let config: Value = serde_json::from_str(&server.get("/configz").await.body).unwrap();
    let config = &config["kubeletconfig"];
    assert_eq!(config["port"], server.address.port());
    assert_eq!(config["nodeStatusUpdateFrequency"], "10s");
    assert_eq!(config["authentication"]["anonymous"]["enabled"], false);
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    let request =
        "POST /checkpoint/default/web/app HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(server.address, Some(&caller), request).await.status, 501);
    assert_eq!(ask(server.address, None, request).await.status, 401);
    server.stop().await;
}
