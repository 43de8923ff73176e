//! What a node's kubelet port shows: its pods, and what its provider has of them.

use crate::{
    cluster::Events,
    plugin::{self, LogStream, Provider, Resizer},
    pod::PodHandle,
    server::{self, BoxFuture, Feature, Forwarded, LogSource, PodView, Process, Resize},
    telemetry::metrics::{CALLS_IN_FLIGHT, Samples},
};
use bytes::Bytes;
use outrigger_plugin::{
    AttachRequest, ExecRequest, ExitStatus, LogRequest, PodReport, PortForwardRequest, ProviderError, StatsSummary,
    wire::capability,
};
use prometheus_client::{
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, ReadBuf};

/// The server has a limit of its own for an answer.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// One node's backend.
pub struct NodeBackend {
    node: String,
    pods: PodHandle,
    provider: Option<Arc<Provider>>,
    samples: Arc<Samples>,
    events: Events,
}

impl NodeBackend {
    /// For a node whose provider could not be loaded, `provider` is `None`: it has pods and nothing else.
    pub fn new(
        node: String,
        pods: PodHandle,
        provider: Option<Arc<Provider>>,
        samples: Arc<Samples>,
        events: Events,
    ) -> Self {
        Self {
            node,
            pods,
            provider,
            samples,
            events,
        }
    }

    fn provider(&self) -> Result<&Arc<Provider>, ProviderError> {
        let missing = || ProviderError::unavailable("the node's provider could not be loaded");
        self.provider.as_ref().ok_or_else(missing)
    }
}

impl server::Backend for NodeBackend {
    fn is_alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.pods.answers())
    }

    fn pods(&self) -> BoxFuture<'_, Vec<Bytes>> {
        Box::pin(self.pods.pods(&self.node))
    }

    fn find<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<PodView>> {
        Box::pin(async move {
            let found = self.pods.find(&self.node, namespace, name).await?;
            Some(PodView {
                identity: (*found.identity).clone(),
                raw: found.raw,
            })
        })
    }

    fn offers(&self, feature: Feature) -> Result<(), ProviderError> {
        let provider = self.provider()?;
        let (id, what) = match feature {
            Feature::Exec => (capability::EXEC, "runs no commands in containers"),
            Feature::Attach => (capability::ATTACH, "attaches to no containers"),
            Feature::PortForward => (capability::PORT_FORWARD, "forwards no ports"),
            Feature::Stats => (capability::STATS, "tells no resource use"),
        };
        match provider.has(id) {
            true => Ok(()),
            false => Err(ProviderError::unsupported(format!(
                "provider {} {what}",
                provider.name()
            ))),
        }
    }

    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<server::LogStream, ProviderError>> {
        Box::pin(async move {
            let provider = self.provider()?;
            if !provider.has(capability::LOGS) {
                return Err(ProviderError::unsupported(format!(
                    "provider {} has no logs",
                    provider.name()
                )));
            }
            // The server has limits of its own, for a provider that falls silent and for a caller who takes nothing; whoever reads
            // slowly may take his time.
            let stream = provider.read_logs(&request, Duration::MAX).await?;
            Ok(Box::new(Source(stream)) as server::LogStream)
        })
    }

    fn exec(&self, request: &ExecRequest) -> Result<Process<ExitStatus>, ProviderError> {
        self.provider()?.exec(request).map(process)
    }

    fn attach(&self, request: &AttachRequest) -> Result<Process<()>, ProviderError> {
        self.provider()?.attach(request).map(process)
    }

    fn port_forward(&self, request: &PortForwardRequest) -> Result<Forwarded, ProviderError> {
        let plugin::Forward { stream, outcome } = self.provider()?.port_forward(request)?;
        Ok(Forwarded {
            io: Box::new(stream),
            outcome: Box::pin(outcome),
        })
    }

    fn reports(&self) -> BoxFuture<'_, Result<Vec<PodReport>, ProviderError>> {
        Box::pin(async move { self.provider()?.list_pods(LIST_TIMEOUT).await })
    }

    fn stats(&self) -> BoxFuture<'_, Result<StatsSummary, ProviderError>> {
        Box::pin(async move { self.provider()?.stats(&self.node, LIST_TIMEOUT).await })
    }

    fn measure(&self, registry: &mut Registry) {
        // Of the whole host, as the figures of the process are.
        let help = "Events that were not sent: too many waited, or the API server did not take them";
        let dropped = ConstCounter::new(self.events.dropped());
        registry.register("outrigger_events_dropped", help, dropped);
        let Some(provider) = &self.provider else { return };
        let labelled = registry.sub_registry_with_label(("provider".into(), provider.name().to_owned().into()));
        let in_flight = i64::try_from(provider.in_flight()).unwrap_or(i64::MAX);
        let help = "Calls that wait for the provider's answer";
        labelled.register(CALLS_IN_FLIGHT, help, ConstGauge::new(in_flight));
        self.samples.register(provider.name(), &self.node, registry);
    }
}

fn process<T: serde::de::DeserializeOwned + 'static>(session: plugin::Session<T>) -> Process<T> {
    let reader = |stream: plugin::Stream| Box::new(stream) as server::Reader;
    Process {
        stdin: session.stdin.map(|stream| Box::new(stream) as server::Writer),
        stdout: session.stdout.map(reader),
        stderr: session.stderr.map(reader),
        resize: session
            .resize
            .map(|resizer| Box::new(Terminal(resizer)) as Box<dyn Resize>),
        outcome: Box::pin(session.outcome),
    }
}

struct Terminal(Resizer);

impl Resize for Terminal {
    fn resize(&mut self, columns: u16, rows: u16) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.0.send(columns, rows))
    }
}

struct Source(LogStream);

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl LogSource for Source {
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ProviderError>> {
        Box::pin(self.0.finish())
    }
}
