//! What a host asks of the API server, by the API server's own log of requests: which verbs a pod's life takes, and that
//! none is outside of `configs/rbac.yaml`.

use crate::harness::ControlPlane;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::object;
use crate::harness::skip;
use crate::rights::Right;
use crate::rights::Role;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::SignedDuration;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::LogParams;
use kube::api::PostParams;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// The host's account.
const HOST: &str = "system:serviceaccount:outrigger-system:outrigger";
/// Paths without an object: what everybody may read who is somebody (`system:discovery`, `system:public-info-viewer`).
const DISCOVERY: [&str; 3] = ["/version", "/readyz", "/apis/certificates.k8s.io/v1"];
/// Requests of this test at a time.
const AT_A_TIME: usize = 4;
/// A pod that does not run by then is shown as one that is being made, which is one more write.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_millis(500);
/// For all pods to run, or to be gone.
const LONG: Duration = Duration::from_secs(300);

fn pods() -> usize {
    std::env::var("OUTRIGGER_SUITE_AUDIT_PODS").map_or(100, |number| number.parse().unwrap())
}

/// A line of the log.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    uri: String,
    #[serde(rename = "requestReceivedTimestamp")]
    received: String,
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    resource: String,
    #[serde(default)]
    subresource: String,
    #[serde(default)]
    api_group: String,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    code: Option<u16>,
}

impl Request {
    /// What it takes; `None` for a path without an object.
    fn right(&self) -> Option<Right> {
        let object = self.object_ref.as_ref()?;
        let resource = match object.subresource.as_str() {
            "" => object.resource.clone(),
            subresource => format!("{}/{subresource}", object.resource),
        };
        Some(Right::new(&object.api_group, &resource, &self.verb))
    }

    /// The pod whose object it writes, if it writes one.
    fn writes_pod(&self) -> Option<&str> {
        let object = self.object_ref.as_ref().filter(|object| object.resource == "pods")?;
        let reads = ["get", "list", "watch"].contains(&self.verb.as_str());
        object.name.as_deref().filter(|_| !reads)
    }
}

/// Every request in a log once, though a watch is noted when it begins and when it ends.
fn requests(log: &str) -> Vec<Request> {
    let mut seen = HashSet::new();
    log.lines()
        .map(|line| serde_json::from_str::<Request>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|request| seen.insert(request.id.clone()))
        .collect()
}

/// Has something noted that can be found again, and waits for it: what was asked before it is in the log then.
async fn mark(test: &Test, plane: &ControlPlane, name: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.id);
    assert!(maps.get_opt(name).await.unwrap().is_none());
    eventually(SOON, "the log has the mark", || async {
        plane.audit_log().contains(name).then_some(()).ok_or("it has not")
    })
    .await;
}

/// That the API server has dropped nothing of its log.
async fn assert_complete(test: &Test) {
    let metrics = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = test.client.request_text(metrics).await.unwrap();
    let lost = metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_audit_error_total"));
    for line in lost {
        assert!(line.ends_with(" 0"), "the log of requests is not whole: {line}");
    }
}

/// Runs pods, has them go, and returns when each was created.
async fn run_and_delete(test: &Test, count: usize) -> HashMap<String, Timestamp> {
    let pods: Api<Pod> = test.pods();
    let created = &Mutex::new(HashMap::new());
    let name = |number: usize| format!("web-{number}");
    futures::stream::iter(0..count)
        .for_each_concurrent(AT_A_TIME, |number| async move {
            let pods: Api<Pod> = test.pods();
            let pod = object(test.pod(&name(number), json!({})));
            created.lock().unwrap().insert(name(number), Timestamp::now());
            pods.create(&PostParams::default(), &pod).await.unwrap();
        })
        .await;
    eventually(LONG, "all pods run", || async {
        let all = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        match all.iter().filter(|pod| is_running(pod)).count() {
            running if running == count => Ok(()),
            running => Err(format!("{running} do")),
        }
    })
    .await;
    // Somebody reads a log, so that somebody asks who that is.
    pods.logs(&name(0), &LogParams::default()).await.unwrap();
    futures::stream::iter(0..count)
        .for_each_concurrent(AT_A_TIME, |number| async move {
            let pods: Api<Pod> = test.pods();
            pods.delete(&name(number), &DeleteParams::default()).await.unwrap();
        })
        .await;
    eventually(LONG, "all pods are gone", || async {
        let all = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        match all.items.len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    })
    .await;
    created.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_life_takes_three_writes_and_no_right_that_the_host_was_not_given() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "audit",
            "it reads a real API server's log of requests; run `make test-cluster`",
        );
    }
    let count = pods();
    let plane = ControlPlane::start_audited("audit").await;
    let test = Test::on(plane.cluster, "audit").await;
    let capacity = json!({ "capacity": { "pods": "10000" } });
    let mut host = test.start(&test.mock(capacity).with(json!({ "onShutdown": "deregister" })));
    test.node_ready(&test.node()).await;
    mark(&test, &plane, "mark-of-the-beginning").await;
    let created = run_and_delete(&test, count).await;
    mark(&test, &plane, "mark-of-the-end").await;
    host.term();
    host.ends_with(0).await;
    mark(&test, &plane, "mark-of-the-hosts-end").await;
    assert_complete(&test).await;

    let all = requests(&plane.audit_log());
    let role = Role::shipped();
    let of_host = |request: &&Request| request.user.username == HOST;
    for request in all.iter().filter(of_host) {
        let Some(right) = request.right() else {
            let path = request.uri.split('?').next().unwrap_or_default();
            assert!(DISCOVERY.contains(&path), "{request:?}");
            continue;
        };
        let object = request.object_ref.as_ref().unwrap();
        let allowed = role.allows(&right, object.namespace.as_deref(), object.name.as_deref());
        assert!(allowed, "configs/rbac.yaml does not grant {right}: {request:?}");
        // By this role, and by no other that the account may have.
        let reason = request.annotations.get("authorization.k8s.io/reason");
        assert!(
            reason.is_some_and(|reason| reason.contains("\"outrigger")),
            "{request:?}"
        );
    }

    let position = |name: &str| all.iter().position(|request| request.uri.contains(name)).unwrap();
    let lives = &all[position("mark-of-the-beginning")..position("mark-of-the-end")];
    let (mut table, mut writes) = (
        BTreeMap::<String, usize>::new(),
        BTreeMap::<&str, Vec<Timestamp>>::new(),
    );
    for request in lives.iter().filter(of_host) {
        let what = request
            .right()
            .map_or_else(|| request.uri.clone(), |right| right.to_string());
        *table.entry(what).or_default() += 1;
        if let Some(pod) = request.writes_pod() {
            writes.entry(pod).or_default().push(request.received.parse().unwrap());
        }
    }
    let mut report = format!("{count} pods, requests of the host in all and for each life:\n");
    for (what, number) in &table {
        #[allow(clippy::cast_precision_loss)]
        let each = *number as f64 / count as f64;
        writeln!(report, "  {what:45} {number:7} {each:7.2}").unwrap();
    }
    eprint!("{report}");
    // A test that passes is not heard; this stays: target/tmp/requests-per-pod-life.txt.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("requests-per-pod-life.txt");
    std::fs::write(file, report).unwrap();
    let refused: Vec<_> = lives
        .iter()
        .filter(of_host)
        .filter(|request| request.response_status.as_ref().and_then(|status| status.code) >= Some(400))
        .collect();
    eprintln!("{} of them were refused", refused.len());
    assert_eq!(writes.len(), count, "a pod without a write");
    let mut shown = 0;
    for (pod, times) in writes {
        let late = times.iter().min().unwrap().duration_since(created[pod]) >= SHOWN_AFTER;
        shown += usize::from(late);
        assert!(times.len() <= 3 + usize::from(late), "{pod}: {} writes", times.len());
    }
    eprintln!("{shown} pods took so long that they were shown as being made");
}
