use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{self, PODS, pod, start};

#[tokio::test]
async fn typed_clients_create_list_patch_and_delete() {
    let cluster = start().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let mut map = ConfigMap::default();
    map.metadata.generate_name = Some("m-".into());
    let created = maps.create(&PostParams::default(), &map).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert!(name.starts_with("m-") && name.len() == 7);
    let patched = maps
        .patch(
            &name,
            &PatchParams::default(),
            &Patch::Merge(json!({"data": {"a": "b"}})),
        )
        .await
        .unwrap();
    assert_eq!(patched.data.unwrap()["a"], "b");
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"c": "d"}});
    let applied = maps
        .patch("fresh", &PatchParams::apply("test"), &Patch::Apply(apply))
        .await
        .unwrap();
    assert_eq!(
        applied.metadata.managed_fields.unwrap()[0].manager.as_deref(),
        Some("test")
    );
    let all = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), 3, "with kube-root-ca.crt");
    maps.delete(&name, &Default::default()).await.unwrap();
    let gone = maps.get(&name).await.unwrap_err();
    assert!(matches!(gone, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"));
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let cluster = start().await;
    for at in 0..5 {
        let (code, _) = cluster
            .post(PODS, pod(&format!("p{at}"), if at < 3 { "n1" } else { "n2" }))
            .await;
        assert_eq!(code, 201);
    }
    let (_, first) = cluster.get(&format!("{PODS}?limit=2")).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().unwrap();
    cluster.post(PODS, pod("late", "n1")).await;
    let (_, second) = cluster.get(&format!("{PODS}?limit=9&continue={token}")).await;
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert_eq!(second["items"][0]["metadata"]["name"], "p2");
    assert!(second["metadata"]["continue"].is_null());
    for (query, count) in [
        ("fieldSelector=spec.nodeName=n1", 4),
        ("fieldSelector=spec.nodeName!=n1", 2),
        (
            "fieldSelector=spec.nodeName%3Dn1,status.phase!=Failed&labelSelector=app%20in%20(x,y)",
            4,
        ),
        ("labelSelector=app!=x", 0),
        ("fieldSelector=metadata.name=p3", 1),
        ("resourceVersion=0", 6),
    ] {
        let (_, list) = cluster.get(&format!("{PODS}?{query}")).await;
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(
        cluster.get(&format!("{PODS}?fieldSelector=spec.nonsense=1")).await.0,
        400
    );
    assert_eq!(cluster.get(&format!("{PODS}?continue=nonsense")).await.0, 400);
    let (code, future) = cluster.get(&format!("{PODS}?resourceVersion=999999999")).await;
    assert_eq!((code, &future["details"]["retryAfterSeconds"]), (504, &json!(1)));
    cluster.running.forget_history(outrigger_devcluster::Kind::Pods);
    let (code, expired) = cluster.get(&format!("{PODS}?limit=9&continue={token}")).await;
    assert_eq!((code, expired["reason"].as_str()), (410, Some("Expired")));
}

#[tokio::test]
async fn writes_are_guarded_by_revision_and_uid() {
    let cluster = start().await;
    let (_, created) = cluster.post(PODS, pod("p", "")).await;
    let path = format!("{PODS}/p");
    assert_eq!(cluster.post(PODS, pod("p", "")).await.1["reason"], "AlreadyExists");
    let mut stale = created.clone();
    stale["metadata"]["labels"]["a"] = json!("1");
    assert_eq!(cluster.put(&path, stale.clone()).await.0, 200);
    let (code, conflict) = cluster.put(&path, stale).await;
    assert_eq!((code, conflict["reason"].as_str()), (409, Some("Conflict")));
    let by_revision = json!({"metadata": {"resourceVersion": "1", "labels": {"b": "2"}}});
    assert_eq!(cluster.patch("merge", &path, by_revision).await.0, 409);
    let (code, status) = cluster
        .patch(
            "strategic-merge",
            &format!("{path}/status"),
            json!({"metadata": {"uid": "other"}, "status": {}}),
        )
        .await;
    assert_eq!(code, 409);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("Precondition failed: UID in precondition: other"),
        "{status}"
    );
    let before = cluster.get(&path).await.1;
    assert_eq!(
        cluster
            .patch("merge", &path, json!({"metadata": {"labels": {"a": "1"}}}))
            .await
            .1,
        before,
        "an empty change writes nothing"
    );
    let json_patch = json!([{"op": "replace", "path": "/metadata/labels/a", "value": "9"}]);
    assert_eq!(
        cluster.patch("json", &path, json_patch).await.1["metadata"]["labels"]["a"],
        "9"
    );
    assert_eq!(
        cluster
            .patch(
                "json",
                &path,
                json!([{"op": "test", "path": "/metadata/name", "value": "x"}])
            )
            .await
            .0,
        422
    );
    assert_eq!(cluster.patch("nonsense", &path, json!({})).await.0, 415);
}

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let cluster = start().await;
    let (code, invalid) = cluster
        .post(
            PODS,
            json!({"metadata": {"name": "Bad_Name"}, "spec": {"containers": [{"name": "c"}]}}),
        )
        .await;
    assert_eq!((code, invalid["reason"].as_str()), (422, Some("Invalid")));
    let fields: Vec<&Value> = invalid["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["field"])
        .collect();
    assert_eq!(fields, ["metadata.name", "spec.containers[0].image"]);
    assert_eq!(cluster.post("/api/v1/namespaces/none/pods", pod("p", "")).await.0, 404);
    assert_eq!(
        cluster.post(PODS, json!({"kind": "Node", "apiVersion": "v1"})).await.0,
        400
    );
    assert_eq!(cluster.get("/api/v1/gadgets").await.0, 404);
    assert_eq!(cluster.post(PODS, json!("x".repeat(4 << 20))).await.0, 413);
    let mut alone = pod("p", "");
    alone["spec"]["serviceAccountName"] = json!("nobody");
    let (code, forbidden) = cluster.post(PODS, alone).await;
    assert_eq!(code, 403, "{forbidden}");
}

#[tokio::test]
async fn strangers_are_refused_and_tokens_accepted() {
    let cluster = start().await;
    let plain = support::start_with(
        outrigger_devcluster::DevCluster::builder()
            .plain_http(true)
            .controllers(support::quiet()),
    )
    .await;
    let url = format!("{}/api/v1/pods", plain.running.url());
    let stranger = kube::Config::new(plain.running.url().parse().unwrap());
    let stranger = kube::Client::try_from(stranger).unwrap();
    let request = http::Request::get(url).body(Vec::new().into()).unwrap();
    assert_eq!(stranger.send(request).await.unwrap().status().as_u16(), 401);
    assert_eq!(plain.get("/api/v1/pods").await.0, 200);

    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let (code, issued) = cluster
        .post(path, json!({"spec": {"audiences": ["me"], "expirationSeconds": 600}}))
        .await;
    assert_eq!(code, 201);
    let review = |token: &Value, audience: &str| json!({"spec": {"token": token, "audiences": [audience]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, known) = cluster.post(reviews, review(&issued["status"]["token"], "me")).await;
    assert_eq!(
        known["status"]["user"]["username"],
        "system:serviceaccount:default:default"
    );
    let (_, other) = cluster.post(reviews, review(&issued["status"]["token"], "you")).await;
    assert_eq!(other["status"]["authenticated"], false);
    let (_, access) = cluster
        .post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            json!({"spec": {"user": "a"}}),
        )
        .await;
    assert_eq!(access["status"]["allowed"], true);
}

#[tokio::test]
async fn events_have_two_forms_of_one_object() {
    let cluster = start().await;
    let core = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "R", "message": "m"});
    assert_eq!(cluster.post("/api/v1/namespaces/default/events", core).await.0, 201);
    let (_, new) = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await;
    assert_eq!(
        (&new["apiVersion"], &new["note"], &new["regarding"]["name"]),
        (&json!("events.k8s.io/v1"), &json!("m"), &json!("p"))
    );
    let newer = json!({"apiVersion": "events.k8s.io/v1", "metadata": {"name": "f"}, "regarding": {"kind": "Pod", "name": "q"}, "reason": "S", "note": "n",
        "reportingController": "c", "eventTime": "2026-01-01T00:00:00.000000Z"});
    assert_eq!(
        cluster
            .post("/apis/events.k8s.io/v1/namespaces/default/events", newer)
            .await
            .0,
        201
    );
    let (_, list) = cluster
        .get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=q,reason=S")
        .await;
    assert_eq!(list["items"][0]["message"], "n");
    let (_, patched) = cluster
        .patch(
            "strategic-merge",
            "/apis/events.k8s.io/v1/namespaces/default/events/f",
            json!({"series": {"count": 2}}),
        )
        .await;
    assert_eq!(
        (&patched["series"]["count"], &patched["note"]),
        (&json!(2), &json!("n"))
    );
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let cluster = start().await;
    assert_eq!(cluster.post(&format!("{PODS}?dryRun=All"), pod("p", "")).await.0, 201);
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.0, 404);
    cluster.post(PODS, pod("p", "")).await;
    let (_, dry) = cluster
        .patch(
            "merge",
            &format!("{PODS}/p?dryRun=All"),
            json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await;
    assert_eq!(dry["metadata"]["labels"]["a"], "b");
    assert_eq!(
        cluster.delete(&format!("{PODS}/p?dryRun=All"), Value::Null).await.0,
        200
    );
    assert!(cluster.get(&format!("{PODS}/p")).await.1["metadata"]["labels"]["a"].is_null());
}

#[tokio::test]
async fn dry_runs_of_bindings_and_evictions_store_nothing() {
    let cluster = start().await;
    let (_, created) = cluster.post(PODS, pod("p", "")).await;
    let unchanged = async |what: &str| assert_eq!(cluster.get(&format!("{PODS}/p")).await.1, created, "{what}");
    let (bind, evict) = (format!("{PODS}/p/binding"), format!("{PODS}/p/eviction"));
    let binding = json!({"target": {"kind": "Node", "name": "n"}});
    let eviction = json!({"deleteOptions": {"gracePeriodSeconds": 0}});
    assert_eq!(
        cluster.post(&format!("{bind}?dryRun=All"), binding.clone()).await.0,
        201
    );
    unchanged("a binding").await;
    assert_eq!(cluster.post(&format!("{evict}?dryRun=All"), eviction).await.0, 201);
    unchanged("an eviction, by its query").await;
    let eviction = json!({"deleteOptions": {"gracePeriodSeconds": 0, "dryRun": ["All"]}});
    assert_eq!(cluster.post(&evict, eviction).await.0, 201);
    unchanged("an eviction, by its options").await;
    assert_eq!(cluster.post(&format!("{bind}?dryRun=Some"), binding).await.0, 400);
    unchanged("a binding that asks for another kind of dry run").await;
}

#[tokio::test]
async fn a_lease_is_replaced_at_a_named_version_alone() {
    let cluster = start().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let path = format!("{leases}/n");
    let lease = |holder: &str, version: Option<&Value>| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "n", "namespace": "kube-node-lease", "resourceVersion": version},
            "spec": {"holderIdentity": holder}})
    };
    let (code, made) = cluster.put(&path, lease("a", None)).await;
    assert_eq!(code, 201, "PUT makes one that is not there: {made}");
    for unconditional in [lease("b", None), lease("b", Some(&json!("0")))] {
        let (code, refused) = cluster.put(&path, unconditional).await;
        assert_eq!(
            (code, refused["message"].as_str().unwrap()),
            (
                422,
                "leases.coordination.k8s.io \"n\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            )
        );
    }
    let version = &made["metadata"]["resourceVersion"];
    let (code, renewed) = cluster.put(&path, lease("b", Some(version))).await;
    assert_eq!((code, &renewed["spec"]["holderIdentity"]), (200, &json!("b")));
    assert_eq!(cluster.put(&path, lease("c", Some(version))).await.0, 409);
    let patch = json!({"spec": {"holderIdentity": "d"}});
    assert_eq!(cluster.patch("merge", &path, patch).await.0, 200);
    cluster.delete(&path, Value::Null).await;
    let (code, again) = cluster.put(&path, lease("e", Some(version))).await;
    assert_eq!(code, 201, "{again}");
}

#[tokio::test]
async fn fields_that_an_object_leaves_out_are_selected_as_what_they_count_as() {
    let cluster = start().await;
    for (name, spec) in [("left-out", json!({})), ("cordoned", json!({"unschedulable": true}))] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec});
        assert_eq!(cluster.post("/api/v1/nodes", node).await.0, 201);
    }
    for (selector, expected) in [
        ("spec.unschedulable%3Dfalse", "left-out"),
        ("spec.unschedulable%21%3Dtrue", "left-out"),
        ("spec.unschedulable%3Dtrue", "cordoned"),
        ("spec.unschedulable%21%3Dfalse", "cordoned"),
    ] {
        let (_, list) = cluster.get(&format!("/api/v1/nodes?fieldSelector={selector}")).await;
        let names: Vec<&Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| &n["metadata"]["name"])
            .collect();
        assert_eq!(names, [expected], "{selector}");
    }
}

#[tokio::test]
async fn requests_are_counted() {
    let cluster = start().await;
    cluster.post(PODS, pod("p", "n")).await;
    cluster
        .patch(
            "strategic-merge",
            &format!("{PODS}/p/status"),
            json!({"status": {"phase": "Running"}}),
        )
        .await;
    assert_eq!(
        (
            cluster.running.requests("POST", "pods"),
            cluster.running.requests("PATCH", "pods/status")
        ),
        (1, 1)
    );
    let (_, text) = cluster.get("/metrics").await;
    assert!(
        text.as_str()
            .unwrap()
            .contains(r#"resource="pods",scope="",subresource="status",verb="PATCH",version="v1"} 1"#)
    );
}
