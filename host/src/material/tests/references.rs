//! What a pod refers to.

use super::World;
use crate::material::{PodCertificateSpec, References, TokenSpec, TrustBundleSpec, references};
use outrigger_plugin::Level;
use serde_json::{Value, json};

fn of(world: &World, spec: &Value) -> References {
    references(&world.manifest(spec), &world.support).unwrap()
}

fn names(names: &std::collections::BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Refers to something in every way that there is.
fn everything() -> Value {
    let env = |kind: &str, name: &str| json!({ "name": "A", "valueFrom": { kind: { "name": name, "key": "k" } } });
    json!({
        "initContainers": [{ "name": "i", "env": [env("configMapKeyRef", "m-init")] }],
        "containers": [
            { "name": "c", "env": [env("configMapKeyRef", "m-env"), env("secretKeyRef", "s-env")],
              "envFrom": [{ "configMapRef": { "name": "m-from" } }, { "secretRef": { "name": "s-from", "optional": true } }] },
            { "name": "d", "env": [{ "name": "M", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } }] },
        ],
        "ephemeralContainers": [{ "name": "e", "env": [env("secretKeyRef", "s-ephemeral")] }],
        "imagePullSecrets": [{ "name": "s-pull" }, { "name": "" }],
        "volumes": [
            { "name": "a", "configMap": { "name": "m-volume" } },
            { "name": "b", "secret": { "secretName": "s-volume", "optional": true } },
            { "name": "p", "projected": { "sources": [
                { "configMap": { "name": "m-projected" } },
                { "secret": { "name": "s-projected" } },
                { "serviceAccountToken": { "audience": "vault", "expirationSeconds": 600, "path": "t" } },
                { "clusterTrustBundle": { "name": "ca", "path": "ca" } },
                { "podCertificate": { "signerName": "x/y", "keyType": "ECDSAP256", "keyPath": "k", "maxExpirationSeconds": 7200,
                                      "userAnnotations": { "x/z": "1" } } },
            ] } },
            { "name": "x", "emptyDir": {} },
        ],
    })
}

#[test]
fn everything_that_is_needed_is_found() {
    let found = of(&World::new(), &everything());
    let maps = ["m-env", "m-from", "m-init", "m-projected", "m-volume"];
    assert_eq!(names(&found.config_maps), maps);
    let secrets = ["s-env", "s-ephemeral", "s-from", "s-projected", "s-pull", "s-volume"];
    assert_eq!(names(&found.secrets), secrets);
    let token = TokenSpec {
        service_account: "seller".into(),
        audience: "vault".into(),
        expiration_seconds: 600,
    };
    assert!(found.tokens.iter().eq([&token]));
    assert!(found.trust_bundles.iter().eq([&TrustBundleSpec::Named("ca".into())]));
    let certificate = PodCertificateSpec {
        volume: "p".into(),
        source: 4,
        service_account: "seller".into(),
        signer: "x/y".into(),
        key_type: "ECDSAP256".into(),
        max_expiration_seconds: Some(7200),
        user_annotations: [("x/z".into(), "1".into())].into(),
    };
    assert!(found.pod_certificates.iter().eq([&certificate]));
    assert!(found.service_links && found.node);
}

#[test]
fn what_resolving_asks_for_are_the_references() {
    let world = World::new();
    // It is held, but not before it has asked for everything.
    assert!(world.resolve(&everything()).is_err());
    let mut asked = world.asked.take();
    asked.node = true;
    assert_eq!(asked, of(&world, &everything()));
}

#[test]
fn a_plain_pod_needs_nothing_but_services() {
    let plain = json!({ "containers": [{ "name": "c", "image": "i", "env": [{ "name": "A", "value": "$(B)" }] }],
                        "volumes": [{ "name": "x", "emptyDir": {} }] });
    let nothing = References {
        service_links: true,
        ..References::default()
    };
    assert_eq!(of(&World::new(), &plain), nothing);
    let mut unlinked = plain;
    unlinked["enableServiceLinks"] = json!(false);
    assert_eq!(of(&World::new(), &unlinked), References::default());
}

#[test]
fn what_a_provider_ignores_is_not_asked_for() {
    let mut world = World::new();
    for key in [
        "env.configMapKeyRef",
        "env.secretKeyRef",
        "env.resourceFieldRef",
        "envFrom.configMapRef",
        "envFrom.secretRef",
        "volumes.configMap",
        "volumes.secret",
        "volumes.projected",
        "imagePullSecrets",
    ] {
        world.support = world.support.with(key, Level::Ignored);
    }
    let nothing = References {
        service_links: true,
        ..References::default()
    };
    assert_eq!(of(&world, &everything()), nothing);
    let materials = world.resolve(&everything()).unwrap().materials;
    assert!(materials.files.is_empty() && materials.registries.is_empty());
    assert!(materials.env["c"].iter().all(|var| var.name != "A"));
}

#[test]
fn what_is_no_pod_is_said_without_its_content() {
    let held = references(
        br#"{"spec":{"containers":[{"name":"c","env":"hunter2"}]}}"#,
        &World::new().support,
    )
    .unwrap_err();
    let message = &held.faults[0].message;
    assert!(
        message.starts_with("unable to read the pod's manifest, at line 1 column"),
        "{message}"
    );
    assert!(!message.contains("hunter2"));
}
