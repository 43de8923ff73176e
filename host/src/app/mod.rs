//! The host as a whole: what is built, in which order, and how it ends.
//!
//! ```text
//! providers ─▶ clients ─▶ cluster id ─▶ kubelet ports ─▶ node agents ─▶ pods
//! ```
//!
//! It ends in the opposite order: first no new work for pods, then their statuses are flushed, then the nodes are left
//! as `onShutdown` says and their leases released, then the providers.

mod backend;
mod ending;
mod identities;
mod naming;
mod nodes;
mod providers;
mod sink;

use crate::{
    cluster::{self, Backoff, Clients, ClusterId, Credentials, Events, Home, InstanceId, Pressure},
    config::HostConfig,
    plugin::{self, Sink},
    pod::{self, Mailbox, NodeSlot, PodController, PodHandle},
    server,
    telemetry::metrics::Samples,
};
use ending::Ending;
use identities::Identities;
use outrigger_plugin::Event;
use providers::Started;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// A cluster whose id can't be read for so long is one whose id may not be read.
const UNKNOWN_AFTER: Duration = Duration::from_secs(5);

/// Why the host can't run, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No provider at all.
    #[error("no provider could be started; correct the faults above, `outrigger plugins list` shows what is there")]
    NoProvider,
    /// One that the config requires.
    #[error(
        "required provider {provider:?} could not be started; correct it, or set required: false to run without it"
    )]
    Required {
        /// Its name in the config.
        provider: String,
        /// Why.
        #[source]
        source: Box<plugin::Error>,
    },
    /// The section of a provider does not fit its plugin's schema.
    #[error("unable to use the configuration; correct it, then try it with `outrigger check-config`")]
    Section(#[source] Box<plugin::Error>),
    /// The API server can't be addressed at all.
    #[error("unable to use the cluster configuration")]
    Cluster(#[from] cluster::Error),
    /// A node's own certificate can't be used.
    #[error("unable to give the nodes identities of their own")]
    NodeIdentity(#[from] cluster::NodeIdentityError),
    /// The process can't say who it is.
    #[error("unable to name this process")]
    Identity(#[from] cluster::identity::IdentityError),
    /// A kubelet port can't be served.
    #[error("unable to serve the kubelet API of node {node}")]
    Server {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: server::Error,
    },
    /// What the kubelet ports have in common.
    #[error("unable to serve the kubelet API")]
    Access(#[source] server::Error),
    /// The name resolution of pods.
    #[error("unable to read kubelet.resolvConf; correct the path, or leave it out to keep what the backend has")]
    ResolvConf(#[source] std::io::Error),
    /// A part of the host ended by itself.
    #[error("the host's {part} ended unexpectedly; this is a fault of outrigger, please report it with the log above")]
    Ended {
        /// Which part.
        part: &'static str,
    },
}

/// Runs the host until `shutdown`. Its writes of statuses are counted by `pressure`.
///
/// # Errors
/// What can't be repaired by waiting: see [`Error`]. An API server that is away is not among it.
pub async fn run(config: HostConfig, pressure: Pressure, shutdown: CancellationToken) -> Result<(), Error> {
    let instance = InstanceId::current()?;
    let mailbox = Arc::new(Mailbox::default());
    let samples = Arc::<Samples>::default();
    let (fan, provider_events) = sink::Fan::new(mailbox.clone(), samples.clone());
    let sink: Arc<dyn Sink> = fan.clone();
    let providers = tokio::select! {
        // Nothing has been asked of those that are started already.
        () = shutdown.cancelled() => {
            tracing::info!("host has ended, before its providers had started");
            return Ok(());
        }
        providers = providers::start(&config, &sink) => providers?,
    };
    let ending = Ending::new(config.shutdown_timeout);
    let announcement = tokio::spawn({
        let (providers, shutdown, ending) = (providers.clone(), shutdown.clone(), ending.clone());
        async move {
            shutdown.cancelled().await;
            ending.begin();
            providers::announce_end(&providers);
        }
    });
    let told = Told {
        mailbox,
        samples,
        fan,
        provider_events,
    };
    let outcome = Box::pin(serve(config, instance, &providers, told, pressure, shutdown, &ending)).await;
    announcement.abort();
    providers::announce_end(&providers);
    providers::shut_down(&providers, ending.providers()).await;
    tracing::info!("host has ended");
    outcome
}

/// What providers tell, and where it goes.
struct Told {
    mailbox: Arc<Mailbox>,
    samples: Arc<Samples>,
    fan: Arc<sink::Fan>,
    provider_events: mpsc::Receiver<Event>,
}

/// Everything between the start of the providers and their end.
async fn serve(
    config: HostConfig,
    instance: InstanceId,
    providers: &HashMap<String, Started>,
    told: Told,
    pressure: Pressure,
    shutdown: CancellationToken,
    ending: &Ending,
) -> Result<(), Error> {
    let Told {
        mailbox,
        samples,
        fan,
        provider_events,
    } = told;
    let clients = tokio::select! {
        // A program that gives credentials may take its time.
        () = shutdown.cancelled() => return Ok(()),
        clients = cluster::connect_in_the_end(&config.cluster) => clients?,
    };
    tracing::info!(server = %clients.server(), instance = %instance, nodes = config.nodes.len(), "host starts");

    // Pods end first, the rest of the host serves them until then.
    let rest = CancellationToken::new();
    let mut parts = JoinSet::new();
    let home = Home::default();
    if let Some(credentials) = Credentials::build(&config.cluster, &clients, &home) {
        parts.spawn(part("credentials", credentials.run(rest.clone())));
    }
    let mut identities = Identities::build(&config, clients.clone())?;
    identities.spawn(&mut parts, &rest);
    let Some(cluster) = identify(&clients, &config, &shutdown).await else {
        return Ok(());
    };
    // Nobody else sets it.
    let _ = home.set(cluster.clone());
    let (events, event_sender) = Events::build(&clients, identities.own(), pressure.clone(), config.events.enabled);

    let (pods, queries) = PodHandle::channel();
    let built = nodes::build(&config, &identities, &instance, &events, providers, &pods, &samples).await?;
    fan.connect(&built.handles, &events);
    let slots = built
        .handles
        .iter()
        .filter_map(|handle| slot(handle, providers, &identities))
        .collect();
    let controller = PodController::build(pod::Config {
        cluster,
        clients: clients.clone(),
        acting: identities.own().clone(),
        events: events.clone(),
        pressure,
        orphans: config.orphans.clone(),
        nodes: slots,
        shares_watch: config.cluster.shares_watches(config.nodes.len()),
        mailbox,
        queries,
    })
    .with_naming(naming::read(&config.kubelet).map_err(Error::ResolvConf)?);

    let mut pod_loop = tokio::spawn(controller.run(shutdown.clone(), ending.pods()));
    built.spawn(&mut parts, &rest);
    parts.spawn(part("event sender", event_sender.run(rest.clone())));
    let naming = tokio::spawn(sink::name_events(provider_events, pods, events));

    let outcome = tokio::select! {
        _ = &mut pod_loop => if shutdown.is_cancelled() { Ok(()) } else { Err(Error::Ended { part: "pod controller" }) },
        ended = parts.join_next() => Err(Error::Ended { part: ended.and_then(Result::ok).unwrap_or("task") }),
    };
    shutdown.cancel();
    ending.begin();
    if outcome.is_err() && !pod_loop.is_finished() {
        // Whatever broke, the pods' statuses are still worth sending. Its own limit bounds it.
        let _ = pod_loop.await;
    }
    rest.cancel();
    naming.abort();
    end(parts, ending.parts()).await;
    outcome
}

fn part(name: &'static str, work: impl Future<Output = ()>) -> impl Future<Output = &'static str> {
    // In place it would be there twice: where it was handed over, and where it is polled.
    let work = Box::pin(work);
    async move {
        work.await;
        name
    }
}

fn slot(
    handle: &crate::node::NodeHandle,
    providers: &HashMap<String, Started>,
    identities: &Identities,
) -> Option<NodeSlot> {
    let provider = providers.get(handle.provider())?.provider()?.clone();
    Some(NodeSlot {
        handle: handle.clone(),
        provider,
        clients: identities.of(handle.name()).clone(),
    })
}

/// Finds out which cluster this is, however long the API server is away. `None` when told to end meanwhile.
async fn identify(clients: &Clients, config: &HostConfig, shutdown: &CancellationToken) -> Option<ClusterId> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut trouble = None;
    let mut unknown_since = None;
    loop {
        let read = tokio::select! {
            () = shutdown.cancelled() => return None,
            read = cluster::cluster_id(clients, &config.cluster) => read,
        };
        let error = match read {
            // An API server that has just started knows of nobody's rights yet.
            Ok(ClusterId::Unknown { .. })
                if unknown_since.get_or_insert_with(Instant::now).elapsed() < UNKNOWN_AFTER =>
            {
                tokio::select! {
                    () = shutdown.cancelled() => return None,
                    () = tokio::time::sleep(backoff.next_delay()) => continue,
                }
            }
            Ok(cluster) => {
                match &cluster {
                    ClusterId::Read(_) | ClusterId::Configured(_) => tracing::info!(%cluster, "cluster identified"),
                    _ => tracing::warn!(%cluster, "orphans are not swept"),
                }
                return Some(cluster);
            }
            Err(error) => error,
        };
        unknown_since = None;
        if trouble != Some(error.class()) {
            trouble = Some(error.class());
            tracing::warn!(server = %clients.server(), %error, "unable to reach the cluster, retrying");
        }
        let least = error.retry_after().unwrap_or_default();
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = clients.status.pause(least, backoff.next_delay()) => {}
        }
    }
}

/// Lets the parts end.
async fn end(mut parts: JoinSet<&'static str>, limit: Duration) {
    let all = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!("shutdown limit reached, not all parts of the host have ended");
        parts.shutdown().await;
    }
}
