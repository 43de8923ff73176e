//! What pods refer to: how it comes, changes, and is waited for. The mock shows in a container's log what it was given.

use crate::harness::Host;
use crate::harness::SOON;
use crate::harness::Shown;
use crate::harness::Test;
use crate::harness::authority;
use crate::harness::certificates_api;
use crate::harness::eventually;
use crate::harness::look;
use crate::harness::node_identity;
use crate::harness::object;
use crate::harness::own_devcluster;
use crate::harness::phase;
use crate::harness::sign;
use crate::harness::skip;
use crate::harness::uid;
use base64::Engine;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::DynamicObject;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use outrigger_devcluster::Kind;
use serde_json::Value;
use serde_json::json;

/// Waits until a pod has been given what is wanted.
async fn shown(test: &Test, pod: &str, what: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
    eventually(SOON, &format!("pod {pod} has been given {what}"), || async {
        let shown = look(test, pod).await?;
        if wanted(&shown) {
            Ok(shown)
        } else {
            Err(format!("{:?}", shown.0))
        }
    })
    .await
}

fn config_maps(test: &Test) -> Api<ConfigMap> {
    Api::namespaced(test.client.clone(), &test.id)
}

pub(super) fn secrets(test: &Test) -> Api<Secret> {
    Api::namespaced(test.client.clone(), &test.id)
}

/// Creates an object or takes the place of the one of that name.
pub(super) async fn put<K>(api: Api<K>, name: &str, content: Value)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let mut whole = json!({ "metadata": { "name": name } });
    whole
        .as_object_mut()
        .unwrap()
        .extend(content.as_object().unwrap().clone());
    let object: K = object(whole);
    let params = PostParams::default();
    match api.create(&params, &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => drop(api.replace(name, &params, &object).await.unwrap()),
        made => drop(made.unwrap()),
    }
}

pub async fn put_config_map(test: &Test, name: &str, content: Value) {
    put(config_maps(test), name, content).await;
}

/// A Secret of these texts.
pub async fn put_secret(test: &Test, name: &str, texts: Value) {
    let encode = |(key, text): (&String, &Value)| {
        let bytes = k8s_openapi::ByteString(text.as_str().unwrap().as_bytes().to_vec());
        (key.clone(), serde_json::to_value(bytes).unwrap())
    };
    let data: serde_json::Map<_, _> = texts.as_object().unwrap().iter().map(encode).collect();
    put(secrets(test), name, json!({ "data": data })).await;
}

/// A Secret of registries' credentials.
pub(super) async fn put_pull_secret(test: &Test, name: &str, config: Value) {
    let config = k8s_openapi::ByteString(config.to_string().into_bytes());
    let content = json!({ "type": "kubernetes.io/dockerconfigjson", "data": { ".dockerconfigjson": config } });
    put(secrets(test), name, content).await;
}

/// A pod that shows its materials, with this in its spec and its container.
pub(super) fn pod(test: &Test, name: &str, spec: Value, container: Value) -> Value {
    let mut app = json!({ "name": "app", "image": "registry.example/app:1" });
    app.as_object_mut()
        .unwrap()
        .extend(container.as_object().unwrap().clone());
    let mut spec = spec;
    spec["containers"] = json!([app]);
    let metadata = json!({ "annotations": { "mock.outrigger.dev/showMaterials": "true" } });
    test.pod(name, json!({ "metadata": metadata, "spec": spec }))
}

/// The reasons of a pod's events.
async fn reasons(test: &Test, pod: &str) -> Vec<String> {
    let all = test.events().await.into_iter();
    all.filter(|event| event.involved_object.name.as_deref() == Some(pod))
        .filter_map(|event| event.reason)
        .collect()
}

async fn says(test: &Test, pod: &str, wanted: &[&str]) {
    eventually(SOON, &format!("events of {pod}: {wanted:?}"), || async {
        let reasons = reasons(test, pod).await;
        if wanted
            .iter()
            .all(|wanted| reasons.iter().any(|reason| reason == wanted))
        {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
}

/// Reason and message with which a pod's container waits.
async fn waits(test: &Test, pod: &str, reason: &str) -> String {
    let waiting = |pod: &k8s_openapi::api::core::v1::Pod| {
        let statuses = pod.status.clone()?.container_statuses?;
        statuses.into_iter().next()?.state?.waiting
    };
    let pod = test
        .pod_until(pod, &format!("it waits with {reason}"), |pod| {
            waiting(pod).is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
        })
        .await;
    assert_eq!(phase(&pod), "Pending");
    waiting(&pod).unwrap().message.unwrap_or_default()
}

#[tokio::test]
async fn a_pod_gets_what_it_refers_to_vk_1066() {
    let test = Test::new("materials_all").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    put_config_map(
        &test,
        "settings",
        json!({ "data": { "color": "blue" }, "binaryData": { "logo": "/wA=" } }),
    )
    .await;
    put_secret(&test, "login", json!({ "user": "ada", "password": "plain words" })).await;
    let spec = json!({ "volumes": [
        { "name": "config", "configMap": { "name": "settings" } },
        { "name": "login", "secret": { "secretName": "login", "defaultMode": 0o400 } },
        { "name": "token", "projected": { "sources": [
            { "serviceAccountToken": { "path": "token", "audience": "vault", "expirationSeconds": 600 } },
            { "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
        ]}},
    ]});
    let container = json!({
        "env": [
            { "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "color" } } },
            { "name": "SENTENCE", "value": "the color is $(COLOR)" },
            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        ],
        "envFrom": [{ "prefix": "LOGIN_", "secretRef": { "name": "login" } }],
    });
    test.create(pod(&test, "web", spec, container)).await;
    let running = test.running("web").await;
    let shown = look(&test, "web").await.unwrap();
    assert_eq!(shown.env("COLOR"), Some("blue"));
    assert_eq!(shown.env("SENTENCE"), Some("the color is blue"));
    assert_eq!(shown.env("NODE"), Some(test.node().as_str()));
    assert_eq!(shown.env("IP"), running.status.unwrap().pod_ip.as_deref());
    assert_eq!(shown.env("LOGIN_user"), Some("ada"));
    assert_eq!(shown.env("LOGIN_password"), Some("plain words"));
    assert!(shown.env("KUBERNETES_SERVICE_HOST").is_some());
    assert_eq!(shown.text("config/color"), Some("blue"));
    assert_eq!(shown.file("config/color").unwrap()["mode"], "0644");
    assert_eq!(shown.file("config/logo").unwrap()["base64"], "/wA=");
    let password = shown.file("login/password").unwrap();
    assert_eq!(
        (&password["text"], &password["mode"], &password["secret"]),
        (&json!("plain words"), &json!("0400"), &json!(true))
    );
    assert!(!shown.text("token/token").unwrap().is_empty());
    assert_eq!(shown.file("token/token").unwrap()["secret"], true);
    // What the API server adds to every pod.
    let files = || shown.0.iter().filter_map(|line| line["file"].as_str());
    for file in ["token", "ca.crt", "namespace"] {
        let end = format!("/{file}");
        assert!(
            files().any(|path| path.starts_with("kube-api-access-") && path.ends_with(&end)),
            "{file}"
        );
    }
}

#[tokio::test]
async fn changes_reach_a_running_pod_vk_158_586() {
    let test = Test::new("materials_change").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    put_config_map(&test, "settings", json!({ "data": { "color": "blue" } })).await;
    put_secret(&test, "login", json!({ "password": "first" })).await;
    let spec = json!({ "volumes": [
        { "name": "config", "configMap": { "name": "settings" } },
        { "name": "login", "secret": { "secretName": "login" } },
        { "name": "later", "configMap": { "name": "later", "optional": true } },
        { "name": "labels", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
        ]}},
    ]});
    test.create(pod(&test, "web", spec, json!({}))).await;
    test.running("web").await;
    put_config_map(
        &test,
        "settings",
        json!({ "data": { "color": "red", "shape": "round" } }),
    )
    .await;
    let has = |shown: &Shown| shown.text("config/color") == Some("red") && shown.text("config/shape") == Some("round");
    shown(&test, "web", "the changed ConfigMap", has).await;
    put_secret(&test, "login", json!({ "password": "second" })).await;
    shown(&test, "web", "the changed Secret", |shown| {
        shown.text("login/password") == Some("second")
    })
    .await;
    put_config_map(&test, "later", json!({ "data": { "came": "late" } })).await;
    shown(&test, "web", "the ConfigMap that came later", |shown| {
        shown.text("later/came") == Some("late")
    })
    .await;
    config_maps(&test)
        .delete("later", &DeleteParams::default())
        .await
        .unwrap();
    shown(&test, "web", "the volume without it", |shown| {
        shown.file("later/came").is_none()
    })
    .await;
    let label = json!({ "metadata": { "labels": { "tier": "front" } } });
    test.pods()
        .patch("web", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let labelled = |shown: &Shown| {
        shown
            .text("labels/labels")
            .is_some_and(|text| text.contains("tier=\"front\""))
    };
    shown(&test, "web", "its changed labels", labelled).await;
    let status = test.pods().get("web").await.unwrap().status.unwrap();
    assert_eq!(
        status.container_statuses.unwrap()[0].restart_count,
        0,
        "nothing is restarted for it"
    );
}

#[tokio::test]
async fn a_running_pod_keeps_what_was_deleted_and_gets_what_else_changes() {
    let test = Test::new("materials_kept").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    put_config_map(&test, "settings", json!({ "data": { "color": "blue" } })).await;
    put_config_map(&test, "files", json!({ "data": { "shape": "round" } })).await;
    put_secret(&test, "login", json!({ "password": "first" })).await;
    let spec = json!({ "volumes": [
        { "name": "files", "configMap": { "name": "files" } },
        { "name": "login", "secret": { "secretName": "login" } },
    ]});
    let container = json!({ "env": [
        { "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "color" } } },
    ]});
    test.create(pod(&test, "web", spec, container)).await;
    test.running("web").await;
    for name in ["settings", "files"] {
        config_maps(&test).delete(name, &DeleteParams::default()).await.unwrap();
    }
    put_secret(&test, "login", json!({ "password": "second" })).await;
    shown(&test, "web", "the changed Secret beside what it had", |shown| {
        shown.text("login/password") == Some("second")
            && shown.text("files/shape") == Some("round")
            && shown.env("COLOR") == Some("blue")
    })
    .await;
    for reason in ["Failed", "FailedMount"] {
        assert!(
            test.events_of("web", reason).await.is_empty(),
            "{reason}: nothing is wrong with it"
        );
    }
}

#[tokio::test]
async fn a_missing_config_map_of_an_environment_holds_the_pod_until_it_appears() {
    let test = Test::new("materials_env").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let container = json!({ "env": [
        { "name": "COLOR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "color" } } },
    ]});
    test.create(pod(&test, "web", json!({}), container)).await;
    let message = waits(&test, "web", "CreateContainerConfigError").await;
    assert_eq!(message, "configmap \"settings\" not found");
    // The kubelet's event, and virtual-kubelet's.
    says(&test, "web", &["Failed", "MandatoryConfigMapNotFound"]).await;

    put_config_map(&test, "settings", json!({ "data": { "shape": "round" } })).await;
    let message = eventually(SOON, "it says that the key is missing", || async {
        let message = waits(&test, "web", "CreateContainerConfigError").await;
        if message.contains("color") {
            Ok(message)
        } else {
            Err(message)
        }
    })
    .await;
    assert_eq!(
        message,
        format!("couldn't find key color in ConfigMap {}/settings", test.id)
    );
    put_config_map(&test, "settings", json!({ "data": { "color": "blue" } })).await;
    test.running("web").await;
    assert_eq!(look(&test, "web").await.unwrap().env("COLOR"), Some("blue"));
}

#[tokio::test]
async fn a_missing_secret_of_a_volume_holds_the_pod_until_it_appears() {
    let test = Test::new("materials_volume").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let spec = json!({ "volumes": [{ "name": "login", "secret": { "secretName": "login" } }] });
    test.create(pod(&test, "web", spec, json!({}))).await;
    assert_eq!(waits(&test, "web", "ContainerCreating").await, "");
    says(&test, "web", &["FailedMount"]).await;
    put_secret(&test, "login", json!({ "password": "words" })).await;
    test.running("web").await;
    assert_eq!(look(&test, "web").await.unwrap().text("login/password"), Some("words"));
}

#[tokio::test]
async fn a_pod_that_waits_for_an_object_can_go() {
    let test = Test::new("materials_gone").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let spec = json!({ "volumes": [{ "name": "login", "secret": { "secretName": "login" } }] });
    let created = test.create(pod(&test, "web", spec, json!({}))).await;
    waits(&test, "web", "ContainerCreating").await;
    test.delete("web", None).await;
    test.gone("web", &uid(&created)).await;
}

#[tokio::test]
async fn what_changed_while_the_host_was_away_is_made_up_for() {
    let test = Test::new("materials_restart").await;
    let backend = test.backend().await;
    let mut host = test.start(&test.mock(backend.config()));
    test.node_ready(&test.node()).await;
    put_config_map(&test, "settings", json!({ "data": { "color": "blue" } })).await;
    let spec = json!({ "volumes": [{ "name": "config", "configMap": { "name": "settings" } }] });
    test.create(pod(&test, "web", spec, json!({}))).await;
    test.running("web").await;
    shown(&test, "web", "the ConfigMap", |shown| {
        shown.text("config/color") == Some("blue")
    })
    .await;
    host.kill9().await;
    put_config_map(&test, "settings", json!({ "data": { "color": "red" } })).await;
    host.start_again();
    shown(&test, "web", "the changed ConfigMap", |shown| {
        shown.text("config/color") == Some("red")
    })
    .await;
    backend.counts().await.assert_made_once();
    let status = test.pods().get("web").await.unwrap().status.unwrap();
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 0);
}

#[tokio::test]
async fn trust_bundles_are_projected_and_followed() {
    let test = Test::new("materials_trust").await;
    let bundles = certificates_api(&test, "ClusterTrustBundle", "clustertrustbundles").await;
    let Some(bundles) = bundles else {
        return skip(&test.id, "this cluster has no ClusterTrustBundles");
    };
    let bundles: Api<DynamicObject> = Api::all_with(test.client.clone(), &bundles);
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let source = json!({ "clusterTrustBundle": { "name": test.id, "path": "anchors.pem" } });
    let spec = json!({ "volumes": [{ "name": "trust", "projected": { "sources": [source] } }] });
    test.create(pod(&test, "web", spec, json!({}))).await;
    assert_eq!(waits(&test, "web", "ContainerCreating").await, "");
    says(&test, "web", &["FailedMount"]).await;
    let (first, second) = (authority(), authority());
    let content = |anchors: String| json!({ "spec": { "trustBundle": anchors } });
    let bundle = object(json!({ "metadata": { "name": test.id }, "spec": { "trustBundle": first.0 } }));
    bundles.create(&PostParams::default(), &bundle).await.unwrap();
    test.running("web").await;
    assert_eq!(
        look(&test, "web").await.unwrap().text("trust/anchors.pem"),
        Some(first.0.as_str())
    );
    let both = content(format!("{}{}", first.0, second.0));
    bundles
        .patch(&test.id, &PatchParams::default(), &Patch::Merge(both))
        .await
        .unwrap();
    let has = |shown: &Shown| {
        shown
            .text("trust/anchors.pem")
            .is_some_and(|text| text.contains(&second.0))
    };
    shown(&test, "web", "the changed anchors", has).await;
    bundles.delete(&test.id, &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_comes_with_its_key() {
    let test = Test::new("materials_certificate").await;
    if let Some(host) = has_its_certificate(&test, json!({})).await {
        drop(host);
    }
}

#[tokio::test]
async fn so_it_is_by_a_node_with_an_identity_of_its_own_which_goes_with_the_host() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "materials_certificate_node",
            "it needs a real signer and Node authorizer; run `make test-cluster`",
        );
    }
    let test = Test::new("materials_certificate_node").await;
    let identity = json!({ "id": test.id, "nodeCertificates": node_identity(&test).await });
    let more = json!({ "cluster": identity, "onShutdown": "deregister" });
    let Some(mut host) = has_its_certificate(&test, more).await else {
        return;
    };
    host.term();
    host.ends_with(0).await;
    assert!(test.nodes().get_opt(&test.node()).await.unwrap().is_none());
}

async fn has_its_certificate(test: &Test, config: Value) -> Option<Host> {
    let Some(requests) = certificates_api(test, "PodCertificateRequest", "podcertificaterequests").await else {
        skip(&test.id, "this cluster has no PodCertificateRequests");
        return None;
    };
    let requests: Api<DynamicObject> = Api::namespaced_with(test.client.clone(), &test.id, &requests);
    let host = test.start(&test.mock(json!({})).with(config));
    test.node_ready(&test.node()).await;
    let source = json!({ "podCertificate": {
        "signerName": "suite.outrigger.dev/signer", "keyType": "ECDSAP256",
        "keyPath": "key.pem", "certificateChainPath": "chain.pem",
    }});
    let spec =
        json!({ "volumes": [{ "name": "identity", "projected": { "sources": [source], "defaultMode": 0o600 } }] });
    let created = test.create(pod(test, "web", spec, json!({}))).await;
    let request = eventually(SOON, "a certificate is asked for", || async {
        let all = requests
            .list(&Default::default())
            .await
            .map_err(|error| error.to_string())?;
        all.items
            .into_iter()
            .next()
            .ok_or_else(|| "there is no request".to_owned())
    })
    .await;
    assert_eq!(request.data["spec"]["podUID"], json!(uid(&created)));
    assert_eq!(request.data["spec"]["nodeName"], json!(test.node()));
    waits(test, "web", "ContainerCreating").await;

    let chain = sign(&requests, &request).await;
    test.running("web").await;
    let shown = look(test, "web").await.unwrap();
    assert_eq!(shown.text("identity/chain.pem"), Some(chain.pem.as_str()));
    let key = shown.file("identity/key.pem").unwrap();
    assert!(key["text"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(key["secret"], true);
    Some(host)
}

#[tokio::test]
async fn certificates_have_keys_of_every_type_of_the_api() {
    // The suite's signer can't read requests of the last one; the API server has checked what it accepts.
    const TYPES: [&str; 5] = ["ED25519", "ECDSAP384", "RSA3072", "RSA4096", "ECDSAP521"];
    let test = Test::new("materials_key_types").await;
    let Some(requests) = certificates_api(&test, "PodCertificateRequest", "podcertificaterequests").await else {
        return skip(&test.id, "this cluster has no PodCertificateRequests");
    };
    let requests: Api<DynamicObject> = Api::namespaced_with(test.client.clone(), &test.id, &requests);
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    for kind in TYPES {
        let name = kind.to_lowercase();
        let source = json!({ "podCertificate": {
            "signerName": "suite.outrigger.dev/signer", "keyType": kind, "credentialBundlePath": "bundle.pem",
        }});
        let spec = json!({ "volumes": [{ "name": "identity", "projected": { "sources": [source] } }] });
        test.create(pod(&test, &name, spec, json!({}))).await;
        let request = eventually(
            SOON,
            &format!("a certificate with a key of type {kind} is asked for"),
            || async {
                let all = requests
                    .list(&Default::default())
                    .await
                    .map_err(|error| error.to_string())?;
                let asked = |request: &DynamicObject| request.data["spec"]["podName"] == json!(name);
                all.items
                    .into_iter()
                    .find(asked)
                    .ok_or_else(|| "there is no request".to_owned())
            },
        )
        .await;
        if kind == "ECDSAP521" {
            continue;
        }
        let chain = sign(&requests, &request).await;
        test.running(&name).await;
        let shown = look(&test, &name).await.unwrap();
        let bundle = shown.text("identity/bundle.pem").unwrap();
        assert!(bundle.starts_with("-----BEGIN PRIVATE KEY-----"), "{kind}");
        assert!(bundle.ends_with(&chain.pem), "{kind}: {bundle}");
    }
}

/// Everything that a host tells, and where: to the log, to the cluster, and on its node's kubelet port.
async fn told(test: &Test, host: &Host) -> Vec<(String, String)> {
    let mut told = vec![
        ("the log".to_owned(), host.log()),
        ("the events".to_owned(), format!("{:?}", test.events().await)),
    ];
    let pods = test.pods().list(&Default::default()).await.unwrap().items;
    told.push(("the pods".to_owned(), serde_json::to_string(&pods).unwrap()));
    let node = test.nodes().get(&test.node()).await.unwrap();
    told.push(("the node".to_owned(), serde_json::to_string(&node).unwrap()));
    if let Some(reason) = &test.cluster.no_node_proxy {
        skip("materials_hush, what the kubelet port tells", reason);
        return told;
    }
    for (path, shows) in [
        ("metrics", "kubelet_running_pods 1"),
        ("metrics/resource", "scrape_error 0"),
        ("metrics/probes", ""),
        ("metrics/cadvisor", "container_cpu_usage_seconds_total"),
        ("configz", "kubeletconfig"),
        ("pods", "\"good\""),
        ("runningpods/", "\"good\""),
        ("stats/summary", "\"good\""),
        ("healthz?verbose", "[+]syncloop ok"),
    ] {
        let whole = format!("/api/v1/nodes/{}/proxy/{path}", test.node());
        let page = eventually(SOON, &format!("{path} shows {shows}"), || async {
            let request = http::Request::get(&whole).body(Vec::new()).unwrap();
            let page = test
                .client
                .request_text(request)
                .await
                .map_err(|error| error.to_string())?;
            if page.contains(shows) { Ok(page) } else { Err(page) }
        })
        .await;
        told.push((format!("/{path}"), page));
    }
    told
}

#[tokio::test]
async fn secrets_are_in_nothing_that_a_host_tells() {
    const MARKERS: [&str; 5] = [
        "marker-of-a-password",
        "marker-of-another",
        "marker-of-a-third",
        "marker-of-a-registry",
        "marker-in-a-broken-file",
    ];
    let test = Test::new("materials_hush").await;
    let host = test.start(&test.mock(json!({})).with(json!({ "log": { "level": "trace" } })));
    test.node_ready(&test.node()).await;
    put_secret(&test, "login", json!({ "password": MARKERS[0], "other": MARKERS[1] })).await;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("robot:{}", MARKERS[3]));
    let auths = json!({ "auths": { "registry.example": { "auth": auth } } });
    put_pull_secret(&test, "pull", auths).await;
    // A number where a text should be: whoever reads it has to say so without showing it.
    let broken = json!({ "auths": { "registry.example": { "username": 1, "password": MARKERS[4] } } });
    put_pull_secret(&test, "broken", broken).await;
    // What it is asked for is missing, can't be a variable, and is expanded: each way in which something is said of it.
    let container = json!({
        "command": ["run", "--password=$(PASSWORD)"],
        "env": [{ "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "login", "key": "password" } } }],
        "envFrom": [{ "secretRef": { "name": "login" } }],
    });
    let lacking =
        json!({ "env": [{ "name": "X", "valueFrom": { "secretKeyRef": { "name": "login", "key": "absent" } } }] });
    let spec = json!({
        "volumes": [{ "name": "login", "secret": { "secretName": "login" } }],
        "imagePullSecrets": [{ "name": "pull" }, { "name": "broken" }],
    });
    test.create(pod(&test, "good", spec.clone(), container)).await;
    test.create(pod(&test, "lacking", spec, lacking)).await;
    test.running("good").await;
    says(&test, "good", &["FailedToRetrieveImagePullSecret"]).await;
    waits(&test, "lacking", "CreateContainerConfigError").await;
    says(&test, "lacking", &["Failed"]).await;
    put_secret(&test, "login", json!({ "password": MARKERS[2] })).await;
    let has = |shown: &Shown| shown.text("login/password") == Some(MARKERS[2]);
    let token = {
        let shown = shown(&test, "good", "the changed Secret", has).await;
        assert_eq!(
            shown.env("PASSWORD"),
            Some(MARKERS[2]),
            "a container that starts again gets the new one"
        );
        let registry = shown.0.iter().find(|line| line["registry"] == "registry.example");
        assert_eq!(registry.unwrap()["password"], MARKERS[3], "the provider has it");
        let token = shown
            .0
            .iter()
            .find(|line| line["file"].as_str().is_some_and(|file| file.ends_with("/token")));
        token.unwrap()["text"].as_str().unwrap().to_owned()
    };
    let told = told(&test, &host).await;
    for marker in MARKERS.iter().copied().chain([token.as_str(), auth.as_str()]) {
        // Without its end, which depends on what follows.
        let encoded = base64::engine::general_purpose::STANDARD.encode(marker);
        let encoded = &encoded[..16];
        for (place, text) in &told {
            assert!(!text.contains(marker), "{marker} is in {place}");
            assert!(!text.contains(encoded), "{marker} is in {place}, encoded");
        }
    }
    assert!(
        told[0].1.contains("TRACE"),
        "the log shows everything that there is to show"
    );
}

#[tokio::test]
async fn what_the_provider_ignores_is_neither_read_nor_waited_for() {
    let (cluster, running) = own_devcluster("materials-ignored").await;
    let test = Test::on(cluster, "materials_ignored").await;
    let support = json!({ "support": { "volumes.secret": "ignored", "volumes.projected": "ignored" } });
    let _host = test.start(&test.mock(support));
    test.node_ready(&test.node()).await;
    let spec = json!({ "volumes": [{ "name": "login", "secret": { "secretName": "login" } }] });
    test.create(pod(&test, "web", spec, json!({}))).await;
    test.running("web").await;
    for (verb, resource) in [
        ("LIST", "secrets"),
        ("WATCH", "secrets"),
        ("LIST", "configmaps"),
        ("POST", "serviceaccounts/token"),
    ] {
        assert_eq!(running.requests(verb, resource), 0, "{verb} {resource}");
    }
}

#[tokio::test]
async fn an_object_is_followed_once_and_only_while_a_pod_refers_to_it_vk_1311() {
    let (cluster, running) = own_devcluster("materials-once").await;
    let test = Test::on(cluster, "materials_once").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    put_config_map(&test, "shared", json!({ "data": { "a": "1" } })).await;
    put_config_map(&test, "fixed", json!({ "data": { "a": "1" }, "immutable": true })).await;
    put_config_map(&test, "foreign", json!({ "data": { "a": "1" } })).await;
    let before = running.requests("POST", "serviceaccounts/token");
    let spec = json!({ "volumes": [
        { "name": "shared", "configMap": { "name": "shared" } },
        { "name": "fixed", "configMap": { "name": "fixed" } },
    ]});
    let pods = ["a", "b", "c", "d", "e"];
    let mut uids = Vec::new();
    for name in pods {
        uids.push(uid(&test.create(pod(&test, name, spec.clone(), json!({}))).await));
    }
    for name in pods {
        test.running(name).await;
    }
    // Both, and kube-root-ca.crt; what can't change is not watched.
    assert_eq!(running.requests("LIST", "configmaps"), 3);
    eventually(SOON, "two are watched", || async {
        match running.watchers(Kind::ConfigMaps) {
            2 => Ok(()),
            other => Err(format!("{other} watches")),
        }
    })
    .await;
    assert_eq!(running.requests("GET", "configmaps"), 0);
    assert_eq!(
        running.requests("POST", "serviceaccounts/token") - before,
        5,
        "a token for each pod"
    );
    for (name, uid) in pods.iter().zip(&uids) {
        test.delete(name, Some(0)).await;
        test.gone(name, uid).await;
    }
    eventually(SOON, "nothing is watched any more", || async {
        match running.watchers(Kind::ConfigMaps) {
            0 => Ok(()),
            other => Err(format!("{other} watches")),
        }
    })
    .await;
}

#[tokio::test]
async fn broken_watches_lose_no_change() {
    let (cluster, running) = own_devcluster("materials-drop").await;
    let test = Test::on(cluster, "materials_drop").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    put_config_map(&test, "settings", json!({ "data": { "turn": "0" } })).await;
    let spec = json!({ "volumes": [{ "name": "config", "configMap": { "name": "settings" } }] });
    test.create(pod(&test, "web", spec, json!({}))).await;
    test.running("web").await;
    for turn in 1..=3 {
        if turn == 2 {
            // The place where it stood is no more: it has to be listed again.
            running.forget_history(Kind::ConfigMaps);
        }
        running.drop_watches(Kind::ConfigMaps);
        let value = turn.to_string();
        put_config_map(&test, "settings", json!({ "data": { "turn": value } })).await;
        shown(&test, "web", "the newest state", |shown| {
            shown.text("config/turn") == Some(value.as_str())
        })
        .await;
    }
}

#[tokio::test]
async fn a_missing_account_holds_the_pod_until_it_appears() {
    let test = Test::new("materials_account").await;
    let _host = test.start(&test.mock(json!({})));
    test.node_ready(&test.node()).await;
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(test.client.clone(), &test.id);
    let account = || object(json!({ "metadata": { "name": "robot" } }));
    accounts.create(&PostParams::default(), &account()).await.unwrap();
    // Admission wants it, so that it can only go between admission and the request for a token.
    let spec = json!({ "serviceAccountName": "robot", "schedulingGates": [{ "name": "suite.outrigger.dev/wait" }], "nodeName": null });
    let mut gated = pod(&test, "web", spec, json!({}));
    gated["spec"].as_object_mut().unwrap().remove("nodeName");
    gated["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": test.node() });
    test.create(gated).await;
    accounts.delete("robot", &DeleteParams::default()).await.unwrap();
    let free = json!({ "spec": { "schedulingGates": [] } });
    test.pods()
        .patch("web", &PatchParams::default(), &Patch::Merge(free))
        .await
        .unwrap();
    waits(&test, "web", "ContainerCreating").await;
    says(&test, "web", &["FailedMount"]).await;
    accounts.create(&PostParams::default(), &account()).await.unwrap();
    test.running("web").await;
}
