//! A pod that can't run must not set off a storm of replacements.

use crate::harness::LABEL;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::phase;
use crate::harness::uid;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::ListParams;
use kube::api::PostParams;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

const REPLICAS: usize = 3;

/// How long it is watched; the whole check takes five minutes.
fn window() -> Duration {
    let seconds = std::env::var("OUTRIGGER_SUITE_STORM_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_refused_field_makes_no_storm() {
    let test = Test::new("storm").await;
    let _host = test.start(&test.mock(json!({ "refuse": ["hostNetwork"] })));
    test.node_ready(&test.node()).await;
    let template = json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": {
            "hostNetwork": true,
            "containers": [{ "name": "app", "image": "registry.example/app:1" }],
            "nodeSelector": { LABEL: test.id },
            "tolerations": [{ "key": "virtual-kubelet.io/provider", "operator": "Exists" }],
        },
    });
    let spec = json!({ "replicas": REPLICAS, "selector": { "matchLabels": { "app": "web" } }, "template": template });
    let deployment: Deployment = object(json!({ "metadata": { "name": "web" }, "spec": spec }));
    let deployments: Api<Deployment> = Api::namespaced(test.client.clone(), &test.id);
    deployments.create(&PostParams::default(), &deployment).await.unwrap();

    let pods = test.pods();
    let held = || async {
        let pods = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?
            .items;
        let held = pods.iter().filter(|pod| {
            let statuses = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            let state = statuses.and_then(|all| all.first()).and_then(|one| one.state.as_ref());
            let waiting = state.and_then(|state| state.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CreateContainerConfigError"))
        });
        if held.count() == REPLICAS {
            Ok(pods)
        } else {
            Err("not all pods are held".to_owned())
        }
    };
    let first = eventually(SOON, "the pods are held", held).await;
    let mut seen: BTreeSet<String> = first.iter().map(uid).collect();
    let end = Instant::now() + window();
    while Instant::now() < end {
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            assert_eq!(phase(&pod), "Pending");
            seen.insert(uid(&pod));
        }
        assert_eq!(seen.len(), REPLICAS, "pods were replaced");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
