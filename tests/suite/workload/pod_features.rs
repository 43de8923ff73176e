//! What a pod may ask for beyond containers that run: the scheduler, its controller and the node have to agree on it.

use super::Field;
use super::change;
use super::create;
use super::image;
use super::plain;
use super::pods_of;
use super::pods_until;
use super::scheduled;
use super::selected;
use super::until;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::phase;
use crate::harness::pod_condition;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

const GATE: &str = "example.com/registered";

fn container(rest: Value) -> Value {
    let mut container = json!({ "name": "app", "image": "registry.example/app:1" });
    container
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    json!({ "containers": [container] })
}

/// Requests and limits of a container.
fn cpu(cpu: &str) -> Value {
    json!({ "requests": { "cpu": cpu }, "limits": { "cpu": "4" } })
}

/// What the scheduler says of a pod that it has no node for.
async fn refused_by_the_scheduler(test: &Test, name: &str) -> String {
    let message = |pod: &Pod| {
        let conditions = pod.status.clone()?.conditions?;
        let scheduled = conditions.into_iter().find(|one| one.type_ == "PodScheduled")?;
        (scheduled.reason.as_deref() == Some("Unschedulable")).then(|| scheduled.message.unwrap_or_default())
    };
    let pod = test
        .pod_until(name, "there is no room for it", |pod| message(pod).is_some())
        .await;
    message(&pod).unwrap()
}

/// Opens the gates of those that wait for nothing else.
async fn register(test: &Test) {
    for pod in pods_of(test, "web").await {
        let waits = pod_condition(&pod, "ContainersReady").as_deref() == Some("True")
            && pod_condition(&pod, GATE).as_deref() != Some("True");
        if waits {
            let open = Patch::Strategic(json!({ "status": { "conditions": [{ "type": GATE, "status": "True" }] } }));
            let name = pod.metadata.name.unwrap();
            // It may have gone since.
            let _ = test.pods().patch_status(&name, &PatchParams::default(), &open).await;
        }
    }
}

#[tokio::test]
async fn a_deployment_rolls_no_further_than_readiness_gates_let_it() {
    let Some(field) = Field::new("wl_ready_gate", 2, json!({})).await else {
        return;
    };
    let test = &field.test;
    let mut template = plain(test, "web");
    template["spec"]["readinessGates"] = json!([{ "conditionType": GATE }]);
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } });
    let spec = json!({ "replicas": 3, "strategy": rolling });
    create::<Deployment>(test, selected("web", spec, template)).await;
    let only_the_gate_is_missing = |pod: &Pod| {
        pod_condition(pod, "ContainersReady").as_deref() == Some("True")
            && pod_condition(pod, "Ready").as_deref() == Some("False")
    };
    let first = pods_until(test, "web", "only their gates are missing", |pods| {
        pods.len() == 3 && pods.iter().all(only_the_gate_is_missing)
    })
    .await;
    until::<Deployment>(test, "web", json!({ "replicas": 3, "readyReplicas": null })).await;
    register(test).await;
    until::<Deployment>(test, "web", json!({ "availableReplicas": 3 })).await;

    change::<Deployment>(test, "web", image(2)).await;
    let first: Vec<_> = first.iter().map(uid).collect();
    let pods = pods_until(test, "web", "one more has come and waits for its gate", |pods| {
        let new = pods.iter().filter(|pod| !first.contains(&uid(pod)));
        let waiting = new.filter(|pod| only_the_gate_is_missing(pod)).count();
        pods.len() == 4 && waiting == 1
    })
    .await;
    assert_eq!(
        pods.iter().filter(|pod| is_running(pod)).count(),
        3,
        "nothing went for it"
    );
    eventually(super::LONG, "it rolls on as gates are opened", || async {
        register(test).await;
        let pods = pods_of(test, "web").await;
        let new = pods.iter().filter(|pod| is_running(pod) && !first.contains(&uid(pod)));
        match (pods.len(), new.count()) {
            (3, 3) => Ok(()),
            seen => Err(format!("{seen:?} are there and new")),
        }
    })
    .await;
    until::<Deployment>(test, "web", json!({ "updatedReplicas": 3, "availableReplicas": 3 })).await;
}

#[tokio::test]
async fn restart_rules_decide_on_a_node_that_the_scheduler_chose() {
    let Some(field) = Field::new("wl_rules", 1, json!({})).await else {
        return;
    };
    let test = &field.test;
    let ruled = |name: &str, code: &str, action: &str| {
        let behaviour = json!({
            "mock.outrigger.dev/runTime": "200ms", "mock.outrigger.dev/exitCode": code, "mock.outrigger.dev/backOff": "100ms",
        });
        let rules = json!([{ "action": action, "exitCodes": { "operator": "In", "values": [42] } }]);
        let mut spec = container(json!({ "restartPolicy": "Never", "restartPolicyRules": rules }));
        spec["restartPolicy"] = "Never".into();
        scheduled(test, name, behaviour, spec)
    };
    let again = test.create(ruled("again", "42", "Restart")).await;
    if again.spec.unwrap().containers[0].restart_policy_rules.is_none() {
        return skip("wl_rules", "this API server does not know restart rules yet");
    }
    test.create(ruled("once", "1", "Restart")).await;
    let restarts = |pod: &Pod| {
        let status = pod.status.as_ref();
        let statuses = status.and_then(|status| status.container_statuses.as_ref());
        statuses.map_or(0, |all| all.iter().map(|one| one.restart_count).sum())
    };
    let again = test
        .pod_until("again", "it was restarted twice", |pod| restarts(pod) >= 2)
        .await;
    assert_eq!(phase(&again), "Running");
    let once = test
        .pod_until("once", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(restarts(&once), 0);

    // The mock can't do this, its node does not declare it, so that the scheduler takes the pod elsewhere.
    let all = ruled("all", "42", "RestartAllContainers");
    match test
        .pods()
        .create(&PostParams::default(), &crate::harness::object(all))
        .await
    {
        Ok(_) => {
            let message = refused_by_the_scheduler(test, "all").await;
            assert!(message.contains("required features"), "{message}");
        }
        Err(kube::Error::Api(status)) if status.code == 422 => {
            skip("wl_rules", "this API server does not know RestartAllContainers yet");
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn resources_of_whole_pods_take_room_on_their_node() {
    let Some(field) = Field::new("wl_pod_level", 1, json!({ "capacity": { "cpu": "2" } })).await else {
        return;
    };
    let test = &field.test;
    let whole = |name: &str| {
        let mut spec = container(json!({}));
        spec["resources"] = json!({ "requests": { "cpu": "1200m" }, "limits": { "cpu": "2" } });
        scheduled(test, name, json!({}), spec)
    };
    let first = test.create(whole("first")).await;
    if first.spec.as_ref().unwrap().resources.is_none() {
        return skip("wl_pod_level", "this API server does not know resources of pods yet");
    }
    let running = test.running("first").await;
    assert_eq!(running.status.unwrap().qos_class.as_deref(), Some("Burstable"));
    test.create(whole("second")).await;
    let message = refused_by_the_scheduler(test, "second").await;
    assert!(message.contains("Insufficient cpu"), "{message}");
    test.delete("first", None).await;
    test.gone("first", &uid(&first)).await;
    test.running("second").await;
}

#[tokio::test]
async fn a_finalizer_keeps_the_object_and_not_its_room() {
    let Some(field) = Field::new("wl_finalizer", 1, json!({ "capacity": { "cpu": "2" } })).await else {
        return;
    };
    let test = &field.test;
    let wants = |name: &str| scheduled(test, name, json!({}), container(json!({ "resources": cpu("2") })));
    let mut kept = wants("kept");
    kept["metadata"]["finalizers"] = json!(["example.com/accounting"]);
    test.create(kept).await;
    let first = uid(&test.running("kept").await);
    test.create(wants("next")).await;
    refused_by_the_scheduler(test, "next").await;
    test.delete("kept", None).await;
    test.running("next").await;
    let kept = test.pods().get("kept").await.unwrap();
    assert_eq!((uid(&kept), phase(&kept)), (first.clone(), "Succeeded"));
    let done = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    test.pods().patch("kept", &PatchParams::default(), &done).await.unwrap();
    test.gone("kept", &first).await;
}

async fn resize(test: &Test, name: &str, to: &str) {
    let change = json!({ "spec": { "containers": [{ "name": "app", "resources": cpu(to) }] } });
    let (pods, change) = (test.pods(), Patch::Strategic(change));
    let params = PatchParams::default();
    pods.patch_subresource("resize", name, &params, &change).await.unwrap();
}

#[tokio::test]
async fn a_deployments_pod_is_resized_and_debugged_in_place() {
    let Some(field) = Field::new("wl_in_place", 1, json!({ "capacity": { "cpu": "2" } })).await else {
        return;
    };
    let test = &field.test;
    let Some(kubectl) = test.kubectl() else { return };
    let mut template = plain(test, "web");
    template["spec"]["containers"][0]["resources"] = cpu("500m");
    create::<Deployment>(test, selected("web", json!({ "replicas": 1 }), template)).await;
    until::<Deployment>(test, "web", json!({ "availableReplicas": 1 })).await;
    let pod = pods_of(test, "web").await.remove(0);
    let name = pod.metadata.name.clone().unwrap();
    resize(test, &name, "1500m").await;
    let given = |pod: &Pod| {
        serde_json::to_value(&pod.status).unwrap()["containerStatuses"][0]["resources"]["requests"]["cpu"].clone()
    };
    test.pod_until(&name, "it has what it asks for now", |pod| given(pod) == "1500m")
        .await;

    // The scheduler reckons with what the node has given.
    let other = scheduled(test, "other", json!({}), container(json!({ "resources": cpu("1") })));
    test.create(other).await;
    let message = refused_by_the_scheduler(test, "other").await;
    assert!(message.contains("Insufficient cpu"), "{message}");
    resize(test, &name, "500m").await;
    test.running("other").await;

    let image = "registry.example/tools:1";
    kubectl
        .run(&format!(
            "debug {name} --image={image} --container=debugger --attach=false"
        ))
        .await;
    let debugged = test
        .pod_until(&name, "the debugger runs", |pod| {
            let status = serde_json::to_value(&pod.status).unwrap();
            status["ephemeralContainerStatuses"][0]["state"]["running"].is_object()
        })
        .await;
    assert_eq!(uid(&debugged), uid(&pod), "it is the same pod");
    assert_eq!(debugged.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
    eventually(SOON, "nothing has taken its place", || async {
        let pods = pods_of(test, "web").await;
        match pods.as_slice() {
            [one] if is_running(one) => Ok(()),
            others => Err(format!("there are {} pods", others.len())),
        }
    })
    .await;
}
