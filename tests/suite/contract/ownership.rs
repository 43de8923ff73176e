//! One host acts for a node, however many run.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::uid;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

async fn holder(test: &Test) -> Option<String> {
    let lease = test.leases().get_opt(&test.node()).await.unwrap()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

#[tokio::test]
async fn the_second_host_waits_and_takes_over_when_the_first_is_gone_vk_875() {
    let test = Test::new("owner_second").await;
    let backend = test.backend().await;
    let config = test.mock(backend.config());
    let mut first = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    let owner = holder(&test).await.unwrap();

    let second = test.start(&config);
    second.logs(&owner).await;
    assert_eq!(holder(&test).await, Some(owner.clone()), "the first one goes on");

    first.kill9().await;
    // It sees that the process is gone; a claim alone would hold for 40 s.
    eventually(Duration::from_secs(20), "the second host holds the lease", || async {
        let holder = holder(&test).await;
        if holder.as_ref().is_some_and(|holder| *holder != owner) {
            Ok(())
        } else {
            Err(format!("{holder:?} does"))
        }
    })
    .await;
    test.create(test.pod("next", json!({}))).await;
    test.running("next").await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.present.len(), 2);
}

#[tokio::test]
async fn a_host_that_waits_says_nothing_of_pods() {
    let test = Test::new("owner_silent").await;
    let backend = test.backend().await;
    let config = test.mock(backend.config());
    let mut first = test.start(&config);
    test.node_ready(&test.node()).await;
    let second = test.start(&config);
    second.logs(&holder(&test).await.unwrap()).await;
    // The backend tells both of what becomes of these.
    for name in ["stays", "goes"] {
        test.create(test.pod(name, json!({}))).await;
    }
    test.running("stays").await;
    let gone = uid(&test.running("goes").await);
    test.delete("goes", None).await;
    test.gone("goes", &gone).await;

    first.kill9().await;
    test.create(test.pod("next", json!({}))).await;
    test.running("next").await;
    // Events of a host come in the order in which things happened: what the second had said of the others would be there.
    eventually(SOON, "an event tells of the new pod", || async {
        let told = test.events_of("next", "Started").await.len();
        (told == 1).then_some(()).ok_or(format!("{told} do"))
    })
    .await;
    for (pod, reason) in [("stays", "Started"), ("goes", "Started"), ("goes", "Killing")] {
        let told = test.events_of(pod, reason).await;
        let times: i32 = told.iter().map(|event| event.count.unwrap_or(1)).sum();
        // Or never: a host that is killed takes with it what it had still to say.
        assert!(times <= 1, "{pod}: {told:?}");
    }
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.present.len(), 2, "the one that stays and the next");
}

#[tokio::test]
async fn two_hosts_never_make_a_pod_twice_vk_875() {
    const PODS: usize = 30;
    let test = Test::new("owner_churn").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["pods"] = json!({ "create": { "latency": "50ms" }, "stop": { "latency": "20ms" } });
    let config = test.mock(provider);
    let (mut one, mut other) = (test.start(&config), test.start(&config));
    test.node_ready(&test.node()).await;
    let mut uids = Vec::new();
    for number in 0..PODS {
        let pod = test.create(test.pod(&format!("web-{number}"), json!({}))).await;
        uids.push(uid(&pod));
        // Whoever holds the lease is gone, and comes back to wait.
        match number {
            10 => one.kill9().await,
            15 => one.start_again(),
            20 => other.kill9().await,
            25 => other.start_again(),
            _ => {}
        }
    }
    for number in 0..PODS {
        test.running(&format!("web-{number}")).await;
    }
    for number in 0..PODS / 2 {
        test.delete(&format!("web-{number}"), None).await;
    }
    for (number, uid) in uids.iter().enumerate().take(PODS / 2) {
        test.gone(&format!("web-{number}"), uid).await;
    }
    eventually(SOON, "the backend has the other half", || async {
        let present: Vec<_> = backend.counts().await.present.into_keys().collect();
        let mut expected = uids[PODS / 2..].to_vec();
        expected.sort();
        if present == expected {
            Ok(())
        } else {
            Err(format!("it has {}", present.len()))
        }
    })
    .await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert_eq!(counts.pods.len(), PODS);
}

#[tokio::test]
async fn a_host_that_slept_for_longer_than_its_lease_makes_up_for_it() {
    let test = Test::new("owner_slept").await;
    let backend = test.backend().await;
    let host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(test.pod("goes", json!({}))).await;
    let gone = uid(&test.running("goes").await);
    host.freeze();
    test.delete("goes", None).await;
    test.create(test.pod("comes", json!({}))).await;
    let duration = Duration::from_secs(41);
    eventually(duration * 2, "the lease has run out", || async {
        let lease = test
            .leases()
            .get(&test.node())
            .await
            .map_err(|error| error.to_string())?;
        let renewed = lease.spec.and_then(|spec| spec.renew_time).ok_or("never renewed")?;
        match Timestamp::now().duration_since(renewed.0) {
            age if age.unsigned_abs() > duration => Ok(()),
            age => Err(format!("it was renewed {age} ago")),
        }
    })
    .await;
    host.thaw();
    test.running("comes").await;
    test.gone("goes", &gone).await;
    backend.counts().await.assert_made_once();
}
