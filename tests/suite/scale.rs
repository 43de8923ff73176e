//! Many pods, and many objects that they refer to: what it costs the API server in reads and connections, and the host in
//! memory. Small by default; `make soak` asks for the real numbers.

use crate::harness::Host;
use crate::harness::Test;
use crate::harness::connections;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::memory;
use crate::harness::number;
use crate::harness::object;
use crate::harness::own_devcluster;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use kube::api::LogParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use outrigger_devcluster::Kind;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// For thousands of pods on a slow machine, in a build without optimization.
const LONG: Duration = Duration::from_secs(1_200);
/// Requests of the test at a time.
const AT_A_TIME: usize = 16;
/// ConfigMaps of one pod.
const EACH: usize = 50;

pub(crate) async fn create_all<K>(api: &Api<K>, all: impl Iterator<Item = Value>)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let params = PostParams::default();
    futures::stream::iter(all)
        .for_each_concurrent(AT_A_TIME, |one| async {
            let one: K = object(one);
            api.create(&params, &one).await.unwrap();
        })
        .await;
}

async fn all_running(test: &Test, count: usize) {
    let pods: Api<Pod> = test.pods();
    eventually(LONG, &format!("{count} pods run"), || async {
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
}

/// A host with pods of one kind, until they run: its memory then.
async fn host_with(test: &Test, count: usize, pod: impl Fn(usize) -> Value) -> (Host, u64) {
    let host = test.start(&test.mock(json!({ "capacity": { "pods": "100000" } })));
    test.node_ready(&test.node()).await;
    create_all(&test.pods(), (0..count).map(pod)).await;
    all_running(test, count).await;
    let memory = memory(&host, LONG).await;
    (host, memory)
}

#[tokio::test]
async fn pods_that_share_objects_cost_reads_by_object_and_little_memory() {
    let count = number("OUTRIGGER_SUITE_SHARING_PODS", 300);
    let (cluster, server) = own_devcluster("scale-shared").await;
    let bare = {
        let test = Test::on(cluster, "scale_bare").await;
        let spec = json!({ "spec": { "automountServiceAccountToken": false } });
        host_with(&test, count, |index| test.pod(&format!("p{index}"), spec.clone()))
            .await
            .1
    };
    let test = Test::on(cluster, "scale_shared").await;
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.id);
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), &test.id);
    create_all(
        &maps,
        [json!({ "metadata": { "name": "shared" }, "data": { "a": "1" } })].into_iter(),
    )
    .await;
    create_all(
        &secrets,
        [json!({ "metadata": { "name": "shared" }, "data": { "b": "Mg==" } })].into_iter(),
    )
    .await;
    let counted = [
        ("LIST", "configmaps"),
        ("LIST", "secrets"),
        ("GET", "configmaps"),
        ("GET", "secrets"),
    ];
    let tokens = || server.requests("POST", "serviceaccounts/token");
    let (reads, issued) = (counted.map(|(verb, kind)| server.requests(verb, kind)), tokens());
    let volumes = json!({ "volumes": [
        { "name": "map", "configMap": { "name": "shared" } },
        { "name": "secret", "secret": { "secretName": "shared" } },
    ]});
    let last = format!("p{}", count - 1);
    // From the start: an annotation that is added later and the change of a ConfigMap overtake each other.
    let pod = |index: usize| {
        let name = format!("p{index}");
        let shows = (name == last).to_string();
        let metadata = json!({ "annotations": { "mock.outrigger.dev/showMaterials": shows } });
        test.pod(&name, json!({ "metadata": metadata, "spec": volumes }))
    };
    let (host, sharing) = host_with(&test, count, pod).await;
    let reads: Vec<u64> = counted
        .iter()
        .zip(reads)
        .map(|((verb, kind), before)| server.requests(verb, kind) - before)
        .collect();
    eprintln!("{count} pods: reads {reads:?}, memory {bare} KiB without, {sharing} KiB with objects");
    // The ConfigMap and kube-root-ca.crt; the Secret; and nothing is read again.
    assert_eq!(reads, [2, 1, 0, 0]);
    assert_eq!(tokens() - issued, count as u64, "a token for each pod");
    assert!(
        sharing * 2 <= bare * 3,
        "{bare} KiB without objects, {sharing} KiB with them"
    );
    assert_eq!(server.watchers(Kind::ConfigMaps), 2);

    // A change reaches all of them.
    let pods = test.pods();
    let changed = json!({ "data": { "a": "2" } });
    maps.patch("shared", &PatchParams::default(), &Patch::Merge(changed))
        .await
        .unwrap();
    eventually(LONG, "the last pod has the change", || async {
        let log = pods
            .logs(&last, &LogParams::default())
            .await
            .map_err(|error| error.to_string())?;
        if log.contains(r#""file":"map/a""#) && log.contains(r#""text":"2""#) {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    drop(host);
}

#[tokio::test]
async fn thousands_of_config_maps_share_a_few_connections() {
    let count = number("OUTRIGGER_SUITE_CONFIG_MAPS", 250);
    let (cluster, server) = own_devcluster("scale-maps").await;
    let test = Test::on(cluster, "scale_maps").await;
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.id);
    let map = |index: usize| json!({ "metadata": { "name": format!("m{index}") }, "data": { "turn": "0" } });
    create_all(&maps, (0..count).map(map)).await;
    let volume = |index: usize| json!({ "name": format!("v{index}"), "configMap": { "name": format!("m{index}") } });
    let pods = count.div_ceil(EACH);
    let pod = |pod: usize| {
        let volumes: Vec<Value> = (pod * EACH..count.min((pod + 1) * EACH)).map(volume).collect();
        let metadata = json!({ "annotations": { "mock.outrigger.dev/showMaterials": "true" } });
        test.pod(
            &format!("p{pod}"),
            json!({ "metadata": metadata, "spec": { "volumes": volumes } }),
        )
    };
    let (host, memory) = host_with(&test, pods, pod).await;
    let open = connections(&host, server.address().port());
    let watched = server.watchers(Kind::ConfigMaps);
    eprintln!("{count} config maps: {watched} watches, {open} connections, {memory} KiB");
    // 100 watches share one, beside those for other things; thousands of one namespace share one watch.
    assert!(open <= 64, "{open} connections");
    assert!(watched <= 2_001, "{watched} watches");
    if count < 2_000 {
        // Each alone, and kube-root-ca.crt.
        assert_eq!(watched, count + 1);
    }

    for index in [0, count / 2, count - 1] {
        let changed = json!({ "data": { "turn": "1" } });
        maps.patch(&format!("m{index}"), &PatchParams::default(), &Patch::Merge(changed))
            .await
            .unwrap();
    }
    let pods = test.pods();
    for index in [0, count / 2, count - 1] {
        let pod = format!("p{}", index / EACH);
        eventually(LONG, "the change reaches the pod", || async {
            let log = pods
                .logs(&pod, &LogParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let file = json!(format!("v{index}/turn"));
            let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            match lines.find(|line| line["file"] == file) {
                Some(line) if line["text"] == "1" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn pods_of_other_nodes_cost_a_host_no_memory() {
    const OWN: usize = 50;
    let count = number("OUTRIGGER_SUITE_FOREIGN_PODS", 1_000);
    let (cluster, _server) = own_devcluster("scale-foreign").await;
    let test = Test::on(cluster, "scale_foreign").await;
    let (mut host, alone) = host_with(&test, OWN, |index| test.pod(&format!("own{index}"), json!({}))).await;

    let elsewhere = json!({ "spec": { "nodeName": "elsewhere" } });
    let foreign = |index: usize| test.pod(&format!("foreign{index}"), elsewhere.clone());
    create_all(&test.pods(), (0..count).map(foreign)).await;
    // Whatever the host was sent of them has come before this.
    test.create(test.pod("last", json!({}))).await;
    test.running("last").await;
    let beside = memory(&host, LONG).await;

    // One that finds them there when it starts.
    host.kill9().await;
    host.start_again();
    test.node_ready(&test.node()).await;
    test.create(test.pod("after", json!({}))).await;
    test.running("after").await;
    let after = memory(&host, LONG).await;
    eprintln!("{count} foreign pods: {alone} KiB without, {beside} KiB with, {after} KiB for a host that finds them");
    for with in [beside, after] {
        assert!(
            with * 100 <= alone * 105,
            "{alone} KiB without foreign pods, {with} KiB with them"
        );
    }
}
