use super::*;
use crate::node::handle::NodeHandle;
use bytes::Bytes;
use http::Method;
use http::Response;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::Full;
use kube::client::Body;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

const TIMING: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(1),
    renewal: Duration::from_millis(200),
};
const SOON: Duration = Duration::from_secs(30);

/// One lease with the API server's rules for versions.
#[derive(Clone, Default)]
struct Store {
    lease: Arc<Mutex<(u64, Option<Value>)>>,
}

impl Store {
    fn answer(&self, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut guard = self.lease.lock().unwrap();
        let refuse = |code: u16, reason: &str| (code, json!({ "kind": "Status", "reason": reason, "message": reason }));
        let decoded = || serde_json::from_slice::<Value>(body).unwrap();
        let stored = guard.1.clone();
        let mut new = match (method.as_str(), stored) {
            ("POST", None) => decoded(),
            ("POST", Some(_)) => return refuse(409, "AlreadyExists"),
            (_, None) => return refuse(404, "NotFound"),
            ("GET", Some(object)) => return (200, object),
            ("PUT", Some(object)) => {
                let new = decoded();
                if new["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return refuse(409, "Conflict");
                }
                new
            }
            ("DELETE", Some(object)) => {
                guard.1 = None;
                return (200, object);
            }
            (other, _) => panic!("unexpected {other}"),
        };
        guard.0 += 1;
        new["metadata"]["resourceVersion"] = json!(guard.0.to_string());
        new["metadata"]["uid"] = json!("lease-uid");
        guard.1 = Some(new.clone());
        (200, new)
    }

    fn read(&self) -> Option<Value> {
        self.lease.lock().unwrap().1.clone()
    }

    fn holder(&self) -> Option<String> {
        self.read()?["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }

    fn remove(&self) {
        self.lease.lock().unwrap().1 = None;
    }

    /// A client of this store, and a switch that cuts it off.
    fn client(&self) -> (Client, Arc<AtomicBool>) {
        let store = self.clone();
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = cut.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (store, is_cut) = (store.clone(), is_cut.clone());
            async move {
                if is_cut.load(Ordering::SeqCst) {
                    return Err(std::io::Error::other("cut off").into());
                }
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (code, answer) = store.answer(&head.method, &body);
                let body = Full::new(Bytes::from(answer.to_string()));
                let answer = Response::builder().status(StatusCode::from_u16(code)?).body(body)?;
                Ok::<_, tower::BoxError>(answer)
            }
        });
        (Client::new(service), cut)
    }
}

/// A host that claims the node `vk`.
struct Host {
    handle: NodeHandle,
    holder: String,
    cut: Arc<AtomicBool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Host {
    fn start(store: &Store) -> Self {
        let (client, cut) = store.client();
        let handle = NodeHandle::new("vk".into(), "mock".into(), 10250);
        handle.shared.uid.send_replace(Some("first-uid".into()));
        let instance = InstanceId::current().unwrap();
        let claim = Claim::new(client, handle.shared.clone(), instance.clone(), TIMING);
        let stop = CancellationToken::new();
        let task = tokio::spawn(claim.run(stop.clone()));
        Self {
            handle,
            holder: instance.to_string(),
            cut,
            stop,
            task,
        }
    }

    async fn reaches(&self, wanted: impl Fn(&Ownership) -> bool) -> Ownership {
        let mut ownership = self.handle.ownership();
        let reached = tokio::time::timeout(SOON, ownership.wait_for(|now| wanted(now))).await;
        reached.expect("the ownership within the deadline").unwrap().clone()
    }

    async fn holds(&self) {
        self.reaches(|now| *now == Ownership::Held).await;
        assert!(self.handle.may_act());
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        assert!(!self.handle.may_act());
    }
}

#[tokio::test]
async fn the_first_host_holds_and_the_second_waits_until_it_is_released() {
    let store = Store::default();
    let first = Host::start(&store);
    first.holds().await;
    let second = Host::start(&store);
    let waiting = second
        .reaches(|now| matches!(now, Ownership::Waiting { holder: Some(_) }))
        .await;
    assert_eq!(
        waiting,
        Ownership::Waiting {
            holder: Some(first.holder.clone())
        }
    );
    assert!(!second.handle.may_act());
    first.end().await;
    second.holds().await;
    assert_eq!(store.holder(), Some(second.holder.clone()));
    assert_eq!(store.read().unwrap()["spec"]["leaseTransitions"], 1);
    second.end().await;
    assert_eq!(store.holder().as_deref(), Some(""));
}

#[tokio::test]
async fn of_many_contenders_one_holds() {
    let store = Store::default();
    let hosts: Vec<Host> = (0..8).map(|_| Host::start(&store)).collect();
    for host in &hosts {
        host.reaches(|now| !matches!(now, Ownership::Waiting { holder: None }))
            .await;
    }
    let acting: Vec<&Host> = hosts.iter().filter(|host| host.handle.may_act()).collect();
    assert_eq!(acting.len(), 1);
    assert_eq!(store.holder().as_ref(), Some(&acting[0].holder));
}

#[tokio::test]
async fn a_host_that_is_cut_off_stops_before_another_starts() {
    let store = Store::default();
    let first = Host::start(&store);
    first.holds().await;
    let second = Host::start(&store);
    second
        .reaches(|now| matches!(now, Ownership::Waiting { holder: Some(_) }))
        .await;
    first.cut.store(true, Ordering::SeqCst);
    second.holds().await;
    assert!(!first.handle.may_act(), "two hosts act for one node");
    first.reaches(|now| *now == Ownership::Lost).await;
    first.cut.store(false, Ordering::SeqCst);
    let waiting = first
        .reaches(|now| matches!(now, Ownership::Waiting { holder: Some(_) }))
        .await;
    assert_eq!(
        waiting,
        Ownership::Waiting {
            holder: Some(second.holder.clone())
        }
    );
    assert!(second.handle.may_act());
}

#[tokio::test]
async fn a_host_that_comes_back_before_anybody_else_goes_on() {
    let store = Store::default();
    let host = Host::start(&store);
    host.holds().await;
    host.cut.store(true, Ordering::SeqCst);
    host.reaches(|now| *now == Ownership::Lost).await;
    assert!(!host.handle.may_act());
    host.cut.store(false, Ordering::SeqCst);
    host.holds().await;
    assert_eq!(store.read().unwrap()["spec"]["leaseTransitions"], 0);
}

#[tokio::test]
async fn a_tenure_that_ended_unnoticed_is_another_one_afterwards() {
    let store = Store::default();
    let host = Host::start(&store);
    host.holds().await;
    let mut ownership = host.handle.ownership();
    ownership.mark_unchanged();
    let before = host.handle.tenure();
    // As after a machine has slept.
    host.handle.shared.tenure.end();
    tokio::time::timeout(SOON, ownership.changed()).await.unwrap().unwrap();
    host.holds().await;
    assert_eq!(host.handle.tenure(), before + 1);
}

#[tokio::test]
async fn a_plain_kubelets_lease_is_waited_for_and_then_taken() {
    let store = Store::default();
    let kubelet = json!({
        "metadata": { "name": "vk" },
        "spec": { "holderIdentity": "vk", "leaseDurationSeconds": 1, "renewTime": "2026-11-23T06:00:00.000000Z" },
    });
    store.answer(&Method::POST, kubelet.to_string().as_bytes());
    let start = Instant::now();
    let host = Host::start(&store);
    let waiting = host
        .reaches(|now| matches!(now, Ownership::Waiting { holder: Some(_) }))
        .await;
    assert_eq!(
        waiting,
        Ownership::Waiting {
            holder: Some("vk".into())
        }
    );
    host.holds().await;
    assert!(
        start.elapsed() >= TIMING.duration,
        "an old renewTime is no proof: clocks differ"
    );
}

#[tokio::test]
async fn a_deleted_lease_is_made_again_and_follows_its_node() {
    let store = Store::default();
    let host = Host::start(&store);
    host.holds().await;
    store.remove();
    host.handle.shared.uid.send_replace(Some("node-uid".into()));
    let deadline = Instant::now() + SOON;
    loop {
        let owner = store
            .read()
            .map(|lease| lease["metadata"]["ownerReferences"][0]["uid"].clone());
        if owner == Some(json!("node-uid")) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the lease is not there, or without its owner: {owner:?}"
        );
        tokio::task::yield_now().await;
    }
    assert!(host.handle.may_act());
    host.end().await;
    let holder = store.read().map(|lease| lease["spec"]["holderIdentity"].clone());
    assert_eq!(holder, Some(json!("")), "it stays with its node");
}

#[tokio::test]
async fn a_deleted_lease_is_its_holders_until_it_would_have_run_out() {
    let store = Store::default();
    let first = Host::start(&store);
    first.holds().await;
    let second = Host::start(&store);
    second
        .reaches(|now| matches!(now, Ownership::Waiting { holder: Some(_) }))
        .await;
    first.cut.store(true, Ordering::SeqCst);
    store.remove();
    second.holds().await;
    assert!(!first.handle.may_act(), "it could not know");
}

#[tokio::test]
async fn a_lease_without_a_node_does_not_stay() {
    let store = Store::default();
    let host = Host::start(&store);
    host.holds().await;
    host.handle.shared.uid.send_replace(None);
    host.end().await;
    assert_eq!(store.read(), None);
}

#[tokio::test]
async fn the_end_of_a_process_wakes_who_waits_for_it() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let waiting = tokio::spawn(process_end(Some(child.id())));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    child.kill().unwrap();
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("the end is seen")
        .unwrap();
    child.wait().unwrap();
}
