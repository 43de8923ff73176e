//! Many virtual nodes in one process that one provider serves: all Ready, their leases renewed in time and not in step, a
//! pod on each. Some by default; `make soak` asks for a thousand.

use crate::harness::ClusterKind;
use crate::harness::LABEL;
use crate::harness::Renewals;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::connections;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::memory;
use crate::harness::number;
use crate::scale::create_all;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::config::Kubeconfig;
use serde_json::json;
use std::time::Duration;

/// For a thousand nodes on a slow machine.
const LONG: Duration = Duration::from_secs(600);
const RENEWAL: Duration = Duration::from_secs(10);
/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(40);

/// The port of the API server that hosts talk to.
fn server_port(test: &Test) -> u16 {
    let kubeconfig = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    let server = kubeconfig.clusters[0].cluster.clone().unwrap().server.unwrap();
    let port = server.trim_end_matches('/').rsplit_once(':').unwrap().1;
    port.parse().unwrap()
}

async fn all_ready(test: &Test, own: &ListParams, count: usize) {
    let nodes = test.nodes();
    eventually(LONG, &format!("{count} nodes are Ready"), || async {
        let list = nodes.list(own).await.map_err(|error| error.to_string())?;
        let ready = |node: &&k8s_openapi::api::core::v1::Node| condition(node, "Ready").as_deref() == Some("True");
        match list.items.iter().filter(ready).count() {
            ready if ready == count => Ok(()),
            ready => Err(format!("{ready} are")),
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_by_the_hundred_are_ready_renewed_and_run_pods() {
    let count = number("OUTRIGGER_SUITE_NODES", 60);
    let span = Duration::from_secs(number("OUTRIGGER_SUITE_NODES_SECONDS", 45) as u64);
    let test = Test::new("many_nodes").await;
    if count > 500 && test.cluster.kind == ClusterKind::Foreign {
        return crate::harness::skip(&test.id, "a thousand nodes are not put into somebody's cluster");
    }
    let config = test.config().mock("mock", json!({}));
    let config = config.node(&test.id, "mock", json!({ "count": count }));
    // Debug logs of so many nodes are a test of the disk.
    let config = config.with(json!({ "log": { "level": "info" }, "onShutdown": "deregister" }));
    let mut host = test.start(&config);
    let own = ListParams::default().labels(&format!("{LABEL}={}", test.id));
    let began = tokio::time::Instant::now();
    all_ready(&test, &own, count).await;
    let registered = began.elapsed();

    let node = |index: usize| format!("{}-{index}", test.id);
    let pod = |index: usize| {
        let spec = json!({ "spec": { "nodeName": node(index), "automountServiceAccountToken": false } });
        test.pod(&format!("p{index}"), spec)
    };
    create_all(&test.pods(), (0..count).map(pod)).await;
    let pods = test.pods();
    eventually(LONG, "a pod runs on each node", || async {
        let list = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        match list.items.iter().filter(|pod| is_running(pod)).count() {
            running if running == count => Ok(()),
            running => Err(format!("{running} do")),
        }
    })
    .await;

    let nodes: Vec<String> = (0..count).map(node).collect();
    let renewals = Renewals::watch(&test, &nodes, span).await;
    let (gap, whose) = renewals.longest_gap();
    let tenths = renewals.tenths(RENEWAL);
    let open = connections(&host, server_port(&test));
    let resident = memory(&host, LONG).await;
    eprintln!(
        "{count} nodes: Ready after {registered:?}, longest gap {gap:?} ({whose}), renewals by tenths of the interval \
         {tenths:?}, {open} connections, {resident} KiB"
    );
    assert!(gap <= LEASE, "the lease of {whose} was not renewed for {gap:?}");
    let all: usize = tenths.iter().sum();
    assert!(
        all >= count * (span.as_secs() / RENEWAL.as_secs() - 1) as usize,
        "{tenths:?}"
    );
    // In step, all would fall into one tenth, or two.
    assert!(
        tenths.iter().filter(|renewals| **renewals > 0).count() >= 8,
        "{tenths:?}"
    );
    assert!(tenths.iter().all(|renewals| *renewals * 2 < all), "{tenths:?}");
    // 32 for heartbeats, 32 for statuses, some for the rest: it does not grow with the nodes.
    assert!(open <= 96, "{open} connections");
    all_ready(&test, &own, count).await;

    let at_once = DeleteParams::default().grace_period(0);
    test.pods()
        .delete_collection(&at_once, &ListParams::default())
        .await
        .unwrap();
    eventually(LONG, "the pods are gone", || async {
        match pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?
            .items
            .len()
        {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    })
    .await;
    // They leave as they are told, all of them.
    host.term();
    host.ends_with(0).await;
    let left = test.nodes().list(&own).await.unwrap();
    assert_eq!(left.items.len(), 0, "nodes are left");
    assert!(!host.log().contains("unable to leave the node"), "{}", host.log());
}
