//! The virtual nodes: their kubelet ports, then their agents, which register them with those ports.

use super::{Error, backend::NodeBackend, identities::Identities, part, providers::Started};
use crate::{
    cluster::{Clients, Events, InstanceId, Lookout, Members, Owner, SharedWatch, Sight, Watch, watch},
    config::{HostConfig, NodeConfig},
    files::Keeper,
    node::{self, Monitor, NodeAgent, NodeHandle, Timing, Verdict, facts::Facts, register},
    pod::PodHandle,
    server::{self, Access, Backend, Server, Settings, Whereabouts},
    telemetry::metrics::Samples,
};
use std::{collections::HashMap, net::IpAddr, sync::Arc};
use tokio::{sync::watch::Receiver, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Where the metrics-server finds a node's resource metrics, if not at their usual place.
const RESOURCE_METRICS_PATH: &str = "metrics.k8s.io/resource-metrics-path";

/// All nodes, ready to run.
pub struct Built {
    /// How the rest of the host sees them, in the config's order.
    pub handles: Vec<NodeHandle>,
    agents: Vec<NodeAgent>,
    lookout: Option<Lookout>,
    servers: Vec<Server>,
    monitors: Vec<Monitor>,
    keeper: Keeper,
}

/// Opens the ports and makes the agents. Nothing is sent to the API server yet.
pub async fn build(
    config: &HostConfig,
    identities: &Identities,
    instance: &InstanceId,
    events: &Events,
    providers: &HashMap<String, Started>,
    pods: &PodHandle,
    samples: &Arc<Samples>,
) -> Result<Built, Error> {
    let settings = Arc::new(Settings {
        kubelet: config.kubelet.clone(),
        intervals: config.intervals.clone(),
    });
    let (access, keeper) = Access::build(&config.kubelet, identities.host()).map_err(Error::Access)?;
    let access = Arc::new(access);
    let facts = Arc::new(Facts::read());
    let mut built = Built {
        handles: Vec::new(),
        agents: Vec::new(),
        lookout: None,
        servers: Vec::new(),
        monitors: Vec::new(),
        keeper,
    };
    let mut verdicts: HashMap<&str, Receiver<Verdict>> = HashMap::new();
    for (name, started) in providers {
        let intervals = &config.intervals;
        let (monitor, verdict) = Monitor::build(name.clone(), started.health(), intervals.ping, intervals.ping_timeout);
        built.monitors.push(monitor);
        verdicts.insert(name, verdict);
    }
    let mut planned = Vec::new();
    let mut ports = Vec::new();
    for node in &config.nodes {
        let (Some(started), Some(verdict)) = (providers.get(&node.provider), verdicts.get(node.provider.as_str()))
        else {
            continue;
        };
        let clients = identities.of(&node.name);
        let access = match identities.own().is_empty() {
            true => access.clone(),
            false => Arc::new(access.acting_as(clients)),
        };
        let backend = NodeBackend::new(
            node.name.clone(),
            pods.clone(),
            started.provider().cloned(),
            samples.clone(),
            events.clone(),
        );
        let server = server::Config {
            listen: config.kubelet.listen,
            port: config.kubelet.shared_listener.unwrap_or(node.port),
            node: node.name.clone(),
            addresses: addresses(node, clients).await,
            access,
            settings: settings.clone(),
        };
        ports.push((server, Arc::new(backend) as Arc<dyn Backend>));
        planned.push((node, started, verdict, clients));
    }
    let opened = open(ports, pods, config.kubelet.shared_listener.is_some()).await?;
    let mut sights = Vec::new();
    if config.cluster.shares_watches(config.nodes.len()) {
        let members = Members::new(Owner::Name, planned.iter().map(|(node, ..)| node.name.as_str()));
        let target = watch::Target::new("all nodes", register::PATH).quiet_outages();
        let watch = SharedWatch::new(identities.host().watch.clone(), target, members);
        let (lookout, seats) = Lookout::new(watch);
        built.lookout = Some(lookout);
        sights.extend(seats.into_iter().map(Sight::Shared));
    } else {
        sights.extend(planned.iter().map(|(node, _, _, clients)| own_sight(node, clients)));
    }
    let planned = planned.into_iter().zip(sights);
    for (((node, started, verdict, clients), sight), (server, port)) in planned.zip(opened) {
        let (plugin, plugin_version) = plugin(config, node, started);
        let mut node = node.clone();
        if config.kubelet.shared_listener.is_some() {
            let path = format!("/nodes/{}/metrics/resource", node.name);
            node.annotations.entry(RESOURCE_METRICS_PATH.to_owned()).or_insert(path);
        }
        let agent = node::Config {
            node,
            plugin,
            plugin_version,
            port,
            declared_features: declared_features(config),
            timing: Timing::from(&config.intervals),
            on_shutdown: config.on_shutdown,
            remover: identities.host().leases.clone(),
            facts: facts.clone(),
        };
        let (agent, handle) = NodeAgent::build(
            agent,
            clients,
            sight,
            instance,
            events.clone(),
            started.health(),
            verdict.clone(),
        );
        built.agents.push(agent);
        built
            .servers
            .extend(server.map(|server| server.with_addresses(handle.watch_addresses())));
        built.handles.push(handle);
    }
    Ok(built)
}

/// A watch of nothing but that Node.
fn own_sight(node: &NodeConfig, clients: &Clients) -> Sight {
    let name = &node.name;
    let target = watch::Target::new(format!("node {name}"), register::PATH)
        .fields(format!("metadata.name={name}"))
        .quiet_outages();
    Sight::own(Watch::new(clients.watch.clone(), target))
}

/// Opens a port for each node, or one for all of them, which comes with the first.
async fn open(
    nodes: Vec<(server::Config, Arc<dyn Backend>)>,
    pods: &PodHandle,
    shared: bool,
) -> Result<Vec<(Option<Server>, u16)>, Error> {
    let mut ports = Vec::new();
    if shared && let Some((first, _)) = nodes.first() {
        let (node, count) = (first.node.clone(), nodes.len());
        let built = Server::build_shared(nodes, Arc::new(AllPods(pods.clone()))).await;
        let (server, bound) = built.map_err(|source| Error::Server { node, source })?;
        ports.push((Some(server), bound.port()));
        ports.resize_with(count, || (None, bound.port()));
        return Ok(ports);
    }
    for (config, backend) in nodes {
        let node = config.node.clone();
        let built = Server::build(config, backend).await;
        let (server, bound) = built.map_err(|source| Error::Server { node, source })?;
        ports.push((Some(server), bound.port()));
    }
    Ok(ports)
}

struct AllPods(PodHandle);

impl Whereabouts for AllPods {
    fn node_of<'a>(&'a self, namespace: &'a str, pod: &'a str) -> server::BoxFuture<'a, Option<String>> {
        Box::pin(self.0.node_of(namespace, pod))
    }
}

async fn addresses(node: &NodeConfig, clients: &Clients) -> Vec<IpAddr> {
    let address = match node.address {
        Some(address) => Some(address),
        None => node::facts::local_address(clients.server()).await.ok(),
    };
    address.into_iter().collect()
}

/// Sorted by name, if there are ever more.
fn declared_features(config: &HostConfig) -> Vec<&'static str> {
    match config.kubelet.extend_web_sockets {
        true => vec!["ExtendWebSocketsToKubelet"],
        false => Vec::new(),
    }
}

/// Name and version of a node's plugin; of one that could not be loaded, what the config says.
fn plugin(config: &HostConfig, node: &NodeConfig, started: &Started) -> (String, String) {
    match started.provider() {
        Some(provider) => (provider.info().name.clone(), provider.info().version.clone()),
        None => (
            config
                .provider_of(node)
                .map_or_else(String::new, |known| known.plugin.clone()),
            String::new(),
        ),
    }
}

impl Built {
    /// Runs everything until `shutdown`.
    pub fn spawn(self, parts: &mut JoinSet<&'static str>, shutdown: &CancellationToken) {
        parts.spawn(part("certificate files", self.keeper.run(shutdown.clone())));
        if let Some(lookout) = self.lookout {
            parts.spawn(part("lookout for nodes", lookout.run(shutdown.clone())));
        }
        for server in self.servers {
            parts.spawn(part("kubelet server", server.run(shutdown.clone())));
        }
        for monitor in self.monitors {
            parts.spawn(part("provider monitor", monitor.run(shutdown.clone())));
        }
        for agent in self.agents {
            parts.spawn(part("node agent", agent.run(shutdown.clone())));
        }
    }
}
