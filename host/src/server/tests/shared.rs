//! Several nodes behind one port.

use super::fake::LOG;
use super::fake::Log;
use super::*;
use outrigger_plugin::ProviderError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The pod `default/web` is on vk-1, and no other is anywhere. Counts how often it was asked.
#[derive(Default)]
struct OnTheSecond(AtomicUsize);

impl Whereabouts for OnTheSecond {
    fn node_of<'a>(&'a self, namespace: &'a str, pod: &'a str) -> BoxFuture<'a, Option<String>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let found = (namespace, pod) == ("default", "web");
        Box::pin(std::future::ready(found.then(|| "vk-1".to_owned())))
    }
}

#[tokio::test]
async fn each_node_is_below_its_name_and_pods_are_found_without_it() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("cluster");
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, authority.pem()).unwrap();
    let kubelet = KubeletConfig {
        client_ca_file: Some(ca),
        ..KubeletConfig::default()
    };
    let access = access(&kubelet).await.unwrap();
    let mut first = Fake::new(Log::Closed(ProviderError::internal("not this one")));
    first.pods.clear();
    let nodes = [("vk-0", first), ("vk-1", Fake::new(Log::Text(LOG)))];
    let nodes = nodes.map(|(node, backend)| {
        let config = Config {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            node: node.to_owned(),
            addresses: Vec::new(),
            access: Arc::clone(&access),
            settings: settings(&kubelet),
        };
        (config, Arc::new(backend) as Arc<dyn Backend>)
    });
    let whereabouts = Arc::new(OnTheSecond::default());
    let building = Server::build_shared(nodes.into(), Arc::clone(&whereabouts) as Arc<dyn Whereabouts>);
    let (server, address) = building.await.unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(server.run(shutdown.clone()));
    let caller = authority.client("kube-apiserver-kubelet-client");
    let get = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ask(address, Some(&caller), &request).await
    };

    assert!(!get("/nodes/vk-0/pods").await.body.contains("web"));
    assert!(get("/nodes/vk-1/pods").await.body.contains("web"));
    assert!(
        get("/nodes/vk-1/metrics")
            .await
            .body
            .contains("kubelet_node_name{node=\"vk-1\"} 1")
    );
    assert_eq!(get("/nodes/vk-1/healthz").await.body, "ok");
    assert_eq!(get("/healthz").await.body, "ok");

    let log = get("/containerLogs/default/web/app?tailLines=1").await;
    assert_eq!((log.status, log.body.as_str()), (200, "three\n"));
    let log = get("/nodes/vk-1/containerLogs/default/web/app?tailLines=1").await;
    assert_eq!((log.status, log.body.as_str()), (200, "three\n"));
    assert_eq!(get("/containerLogs/default/other/app").await.status, 404);

    for path in [
        "/pods",
        "/runningpods/",
        "/metrics",
        "/metrics/resource",
        "/stats/summary",
        "/configz",
    ] {
        let reply = get(path).await;
        let expected = format!("this port serves several nodes: ask for /nodes/NAME{path}\n");
        assert_eq!((reply.status, reply.body), (404, expected));
    }
    for path in [
        "/nodes/vk-2/pods",
        "/nodes/vk-1",
        "/nodes",
        "/nodes/",
        "/nodes/vk-0/../vk-1/nothing",
        "/nothing",
    ] {
        assert_eq!(get(path).await.status, 404, "{path}");
    }
    // Nothing of it for strangers, for whom nothing is looked up either.
    let asked = whereabouts.0.load(Ordering::SeqCst);
    assert_eq!(asked, 2);
    for path in [
        "/nodes/vk-1/pods",
        "/nodes/vk-2/pods",
        "/pods",
        "/containerLogs/default/web/app",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(ask(address, None, &request).await.status, 401, "{path}");
    }
    assert_eq!(whereabouts.0.load(Ordering::SeqCst), asked);
    shutdown.cancel();
    task.await.unwrap();
}
