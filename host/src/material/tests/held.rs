//! How a held pod looks: which state, which events, and nothing of a Secret in them.

use super::World;
use crate::material::{Fault, FaultKind, Found, Held, Kind, Notice, ObjectRef};
use serde_json::{Value, json};

fn held(spec: Value) -> Held {
    World::new().resolve(&spec).unwrap_err()
}

fn from(kind: &str, name: &str, key: &str, optional: bool) -> Value {
    let env = json!([{ "name": "X", "valueFrom": { kind: { "name": name, "key": key, "optional": optional } } }]);
    json!({ "containers": [{ "name": "app", "env": env }] })
}

#[test]
fn a_container_without_its_config() {
    // kubelet kuberuntime startContainer: ErrCreateContainerConfig and event Failed
    let held = held(from("configMapKeyRef", "gone", "k", false));
    let fault = &held.faults[0];
    assert_eq!(
        fault.kind,
        FaultKind::Config {
            container: "app".into()
        }
    );
    let object = ObjectRef {
        kind: Kind::ConfigMap,
        name: "gone".into(),
    };
    assert_eq!(fault.object, Some(object));
    let event = fault.event().unwrap();
    assert_eq!(event, Notice::warning("Failed", r#"Error: configmap "gone" not found"#));
}

#[test]
fn a_volume_without_its_object() {
    // pkg/volume/util/operationexecutor GenerateMountVolumeFunc
    let held = held(json!({ "containers": [{ "name": "app" }],
                            "volumes": [{ "name": "conf", "secret": { "secretName": "gone" } }] }));
    assert_eq!(
        held.faults[0].event().unwrap(),
        Notice::warning(
            "FailedMount",
            r#"MountVolume.SetUp failed for volume "conf" : secret "gone" not found"#
        )
    );
    assert_eq!(held.faults[0].peer, None);
}

#[test]
fn a_name_that_can_not_be() {
    // kubelet kuberuntime SyncPod: createPodSandbox
    let held = held(json!({ "containers": [{ "name": "app" }], "subdomain": "-" }));
    assert_eq!(
        held.faults[0].event().unwrap(),
        Notice::warning(
            "FailedCreatePodSandBox",
            r#"Failed to create pod sandbox: pod Subdomain "-" is not a valid DNS label"#
        )
    );
}

#[test]
fn volumes_come_before_containers_and_all_of_them_are_named() {
    // kubelet SyncPod: WaitForAttachAndMount before any container
    let mut spec = from("configMapKeyRef", "gone", "k", false);
    spec["volumes"] =
        json!([{ "name": "a", "configMap": { "name": "gone" } }, { "name": "b", "secret": { "secretName": "gone" } }]);
    let volume = |fault: &Fault| match &fault.kind {
        FaultKind::Mount { volume } => volume.clone(),
        other => panic!("{other:?}"),
    };
    let held = held(spec);
    assert_eq!(held.faults.iter().map(volume).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn each_container_has_its_fault() {
    let env = |name: &str| json!([{ "name": "X", "valueFrom": { "secretKeyRef": { "name": name, "key": "k" } } }]);
    let held = held(
        json!({ "initContainers": [{ "name": "first", "env": env("gone-1") }], "containers": [
        { "name": "good" }, { "name": "bad", "env": env("gone-2") }] }),
    );
    let says = |fault: &Fault| format!("{:?} {}", fault.kind, fault.message);
    assert_eq!(
        held.faults.iter().map(says).collect::<Vec<_>>(),
        [
            r#"Config { container: "first" } secret "gone-1" not found"#,
            r#"Config { container: "bad" } secret "gone-2" not found"#,
        ]
    );
}

#[test]
fn what_is_not_known_yet_is_not_said_to_be_missing() {
    let waits = |spec: Value| {
        let held = held(spec);
        assert!(held.is_waiting(), "{held:?}");
        assert!(held.faults.iter().all(|fault| fault.event().is_none()));
    };
    waits(from("configMapKeyRef", "unknown", "k", true));
    waits(from("secretKeyRef", "unknown", "k", false));
    waits(
        json!({ "containers": [{ "name": "app" }], "volumes": [{ "name": "a", "configMap": { "name": "unknown" } }] }),
    );
    // Another volume is at fault for certain: that is said.
    let both = json!([{ "configMap": { "name": "unknown" } }, { "secret": { "name": "gone" } }]);
    let both = held(
        json!({ "containers": [{ "name": "app" }], "volumes": [{ "name": "a", "projected": { "sources": both } }] }),
    );
    assert_eq!(both.faults[0].message, r#"secret "gone" not found"#);
    assert!(!both.is_waiting());
}

#[test]
fn events_of_virtual_kubelet() {
    // virtual-kubelet internal/podutils env.go
    for (kind, name, key, optional, reason) in [
        ("configMapKeyRef", "gone", "k", false, "MandatoryConfigMapNotFound"),
        (
            "configMapKeyRef",
            "settings",
            "k",
            false,
            "MandatoryConfigMapKeyNotFound",
        ),
        (
            "configMapKeyRef",
            "forbidden",
            "k",
            false,
            "FailedToReadMandatoryConfigMap",
        ),
        (
            "configMapKeyRef",
            "forbidden",
            "k",
            true,
            "FailedToReadOptionalConfigMap",
        ),
        ("secretKeyRef", "gone", "k", false, "MandatorySecretNotFound"),
        ("secretKeyRef", "login", "k", false, "MandatorySecretKeyNotFound"),
        ("secretKeyRef", "forbidden", "k", false, "FailedToReadMandatorySecret"),
        ("secretKeyRef", "forbidden", "k", true, "FailedToReadOptionalSecret"),
    ] {
        let held = held(from(kind, name, key, optional));
        let peer = held.faults[0].peer.clone().unwrap();
        assert_eq!((peer.reason, &peer.message), (reason, &held.faults[0].message));
    }
    for (kind, name, key, reason) in [
        ("configMapKeyRef", "gone", "k", "OptionalConfigMapNotFound"),
        ("configMapKeyRef", "settings", "k", "OptionalConfigMapKeyNotFound"),
        ("secretKeyRef", "gone", "k", "OptionalSecretNotFound"),
        ("secretKeyRef", "login", "k", "OptionalSecretKeyNotFound"),
    ] {
        let resolved = World::new().resolve(&from(kind, name, key, true)).unwrap();
        let reasons: Vec<_> = resolved.notices.iter().map(|notice| notice.reason).collect();
        assert_eq!(reasons, [reason]);
    }
}

#[test]
fn keys_that_are_no_names_are_named_once() {
    let container =
        |name: &str| json!({ "name": name, "envFrom": [{ "prefix": "P", "configMapRef": { "name": "odd" } }] });
    let resolved = World::new()
        .resolve(&json!({ "containers": [container("a"), container("b")] }))
        .unwrap();
    assert_eq!(resolved.notices.len(), 1);
    assert_eq!(resolved.notices[0].reason, "InvalidEnvironmentVariableNames");
    assert!(
        resolved.notices[0]
            .message
            .starts_with("Keys [Pa=b] from the EnvFrom configmap shop/odd were skipped")
    );
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let mut world = World::new();
    world.token = Found::Here(std::sync::Arc::new("hunter2".to_owned().into()));
    let mut spec = from("secretKeyRef", "login", "password", false);
    spec["containers"][0]["args"] = json!(["$(X)"]);
    spec["volumes"] = json!([
        { "name": "a", "secret": { "secretName": "login" } },
        { "name": "t", "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }]);
    let resolved = world.resolve(&spec).unwrap();
    assert!(!format!("{resolved:?}").contains("hunter2"));
    assert!(!format!("{:?} {:?}", world.secrets, world.token).contains("hunter2"));
    // And in what is said of a Secret that is at fault.
    spec["containers"][0]["env"] = json!([
        { "name": "P", "valueFrom": { "secretKeyRef": { "name": "login", "key": "password" } } },
        { "name": "Q", "value": "/$(P)" }]);
    spec["containers"][0]["volumeMounts"] = json!([{ "name": "a", "mountPath": "/m", "subPathExpr": "$(Q)/.." }]);
    let held = world.resolve(&spec).unwrap_err();
    assert!(!format!("{held:?}").contains("hunter2"), "{held:?}");
}
