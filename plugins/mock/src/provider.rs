//! The provider itself: what a host calls.

use crate::{
    annotations::Defaults,
    backend::Backend,
    config::{Config, ExecConfig},
    faults::{Faults, Op},
    manifest::{self, Surroundings},
    materials::Shown,
    protocol::{Reply, Request},
    scratch::Scratch,
    stats::NodeTimes,
    support::default_support,
};
use outrigger_plugin::{
    Call, Host, NodeDescription, PluginInfo, PodIdentity, PodReport, PodRequest, Provider, ProviderError, Result,
    Support, UpdateOutcome,
};
use std::{
    collections::{BTreeSet, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::OnceCell;

/// An instance of the mock.
pub struct Mock {
    pub(crate) config: Config,
    around: Surroundings,
    faults: Faults,
    pub(crate) backend: Backend,
    pub(crate) node_times: NodeTimes,
    pub(crate) scratch: Scratch,
    /// Where the echo server of port-forwards listens, once it does.
    pub(crate) echo: OnceCell<SocketAddr>,
    pub(crate) shown: Shown,
    /// Pods of which something is kept here though the last look lacked them, by UID.
    doubtful: Mutex<HashSet<String>>,
    nodes: Arc<Nodes>,
}

/// The nodes that were asked for, to tell them of a change.
#[derive(Default)]
struct Nodes {
    names: Mutex<BTreeSet<String>>,
    changed: AtomicBool,
}

impl Provider for Mock {
    type Config = Config;

    /// Nothing here blocks or computes for long, and one thread wakes up once where two wake each other.
    const WORKER_THREADS: usize = 1;

    fn info() -> PluginInfo {
        PluginInfo::new("mock", env!("CARGO_PKG_VERSION"), default_support())
            .with_summary("pods that are declared rather than run: for trying, testing and reading")
    }

    async fn start(config: Config, host: Host) -> Result<Self> {
        config.check()?;
        let defaults = Defaults::new(config.pods.clone());
        let nodes = Arc::new(Nodes::default());
        watch_capacity(&config, &nodes, host.clone());
        Ok(Self {
            faults: Faults::new(config.seed, defaults.pod().clone(), config.list, config.ping),
            around: Surroundings {
                seed: config.seed,
                defaults,
                ranges: config.ips.clone(),
            },
            backend: Backend::open(&config.backend, host).await,
            node_times: NodeTimes::default(),
            scratch: Scratch::new(&config),
            echo: OnceCell::new(),
            config,
            shown: Shown::default(),
            doubtful: Mutex::default(),
            nodes,
        })
    }

    fn support(&self) -> Support {
        self.config.declared()
    }

    /// Nobody asks for the removal of a pod that the backend has lost, or never had.
    async fn sync(&self, call: Call, believed: Vec<PodIdentity>) -> Result<Vec<PodReport>> {
        let reports = self.list(call).await?;
        let listed = reports.iter().map(|report| &report.identity);
        self.sweep(&believed.iter().chain(listed).map(|pod| &*pod.uid).collect())
            .await;
        Ok(reports)
    }

    async fn create(&self, _call: Call, pod: PodRequest) -> Result<PodReport> {
        let spec = Box::new(manifest::read(&pod, &self.around)?);
        self.faults.remember(&pod.identity.uid, &spec.template.behaviour);
        let show = spec.template.behaviour.show_materials;
        let create = self.backend.ask(Request::Create { pod: spec });
        match self.faults.pass(Op::Create, Some(&pod.identity), create).await? {
            Reply::Report(report) => {
                self.keep_materials(&pod, show);
                Ok(report)
            }
            other => Err(surprise(&other)),
        }
    }

    async fn update(&self, _call: Call, pod: PodRequest) -> Result<UpdateOutcome> {
        let spec = Box::new(manifest::read(&pod, &self.around)?);
        self.faults.remember(&pod.identity.uid, &spec.template.behaviour);
        let show = spec.template.behaviour.show_materials;
        let update = self.backend.ask(Request::Update { pod: spec });
        match self.faults.pass(Op::Update, Some(&pod.identity), update).await? {
            Reply::Updated(outcome) => {
                self.keep_materials(&pod, show);
                Ok(outcome)
            }
            other => Err(surprise(&other)),
        }
    }

    async fn stop(&self, _call: Call, pod: PodIdentity, grace: Duration) -> Result<PodReport> {
        let stop = self.backend.ask(Request::Stop {
            identity: pod.clone(),
            grace: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        });
        self.report(Op::Stop, &pod, stop).await
    }

    async fn remove(&self, _call: Call, pod: PodIdentity) -> Result<()> {
        let remove = self.backend.ask(Request::Remove { identity: pod.clone() });
        self.faults.pass(Op::Remove, Some(&pod), remove).await?;
        self.forget(&pod.uid).await
    }

    async fn get(&self, _call: Call, pod: PodIdentity) -> Result<PodReport> {
        let get = self.backend.ask(Request::Get { identity: pod.clone() });
        self.report(Op::Get, &pod, get).await
    }

    async fn list(&self, _call: Call) -> Result<Vec<PodReport>> {
        match self
            .faults
            .pass(Op::List, None, self.backend.ask(Request::List))
            .await?
        {
            Reply::Pods(list) => {
                self.faults.remember_all(list.behaviours);
                Ok(list.reports)
            }
            other => Err(surprise(&other)),
        }
    }

    async fn describe_node(&self, _call: Call, node: String) -> Result<NodeDescription> {
        let changed = {
            let mut names = self.nodes.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.insert(node);
            self.nodes.changed.load(Ordering::Acquire)
        };
        Ok(self.config.node(changed))
    }

    async fn ping(&self, _call: Call) -> Result<()> {
        let ping = self.backend.ask(Request::Ping);
        self.faults.pass(Op::Ping, None, ping).await.map(drop)
    }
}

impl Mock {
    /// Forgets the pods that this look lacks and the last one did: one alone may have overtaken a create.
    async fn sweep(&self, there: &HashSet<&str>) {
        let mut missing = self.faults.uids();
        missing.extend(self.shown.uids());
        missing.extend(self.scratch.uids());
        missing.retain(|uid| !there.contains(&**uid));
        let lacked = {
            let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *doubtful, missing.clone())
        };
        for uid in missing.intersection(&lacked) {
            if let Err(error) = self.forget(uid).await {
                tracing::warn!(uid, %error, "unable to clean up after a pod that is gone, it is tried again");
            }
        }
    }

    /// Lets go of all that is kept of a pod beside the backend.
    async fn forget(&self, uid: &str) -> Result<()> {
        if self.config.exec == ExecConfig::LocalProcess {
            self.scratch.remove(uid).await?;
        }
        self.faults.forget(uid);
        self.shown.forget(uid);
        Ok(())
    }

    fn keep_materials(&self, pod: &PodRequest, show: bool) {
        self.shown.keep(pod, show);
        if show {
            self.backend.followers().tell(&pod.identity.uid);
        }
    }

    async fn report(&self, op: Op, pod: &PodIdentity, ask: impl Future<Output = Result<Reply>>) -> Result<PodReport> {
        match self.faults.pass(op, Some(pod), ask).await? {
            Reply::Report(report) => Ok(report),
            other => Err(surprise(&other)),
        }
    }
}

pub(crate) fn surprise(reply: &Reply) -> ProviderError {
    let mut error = ProviderError::internal("the back end answered something else than was asked");
    error.detail = format!("{reply:?}");
    error
}

/// Pushes the change of capacity when its time has come.
fn watch_capacity(config: &Config, nodes: &Arc<Nodes>, host: Host) {
    let Some(after) = config.capacity_change.as_ref().and_then(|change| change.after.finite()) else {
        return;
    };
    let description = config.node(true);
    let nodes = Arc::downgrade(nodes);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        let Some(nodes) = nodes.upgrade() else { return };
        // Under the lock: a node is either told now or described with the change.
        let names = nodes.names.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.changed.store(true, Ordering::Release);
        for node in names.iter() {
            host.node_changed(node, &description);
        }
    });
}
