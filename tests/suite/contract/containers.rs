//! Containers beside the regular ones, and those with rules of their own: carried to a provider that can, refused by name
//! where it can't.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::phase;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

fn statuses(pod: &Pod) -> Value {
    serde_json::to_value(&pod.status).unwrap()
}

fn regular(pod: &Pod) -> Vec<ContainerStatus> {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.container_statuses.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn init_containers_and_sidecars_come_first_and_sidecars_go_last() {
    let test = Test::new("pod_sidecar").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let annotations = json!({
        "prepare.mock.outrigger.dev/runTime": "300ms",
        "mock.outrigger.dev/runTime": "1s",
        "proxy.mock.outrigger.dev/stopDelay": "1s",
    });
    let init = json!([
        { "name": "prepare", "image": "registry.example/prepare:1" },
        { "name": "proxy", "image": "registry.example/proxy:1", "restartPolicy": "Always" },
    ]);
    let rest = json!({ "metadata": { "annotations": annotations }, "spec": { "initContainers": init, "restartPolicy": "Never" } });
    test.create(test.pod("web", rest)).await;
    let running = test
        .pod_until("web", "the sidecar runs beside the container", |pod| {
            phase(pod) == "Running" && regular(pod).iter().all(|status| status.ready)
        })
        .await;
    let status = statuses(&running);
    assert_eq!(
        status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0,
        "{status}"
    );
    assert!(
        status["initContainerStatuses"][1]["state"]["running"].is_object(),
        "{status}"
    );

    // What the pod is for has ended, and the sidecar takes a second more: until then the pod runs.
    test.pod_until("web", "only the sidecar is left", |pod| {
        let ended = regular(pod)
            .iter()
            .all(|one| one.state.as_ref().is_some_and(|state| state.terminated.is_some()));
        ended && phase(pod) == "Running"
    })
    .await;
    let over = test
        .pod_until("web", "it has succeeded", |pod| phase(pod) == "Succeeded")
        .await;
    let status = statuses(&over);
    let ended = |container: &Value| {
        container["state"]["terminated"]["finishedAt"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (sidecar, app) = (
        ended(&status["initContainerStatuses"][1]),
        ended(&status["containerStatuses"][0]),
    );
    assert!(
        !app.is_empty() && sidecar >= app,
        "the sidecar ended at {sidecar}, the container at {app}"
    );
}

#[tokio::test]
async fn an_ephemeral_container_joins_a_running_pod() {
    let test = Test::new("pod_debug").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let before = uid(&test.running("web").await);
    attach_debugger(&test).await;
    let pod = test
        .pod_until("web", "the debugger runs", |pod| {
            statuses(pod)["ephemeralContainerStatuses"][0]["state"]["running"].is_object()
        })
        .await;
    assert_eq!((uid(&pod), regular(&pod)[0].restart_count), (before, 0));
}

#[tokio::test]
async fn an_end_is_told_when_nothing_runs_any_more() {
    let test = Test::new("pod_init_fails").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let behaviour = json!({
        "init.mock.outrigger.dev/runTime": "1s", "init.mock.outrigger.dev/exitCode": "3",
        "side.mock.outrigger.dev/stopDelay": "3s",
    });
    let mut pod = test.pod("web", json!({ "metadata": { "annotations": behaviour } }));
    pod["spec"]["restartPolicy"] = "Never".into();
    let image = "registry.example/app:1";
    pod["spec"]["initContainers"] = json!([
        { "name": "side", "image": image, "restartPolicy": "Always" }, { "name": "init", "image": image },
    ]);
    test.create(pod).await;
    let over = test
        .pod_until("web", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    let init = &statuses(&over)["initContainerStatuses"];
    assert_eq!(init[1]["state"]["terminated"]["exitCode"], 3, "{init}");
    assert!(init[0]["state"]["terminated"].is_object(), "the sidecar: {init}");
}

async fn attach_debugger(test: &Test) {
    let debugger =
        json!({ "spec": { "ephemeralContainers": [{ "name": "debugger", "image": "registry.example/tools:1" }] } });
    let (pods, debugger) = (test.pods(), Patch::Strategic(debugger));
    let params = PatchParams::default();
    pods.patch_subresource("ephemeralcontainers", "web", &params, &debugger)
        .await
        .unwrap();
}

/// A pod that is not restarted, but for the exit code 42.
fn ruled(test: &Test, name: &str, exit_code: &str) -> Value {
    let behaviour = json!({
        "mock.outrigger.dev/runTime": "200ms", "mock.outrigger.dev/exitCode": exit_code, "mock.outrigger.dev/backOff": "100ms",
    });
    let rest = json!({ "metadata": { "annotations": behaviour }, "spec": { "restartPolicy": "Never" } });
    let mut pod = test.pod(name, rest);
    let rules = json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
    pod["spec"]["containers"][0]["restartPolicy"] = "Never".into();
    pod["spec"]["containers"][0]["restartPolicyRules"] = rules;
    pod
}

#[tokio::test]
async fn a_containers_own_rules_decide_on_its_restart() {
    let test = Test::new("pod_rules").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let created = test.create(ruled(&test, "again", "42")).await;
    if created.spec.unwrap().containers[0].restart_policy_rules.is_none() {
        return skip("pod_rules", "this API server does not know restart rules yet");
    }
    test.create(ruled(&test, "once", "1")).await;
    let again = test
        .pod_until("again", "it was restarted twice", |pod| {
            regular(pod).first().is_some_and(|status| status.restart_count >= 2)
        })
        .await;
    assert_eq!(phase(&again), "Running");
    let once = test
        .pod_until("once", "it has failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(regular(&once)[0].restart_count, 0);
}

#[tokio::test]
async fn resources_of_the_whole_pod_make_its_class_and_reach_the_provider() {
    let test = Test::new("pod_level").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let created = test.create(test.pod("web", whole_pod())).await;
    if created.spec.unwrap().resources.is_none() {
        return skip("pod_level", "this API server does not know resources of pods yet");
    }
    test.running("web").await;
}

fn whole_pod() -> Value {
    json!({ "spec": { "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "2" } } } })
}

/// Waits until a pod is held because of this field.
async fn is_held(test: &Test, created: &Pod, field: &str) {
    let name = created.metadata.name.as_deref().unwrap();
    let held = test
        .pod_until(name, "it is held", |pod| {
            let waits = |one: &ContainerStatus| one.state.clone().and_then(|state| state.waiting).is_some();
            regular(pod).iter().any(waits)
        })
        .await;
    let waiting = regular(&held)[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    let message = waiting.message.unwrap_or_default();
    assert!(message.contains(field), "{name}: {message}");
    assert_eq!(phase(&held), "Pending");
}

#[tokio::test]
async fn files_of_containers_and_images_are_refused_by_name_where_a_provider_has_none() {
    let test = Test::new("pod_files").await;
    // The mock as it is; another one that says it can is believed.
    let config = test
        .mock(json!({}))
        .mock("able", json!({ "support": { "volumes.image": "supported" } }))
        .node(&format!("{}-able", test.node()), "able", json!({}));
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    let mut file = test.pod(
        "file",
        json!({ "spec": { "volumes": [{ "name": "scratch", "emptyDir": {} }] } }),
    );
    let source = json!({ "fileKeyRef": { "volumeName": "scratch", "path": "app.env", "key": "TOKEN" } });
    file["spec"]["containers"][0]["env"] = json!([{ "name": "TOKEN", "valueFrom": source }]);
    let reference = json!({ "reference": "registry.example/model:1", "pullPolicy": "IfNotPresent" });
    let model = json!({ "name": "model", "image": reference });
    let image = test.pod("image", json!({ "spec": { "volumes": [model] } }));
    let mut able = image.clone();
    able["metadata"]["name"] = "able".into();
    able["spec"]["nodeName"] = format!("{}-able", test.node()).into();

    let created = test.create(file).await;
    let env = created.spec.as_ref().unwrap().containers[0].env.clone().unwrap();
    if env[0]
        .value_from
        .as_ref()
        .is_some_and(|source| source.file_key_ref.is_some())
    {
        is_held(&test, &created, "env.fileKeyRef (app)").await;
    } else {
        skip("pod_files", "this API server does not know variables of files yet");
    }
    let created = test.create(image).await;
    is_held(&test, &created, "volumes.image (model)").await;
    test.node_ready(&format!("{}-able", test.node())).await;
    test.create(able).await;
    test.running("able").await;
}

#[tokio::test]
async fn what_a_provider_cannot_carry_holds_the_pod_and_is_named() {
    let test = Test::new("pod_cannot").await;
    let fields = [
        "initContainers.sidecar",
        "restartPolicyRules",
        "resources",
        "ephemeralContainers",
    ];
    let _host = test.start(&test.mock(json!({ "refuse": fields })));
    test.node_ready(&test.node()).await;
    let sidecar = json!([{ "name": "proxy", "image": "registry.example/proxy:1", "restartPolicy": "Always" }]);
    let pods = [
        (
            test.pod("sidecar", json!({ "spec": { "initContainers": sidecar } })),
            "initContainers.sidecar (proxy)",
        ),
        (ruled(&test, "rules", "42"), "restartPolicyRules (app)"),
        (test.pod("whole", whole_pod()), "resources"),
    ];
    for (pod, field) in pods {
        let created = test.create(pod).await;
        is_held(&test, &created, field).await;
    }

    // This one comes when the pod runs already: it runs on, and an event names what it goes without.
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    attach_debugger(&test).await;
    eventually(SOON, "an event names it", || async {
        let events = test.events().await;
        let named = events.iter().any(|event| {
            event
                .message
                .as_deref()
                .unwrap_or_default()
                .contains("ephemeralContainers")
        });
        named
            .then_some(())
            .ok_or_else(|| format!("there are {} events", events.len()))
    })
    .await;
    test.running("web").await;
}

#[tokio::test]
pub(super) async fn what_had_ended_for_good_stays_so_when_its_pod_is_made_again() {
    let test = Test::new("container_past").await;
    let host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let containers = ["done", "goes-on"].map(|name| json!({ "name": name, "image": "registry.example/app:1" }));
    let behaviour = json!({ "done.mock.outrigger.dev/runTime": "1s", "mock.outrigger.dev/vanishAfter": "3s" });
    test.create(test.pod(
        "job",
        json!({
            "metadata": { "annotations": behaviour },
            "spec": { "restartPolicy": "OnFailure", "containers": containers },
        }),
    ))
    .await;
    let status = |pod: &Pod, name: &str| regular(pod).into_iter().find(|container| container.name == name);
    let ended = |pod: &Pod| status(pod, "done")?.state?.terminated;
    let first = test
        .pod_until("job", "one container has ended", |pod| ended(pod).is_some())
        .await;
    let again = |pod: &Pod| {
        let container = status(pod, "goes-on");
        container.is_some_and(|container| container.restart_count == 1 && container.ready)
    };
    let made_again = test.pod_until("job", "the other runs again", again).await;
    assert_eq!(ended(&made_again), ended(&first), "its work is not done twice");
    assert_eq!(
        status(&made_again, "done").map(|container| container.restart_count),
        Some(0)
    );
    assert!(!host.log().contains("unable to write pod"), "{}", host.log());
}
