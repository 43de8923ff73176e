//! Pods: from their creation to their end.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::pod_condition;
use crate::harness::uid;
use futures::StreamExt;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use serde_json::json;
use std::time::Duration;

fn container(pod: &Pod) -> ContainerStatus {
    pod.status
        .clone()
        .unwrap()
        .container_statuses
        .unwrap_or_default()
        .remove(0)
}

#[tokio::test]
pub(super) async fn a_pod_runs_vk_1399() {
    let test = Test::new("pod_runs").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let pod = test.running("web").await;
    let status = pod.status.clone().unwrap();
    assert!(status.pod_ip.is_some() && status.start_time.is_some());
    assert_eq!(status.pod_ips.unwrap()[0].ip, status.pod_ip.unwrap());
    assert_eq!(status.host_ip, Some(test.cluster.host_address.to_string()));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    for condition in [
        "PodScheduled",
        "Initialized",
        "PodReadyToStartContainers",
        "ContainersReady",
        "Ready",
    ] {
        assert_eq!(pod_condition(&pod, condition).as_deref(), Some("True"), "{condition}");
    }
    let container = container(&pod);
    assert!(container.ready && container.started == Some(true) && container.restart_count == 0);
    assert!(container.container_id.unwrap().contains("://"));
    assert!(container.state.unwrap().running.unwrap().started_at.is_some());
}

#[tokio::test]
async fn logs_come_through_the_api_server() {
    let test = Test::new("pod_logs").await;
    let _host = test.start(&test.mock(json!({ "pods": { "logRate": 50 } })));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    let pods = test.pods();
    let read = |params: LogParams| {
        let pods = pods.clone();
        async move { pods.logs("web", &params).await.map_err(|error| error.to_string()) }
    };
    let all = eventually(SOON, "there are five lines of log", || async {
        let log = read(LogParams::default()).await?;
        if log.lines().count() >= 5 { Ok(log) } else { Err(log) }
    })
    .await;
    let last = read(LogParams {
        tail_lines: Some(2),
        ..LogParams::default()
    })
    .await
    .unwrap();
    assert_eq!(last.lines().count(), 2, "{last}");
    let first = read(LogParams {
        limit_bytes: Some(7),
        ..LogParams::default()
    })
    .await
    .unwrap();
    assert_eq!(first, all[..7]);
    let stamped = read(LogParams {
        timestamps: true,
        ..LogParams::default()
    })
    .await
    .unwrap();
    let (time, text) = stamped.lines().next().unwrap().split_once(' ').unwrap();
    assert!(time.ends_with('Z') && all.starts_with(text), "{time} {text}");
    let error = read(LogParams {
        previous: true,
        ..LogParams::default()
    })
    .await
    .unwrap_err();
    assert!(error.contains("previous terminated container"), "{error}");
}

#[tokio::test]
pub(super) async fn a_deletion_ends_when_the_containers_do_and_the_end_is_told_before_vk_982() {
    let test = Test::new("pod_delete").await;
    let _host = test.start(&test.mock(json!({ "pods": { "stopDelay": "200ms", "stopExitCode": 0 } })));
    test.node_ready(&test.node()).await;
    let grace = json!({ "spec": { "terminationGracePeriodSeconds": 600 } });
    test.create(test.pod("web", grace)).await;
    let pod = test.running("web").await;

    let version = pod.metadata.resource_version.clone().unwrap();
    let params = WatchParams::default().fields("metadata.name=web");
    let watch = test.pods().watch(&params, &version).await.unwrap().boxed();
    test.delete("web", None).await;
    let seen = watch.try_take_while(|event| {
        let goes_on = !matches!(event, WatchEvent::Deleted(_));
        std::future::ready(Ok(goes_on))
    });
    let seen: Vec<WatchEvent<Pod>> = tokio::time::timeout(SOON, seen.try_collect()).await.unwrap().unwrap();
    let mut last = seen.iter().filter_map(|event| match event {
        WatchEvent::Modified(pod) => Some(pod),
        _ => None,
    });
    let last = last.next_back().unwrap();
    assert_eq!(
        phase(last),
        "Succeeded",
        "the last word before the end: {:?}",
        last.status
    );
    let ended = container(last).state.unwrap().terminated.unwrap();
    assert_eq!(ended.exit_code, 0);
    test.gone("web", &uid(&pod)).await;
}

#[tokio::test]
async fn a_stubborn_container_is_killed_when_its_grace_is_over() {
    let test = Test::new("pod_stubborn").await;
    let _host = test.start(&test.mock(json!({ "pods": { "stopDelay": "never" } })));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let pod = test.running("web").await;
    let asked = tokio::time::Instant::now();
    test.delete("web", Some(2)).await;
    test.gone("web", &uid(&pod)).await;
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "the grace period was not kept"
    );
}

#[tokio::test]
pub(super) async fn a_forced_deletion_ends_the_pod_in_the_backend_too() {
    let test = Test::new("pod_force").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let uid = uid(&test.running("web").await);
    assert!(backend.counts().await.present.contains_key(&uid));
    test.delete("web", Some(0)).await;
    eventually(SOON, "the pod is gone in the backend", || async {
        let counts = backend.counts().await;
        if counts.present.is_empty() {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
    backend.counts().await.assert_made_once();
}

#[tokio::test]
pub(super) async fn a_name_can_be_used_again_at_once_vk_907_1157_867() {
    const TIMES: usize = 5;
    let test = Test::new("pod_again").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let mut uids = Vec::new();
    for _ in 0..TIMES {
        test.create(test.pod("web", json!({}))).await;
        uids.push(uid(&test.running("web").await));
        test.delete("web", Some(0)).await;
    }
    test.create(test.pod("web", json!({}))).await;
    let last = uid(&test.running("web").await);
    eventually(SOON, "only the last pod is left in the backend", || async {
        let counts = backend.counts().await;
        let only = counts.present.len() == 1 && counts.present.contains_key(&last);
        if only { Ok(()) } else { Err(format!("{counts:?}")) }
    })
    .await;
    let counts = backend.counts().await;
    counts.assert_made_once();
    for uid in uids {
        assert_eq!(counts.pods[&uid].removes, 1, "pod {uid}");
    }
}

#[tokio::test]
pub(super) async fn a_pod_that_is_deleted_while_it_is_made_leaves_nothing_behind() {
    let test = Test::new("pod_unmade").await;
    let backend = test.backend().await;
    let mut provider = backend.config();
    provider["pods"] = json!({ "create": { "latency": "400ms" } });
    let _host = test.start(&test.mock(provider));
    test.node_ready(&test.node()).await;
    // Before, while and after it takes effect.
    for after in [0, 50, 150, 250, 350] {
        let uid = uid(&test.create(test.pod("web", json!({}))).await);
        tokio::time::sleep(Duration::from_millis(after)).await;
        test.delete("web", None).await;
        test.gone("web", &uid).await;
        // The object is the last to go: without it nobody would look for the rest.
        let counts = backend.counts().await;
        assert!(counts.present.is_empty(), "after {after} ms: {counts:?}");
    }
    eventually(SOON, "no call is left that could make a pod", || async {
        let counts = backend.counts().await;
        let removed = counts.pods.values().all(|count| count.creates == count.removes);
        if removed && counts.present.is_empty() {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
}

#[tokio::test]
pub(super) async fn ends_are_told_as_they_are() {
    let test = Test::new("pod_ends").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let ending = |code: &str| {
        json!({
            "metadata": { "annotations": { "mock.outrigger.dev/runTime": "100ms", "mock.outrigger.dev/exitCode": code } },
            "spec": { "restartPolicy": "Never" },
        })
    };
    for (name, code, expected) in [("good", "0", "Succeeded"), ("bad", "3", "Failed")] {
        test.create(test.pod(name, ending(code))).await;
        let pod = test.pod_until(name, "it has ended", |pod| phase(pod) == expected).await;
        let ended = container(&pod).state.unwrap().terminated.unwrap();
        assert_eq!(ended.exit_code.to_string(), code);
        assert_eq!(
            ended.reason.as_deref(),
            Some(if code == "0" { "Completed" } else { "Error" })
        );
        assert_eq!(pod_condition(&pod, "Ready").as_deref(), Some("False"));
    }
}

#[tokio::test]
async fn a_crash_loop_counts_its_restarts() {
    let test = Test::new("pod_crash").await;
    let behaviour = json!({ "pods": { "runTime": "100ms", "exitCode": 1, "backOff": "200ms", "backOffMax": "500ms" } });
    let _host = test.start(&test.mock(behaviour));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let pod = test
        .pod_until("web", "it was restarted twice", |pod| {
            pod.status
                .as_ref()
                .is_some_and(|status| status.container_statuses.is_some())
                && container(pod).restart_count >= 2
        })
        .await;
    let last = container(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!(last.exit_code, 1);
    assert_ne!(phase(&pod), "Failed", "restartPolicy Always goes on");
}

#[tokio::test]
async fn a_refused_field_holds_the_pod_and_names_itself() {
    let test = Test::new("pod_refused").await;
    let _host = test.start(&test.mock(json!({ "refuse": ["hostNetwork"] })));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({ "spec": { "hostNetwork": true } })))
        .await;
    let pod = test
        .pod_until("web", "it is held", |pod| {
            let status = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            status.is_some_and(|all| !all.is_empty()) && container(pod).state.unwrap_or_default().waiting.is_some()
        })
        .await;
    let waiting = container(&pod).state.unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    assert!(waiting.message.unwrap().contains("hostNetwork"));
    assert_eq!(phase(&pod), "Pending");
    eventually(SOON, "an event names the field", || async {
        let events = test.events().await;
        let named = events
            .iter()
            .any(|event| event.message.as_deref().unwrap_or_default().contains("hostNetwork"));
        if named {
            Ok(())
        } else {
            Err(format!("there are {} events", events.len()))
        }
    })
    .await;
    // It can go, though it never was anywhere.
    test.delete("web", None).await;
    test.gone("web", &uid(&pod)).await;
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again() {
    let test = Test::new("pod_retried").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let failing = json!({ "metadata": { "annotations": { "mock.outrigger.dev/create.failures": "2" } } });
    test.create(test.pod("web", failing)).await;
    test.running("web").await;
}

#[tokio::test]
pub(super) async fn a_pod_that_vanished_is_made_again_under_its_uid_vk_978_78() {
    let test = Test::new("pod_vanished").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let vanishing = json!({ "metadata": { "annotations": { "mock.outrigger.dev/vanishAfter": "500ms" } } });
    let created = test.create(test.pod("web", vanishing.clone())).await;
    let pod = test
        .pod_until("web", "it runs again", |pod| {
            phase(pod) == "Running" && container(pod).restart_count == 1 && container(pod).ready
        })
        .await;
    assert_eq!(uid(&pod), uid(&created));
    let last = container(&pod).last_state.unwrap().terminated.unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );

    let mut once = test.pod("once", vanishing);
    once["spec"]["restartPolicy"] = "Never".into();
    test.create(once).await;
    test.pod_until("once", "it has failed", |pod| phase(pod) == "Failed")
        .await;
}

#[tokio::test]
async fn a_deadline_ends_a_pod() {
    let test = Test::new("pod_deadline").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({ "spec": { "activeDeadlineSeconds": 1 } })))
        .await;
    let pod = test
        .pod_until("web", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
}

/// It needs something that is not there, so that nothing of it was ever made.
#[tokio::test]
async fn a_deadline_ends_a_pod_that_was_never_made() {
    let test = Test::new("pod_deadline_unmade").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let needs = json!({ "spec": {
        "activeDeadlineSeconds": 2,
        "containers": [{
            "name": "app", "image": "registry.example/app:1",
            "envFrom": [{ "configMapRef": { "name": "absent" } }],
        }],
    } });
    test.create(test.pod("web", needs)).await;
    test.pod_until("web", "it says what it lacks", |pod| {
        let statuses = pod.status.clone().and_then(|status| status.container_statuses);
        !statuses.unwrap_or_default().is_empty()
    })
    .await;
    let pod = test
        .pod_until("web", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    eventually(SOON, "an event says so", || async {
        let told = test.events_of("web", "DeadlineExceeded").await.len();
        (told == 1).then_some(()).ok_or(format!("{told} do"))
    })
    .await;
}

/// The API takes any number of seconds, and clocks do not.
#[tokio::test]
async fn a_grace_period_longer_than_time_hurts_nobody() {
    let test = Test::new("pod_grace").await;
    let mut host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let longest = json!({ "spec": { "terminationGracePeriodSeconds": i64::MAX } });
    let pod = test.create(test.pod("web", longest)).await;
    test.running("web").await;
    test.delete("web", None).await;
    test.gone("web", &uid(&pod)).await;
    assert!(host.is_running());
}

/// The provider has the old manifest when its answer comes.
#[tokio::test]
async fn a_change_during_a_create_reaches_the_provider_after_it() {
    let test = Test::new("pod_changes").await;
    let backend = test.backend().await;
    let _host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    let slow = json!({
        "metadata": { "annotations": { "mock.outrigger.dev/create.latency": "4s" } },
        "spec": { "automountServiceAccountToken": false },
    });
    let pod = test.create(test.pod("web", slow)).await;
    eventually(SOON, "the backend has it", || async {
        let there = backend.counts().await.present.contains_key(&uid(&pod));
        there.then_some(()).ok_or("it has not")
    })
    .await;
    let change = json!({ "spec": { "containers": [{ "name": "app", "image": "registry.example/app:2" }] } });
    test.pods()
        .patch("web", &PatchParams::default(), &Patch::Strategic(change))
        .await
        .unwrap();
    test.pod_until("web", "it runs the new image", |pod| {
        is_running(pod) && container(pod).image == "registry.example/app:2"
    })
    .await;
    assert_eq!(backend.counts().await.pods[&uid(&pod)].updates, 1);
}

#[tokio::test]
pub(super) async fn a_changed_image_restarts_its_container_and_no_other() {
    let test = Test::new("pod_image").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let mut pod = test.pod("web", json!({}));
    let second = json!({ "name": "other", "image": "registry.example/other:1" });
    pod["spec"]["containers"].as_array_mut().unwrap().push(second);
    test.create(pod).await;
    let before = test.running("web").await;
    let change = json!({ "spec": { "containers": [{ "name": "app", "image": "registry.example/app:2" }] } });
    test.pods()
        .patch("web", &PatchParams::default(), &Patch::Strategic(change))
        .await
        .unwrap();
    let restarts = |pod: &Pod| -> Vec<i32> {
        let statuses = pod.status.clone().unwrap().container_statuses.unwrap_or_default();
        statuses.iter().map(|status| status.restart_count).collect()
    };
    let after = test
        .pod_until("web", "one container was restarted", |pod| restarts(pod) == [1, 0])
        .await;
    assert_eq!(uid(&before), uid(&after));
    let changed = container(&after);
    assert_eq!(changed.image, "registry.example/app:2");
    assert!(changed.last_state.unwrap().terminated.is_some());
    // The host says that it has seen the change; API servers count generations of pods since 1.33.
    if let Some(generation) = after.metadata.generation {
        assert_eq!(after.status.unwrap().observed_generation, Some(generation));
    }
}

#[tokio::test]
async fn names_at_their_limits_and_huge_pods_run() {
    let test = Test::new("pod_extremes").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let long = format!("{}.{}", "a".repeat(63), "b".repeat(189));
    let mut pod = test.pod(&long, json!({ "spec": { "hostname": "short" } }));
    pod["spec"]["containers"][0]["name"] = "c".repeat(63).into();
    test.create(pod).await;
    // An object may have 1.5 MiB, its annotations 256 KiB; environment is not limited by itself.
    let env: Vec<_> = (0..18)
        .map(|n| json!({ "name": format!("PART_{n}"), "value": "x".repeat(60 << 10) }))
        .collect();
    let mut huge = test.pod("huge", json!({}));
    huge["spec"]["containers"][0]["env"] = env.into();
    assert!(huge.to_string().len() > 1 << 20);
    test.create(huge).await;
    test.running(&long).await;
    let huge = test.running("huge").await;
    test.delete("huge", None).await;
    test.gone("huge", &uid(&huge)).await;
}

#[tokio::test]
async fn a_node_may_have_a_name_of_the_greatest_length() {
    let test = Test::new("pod_long_node").await;
    let name = format!("{}.{}", test.id, "n".repeat(63));
    let name = format!("{name}.{}", "d".repeat(252 - name.len()));
    assert_eq!(name.len(), 253);
    let _host = test.start(&test.config().mock("mock", json!({})).node(&name, "mock", json!({})));
    test.node_ready(&name).await;
    let lease = test.leases().get(&name).await.unwrap();
    assert!(lease.spec.unwrap().holder_identity.is_some());
    let pod = test
        .create(test.pod("web", json!({ "spec": { "nodeName": name } })))
        .await;
    test.running("web").await;
    test.delete("web", None).await;
    test.gone("web", &uid(&pod)).await;
}

#[tokio::test]
async fn what_is_ignored_is_told_once_for_each_pod() {
    let test = Test::new("pod_ignored").await;
    let support = json!({ "volumes.projected": "ignored", "volumes.emptyDir": "ignored" });
    let mut host = test.start(&test.mock(json!({ "support": support })));
    test.node_ready(&test.node()).await;
    // It has the token's volume that admission adds, and nothing else.
    let plain = test.create(test.pod("plain", json!({}))).await;
    let volumes = plain.spec.unwrap().volumes.unwrap_or_default();
    assert!(
        volumes.iter().any(|volume| volume.name.starts_with("kube-api-access")),
        "{volumes:?}"
    );
    test.running("plain").await;
    test.create(test.pod(
        "scratch",
        json!({ "spec": { "volumes": [{ "name": "scratch", "emptyDir": {} }] } }),
    ))
    .await;
    test.running("scratch").await;
    let told = eventually(SOON, "an event tells what is ignored", || async {
        test.events_of("scratch", "FieldsIgnored")
            .await
            .pop()
            .ok_or("there is none")
    })
    .await;
    let message = told.message.unwrap_or_default();
    assert!(
        message.contains("volumes.emptyDir") && !message.contains("projected"),
        "{message}"
    );

    // Looking at it again is no reason to say it again. Events come in order: the last one shows that no other did.
    test.delete("plain", None).await;
    test.create(test.pod(
        "last",
        json!({ "spec": { "volumes": [{ "name": "scratch", "emptyDir": {} }] } }),
    ))
    .await;
    let label = json!({ "metadata": { "labels": { "looked": "again" } } });
    test.pods()
        .patch("scratch", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    test.running("last").await;
    eventually(SOON, "an event about the last pod", || async {
        test.events_of("last", "FieldsIgnored")
            .await
            .pop()
            .ok_or("there is none")
    })
    .await;
    let told = test.events_of("scratch", "FieldsIgnored").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].count.unwrap_or(1), 1);
    assert!(test.events_of("plain", "FieldsIgnored").await.is_empty());
    assert!(host.is_running());
}

/// An API server refuses two addresses of a family, and merges what is sent with what it has.
#[tokio::test]
async fn an_address_that_changes_takes_the_place_of_the_one_before() {
    let test = Test::new("pod_address").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let behaviour = json!({ "mock.outrigger.dev/ipChangeAfter": "20s" });
    test.create(test.pod("web", json!({ "metadata": { "annotations": behaviour } })))
        .await;
    let addresses = |pod: &Pod| -> Vec<String> {
        let status = pod.status.clone().unwrap_or_default();
        let all = status.pod_ips.unwrap_or_default();
        assert_eq!(all.first().map(|ip| ip.ip.clone()), status.pod_ip);
        all.into_iter().map(|ip| ip.ip).collect()
    };
    let before = addresses(&test.running("web").await);
    let after = test
        .pod_until("web", "it has another address", |pod| addresses(pod) != before)
        .await;
    assert_eq!((before.len(), addresses(&after).len()), (1, 1));
    assert!(is_running(&after));
}
