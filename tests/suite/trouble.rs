//! Churn on a way to the API server where something goes wrong every few seconds, and with a control plane whose parts are
//! killed: nothing is lost, doubled, stuck or orphaned, and the node's lease goes on. The same churn without faults comes
//! first, to compare how soon pods are Ready.

mod readiness;

use crate::harness::ControlPlane;
use crate::harness::MockBackend;
use crate::harness::Test;
use crate::harness::Trouble;
use crate::harness::TroubledWay;
use crate::harness::object;
use crate::harness::settled;
use crate::harness::skip;
use crate::harness::uid;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::api::PostParams;
use readiness::Readiness;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

/// From the beginning of one fault to that of the next.
const EVERY: Duration = Duration::from_secs(10);
/// How long those last that have a length.
const LENGTH: Duration = Duration::from_secs(6);
/// Pods that are there at any time: so many that each lives twice as long as it may take to be Ready.
const POPULATION: usize = 200;
/// For the host to catch up with everything at the end.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Without a renewal for that long another host, and the node controller, may take a node for dead.
const LEASE: Duration = Duration::from_secs(40);
/// Renewals come this often, and a little more.
const INTERVAL: Duration = Duration::from_secs(12);
/// After an outage of the API server the lease is renewed this soon.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// All pods but one in a hundred are Ready this soon, without faults.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// And with them, not counting the time in which the API server could not be asked. The aim of five seconds is asserted where
/// nothing else runs beside; among other tests only that nobody waits for a back-off that has grown.
fn ready_after_faults_within() -> Duration {
    let seconds = std::env::var("OUTRIGGER_SUITE_READY_SECONDS").map_or(15, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// One of the things that go wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Way(Trouble),
    Cut,
    Crash(&'static str),
}

impl Fault {
    /// How long nothing can be asked after its end, if nothing can be asked while it lasts: to a host that is as if the API
    /// server were down.
    fn shuts_the_way(self) -> Option<Duration> {
        match self {
            Self::Cut | Self::Crash(_) => None,
            Self::Way(Trouble::None | Trouble::ShortWatches(_) | Trouble::Forgotten) => None,
            // What was asked before its end waits on.
            Self::Way(Trouble::Slow(delay)) => Some(delay),
            Self::Way(_) => Some(Duration::ZERO),
        }
    }
}

const FAULTS: [Fault; 10] = [
    Fault::Cut,
    Fault::Way(Trouble::Busy),
    Fault::Way(Trouble::HalfOpen),
    Fault::Crash("kube-apiserver"),
    Fault::Way(Trouble::Forgotten),
    Fault::Way(Trouble::Broken),
    Fault::Way(Trouble::ShortWatches(Duration::from_secs(1))),
    Fault::Crash("etcd"),
    Fault::Way(Trouble::Slow(Duration::from_secs(10))),
    Fault::Way(Trouble::Refused),
];

/// How many faults; all of them several times over take five minutes.
fn rounds() -> usize {
    std::env::var("OUTRIGGER_SUITE_TROUBLES").map_or(FAULTS.len(), |number| number.parse().unwrap())
}

/// How many faults' time the churn goes on before the first of them.
fn calm_rounds() -> u32 {
    std::env::var("OUTRIGGER_SUITE_CALM_ROUNDS").map_or(2, |number| number.parse().unwrap())
}

/// Pods that are created, and deleted, in a second.
const RATE: u32 = 20;

/// Whether nothing else runs beside.
fn alone() -> bool {
    std::env::var_os("OUTRIGGER_SUITE_READY_SECONDS").is_some()
}

/// What whoever creates and deletes pods knows of them.
#[derive(Default)]
struct Churned {
    made: usize,
    /// By name.
    alive: BTreeMap<String, String>,
    /// Not there when they were to be deleted, though nobody had done that before.
    lost: Vec<String>,
}

/// Creates pods and deletes the oldest, past the trouble, and again where the API server is away.
async fn churn(
    pods: Api<Pod>,
    template: serde_json::Value,
    readiness: Arc<Readiness>,
    stop: Arc<AtomicBool>,
) -> Churned {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / RATE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut churned = Churned::default();
    let (mut order, mut told) = (VecDeque::new(), BTreeSet::new());
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        let name = format!("web-{}", churned.made);
        let mut pod = template.clone();
        pod["metadata"]["name"] = name.clone().into();
        readiness.created(&name);
        let oldest = (order.len() > POPULATION).then(|| order.pop_front()).flatten();
        let delete = async {
            let oldest: &String = oldest.as_ref()?;
            readiness.deleted(oldest);
            Some(pods.delete(oldest, &DeleteParams::default()).await)
        };
        let (params, pod) = (PostParams::default(), object(pod));
        let (created, deleted) = tokio::join!(pods.create(&params, &pod), delete);
        let created = match created {
            // An answer that was lost: it is there.
            Err(kube::Error::Api(status)) if status.code == 409 => pods.get(&name).await,
            created => created,
        };
        if let Ok(pod) = created {
            churned.made += 1;
            churned.alive.insert(name.clone(), uid(&pod));
            order.push_back(name);
        }
        let (Some(oldest), Some(deleted)) = (oldest, deleted) else {
            continue;
        };
        match deleted {
            Ok(_) => drop(churned.alive.remove(&oldest)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                churned.alive.remove(&oldest);
                // An answer that was lost may have been to the delete before.
                if !told.contains(&oldest) {
                    churned.lost.push(oldest);
                }
            }
            Err(_) => {
                told.insert(oldest.clone());
                order.push_front(oldest);
            }
        }
    }
    churned.alive.retain(|name, _| !told.contains(name));
    churned
}

/// What was seen of a lease, and when the API server could not be asked.
#[derive(Default)]
struct Renewals {
    times: Vec<Timestamp>,
    outages: Vec<(Timestamp, Timestamp)>,
}

impl Renewals {
    /// The longest time between two renewals, or from the last to the end, less the time in which the API server was down.
    fn gap(&self, end: Timestamp) -> Duration {
        let last = self.times.last().map(|last| (*last, end));
        let pairs = self.times.windows(2).map(|pair| (pair[0], pair[1])).chain(last);
        let gaps = pairs.map(|(from, to)| {
            let down = self.outages.iter();
            let down = down.map(|(began, ended)| span(from.max(*began), to.min(*ended)));
            span(from, to).saturating_sub(down.sum())
        });
        gaps.max().unwrap_or_default()
    }

    /// How late renewals were that were due at the end of an outage, or a little later. Nothing is said of outages that others
    /// followed before that time had passed: of those `shut` are more, in which the way to the API server was.
    fn back(&self, shut: &[(Timestamp, Timestamp)], end: Timestamp) -> Vec<Duration> {
        let judged = self.outages.iter().filter_map(|(began, ended)| {
            let before = self.times.iter().rfind(|time| **time <= *began)?;
            let due = (*ended).max(*before + INTERVAL);
            let this = (*began, *ended);
            let disturbed =
                |other: &(Timestamp, Timestamp)| *other != this && other.1 > *began && other.0 < due + BACK_WITHIN;
            if self.outages.iter().chain(shut).any(disturbed) || end < due + BACK_WITHIN {
                return None;
            }
            let next = self.times.iter().find(|time| **time > *ended);
            Some(span(due, next.copied().unwrap_or(end)))
        });
        judged.collect()
    }
}

/// From one time to a later one; nothing if it is none.
fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[test]
fn what_is_said_of_a_lease_leaves_out_nothing_but_outages() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut seen = Renewals {
        times: [0, 10, 20].map(at).to_vec(),
        outages: vec![(at(25), at(30))],
    };
    assert_eq!(
        seen.gap(at(200)).as_secs(),
        175,
        "it ended for good, and 5 s were an outage"
    );
    assert_eq!(seen.back(&[], at(200))[0].as_secs(), 168, "and was due at 32");
    seen.times.push(at(33));
    assert_eq!(seen.gap(at(35)).as_secs(), 10);
    assert_eq!(seen.back(&[], at(200)), [Duration::from_secs(1)]);
    assert!(seen.back(&[(at(31), at(40))], at(200)).is_empty());
    assert!(seen.back(&[], at(36)).is_empty(), "it is too early to tell");
}

async fn watch_lease(leases: Api<Lease>, node: String, stop: Arc<AtomicBool>) -> Renewals {
    let mut seen = Renewals::default();
    let mut outage: Option<Timestamp> = None;
    while !stop.load(Ordering::Relaxed) {
        let now = Timestamp::now();
        match tokio::time::timeout(Duration::from_secs(1), leases.get(&node)).await {
            Ok(Ok(lease)) => {
                if let Some(began) = outage.take() {
                    seen.outages.push((began, Timestamp::now()));
                }
                let renewed = lease.spec.and_then(|spec| spec.renew_time).map(|time| time.0);
                if let Some(renewed) = renewed.filter(|time| seen.times.last() != Some(time)) {
                    seen.times.push(renewed);
                }
            }
            _ => drop(outage.get_or_insert(now)),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seen
}

async fn make_trouble(way: &TroubledWay, plane: &ControlPlane, fault: Fault, begins: Instant) {
    match fault {
        Fault::Cut => way.cut(),
        Fault::Crash(component) => plane.crash(component).await,
        Fault::Way(trouble) => {
            way.set(trouble);
            // Watches that run already meet it, too.
            if matches!(
                trouble,
                Trouble::Forgotten | Trouble::ShortWatches(_) | Trouble::Refused
            ) {
                way.cut();
            }
            tokio::time::sleep_until(begins + LENGTH).await;
            way.set(Trouble::None);
            // A peer that did not answer and comes back with the old connections would be a stall; this one is gone.
            if trouble == Trouble::HalfOpen {
                way.cut();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_the_way_and_crashes_behind_it_lose_nothing() {
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(
            "trouble",
            "it crashes parts of a real control plane; run `make test-cluster`",
        );
    }
    let plane = ControlPlane::start("trouble").await;
    let test = Test::on(plane.cluster, "trouble").await;
    let way = TroubledWay::start(&plane.cluster.host_kubeconfig, test.directory()).await;
    let backend: MockBackend = test.backend().await;
    let config = test
        .mock(backend.config())
        .with(json!({ "cluster": { "kubeconfig": way.kubeconfig() } }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;

    let stop = Arc::new(AtomicBool::new(false));
    let readiness = Arc::<Readiness>::default();
    let looking = tokio::spawn(Arc::clone(&readiness).watch(test.pods()));
    let template = test.pod("", json!({}));
    let begun = Timestamp::now();
    let churning = tokio::spawn(churn(test.pods(), template, Arc::clone(&readiness), Arc::clone(&stop)));
    let watching = tokio::spawn(watch_lease(test.leases(), test.node(), Arc::clone(&stop)));
    tokio::time::sleep(EVERY * calm_rounds()).await;
    let trouble_begins = Timestamp::now();
    let mut begins = Instant::now();
    let mut shut = Vec::new();
    for fault in FAULTS.iter().copied().cycle().take(rounds()) {
        begins = Instant::now().max(begins + EVERY);
        tokio::time::sleep_until(begins).await;
        eprintln!("{fault:?}");
        let from = Timestamp::now();
        let met = |way: &TroubledWay| match fault {
            Fault::Way(trouble) => way.met(trouble),
            Fault::Cut | Fault::Crash(_) => 0,
        };
        let before = met(&way);
        make_trouble(&way, &plane, fault, begins).await;
        assert!(
            met(&way) > before || !matches!(fault, Fault::Way(_)),
            "{fault:?} has met nobody"
        );
        if let Some(more) = fault.shuts_the_way() {
            shut.push((from, Timestamp::now() + more));
        }
        assert!(host.is_running(), "the host ended by itself at {fault:?}");
    }
    tokio::time::sleep_until(begins + EVERY).await;
    stop.store(true, Ordering::Relaxed);
    let churned = churning.await.unwrap();
    let renewals = watching.await.unwrap();
    let end = Timestamp::now();

    let settled = settled(&test, &backend, CATCH_UP).await;
    looking.abort();
    let away: Vec<_> = renewals.outages.iter().chain(&shut).copied().collect();
    let calm = readiness.times(|created| created + READY_WITHIN < trouble_begins, &[]);
    let troubled = readiness.times(|created| created >= trouble_begins, &away);
    let answering = readiness.times(|created| created >= trouble_begins, &renewals.outages);
    let all = readiness.times(|created| created >= trouble_begins, &[]);
    eprintln!("from created to Ready, without faults: {calm}");
    eprintln!("with a fault every {EVERY:?}, less the time in which the API server could not be asked: {troubled}");
    eprintln!("less the time in which the API server was down: {answering}");
    eprintln!("in all: {all}");
    let counts = backend.counts().await;
    counts.assert_made_once();
    let there: BTreeMap<_, _> = settled.iter().map(|pod| (pod.name_any(), uid(pod))).collect();
    for (name, uid) in &churned.alive {
        assert_eq!(there.get(name), Some(uid), "{name} is lost, or another one");
    }
    assert_eq!(churned.lost, [""; 0], "these were gone before anybody deleted them");
    assert_eq!(
        readiness.broken(),
        [""; 0],
        "something of these ended before anybody deleted them"
    );
    for pod in &settled {
        assert_eq!(counts.pods[&uid(pod)].creates, 1);
        let containers = pod.status.clone().unwrap().container_statuses.unwrap();
        assert_eq!(containers[0].restart_count, 0, "{:?}", pod.metadata.name);
    }
    let (gap, back) = (renewals.gap(end), renewals.back(&shut, end));
    let down: Duration = renewals.outages.iter().map(|(from, to)| span(*from, *to)).sum();
    let pods_per_second = churned.made as f64 / (span(begun, end) - down).as_secs_f64();
    eprintln!(
        "{} faults, {} pods made, {pods_per_second:.1}/s while the API server was up, {} renewals, {} outages, longest gap {gap:?}, \
         late after outages {back:?}",
        rounds(),
        churned.made,
        renewals.times.len(),
        renewals.outages.len()
    );
    assert!(calm.count > 100 && troubled.count > 100, "too few pods to tell");
    for (times, bound) in [(&calm, READY_WITHIN), (&troubled, ready_after_faults_within())] {
        assert!(times.p99 <= bound, "from created to Ready: {times}");
    }
    assert!(gap < LEASE, "no renewal for {gap:?}");
    assert!(!back.is_empty() || !alone(), "no outage can be judged");
    for late in back {
        assert!(
            late < BACK_WITHIN,
            "no renewal for {late:?} after the API server's return"
        );
    }
    let least = f64::from(RATE) * if alone() { 0.8 } else { 0.125 };
    assert!(pods_per_second > least, "only {pods_per_second:.1} pods a second");
}
