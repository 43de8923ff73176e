//! How often an object is watched that pods of several nodes refer to: once for each identity that reads it, which is the
//! host's, or that of each node that acts for itself.

use super::materials::pod;
use super::materials::put_config_map;
use crate::harness::HostConfig;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::own_devcluster;
use outrigger_devcluster::Kind;
use outrigger_devcluster::Running;
use serde_json::json;
use std::os::unix::fs::OpenOptionsExt;

fn nodes(test: &Test) -> [String; 2] {
    ["a", "b"].map(|name| format!("{}-{name}", test.id))
}

/// Two nodes, and on each two pods with the same ConfigMap: that, and the one with the cluster's authority that admission
/// gives to every pod, are each read and watched so many times.
async fn is_watched(test: &Test, running: &Running, config: HostConfig, times: u64) {
    let mut config = config.mock("mock", json!({}));
    for node in nodes(test) {
        config = config.node(&node, "mock", json!({}));
    }
    let _host = test.start(&config);
    put_config_map(test, "shared", json!({ "data": { "a": "1" } })).await;
    for node in nodes(test) {
        test.node_ready(&node).await;
        for number in 0..2 {
            let spec = json!({
                "nodeName": node, "volumes": [{ "name": "shared", "configMap": { "name": "shared" } }],
            });
            let name = format!("{node}-{number}");
            test.create(pod(test, &name, spec, json!({}))).await;
            test.running(&name).await;
        }
    }
    eventually(SOON, "each is watched as often as it has readers", || async {
        match running.watchers(Kind::ConfigMaps) {
            watches if watches as u64 == 2 * times => Ok(()),
            watches => Err(format!("{watches} watches")),
        }
    })
    .await;
    assert_eq!(running.requests("LIST", "configmaps"), 2 * times);
}

#[tokio::test]
async fn nodes_of_a_host_share_the_watch_of_an_object() {
    let (cluster, running) = own_devcluster("followed-host").await;
    let test = Test::on(cluster, "followed_host").await;
    is_watched(&test, &running, test.config(), 1).await;
}

#[tokio::test]
async fn nodes_that_act_for_themselves_watch_an_object_each() {
    let (cluster, running) = own_devcluster("followed-nodes").await;
    let test = Test::on(cluster, "followed_nodes").await;
    let certificates = test.directory().join("identity");
    std::fs::create_dir(&certificates).unwrap();
    for node in nodes(&test) {
        let signed = running
            .client_certificate(&format!("system:node:{node}"), "system:nodes")
            .unwrap();
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600);
        let mut file = file.open(certificates.join(format!("{node}.pem"))).unwrap();
        std::io::Write::write_all(&mut file, format!("{}{}", signed.certificate, signed.key).as_bytes()).unwrap();
    }
    let identity = json!({ "cluster": { "id": test.id, "nodeCertificates": certificates } });
    is_watched(&test, &running, test.config().with(identity), 2).await;
}
