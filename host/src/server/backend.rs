//! What a node's server serves.

use bytes::Bytes;
use outrigger_plugin::AttachRequest;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::LogRequest;
use outrigger_plugin::PodIdentity;
use outrigger_plugin::PodReport;
use outrigger_plugin::PortForwardRequest;
use outrigger_plugin::ProviderError;
use outrigger_plugin::StatsSummary;
use prometheus_client::registry::Registry;
use std::future::Future;
use std::io;
use std::pin::Pin;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

/// A future that can be named.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A pod as the host knows it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Who it is.
    pub identity: PodIdentity,
    /// The `v1.Pod` as JSON, with the host's newest status.
    pub raw: Bytes,
}

/// The bytes of a log as the provider sends them: for each line an RFC 3339 time, a space, the text and a newline.
///
/// Dropping it ends the provider's call.
pub trait LogSource: AsyncRead + Send + Unpin {
    /// How the call ended, after the last byte was read: the end of the bytes alone does not tell.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ProviderError>>;
}

/// A log that is being read.
pub type LogStream = Box<dyn LogSource>;

/// Output of a process.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// Input of a process. Shutting it down is the end of the input.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Both ways, with half-close.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The size of a process's terminal.
pub trait Resize: Send {
    /// Tells a new size. An error means that nobody wants to know any more, and not that the process has ended.
    fn resize(&mut self, columns: u16, rows: u16) -> BoxFuture<'_, io::Result<()>>;
}

/// A process in a container. Streams that were not asked for are `None`.
pub struct Process<T> {
    /// To the process.
    pub stdin: Option<Writer>,
    /// From the process; with a terminal, all of its output.
    pub stdout: Option<Reader>,
    /// Errors of the process; `None` with a terminal.
    pub stderr: Option<Reader>,
    /// `None` without a terminal.
    pub resize: Option<Box<dyn Resize>>,
    /// How it ended; once that is known, output that was written is still there, and then ends. Dropping it ends the
    /// provider's call at once.
    pub outcome: BoxFuture<'static, Result<T, ProviderError>>,
}

/// A connection to a port of a pod.
pub struct Forwarded {
    /// Both ways.
    pub io: Box<dyn Duplex>,
    /// How it ended. Dropping it ends the provider's call at once.
    pub outcome: BoxFuture<'static, Result<(), ProviderError>>,
}

/// What a provider may be unable to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Commands in containers.
    Exec,
    /// Attaching to containers.
    Attach,
    /// Connections into pods.
    PortForward,
    /// Resource statistics.
    Stats,
}

/// The pods of one node, and its provider.
pub trait Backend: Send + Sync + 'static {
    /// Whether those answer at all who know the node's pods.
    fn is_alive(&self) -> BoxFuture<'_, bool>;

    /// Every pod of the node as `v1.Pod` JSON.
    fn pods(&self) -> BoxFuture<'_, Vec<Bytes>>;

    /// One pod of the node.
    fn find<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<PodView>>;

    /// Whether the provider can do this; else why not, without asking it.
    fn offers(&self, feature: Feature) -> Result<(), ProviderError>;

    /// Opens a container's log. Dropping the future cancels the call.
    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, ProviderError>>;

    /// Runs a command in a container.
    fn exec(&self, request: &ExecRequest) -> Result<Process<ExitStatus>, ProviderError>;

    /// Attaches to a container's main process.
    fn attach(&self, request: &AttachRequest) -> Result<Process<()>, ProviderError>;

    /// Connects to a port of a pod. That nobody listens there is told by the outcome.
    fn port_forward(&self, request: &PortForwardRequest) -> Result<Forwarded, ProviderError>;

    /// What the provider itself has, of this node or others. Dropping the future cancels the call.
    fn reports(&self) -> BoxFuture<'_, Result<Vec<PodReport>, ProviderError>>;

    /// Resource use of the node and its pods. Dropping the future cancels the call.
    fn stats(&self) -> BoxFuture<'_, Result<StatsSummary, ProviderError>>;

    /// Adds what is counted outside of the server and belongs to this node.
    fn measure(&self, registry: &mut Registry);
}
