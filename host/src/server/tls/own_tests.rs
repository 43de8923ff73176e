//! Certificates of nodes, with a signer made up.

use super::super::super::tests::api::Api;
use super::super::super::tests::api::Asked;
use super::super::super::tests::api::Reply;
use super::super::super::tests::log::Log;
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::channel::mpsc::UnboundedSender;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertificateSigningRequestParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::crypto::ring;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 3600);
const NEVER: Duration = Duration::from_secs(3600);
const AT_ONCE: Duration = Duration::from_millis(1);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What becomes of requests.
#[derive(Clone, Copy)]
enum Policy {
    /// Signed at once, with this age and this much time left.
    Sign(Duration, Duration),
    /// Left alone until the test says otherwise.
    Wait,
    Deny,
    /// Signed for another key.
    Mistake,
}

/// The cluster's signer.
#[derive(Clone)]
struct Signer(Arc<Mutex<Signing>>);

struct Signing {
    issuer: CertifiedIssuer<'static, KeyPair>,
    policy: Policy,
    /// By name.
    requests: Vec<Value>,
    watches: Vec<UnboundedSender<Value>>,
}

impl Signer {
    fn new(policy: Policy) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubelet-serving");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(Arc::new(Mutex::new(Signing {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            policy,
            requests: Vec::new(),
            watches: Vec::new(),
        })))
    }

    async fn api(&self) -> Api {
        let signing = Arc::clone(&self.0);
        Api::answering(move |asked| signing.lock().unwrap().answer(asked)).await
    }

    fn requests(&self) -> Vec<Value> {
        self.0.lock().unwrap().requests.clone()
    }

    /// From now on, and for what waits.
    fn decide(&self, policy: Policy) {
        let signing = &mut *self.0.lock().unwrap();
        signing.policy = policy;
        let Some(mut last) = signing.requests.last().cloned() else {
            return;
        };
        last["status"] = signing.status(&last);
        for watch in &signing.watches {
            let _ = watch.unbounded_send(json!({ "type": "MODIFIED", "object": last }));
        }
    }

    async fn requested(&self, count: usize) -> Value {
        until(&format!("{count} requests"), || self.requests().len() >= count).await;
        self.requests()[count - 1].clone()
    }
}

impl Signing {
    fn answer(&mut self, asked: &Asked) -> Reply {
        if !asked.body.is_null() {
            let mut request = asked.body.clone();
            let name = request["metadata"]["name"].as_str().map(str::to_owned);
            let count = self.requests.len();
            request["metadata"]["name"] = name.unwrap_or_else(|| format!("csr-{count}")).into();
            request["metadata"]["uid"] = format!("uid-{count}").into();
            request["metadata"]["resourceVersion"] = count.to_string().into();
            self.requests.push(request.clone());
            return Reply::Json(201, request);
        }
        let selected = self.requests.iter().filter(|request| {
            let name = request["metadata"]["name"].as_str().unwrap();
            asked.path.contains(&format!("metadata.name%3D{name}"))
        });
        let items: Vec<Value> = selected
            .map(|request| {
                let mut request = request.clone();
                request["status"] = self.status(&request);
                request
            })
            .collect();
        if !asked.path.contains("watch=") {
            return Reply::Json(200, json!({ "metadata": { "resourceVersion": "9" }, "items": items }));
        }
        let (watch, lines) = futures::channel::mpsc::unbounded();
        self.watches.push(watch);
        Reply::Lines(lines)
    }

    fn status(&self, request: &Value) -> Value {
        let (csr, age, left) = match self.policy {
            Policy::Wait => return json!({}),
            Policy::Deny => {
                return json!({ "conditions": [{ "type": "Denied", "reason": "Stranger", "message": "who are you" }] });
            }
            Policy::Sign(age, left) => (decode(request), age, left),
            Policy::Mistake => {
                let other = KeyPair::generate().unwrap();
                let csr = CertificateParams::default().serialize_request(&other).unwrap();
                (csr.pem().unwrap(), Duration::ZERO, DAY)
            }
        };
        let mut csr = CertificateSigningRequestParams::from_pem(&csr).unwrap();
        let now = rcgen::date_time_ymd(1970, 1, 1) + SystemTime::UNIX_EPOCH.elapsed().unwrap();
        (csr.params.not_before, csr.params.not_after) = (now - age, now + left);
        let certificate = csr.signed_by(&self.issuer).unwrap();
        json!({ "conditions": [{ "type": "Approved" }], "certificate": STANDARD.encode(certificate.pem()) })
    }
}

fn decode(request: &Value) -> String {
    let csr = STANDARD.decode(request["spec"]["request"].as_str().unwrap()).unwrap();
    String::from_utf8(csr).unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node whose certificate is kept in order until this is dropped.
struct Node {
    shown: Arc<Shown>,
    addresses: watch::Sender<Vec<IpAddr>>,
    keeping: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Node {
    /// `vk-0` at 10.0.0.5, whose addresses are not known yet.
    fn start(clients: Option<Clients>, store: Option<Store>, pause: Duration) -> Self {
        let own = build(clients, store, pause);
        let shown = own.shown();
        let (addresses, known) = watch::channel(Vec::new());
        let keeping = tokio::spawn(own.keep(known));
        Self {
            shown,
            addresses,
            keeping,
        }
    }

    fn leaf(&self) -> CertificateDer<'static> {
        self.shown.current().cert[0].clone()
    }

    fn is_certified_for(&self, addresses: &[&str]) -> bool {
        let addresses: Vec<IpAddr> = addresses.iter().copied().map(address).collect();
        Certified::read(&self.leaf())
            .unwrap()
            .is_for(&Names::new("vk-0", &addresses))
    }

    /// Who signed what is shown.
    fn issuer(&self) -> String {
        let leaf = self.leaf();
        let (_, certificate) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        certificate.issuer().to_string()
    }

    fn is_from_the_cluster(&self) -> bool {
        self.issuer().contains("CN=kubelet-serving")
    }
}

fn build(clients: Option<Clients>, store: Option<Store>, pause: Duration) -> Own {
    let names = Names::new("vk-0", &[address("10.0.0.5")]);
    let timing = Timing { pause: (pause, pause) };
    Own::build(&names, Arc::new(ring::default_provider()), store, clients, timing).unwrap()
}

fn open(directory: &Path) -> Option<Store> {
    Some(Store::open(directory).unwrap())
}

#[tokio::test]
async fn a_node_shows_its_own_certificate_until_the_cluster_has_signed_one() {
    let files = tempfile::tempdir().unwrap();
    let signer = Signer::new(Policy::Wait);
    let api = signer.api().await;
    let node = Node::start(Some(api.clients.clone()), open(files.path()), NEVER);
    assert!(node.issuer().contains("CN=system:node:vk-0"), "{}", node.issuer());
    assert!(node.is_certified_for(&["10.0.0.5"]));
    assert!(
        signer.requests().is_empty(),
        "nothing is requested before the node has addresses"
    );

    node.addresses
        .send_replace(vec![address("10.0.0.5"), address("fd00::1")]);
    let request = signer.requested(1).await;
    assert_eq!(request["spec"]["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(request["spec"]["usages"], json!(["digital signature", "server auth"]));
    let csr = CertificateSigningRequestParams::from_pem(&decode(&request)).unwrap();
    let subject = &csr.params.distinguished_name;
    let entry = |kind| format!("{:?}", subject.get(&kind));
    assert!(
        entry(DnType::CommonName).contains("\"system:node:vk-0\""),
        "{subject:?}"
    );
    assert!(
        entry(DnType::OrganizationName).contains("\"system:nodes\""),
        "{subject:?}"
    );
    assert_eq!(subject.iter().count(), 2);
    assert_eq!(csr.params.subject_alt_names.len(), 3);

    until("the request is watched", || {
        !signer.0.lock().unwrap().watches.is_empty()
    })
    .await;
    assert!(!node.is_from_the_cluster());
    signer.decide(Policy::Sign(Duration::ZERO, DAY));
    until("the cluster's certificate is shown", || node.is_from_the_cluster()).await;
    assert!(node.is_certified_for(&["10.0.0.5", "fd00::1"]));
}

#[tokio::test]
async fn a_kept_certificate_outlives_the_process_and_one_that_ended_does_not() {
    for (left, is_kept) in [(DAY, true), (Duration::ZERO, false)] {
        let files = tempfile::tempdir().unwrap();
        let signer = Signer::new(Policy::Sign(DAY, left));
        let api = signer.api().await;
        let node = Node::start(Some(api.clients.clone()), open(files.path()), NEVER);
        node.addresses.send_replace(vec![address("10.0.0.5")]);
        until("the cluster's certificate is shown", || node.is_from_the_cluster()).await;
        let before = node.leaf();
        drop(node);

        let again = build(Some(api.clients.clone()), open(files.path()), NEVER);
        assert_eq!(again.shown.current().cert[0] == before, is_kept);
        assert_eq!(matches!(again.state, State::Settled { .. }), is_kept);
        // A host that does not ask the cluster any more goes back to its own.
        let own = build(None, open(files.path()), NEVER);
        assert!(own.shown.current().cert[0] != before);
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_before_it_ends_with_another_key() {
    // Nearly at its end, so that its replacement is due.
    let signer = Signer::new(Policy::Sign(DAY, Duration::from_secs(60)));
    let api = signer.api().await;
    let node = Node::start(Some(api.clients.clone()), None, AT_ONCE);
    node.addresses.send_replace(vec![address("10.0.0.5")]);
    let (first, second) = (signer.requested(1).await, signer.requested(2).await);
    let key = |request: &Value| {
        let csr = CertificateSigningRequestParams::from_pem(&decode(request)).unwrap();
        rcgen::PublicKeyData::der_bytes(&csr.public_key).to_vec()
    };
    assert!(key(&first) != key(&second));
    signer.decide(Policy::Sign(Duration::ZERO, DAY));
    let fresh = || Certified::read(&node.leaf()).unwrap().until > SystemTime::now() + DAY / 2;
    until("a certificate with a whole day is shown", fresh).await;
    let settled = signer.requests().len();
    // It is good for another 16 hours: what comes next is for another address.
    node.addresses.send_replace(vec![address("10.0.0.6")]);
    until("the new address is certified", || node.is_certified_for(&["10.0.0.6"])).await;
    assert_eq!(signer.requests().len(), settled + 1);
}

#[tokio::test]
async fn other_addresses_take_another_certificate_at_once() {
    let signer = Signer::new(Policy::Sign(Duration::ZERO, DAY));
    let api = signer.api().await;
    let node = Node::start(Some(api.clients.clone()), None, NEVER);
    node.addresses.send_replace(vec![address("10.0.0.5")]);
    until("the first is shown", || node.is_from_the_cluster()).await;
    signer.decide(Policy::Wait);
    node.addresses.send_replace(vec![address("10.0.0.6")]);
    signer.requested(2).await;
    // And again while that is waiting for its approval.
    node.addresses.send_replace(vec![address("10.0.0.7")]);
    signer.requested(3).await;
    assert!(node.is_certified_for(&["10.0.0.5"]), "the old one is shown until then");
    signer.decide(Policy::Sign(Duration::ZERO, DAY));
    until("the new one is shown", || node.is_certified_for(&["10.0.0.7"])).await;
}

#[tokio::test]
async fn refusals_are_said_once_with_what_to_do_and_tried_again() {
    let log = Log::default();
    let _guard = log.start();
    for (policy, said) in [
        (Policy::Deny, "who are you"),
        (Policy::Mistake, "no certificate for the key"),
    ] {
        let signer = Signer::new(policy);
        let api = signer.api().await;
        let node = Node::start(Some(api.clients.clone()), None, AT_ONCE);
        node.addresses.send_replace(vec![address("10.0.0.5")]);
        signer.requested(4).await;
        let warnings = log.lines(said);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(!node.is_from_the_cluster());
        signer.decide(Policy::Sign(Duration::ZERO, DAY));
        until("a signed one is shown in the end", || node.is_from_the_cluster()).await;
    }
    assert!(log.lines("who are you")[0].contains("approvers expect the requester system:node:NAME"));
    assert!(log.lines("PRIVATE KEY").is_empty());
}

#[tokio::test]
async fn a_host_that_may_not_request_is_told_what_to_allow() {
    let log = Log::default();
    let _guard = log.start();
    let api = Api::answering(|_| Reply::failure(403, "cannot create resource")).await;
    let node = Node::start(Some(api.clients.clone()), None, AT_ONCE);
    node.addresses.send_replace(vec![address("10.0.0.5")]);
    until("it is tried again", || api.asked().len() > 2).await;
    let warnings = log.lines("unable to get a serving certificate");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("cannot create resource") && warnings[0].contains("configs/rbac.yaml"));
}

#[tokio::test]
async fn a_node_that_signs_for_itself_follows_its_addresses_and_stays_the_same_otherwise() {
    let files = tempfile::tempdir().unwrap();
    let node = Node::start(None, open(files.path()), AT_ONCE);
    let first = node.leaf();
    let again = build(None, open(files.path()), NEVER);
    assert_eq!(again.shown.current().cert[0], first, "it is kept");
    assert!(
        build(None, None, NEVER).shown.current().cert[0] != first,
        "nothing is kept without a directory"
    );

    node.addresses.send_replace(vec![address("10.0.0.6")]);
    until("the new address is certified", || node.is_certified_for(&["10.0.0.6"])).await;
}
