//! Projected volumes.

use super::{World, check_volumes, gives, holds, show_file};
use crate::material::{Found, LabelSelector, Operator, Requirement, TokenSpec, TrustBundleSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const COLLECT: &str = "pkg/volume/projected collectData";

fn projected(sources: Value) -> Value {
    json!({ "projected": { "sources": sources, "defaultMode": 420 } })
}

#[test]
fn several_sources() {
    check_volumes(vec![
        gives(
            "the volume of every pod",
            "API admission ServiceAccount (kube-api-access)",
            projected(json!([
                { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                { "configMap": { "name": "more", "items": [{ "key": "COLOR", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
            ])),
            [
                "ca.crt 0644 red",
                "namespace 0644 shop",
                "token 0644 token-of-web [secret]",
            ],
        ),
        gives("no sources", COLLECT, projected(Value::Null), []),
        gives(
            "a Secret's files are marked, the others are not",
            COLLECT,
            projected(json!([
                { "secret": { "name": "login", "items": [{ "key": "user", "path": "user", "mode": 0o400 }] } },
                { "configMap": { "name": "more" } } ])),
            ["COLOR 0644 red", "user 0400 admin [secret]"],
        ),
        gives(
            "of two sources with one path the later wins",
            COLLECT,
            projected(
                json!([{ "configMap": { "name": "settings", "items": [{ "key": "COLOR", "path": "COLOR" }] } },
                             { "configMap": { "name": "more" } }]),
            ),
            ["COLOR 0644 red"],
        ),
        gives(
            "an optional source that is missing",
            COLLECT,
            projected(json!([{ "secret": { "name": "gone", "optional": true } }, { "configMap": { "name": "more" } }])),
            ["COLOR 0644 red"],
        ),
        holds(
            "all that is wrong",
            COLLECT,
            projected(json!([
                { "secret": { "name": "gone" } },
                { "configMap": { "name": "more", "items": [{ "key": "x", "path": "x" }] } },
                { "downwardAPI": { "items": [{ "path": "f", "fieldRef": { "fieldPath": "spec.x" } }] } } ])),
            r#"[secret "gone" not found, configmap references non-existent config key: x, unsupported fieldPath: spec.x]"#,
        ),
        gives("no source", COLLECT, projected(json!([])), []),
        holds(
            "a source from the future",
            "ours: the kubelet leaves it out without a word",
            projected(json!([{ "quantumFoam": {} }])),
            r#"source 0 of projected volume "v" is of no kind that is known here"#,
        ),
    ]);
}

#[test]
fn pod_certificates() {
    let source = |paths: Value| {
        let mut source = json!({ "signerName": "example.com/s", "keyType": "ED25519" });
        super::merge(&mut source, &paths);
        projected(json!([{ "podCertificate": source }]))
    };
    check_volumes(vec![
        gives(
            "a bundle",
            COLLECT,
            source(json!({ "credentialBundlePath": "bundle.pem" })),
            ["bundle.pem 0644 KEY\nCHAIN\n [secret]"],
        ),
        gives(
            "key and chain apart; the chain is no secret",
            COLLECT,
            source(json!({ "keyPath": "k", "certificateChainPath": "c" })),
            ["c 0644 CHAIN\n", "k 0644 KEY\n [secret]"],
        ),
    ]);
}

fn one_volume(world: &World, sources: Value) -> Result<Vec<String>, String> {
    let spec =
        json!({ "containers": [{ "name": "app" }], "volumes": [{ "name": "v", "projected": { "sources": sources } }] });
    match world.resolve(&spec) {
        Ok(resolved) => Ok(resolved.materials.files["v"].iter().map(show_file).collect()),
        Err(held) if held.is_waiting() => Err("waiting".to_owned()),
        Err(held) => Err(held.faults[0].message.clone()),
    }
}

#[test]
fn tokens_are_asked_for_as_the_manifest_says_vk_1066() {
    let world = World::new();
    one_volume(
        &world,
        json!([{ "serviceAccountToken": { "path": "a", "audience": "vault", "expirationSeconds": 600 } },
               { "serviceAccountToken": { "path": "b" } }]),
    )
    .unwrap();
    let spec = |audience: &str, expiration_seconds| TokenSpec {
        service_account: "seller".into(),
        audience: audience.into(),
        expiration_seconds,
    };
    let expected = [spec("", 3600), spec("vault", 600)];
    assert!(world.asked.borrow().tokens.iter().eq(&expected));
}

#[test]
fn a_token_that_can_not_be_had() {
    // kubelet token.Manager GetServiceAccountToken
    let token = || json!([{ "serviceAccountToken": { "path": "token" } }]);
    let mut world = World::new();
    for (found, expected) in [
        (
            Found::Missing,
            r#"failed to fetch token: serviceaccounts "seller" not found"#,
        ),
        (
            Found::Unavailable("forbidden".into()),
            "failed to fetch token: forbidden",
        ),
        (Found::Unknown, "waiting"),
    ] {
        world.token = found;
        assert_eq!(one_volume(&world, token()).unwrap_err(), expected);
    }
}

#[test]
fn a_certificate_that_is_not_issued() {
    // kubelet podcertificate getCredBundle
    let source = || json!([{ "podCertificate": { "signerName": "s", "keyType": "ED25519", "keyPath": "k" } }]);
    let mut world = World::new();
    for (found, expected) in [
        (Found::Missing, "credential bundle is not issued yet"),
        (
            Found::Unavailable("PodCertificateRequest was permanently denied".into()),
            "PodCertificateRequest was permanently denied",
        ),
        (Found::Unknown, "waiting"),
    ] {
        world.certificate = found;
        assert_eq!(one_volume(&world, source()).unwrap_err(), expected);
    }
}

/// A PEM block of some bytes; nobody looks into them.
fn pem(bytes: &[u8], comment: &str) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("{comment}-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn trust_bundles_are_read_once_and_written_without_comments() {
    // kubelet clustertrustbundle normalizeTrustAnchors
    let mut world = World::new();
    let selector = LabelSelector {
        requirements: vec![
            Requirement {
                key: "env".into(),
                operator: Operator::In,
                values: vec!["live".into()],
            },
            Requirement {
                key: "old".into(),
                operator: Operator::DoesNotExist,
                values: vec![],
            },
        ],
    };
    let (one, two) = ([1; 60], [2; 60]);
    let first = format!("{}{}", pem(&two, "a comment\n"), pem(&one, ""));
    let bundles = vec![first.as_str().into(), pem(&one, "# again\n").as_str().into()];
    let signed = TrustBundleSpec::Signed {
        signer: "example.com/ca".into(),
        selector: Some(selector.clone()),
    };
    world.bundles.insert(signed, Found::Here(bundles));
    let source = json!([{ "clusterTrustBundle": { "signerName": "example.com/ca", "path": "ca.pem",
        "labelSelector": { "matchLabels": { "env": "live" }, "matchExpressions": [{ "key": "old", "operator": "DoesNotExist" }] } } }]);
    let files = one_volume(&world, source).unwrap();
    let block = |byte: u8| {
        let long = pem(&[byte; 60], "");
        let (head, rest) = long.split_at("-----BEGIN CERTIFICATE-----\n".len() + 64);
        format!("{head}\n{rest}")
    };
    assert_eq!(files, [format!("ca.pem 0644 {}{}", block(1), block(2))]);
    let labels = |text: &[(&str, &str)]| {
        text.iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect::<BTreeMap<_, _>>()
    };
    assert!(selector.matches(&labels(&[("env", "live")])));
    assert!(!selector.matches(&labels(&[("env", "live"), ("old", "")])));
    assert!(!selector.matches(&labels(&[("env", "test")])));
}

#[test]
fn trust_bundles_that_are_missing() {
    let world = World::new();
    let bundle = |source: Value| json!([{ "clusterTrustBundle": source }]);
    for (source, expected) in [
        (
            json!({ "name": "ca", "path": "p" }),
            Err(r#"while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "ca" not found"#),
        ),
        (
            json!({ "signerName": "s", "labelSelector": {}, "path": "p" }),
            Err("combination of signerName and labelSelector matched zero ClusterTrustBundles"),
        ),
        (json!({ "name": "ca", "path": "p", "optional": true }), Ok("p 0644 ")),
        (
            json!({ "signerName": "s", "path": "p", "optional": true }),
            Ok("p 0644 "),
        ),
        (
            json!({ "path": "p" }),
            Err("ClusterTrustBundle projection requires either name or signerName to be set"),
        ),
        (
            json!({ "signerName": "s", "path": "p", "labelSelector": { "matchExpressions": [{ "key": "k", "operator": "Like" }] } }),
            Err(r#"while parsing label selector: "Like" is not a valid label selector operator"#),
        ),
    ] {
        let got = one_volume(&world, bundle(source));
        let expected = expected.map(|file| vec![file.to_owned()]).map_err(str::to_owned);
        assert_eq!(got, expected);
    }
}
