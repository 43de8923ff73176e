//! An API server in trouble. Each of these has a development cluster of its own, whose faults nobody else meets.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::own_devcluster;
use crate::harness::uid;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::core::v1::Taint;
use kube::Api;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use outrigger_devcluster::Action;
use outrigger_devcluster::Kind;
use outrigger_devcluster::Rule;
use outrigger_devcluster::Selection;
use serde_json::json;

fn status_patches() -> Selection {
    Selection {
        verb: "PATCH".into(),
        resource: "pods".into(),
        subresource: "status".into(),
        ..Selection::default()
    }
}

fn no_watch_of_pods() -> Rule {
    Rule {
        select: Selection {
            verb: "WATCH".into(),
            resource: "pods".into(),
            ..Selection::default()
        },
        action: Action::Status {
            code: 503,
            retry_after: None,
        },
        times: None,
    }
}

#[tokio::test]
async fn writes_that_fail_are_made_again() {
    let (cluster, api) = own_devcluster("faults-writes").await;
    let test = Test::on(cluster, "faults_writes").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let always = |action, times| Rule {
        select: status_patches(),
        action,
        times: Some(times),
    };
    for (name, action) in [
        (
            "busy",
            Action::Status {
                code: 429,
                retry_after: Some(1),
            },
        ),
        (
            "broken",
            Action::Status {
                code: 500,
                retry_after: None,
            },
        ),
        ("conflict", Action::Conflict),
        ("lost", Action::LoseAnswer),
        ("slow", Action::Delay { millis: 500 }),
    ] {
        api.faults().add(always(action.clone(), 2));
        test.create(test.pod(name, json!({}))).await;
        let pod = test.running(name).await;
        api.faults().clear();
        api.faults().add(Rule {
            select: Selection {
                verb: "DELETE".into(),
                resource: "pods".into(),
                name: name.into(),
                ..Selection::default()
            },
            action,
            // The first one is this test's own.
            times: Some(2),
        });
        let pods = test.pods();
        eventually(SOON, "the deletion is accepted", || async {
            match pods.get_opt(name).await.map_err(|error| error.to_string())? {
                Some(pod) if pod.metadata.deletion_timestamp.is_none() => {
                    let _ = pods.delete(name, &Default::default()).await;
                    Err("it is not".to_owned())
                }
                _ => Ok(()),
            }
        })
        .await;
        test.gone(name, &uid(&pod)).await;
        api.faults().clear();
    }
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert!(counts.present.is_empty());
}

#[tokio::test]
async fn watches_that_break_lose_nothing() {
    let (cluster, api) = own_devcluster("faults-watches").await;
    let test = Test::on(cluster, "faults_watches").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let kept = test.create(test.pod("kept", json!({}))).await;
    let deleted = test.create(test.pod("deleted", json!({}))).await;
    test.running("kept").await;
    test.running("deleted").await;

    // A stop in the middle, and a past that is no longer known (410), while something went on.
    let rule = api.faults().add(no_watch_of_pods());
    assert!(api.drop_watches(Kind::Pods) > 0, "the host watches pods");
    test.delete("deleted", Some(0)).await;
    let again = test.create(test.pod("deleted", json!({}))).await;
    api.forget_history(Kind::Pods);
    api.faults().remove(rule);

    test.running("deleted").await;
    test.running("kept").await;
    eventually(SOON, "the backend has the new pod and not the old one", || async {
        let present: Vec<_> = backend.counts().await.present.into_keys().collect();
        let mut expected = vec![uid(&kept), uid(&again)];
        expected.sort();
        if present == expected {
            Ok(())
        } else {
            Err(format!("{present:?}, and not {}", uid(&deleted)))
        }
    })
    .await;
    backend.counts().await.assert_made_once();
}

/// An etcd that was restored does not know what was made since its backup. A host that watches sees pods missing from a
/// list, whose end nobody asked for.
#[tokio::test]
async fn many_pods_that_the_api_server_forgot_are_kept_until_somebody_confirms() {
    let (cluster, api) = own_devcluster("faults-forgotten").await;
    let test = Test::on(cluster, "faults_forgotten").await;
    let backend = test.backend().await;
    let config = test
        .mock(backend.config())
        .with(json!({ "orphans": { "after": "1s" } }));
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    let mut forgotten = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        test.create(test.pod(name, json!({}))).await;
        forgotten.push(uid(&test.running(name).await));
    }
    let rule = api.faults().add(no_watch_of_pods());
    assert!(api.drop_watches(Kind::Pods) > 0, "the host watches pods");
    for name in ["a", "b", "c", "d"] {
        test.delete(name, Some(0)).await;
    }
    let successor = uid(&test.create(test.pod("a", json!({}))).await);
    test.create(test.pod("other", json!({}))).await;
    api.forget_history(Kind::Pods);
    api.faults().remove(rule);

    // The host has the new list, and asks.
    test.running("other").await;
    // And one more: what is lost is not taken for deleted because another list lacks it, too.
    let rule = api.faults().add(no_watch_of_pods());
    assert!(api.drop_watches(Kind::Pods) > 0, "the host watches pods");
    test.create(test.pod("another", json!({}))).await;
    api.forget_history(Kind::Pods);
    api.faults().remove(rule);
    test.running("another").await;
    let asking = test
        .node_until(&test.node(), "it asks for a confirmation", |node| {
            question(node).is_some()
        })
        .await;
    let there = backend.counts().await.present;
    assert!(forgotten.iter().all(|uid| there.contains_key(uid)), "{there:?}");
    assert!(!there.contains_key(&successor), "a pod runs beside its predecessor");

    let answer = json!({ "metadata": { "annotations": { "outrigger.dev/confirm-orphan-sweep": question(&asking) } } });
    test.nodes()
        .patch(&test.node(), &Default::default(), &Patch::Merge(answer))
        .await
        .unwrap();
    test.running("a").await;
    let there = backend.counts().await.present;
    let left: Vec<_> = forgotten.iter().filter(|uid| there.contains_key(*uid)).collect();
    assert_eq!(left, [&forgotten[4]], "only the one that was not forgotten");
    assert_eq!(uid(&test.pods().get("a").await.unwrap()), successor);
    backend.counts().await.assert_made_once();
}

/// A cluster that knows none of the host's pods must not be taken for its own because a file says so.
#[tokio::test]
async fn a_kubeconfig_that_comes_to_name_another_cluster_is_not_followed() {
    let (cluster, _api) = own_devcluster("faults-home").await;
    let (other, _api_of_other) = own_devcluster("faults-away").await;
    let test = Test::on(cluster, "faults_home").await;
    let backend = test.backend().await;
    let kubeconfig = test.directory().join("kubeconfig");
    let home = std::fs::read(&cluster.host_kubeconfig).unwrap();
    std::fs::write(&kubeconfig, &home).unwrap();
    let config = test
        .mock(backend.config())
        .with(json!({ "cluster": { "kubeconfig": kubeconfig } }));
    let host = test.start(&config);
    test.node_ready(&test.node()).await;
    let first = uid(&test.create(test.pod("first", json!({}))).await);
    test.running("first").await;

    std::fs::copy(&other.host_kubeconfig, &kubeconfig).unwrap();
    host.logs("leads to another cluster").await;
    // It goes on where it is, and takes up credentials for that again.
    let second = uid(&test.create(test.pod("second", json!({}))).await);
    test.running("second").await;
    let mut same = home.clone();
    same.extend_from_slice(b"# written anew\n");
    std::fs::write(&kubeconfig, &same).unwrap();
    host.logs("credentials have changed, going on with the new ones").await;
    let third = uid(&test.create(test.pod("third", json!({}))).await);
    test.running("third").await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    let mut expected = [first, second, third];
    expected.sort();
    assert_eq!(counts.present.into_keys().collect::<Vec<_>>(), expected);
}

/// The digest that a node wants to have confirmed.
fn question(node: &k8s_openapi::api::core::v1::Node) -> Option<String> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let asking = conditions.iter().find(|condition| condition.type_ == "OrphanedPods")?;
    let (_, digest) = asking.message.as_deref()?.rsplit_once('=')?;
    (asking.status == "True").then(|| digest.to_owned())
}

/// Many more statuses than there are places for writes wait when the host is told to end, and each takes its time.
#[tokio::test]
async fn a_polite_end_sends_every_status_that_waits() {
    const PODS: usize = 100;
    let (cluster, api) = own_devcluster("faults-flush").await;
    let test = Test::on(cluster, "faults_flush").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    api.faults().add(Rule {
        select: status_patches(),
        action: Action::Delay { millis: 300 },
        times: None,
    });
    for number in 0..PODS {
        test.create(test.pod(&format!("web-{number}"), json!({}))).await;
    }
    eventually(SOON, "the backend has them all", || async {
        let there = backend.counts().await.present.len();
        if there == PODS {
            Ok(())
        } else {
            Err(format!("{there} so far"))
        }
    })
    .await;
    host.term();
    host.ends_with(0).await;
    let pods = test.pods().list(&ListParams::default()).await.unwrap().items;
    let silent = pods.iter().filter(|pod| !is_running(pod)).count();
    assert_eq!((pods.len(), silent), (PODS, 0), "so many statuses were lost");
}

/// A status that could not be written is tried again ever more rarely; a host that ends does not wait for that.
#[tokio::test]
async fn a_polite_end_tries_once_more_what_had_failed() {
    let (cluster, api) = own_devcluster("faults-last").await;
    let test = Test::on(cluster, "faults_last").await;
    let mut host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    api.faults().add(Rule {
        select: status_patches(),
        action: Action::Status {
            code: 429,
            retry_after: Some(3600),
        },
        times: Some(1),
    });
    test.create(test.pod("web", json!({}))).await;
    eventually(SOON, "the write has failed", || async {
        (api.requests("PATCH", "pods/status") > 0)
            .then_some(())
            .ok_or("it has not")
    })
    .await;
    host.term();
    host.ends_with(0).await;
    assert!(is_running(&test.pods().get("web").await.unwrap()));
}

#[tokio::test]
async fn a_life_costs_three_writes() {
    const PODS: u64 = 20;
    let (cluster, api) = own_devcluster("faults-count").await;
    let test = Test::on(cluster, "faults_count").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let writes = || {
        ["PATCH", "PUT", "POST"]
            .map(|verb| api.requests(verb, "pods/status"))
            .iter()
            .sum::<u64>()
    };
    let (patched, deleted) = (writes(), api.requests("DELETE", "pods"));
    let mut uids = Vec::new();
    for number in 0..PODS {
        uids.push(uid(&test.create(test.pod(&format!("web-{number}"), json!({}))).await));
    }
    for number in 0..PODS {
        test.running(&format!("web-{number}")).await;
    }
    for number in 0..PODS {
        test.delete(&format!("web-{number}"), None).await;
    }
    for (number, uid) in uids.iter().enumerate() {
        test.gone(&format!("web-{number}"), uid).await;
    }
    // The deletions of this test count too.
    let own = writes() - patched + api.requests("DELETE", "pods") - deleted - PODS;
    assert!(own <= 3 * PODS, "{own} writes for {PODS} pods");
}

fn everything(action: Action) -> Rule {
    Rule {
        select: Selection::default(),
        action,
        times: None,
    }
}

/// What is wrong is said once when it begins, however often it is tried.
#[tokio::test]
async fn an_api_server_that_fails_at_start_is_waited_for() {
    let (cluster, api) = own_devcluster("faults-start").await;
    let test = Test::on(cluster, "faults_start").await;
    for (code, retry_after) in [(500, None), (429, Some(1))] {
        let (asked, rule) = (
            api.requests("GET", "namespaces"),
            api.faults().add(everything(Action::Status { code, retry_after })),
        );
        let mut host = test.start(&test.mock(json!({})));
        eventually(SOON, "the host tries again and again", || async {
            let tries = api.requests("GET", "namespaces") - asked;
            (tries >= 5).then_some(()).ok_or(format!("{tries} times so far"))
        })
        .await;
        assert!(host.is_running());
        assert!(host.log().contains("unable to reach the cluster"), "{}", host.log());
        assert_eq!(host.complaints_made_twice(0), Vec::<String>::new());
        api.faults().remove(rule);
        test.node_ready(&test.node()).await;
        let name = format!("web-{code}");
        test.create(test.pod(&name, json!({}))).await;
        test.running(&name).await;
        host.term();
        host.ends_with(0).await;
    }
}

#[tokio::test]
async fn a_slow_api_server_is_no_fault() {
    let (cluster, api) = own_devcluster("faults-slow").await;
    let test = Test::on(cluster, "faults_slow").await;
    api.faults().add(everything(Action::Delay { millis: 1_000 }));
    let mut host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    let log = host.log();
    assert!(!log.contains(" ERROR ") && !log.contains("unable to"), "{log}");
    assert!(host.is_running());
}

#[tokio::test]
async fn an_api_server_that_fails_later_is_waited_for() {
    let (cluster, api) = own_devcluster("faults-later").await;
    let test = Test::on(cluster, "faults_later").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let before = test.create(test.pod("before", json!({}))).await;
    test.running("before").await;
    for code in [500, 503] {
        let said = host.log().len();
        let tries = || api.requests("WATCH", "pods") + api.requests("LIST", "pods");
        let (asked, rule) = (
            tries(),
            api.faults().add(everything(Action::Status {
                code,
                retry_after: None,
            })),
        );
        assert!(api.drop_watches(Kind::Pods) > 0, "the host watches pods");
        eventually(SOON, "the host tries again and again", || async {
            let tries = tries() - asked;
            (tries >= 5).then_some(()).ok_or(format!("{tries} times so far"))
        })
        .await;
        assert_eq!(host.complaints_made_twice(said), Vec::<String>::new());
        assert!(host.log()[said..].contains("WARN"), "it is said at all");
        api.faults().remove(rule);
        let name = format!("after-{code}");
        test.create(test.pod(&name, json!({}))).await;
        test.running(&name).await;
    }
    assert!(host.is_running());
    let counts = backend.counts().await;
    counts.assert_made_once();
    assert!(counts.present.contains_key(&uid(&before)) && counts.present.len() == 3);
}

/// An identity may be allowed to write the status of its node and nothing else of it.
#[tokio::test]
async fn drift_that_may_not_be_repaired_is_told() {
    let (cluster, api) = own_devcluster("faults-drift").await;
    let test = Test::on(cluster, "faults_drift").await;
    let config = test.mock(json!({}));
    let _host = test.start(&config.with(json!({ "intervals": { "statusReport": "500ms" } })));
    test.node_ready(&test.node()).await;
    let rule = api.faults().add(no_repair());
    take_label(&test, "type").await;
    let events: Api<Event> = Api::namespaced(test.client.clone(), "default");
    let about = || async {
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| {
            event.reason.as_deref() == Some("NodeDriftNotRepaired")
                && event.involved_object.name.as_deref() == Some(&test.node())
        });
        events
    };
    let told = eventually(SOON, "an event tells of the drift", || async {
        about().await.pop().ok_or("there is none")
    })
    .await;
    assert_eq!(told.message.as_deref(), Some("may not set label type"));
    assert_eq!(told.type_.as_deref(), Some("Warning"));

    // It is asked for once, and not with every report.
    let asked = api.requests("PATCH", "nodes");
    add_taint(&test, "theirs").await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    for _ in 0..3 {
        // What is wrong with its status the next report puts right.
        let reports = api.requests("PATCH", "nodes/status");
        let conditions = json!([{ "type": "Ready", "status": "False" }]);
        let spoilt = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
        let nodes = test.nodes();
        nodes
            .patch_status(&test.node(), &PatchParams::default(), &spoilt)
            .await
            .unwrap();
        test.node_ready(&test.node()).await;
        assert!(api.requests("PATCH", "nodes/status") >= reports + 2, "theirs and ours");
    }
    assert!(
        api.requests("PATCH", "nodes") <= asked + 1,
        "another drift may be tried once"
    );
    assert!(about().await.iter().all(|event| event.count.unwrap_or(1) == 1));

    // With the right to do it, the next drift is repaired, and the first with it; what is others' stays.
    api.faults().remove(rule);
    take_label(&test, "kubernetes.io/os").await;
    let repaired = test
        .node_until(&test.node(), "it has all its labels", |node| {
            let labels = node.metadata.labels.clone().unwrap_or_default();
            labels.contains_key("type") && labels.contains_key("kubernetes.io/os")
        })
        .await;
    let taints = repaired.spec.unwrap().taints.unwrap_or_default();
    assert!(taints.iter().any(|taint| taint.key == "theirs"), "{taints:?}");
}

/// The right is given a while after it was missed.
#[tokio::test]
async fn a_repair_that_was_refused_is_made_when_it_may_be() {
    let (cluster, api) = own_devcluster("faults-refused").await;
    let test = Test::on(cluster, "faults_refused").await;
    let intervals = json!({ "intervals": { "statusReport": "200ms", "statusResend": "1s" } });
    let host = test.start(&test.mock(json!({})).with(intervals));
    test.node_ready(&test.node()).await;
    let rule = api.faults().add(no_repair());
    take_label(&test, "type").await;
    host.logs("the node lacks what this host may not set").await;
    api.faults().remove(rule);
    test.node_until(&test.node(), "it has its label again", |node| {
        node.metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("type"))
    })
    .await;
}

fn no_repair() -> Rule {
    Rule {
        select: Selection {
            verb: "PATCH".into(),
            resource: "nodes".into(),
            subresource: "-".into(),
            ..Selection::default()
        },
        action: Action::Status {
            code: 403,
            retry_after: None,
        },
        times: None,
    }
}

/// Takes a label off the test's node, by PUT.
async fn take_label(test: &Test, label: &str) {
    eventually(SOON, "the label is taken", || async {
        let mut node = test.nodes().get(&test.node()).await?;
        node.metadata.labels.as_mut().unwrap().remove(label);
        test.nodes().replace(&test.node(), &PostParams::default(), &node).await
    })
    .await;
}

/// Adds a taint of somebody else to the test's node, by PUT.
async fn add_taint(test: &Test, key: &str) {
    let taint = Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    eventually(SOON, "the taint is set", || async {
        let mut node = test.nodes().get(&test.node()).await?;
        let taints = &mut node.spec.as_mut().unwrap().taints;
        taints.get_or_insert_default().push(taint.clone());
        test.nodes().replace(&test.node(), &PostParams::default(), &node).await
    })
    .await;
}

#[tokio::test]
async fn events_that_were_not_taken_are_counted() {
    let (cluster, api) = own_devcluster("faults-events").await;
    let test = Test::on(cluster, "faults_events").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let dropped = || async {
        let page = test
            .node_text(&test.node(), "metrics")
            .await
            .map_err(|error| error.to_string())?;
        let line = page
            .lines()
            .find(|line| line.starts_with("outrigger_events_dropped_total"));
        let value = line
            .and_then(|line| line.rsplit_once(' '))
            .ok_or_else(|| page.clone())?
            .1;
        value.parse::<f64>().map_err(|error| error.to_string())
    };
    assert_eq!(dropped().await, Ok(0.0));
    api.faults().add(Rule {
        select: Selection {
            verb: "POST".into(),
            resource: "events".into(),
            ..Selection::default()
        },
        action: Action::Status {
            code: 400,
            retry_after: None,
        },
        times: Some(1),
    });
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    eventually(SOON, "the event is counted", || async {
        let dropped = dropped().await?;
        if dropped == 1.0 {
            Ok(())
        } else {
            Err(format!("{dropped} are"))
        }
    })
    .await;
}
