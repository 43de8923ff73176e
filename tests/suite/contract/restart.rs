//! The host comes and goes; the pods stay.

use crate::harness::Proxy;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;

#[tokio::test]
pub(super) async fn pods_outlive_the_host() {
    let test = Test::new("restart_keeps").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    for name in ["stays", "goes"] {
        test.create(test.pod(name, json!({}))).await;
    }
    let (stays, goes) = (uid(&test.running("stays").await), uid(&test.running("goes").await));
    host.kill9().await;

    test.delete("goes", Some(5)).await;
    test.create(test.pod("comes", json!({}))).await;
    host.start_again();
    test.gone("goes", &goes).await;
    let comes = uid(&test.running("comes").await);
    assert!(is_running(&test.pods().get("stays").await.unwrap()));
    eventually(SOON, "the backend has what it should have", || async {
        let present: Vec<_> = backend.counts().await.present.into_keys().collect();
        let mut expected = vec![stays.clone(), comes.clone()];
        expected.sort();
        if present == expected {
            Ok(())
        } else {
            Err(format!("{present:?}"))
        }
    })
    .await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.pods.len(), 3);
    let stays = test.pods().get("stays").await.unwrap().status.unwrap();
    assert_eq!(stays.container_statuses.unwrap()[0].restart_count, 0);
    // Of what was started before, nothing is said again: the new one's event is not before it.
    eventually(SOON, "an event tells of the new pod", || async {
        let told = test.events_of("comes", "Started").await.len();
        (told == 1).then_some(()).ok_or(format!("{told} do"))
    })
    .await;
    let told = test.events_of("stays", "Started").await;
    let times: i32 = told.iter().map(|event| event.count.unwrap_or(1)).sum();
    // Or never: a host that is killed takes with it what it had still to say.
    assert!(times <= 1, "{told:?}");
}

/// The provider is slow to say that it is well, and quick to say what it has.
#[tokio::test]
pub(super) async fn nothing_is_said_of_pods_before_the_nodes_address_is_known() {
    let test = Test::new("restart_address").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["ping"] = json!({ "latency": "2s" });
    let mut host = test.start(&test.mock(provider));
    test.node_ready(&test.node()).await;
    test.create(test.pod("stays", json!({}))).await;
    let host_ip = |pod: &Pod| pod.status.as_ref().and_then(|status| status.host_ip.clone());
    let address = host_ip(&test.running("stays").await);
    assert!(address.is_some());
    host.kill9().await;
    let container =
        json!({ "env": [{ "name": "HOST", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } }] });
    test.create(super::materials::pod(&test, "comes", json!({}), container))
        .await;
    host.start_again();
    test.running("comes").await;
    assert!(
        test.events_of("comes", "Failed").await.is_empty(),
        "it was made too early"
    );
    assert_eq!(host_ip(&test.pods().get("stays").await.unwrap()), address);
}

#[tokio::test]
pub(super) async fn what_was_forced_away_meanwhile_is_swept_up() {
    let test = Test::new("restart_orphan").await;
    let backend = test.backend().await;
    let mut host = test.start(
        &test
            .mock(backend.config())
            .with(json!({ "orphans": { "after": "1s" } })),
    );
    test.node_ready(&test.node()).await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        test.create(test.pod(name, json!({}))).await;
    }
    for name in ["a", "b", "c", "d", "e", "f"] {
        test.running(name).await;
    }
    host.kill9().await;
    test.delete("a", Some(0)).await;
    host.start_again();
    eventually(SOON, "the orphan is gone in the backend, and it alone", || async {
        let present = backend.counts().await.present.len();
        if present == 5 {
            Ok(())
        } else {
            Err(format!("{present} pods are there"))
        }
    })
    .await;

    // More than a fifth of all is no accident of one pod: somebody has to confirm it.
    host.kill9().await;
    for name in ["b", "c"] {
        test.delete(name, Some(0)).await;
    }
    host.start_again();
    let asking = test
        .node_until(&test.node(), "a condition says what waits", |node| {
            question(node).is_some()
        })
        .await;
    assert_eq!(backend.counts().await.present.len(), 5);

    // Any other answer than the digest that was printed is none.
    answer(&test, "000000000000").await;
    let digest = question(&asking).unwrap();
    answer(&test, &digest).await;
    eventually(SOON, "what was confirmed is gone in the backend", || async {
        let present = backend.counts().await.present.len();
        (present == 3).then_some(()).ok_or(format!("{present} pods are there"))
    })
    .await;
    test.node_until(&test.node(), "nothing waits any more", |node| question(node).is_none())
        .await;
    for name in ["d", "e", "f"] {
        assert!(is_running(&test.pods().get(name).await.unwrap()));
    }
    backend.counts().await.assert_made_once();
}

/// The digest that a node wants to have confirmed.
fn question(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let asking = conditions.iter().find(|condition| condition.type_ == "OrphanedPods")?;
    let command = asking.message.as_ref().filter(|_| asking.status == "True")?;
    command.rsplit_once('=').map(|(_, digest)| digest.to_owned())
}

/// Confirms a sweep, as the condition asks for it.
async fn answer(test: &Test, digest: &str) {
    let answer = json!({ "metadata": { "annotations": { "outrigger.dev/confirm-orphan-sweep": digest } } });
    let params = PatchParams::default();
    test.nodes()
        .patch(&test.node(), &params, &Patch::Merge(answer))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_sweep_and_does_not() {
    let test = Test::new("restart_dry").await;
    let backend = test.backend().await;
    let orphans = json!({ "orphans": { "after": "1s", "dryRun": true } });
    let mut host = test.start(&test.mock(backend.config()).with(orphans));
    test.node_ready(&test.node()).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        test.create(test.pod(name, json!({}))).await;
    }
    for name in names {
        test.running(name).await;
    }
    let gone = uid(&test.pods().get("a").await.unwrap());
    host.kill9().await;
    test.delete("a", Some(0)).await;
    host.start_again();
    host.logs("dry run: orphan would be swept").await;
    let log = host.log();
    let said = log.lines().find(|line| line.contains("would be swept")).unwrap();
    assert!(said.contains(&gone), "{said}");
    // A host that sweeps would have asked for its end before it took anything new.
    test.create(test.pod("later", json!({}))).await;
    test.running("later").await;
    let counts = backend.counts().await;
    assert!(counts.present.contains_key(&gone) && counts.present.len() == 7);
    assert_eq!((counts.pods[&gone].stops, counts.pods[&gone].removes), (0, 0));
}

#[tokio::test]
async fn a_polite_end_leaves_pods_and_node_alone() {
    let test = Test::new("restart_term").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    let node = test.node_ready(&test.node()).await.metadata.uid;
    test.create(test.pod("web", json!({}))).await;
    let before = uid(&test.running("web").await);
    host.term();
    host.ends_with(0).await;

    let after = test.pods().get("web").await.unwrap();
    assert!(is_running(&after) && uid(&after) == before && after.metadata.deletion_timestamp.is_none());
    let left = test.nodes().get(&test.node()).await.unwrap();
    assert_eq!(left.metadata.uid, node);
    assert_ne!(left.spec.unwrap().unschedulable, Some(true));
    assert!(backend.counts().await.present.contains_key(&before));
    let holder = test
        .leases()
        .get(&test.node())
        .await
        .unwrap()
        .spec
        .unwrap()
        .holder_identity;
    assert_eq!(holder.unwrap_or_default(), "", "the claim is given back");
}

#[tokio::test]
async fn the_node_goes_with_the_host_if_asked_to_vk_657_azure_aci_338() {
    let test = Test::new("restart_deregister").await;
    let mut host = test.start(&test.mock(json!({})).with(json!({ "onShutdown": "deregister" })));
    test.node_ready(&test.node()).await;
    host.term();
    host.ends_with(0).await;
    assert!(test.nodes().get_opt(&test.node()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_node_is_cordoned_if_asked_for() {
    let test = Test::new("restart_cordon").await;
    let mut host = test.start(&test.mock(json!({})).with(json!({ "onShutdown": "cordon" })));
    test.node_ready(&test.node()).await;
    host.term();
    host.ends_with(0).await;
    let node = test.nodes().get(&test.node()).await.unwrap();
    assert_eq!(node.spec.unwrap().unschedulable, Some(true));
}

#[tokio::test]
pub(super) async fn an_api_server_that_is_away_is_waited_for() {
    let test = Test::new("restart_away").await;
    let (proxy, kubeconfig) = Proxy::detour(&test, false).await;
    let config = test
        .mock(json!({}))
        .with(json!({ "cluster": { "kubeconfig": kubeconfig } }));
    let mut host = test.start(&config);
    eventually(SOON, "the host tries again and again", || async {
        let tries = proxy.tries();
        if tries >= 8 {
            Ok(())
        } else {
            Err(format!("{tries} times so far"))
        }
    })
    .await;
    assert!(host.is_running());
    let complaints = host
        .log()
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .count();
    assert!(complaints <= 6, "once per change, not once per try:\n{}", host.log());
    proxy.set_open(true);
    test.node_ready(&test.node()).await;

    // And later, too.
    test.create(test.pod("before", json!({}))).await;
    test.running("before").await;
    let said = host.log().len();
    proxy.set_open(false);
    test.create(test.pod("meanwhile", json!({}))).await;
    let tries = proxy.tries();
    eventually(SOON, "the host tries again", || async {
        if proxy.tries() > tries + 8 {
            Ok(())
        } else {
            Err("it does not")
        }
    })
    .await;
    assert_eq!(
        host.complaints_made_twice(said),
        Vec::<String>::new(),
        "once per change, not once per try"
    );
    proxy.set_open(true);
    test.running("meanwhile").await;
}
