use crate::{PATIENCE, identity, pod, pod_of, pushed_report, start};
use outrigger_plugin::{
    ContainerState, ErrorCode, Level, PodReport, Provider, Stats, Termination, Timestamp, UpdateOutcome,
    request::StatsRequest,
    testing::{Pushed, call},
};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc::error::TryRecvError, time::timeout};

const GRACE: Duration = Duration::from_secs(30);

fn exit_code(report: &PodReport) -> i32 {
    match &report.containers[0].state {
        ContainerState::Terminated(end) => end.exit_code,
        other => panic!("it has not ended: {other:?}"),
    }
}

#[tokio::test]
async fn the_life_of_a_plain_pod_needs_no_push() {
    let (mock, mut pushed) = start(json!({})).await;
    let report = mock.create(call(), pod("web", &[])).await.unwrap();
    assert!(report.containers[0].ready);
    assert!(matches!(report.containers[0].state, ContainerState::Running { .. }));
    assert_eq!(report.ips.len(), 1);
    let again = mock.create(call(), pod("web", &[])).await.unwrap();
    assert_eq!(again.containers, report.containers);
    assert_eq!(mock.list(call()).await.unwrap().len(), 1);
    assert_eq!(mock.sync(call(), vec![]).await.unwrap().len(), 1);
    mock.ping(call()).await.unwrap();

    let stopped = mock.stop(call(), identity("web"), GRACE).await.unwrap();
    assert_eq!(exit_code(&stopped), 0);
    assert!(stopped.sequence > again.sequence);
    let read = mock.get(call(), identity("web")).await.unwrap();
    assert_eq!(read.containers, stopped.containers);
    mock.remove(call(), identity("web")).await.unwrap();
    mock.remove(call(), identity("web")).await.unwrap();
    let error = mock.get(call(), identity("web")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let error = mock.stop(call(), identity("web"), GRACE).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert_eq!(pushed.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn what_comes_later_is_pushed() {
    let (mock, mut pushed) = start(json!({})).await;
    let slow = [
        ("startDelay", "50ms"),
        ("readyDelay", "50ms"),
        ("runTime", "200ms"),
        ("exitCode", "3"),
    ];
    let manifest = json!({"restartPolicy": "Never", "containers": [{"name": "app"}]});
    let report = mock.create(call(), pod_of("job", &slow, manifest)).await.unwrap();
    assert!(matches!(report.containers[0].state, ContainerState::Waiting { .. }));
    let uid = report.identity.uid;
    let running = |report: &PodReport| matches!(report.containers[0].state, ContainerState::Running { .. });
    let report = pushed_report(&mut pushed, &uid, running).await;
    assert!(!report.containers[0].ready);
    pushed_report(&mut pushed, &uid, |report| report.containers[0].ready).await;
    let ended = pushed_report(&mut pushed, &uid, |report| !running(report)).await;
    assert_eq!(exit_code(&ended), 3);
}

#[tokio::test]
async fn what_had_ended_before_its_pod_was_made_again_is_not_started() {
    let (mock, _) = start(json!({})).await;
    let containers = json!([{"name": "done"}, {"name": "goes-on"}]);
    let mut again = pod_of(
        "job",
        &[],
        json!({"restartPolicy": "OnFailure", "containers": containers}),
    );
    let end = Termination::new(0, "Finished", Timestamp(7));
    again.restart_counts = [("done".to_owned(), 2), ("goes-on".to_owned(), 1)].into();
    again.ended.insert("done".to_owned(), end.clone());
    let report = mock.create(call(), again).await.unwrap();
    let [done, goes_on] = &report.containers[..] else {
        panic!("{report:?}")
    };
    assert_eq!((&done.state, done.restart_count), (&ContainerState::Terminated(end), 2));
    assert_eq!(done.last_termination, None);
    assert!(goes_on.ready && goes_on.restart_count == 1, "{goes_on:?}");
    let stopped = mock.stop(call(), report.identity, GRACE).await.unwrap();
    assert_eq!(stopped.containers[0].state, report.containers[0].state);
}

#[tokio::test]
async fn one_timer_serves_many_pods() {
    let (mock, mut pushed) = start(json!({"pods": {"startDelay": "20ms", "startJitter": "100ms"}})).await;
    for number in 0..500 {
        mock.create(call(), pod(&format!("web-{number}"), &[])).await.unwrap();
    }
    let mut running = HashSet::new();
    while running.len() < 500 {
        match timeout(PATIENCE, pushed.recv()).await.unwrap() {
            Some(Pushed::Pod(report)) if report.containers[0].ready => running.insert(report.identity.uid),
            other => panic!("{other:?}"),
        };
    }
    let reports = mock.list(call()).await.unwrap();
    let addresses: HashSet<_> = reports.iter().flat_map(|report| &report.ips).collect();
    assert_eq!(addresses.len(), 500);
}

#[tokio::test]
async fn a_stop_is_hurried_by_a_shorter_one() {
    let (mock, _pushed) = start(json!({})).await;
    let mock = Arc::new(mock);
    mock.create(call(), pod("web", &[("stopDelay", "never")]))
        .await
        .unwrap();
    let patient = mock.clone();
    let first = tokio::spawn(async move { patient.stop(call(), identity("web"), Duration::from_secs(3_600)).await });
    let hurried = mock.stop(call(), identity("web"), Duration::from_millis(50));
    let report = timeout(PATIENCE, hurried).await.unwrap().unwrap();
    assert_eq!(exit_code(&report), 137);
    let report = timeout(PATIENCE, first).await.unwrap().unwrap().unwrap();
    assert_eq!(exit_code(&report), 137);
}

#[tokio::test]
async fn a_stop_that_nobody_waits_for_goes_on() {
    let (mock, mut pushed) = start(json!({})).await;
    mock.create(call(), pod("web", &[("stopDelay", "50ms"), ("stopExitCode", "143")]))
        .await
        .unwrap();
    let stop = mock.stop(call(), identity("web"), GRACE);
    assert!(timeout(Duration::from_millis(1), stop).await.is_err());
    let report = pushed_report(&mut pushed, "uid-of-web", PodReport::all_ended).await;
    assert_eq!(exit_code(&report), 143);
    let repeated = mock.stop(call(), identity("web"), GRACE).await.unwrap();
    assert_eq!(exit_code(&repeated), 143);
}

#[tokio::test]
async fn a_stop_of_a_pod_that_vanishes_or_is_removed_ends() {
    let (mock, _pushed) = start(json!({})).await;
    let stubborn = [("stopDelay", "never"), ("vanishAfter", "50ms")];
    mock.create(call(), pod("lost", &stubborn)).await.unwrap();
    let stop = mock.stop(call(), identity("lost"), Duration::from_secs(3_600));
    let error = timeout(PATIENCE, stop).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);

    mock.create(call(), pod("gone", &stubborn[..1])).await.unwrap();
    let stop = mock.stop(call(), identity("gone"), Duration::from_secs(3_600));
    let remove = mock.remove(call(), identity("gone"));
    let (stopped, removed) = timeout(PATIENCE, Box::pin(async { tokio::join!(stop, remove) }))
        .await
        .unwrap();
    removed.unwrap();
    assert_eq!(stopped.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_pod_vanishes_with_and_without_a_word() {
    let (mock, mut pushed) = start(json!({})).await;
    let silent = [("vanishAfter", "20ms"), ("vanishSilently", "true")];
    mock.create(call(), pod("silent", &silent)).await.unwrap();
    mock.create(call(), pod("loud", &[("vanishAfter", "60ms")]))
        .await
        .unwrap();
    let first = timeout(PATIENCE, pushed.recv()).await.unwrap();
    let Some(Pushed::Pod(report)) = first else {
        panic!("{first:?}")
    };
    assert!(report.gone);
    assert_eq!(report.identity, identity("loud"));
    for name in ["silent", "loud"] {
        assert_eq!(
            mock.get(call(), identity(name)).await.unwrap_err().code,
            ErrorCode::NotFound
        );
    }
}

#[tokio::test]
async fn an_update_restarts_and_resizes() {
    let (mock, _pushed) = start(json!({})).await;
    let manifest = |image: &str, cpu: &str| json!({"containers": [{"name": "app", "image": image, "resources": {"requests": {"cpu": cpu}}}]});
    mock.create(call(), pod_of("web", &[], manifest("a:1", "1")))
        .await
        .unwrap();
    let UpdateOutcome { report, resize } = mock
        .update(call(), pod_of("web", &[], manifest("a:2", "1")))
        .await
        .unwrap();
    assert_eq!((report.containers[0].restart_count, resize), (1, None));
    let outcome = mock
        .update(call(), pod_of("web", &[], manifest("a:2", "2")))
        .await
        .unwrap();
    assert!(outcome.resize.is_some());
    let error = mock.update(call(), pod("other", &[])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn capacity_changes_are_pushed_to_the_nodes_that_asked() {
    let (mock, mut pushed) = start(json!({
        "capacity": {"pods": "5"},
        "capacityChange": {"after": "50ms", "capacity": {"pods": "7"}},
    }))
    .await;
    let node = mock.describe_node(call(), "node-a".into()).await.unwrap();
    assert_eq!((&*node.capacity["pods"], &*node.capacity["cpu"]), ("5", "100000"));
    let told = timeout(PATIENCE, pushed.recv()).await.unwrap();
    let Some(Pushed::Node { node, description }) = told else {
        panic!("{told:?}")
    };
    assert_eq!((&*node, &*description.capacity["pods"]), ("node-a", "7"));
    let node = mock.describe_node(call(), "node-b".into()).await.unwrap();
    assert_eq!(node.capacity["pods"], "7");
}

#[tokio::test]
async fn declarations_follow_the_config() {
    let (mock, _pushed) = start(json!({"refuse": ["hostNetwork"]})).await;
    assert_eq!(mock.support().level("hostNetwork"), Level::Refused);
    assert_eq!(mock.support().level("volumes.hostPath"), Level::Ignored);
}

#[tokio::test]
async fn a_wrong_annotation_is_invalid_and_makes_nothing() {
    let (mock, _pushed) = start(json!({})).await;
    let error = mock.create(call(), pod("web", &[("runTim", "5s")])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    assert!(error.message.contains("mock.outrigger.dev/runTim"), "{}", error.message);
    assert!(mock.list(call()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_huge_pod_is_taken() {
    let (mock, _pushed) = start(json!({})).await;
    let name = "n".repeat(253);
    let variables = vec![json!({"name": "X", "value": "y".repeat(1 << 20)})];
    let manifest = json!({"containers": [{"name": "c".repeat(63), "env": variables}]});
    let report = mock.create(call(), pod_of(&name, &[], manifest)).await.unwrap();
    assert!(report.containers[0].ready);
}

#[tokio::test]
async fn stats_add_up_by_node() {
    let (mock, _pushed) = start(json!({})).await;
    mock.create(call(), pod("a", &[("cpu", "250m"), ("memory", "10Mi")]))
        .await
        .unwrap();
    mock.create(call(), pod("b", &[("cpu", "500m"), ("memory", "20Mi")]))
        .await
        .unwrap();
    let request = |node: &str| StatsRequest { node: node.into() };
    let stats = mock.stats(call(), request("node")).await.unwrap();
    assert_eq!(stats.containers.len(), 2);
    // And a little for the node itself.
    assert_eq!(stats.node.cpu_nanocores, Some(770_000_000));
    assert_eq!(stats.node.memory_working_set_bytes, Some((30 + 128) << 20));
    let before = stats.node.cpu_core_nanoseconds.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    mock.stop(call(), identity("a"), GRACE).await.unwrap();
    let later = mock.stats(call(), request("node")).await.unwrap();
    assert!(
        later.node.cpu_core_nanoseconds.unwrap() > before,
        "used time never goes back"
    );
    assert!(
        mock.stats(call(), request("other"))
            .await
            .unwrap()
            .containers
            .is_empty()
    );
}
