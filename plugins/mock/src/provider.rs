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
    collections::BTreeSet,
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
            nodes,
        })
    }

    fn support(&self) -> Support {
        self.config.declared()
    }

    async fn create(&self, _call: Call, pod: PodRequest) -> Result<PodReport> {
        let spec = Box::new(manifest::read(&pod, &self.around)?);
        self.faults.remember(&pod.identity.uid, &spec.behaviour);
        let show = spec.behaviour.show_materials;
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
        self.faults.remember(&pod.identity.uid, &spec.behaviour);
        let show = spec.behaviour.show_materials;
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
        if self.config.exec == ExecConfig::LocalProcess {
            self.scratch.remove(&pod.uid).await?;
        }
        self.faults.forget(&pod.uid);
        self.shown.forget(&pod.uid);
        Ok(())
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
