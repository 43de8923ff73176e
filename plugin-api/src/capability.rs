//! What a provider may offer beyond running pods. Each is a trait of its own; name those that are implemented in
//! [`export_provider!`](crate::export_provider). What is not named does not exist for the host: it answers 501 to
//! whoever asks, and `outrigger plugins inspect` shows a "no".

use crate::{
    Call, ErrorCode, Provider, ProviderError, Result,
    request::{
        AttachRequest, ExecRequest, ExitStatus, Image, LogRequest, PortForwardRequest, StatsRequest, StatsSummary,
    },
};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// A byte stream to a client of the host.
///
/// Writing waits while the client does not read; a write error means that the client has gone, and the method should
/// return. Shutting it down closes the writing half only. Dropping it closes it; how the whole call ended is what the
/// method returns.
#[derive(Debug)]
pub struct ByteStream(UnixStream);

impl ByteStream {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The sizes of a client's terminal as they change.
#[derive(Debug)]
pub struct Resize(UnixStream);

impl Resize {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The next size as (columns, rows); `None` when the client has gone. Cancel safe only at the start of a size.
    pub async fn next(&mut self) -> Option<(u16, u16)> {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).await.ok()?;
        let [c0, c1, r0, r1] = size;
        Some((u16::from_le_bytes([c0, c1]), u16::from_le_bytes([r0, r1])))
    }
}

/// The streams of an interactive session; those that the client did not ask for are `None`.
///
/// Take it apart and drop each stream as soon as there is nothing more to move: the client sees the end of that stream at
/// once. A `resize` that is dropped is fine.
#[derive(Debug)]
pub struct Session {
    /// Input for the process; its end is the client's half-close.
    pub stdin: Option<ByteStream>,
    /// Output of the process; with a terminal, all output.
    pub stdout: Option<ByteStream>,
    /// Errors of the process; never with a terminal.
    pub stderr: Option<ByteStream>,
    /// Terminal sizes; only with a terminal.
    pub resize: Option<Resize>,
}

/// Container logs.
pub trait Logs: Provider {
    /// Writes a container's log: for each line an RFC 3339 time with nanoseconds, a space, the text and a newline.
    ///
    /// [`ErrorCode::NotFound`] for an unknown pod or container. Return only after the last byte has been written.
    fn read_logs(&self, call: Call, request: LogRequest, out: ByteStream) -> impl Future<Output = Result<()>> + Send;
}

/// Commands in a running container.
///
/// The whole of it for a backend behind a daemon, which takes a line with the command, then the input as it is, and
/// answers in frames: a byte that says what it is, a length, the bytes.
///
/// ```
/// # use outrigger_plugin::{Call, Host, PluginInfo, PodIdentity, PodReport, PodRequest, Provider, Support};
/// use outrigger_plugin::{Exec, ExecRequest, ExitStatus, ProviderError, Result, Session};
/// use tokio::{io::{AsyncReadExt, AsyncWriteExt, copy}, net::UnixStream};
/// # use std::{path::PathBuf, time::Duration};
///
/// struct Mine {
///     daemon: PathBuf,
/// }
/// # impl Provider for Mine {
/// #     type Config = PathBuf;
/// #     fn info() -> PluginInfo { PluginInfo::new("mine", "0.1.0", Support::none()) }
/// #     async fn start(daemon: PathBuf, _: Host) -> Result<Self> { Ok(Self { daemon }) }
/// #     async fn create(&self, _: Call, pod: PodRequest) -> Result<PodReport> { Ok(PodReport::new(pod.identity)) }
/// #     async fn stop(&self, _: Call, pod: PodIdentity, _: Duration) -> Result<PodReport> { Ok(PodReport::new(pod)) }
/// #     async fn remove(&self, _: Call, _: PodIdentity) -> Result<()> { Ok(()) }
/// #     async fn get(&self, _: Call, pod: PodIdentity) -> Result<PodReport> { Ok(PodReport::new(pod)) }
/// #     async fn list(&self, _: Call) -> Result<Vec<PodReport>> { Ok(Vec::new()) }
/// # }
///
/// impl Exec for Mine {
///     // Dropped when the client goes: that closes the connection, and the daemon ends the command.
///     async fn exec(&self, _call: Call, request: ExecRequest, session: Session) -> Result<ExitStatus> {
///         let away = |source| ProviderError::unavailable("the daemon is away").with_source(source);
///         let (mut from, mut to) = UnixStream::connect(&self.daemon).await.map_err(away)?.into_split();
///         to.write_all(format!("{:?}\n", request.command).as_bytes()).await?;
///         let Session { stdin, mut stdout, mut stderr, .. } = session;
///         let input = async {
///             if let Some(mut stdin) = stdin {
///                 // Ends with the client's input; the daemon may take less of it.
///                 let _ = copy(&mut stdin, &mut to).await;
///             }
///             let _ = to.shutdown().await; // and that it has ended is passed on
///             std::future::pending::<()>().await // the output goes on
///         };
///         let output = async {
///             loop {
///                 let (kind, length) = (from.read_u8().await?, from.read_u32().await?);
///                 let mut frame = (&mut from).take(length.into());
///                 let stream = match kind {
///                     0 => return Ok(ExitStatus { exit_code: frame.read_u8().await? }),
///                     1 => &mut stdout,
///                     _ => &mut stderr,
///                 };
///                 match stream {
///                     Some(stream) => copy(&mut frame, stream).await?, // waits while the client does not read
///                     None => copy(&mut frame, &mut tokio::io::sink()).await?,
///                 };
///             }
///         };
///         tokio::select! {
///             ended = output => ended,
///             () = input => unreachable!("it never ends"),
///         }
///     }
/// }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # use outrigger_plugin::testing::{self, Streams};
/// # let directory = std::env::temp_dir().join(format!("outrigger-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let mine = Mine { daemon: directory.join("daemon") };
/// # let listener = tokio::net::UnixListener::bind(&mine.daemon).unwrap();
/// # tokio::spawn(async move {
/// #     let (mut client, _) = listener.accept().await.unwrap();
/// #     let mut all = Vec::new();
/// #     client.read_to_end(&mut all).await.unwrap();
/// #     client.write_all(&[1, 0, 0, 0, all.len() as u8]).await.unwrap();
/// #     client.write_all(&all).await.unwrap();
/// #     client.write_all(&[2, 0, 0, 0, 1, b'e', 0, 0, 0, 0, 1, 3]).await.unwrap();
/// # });
/// # let request = serde_json::from_value(serde_json::json!({
/// #     "identity": { "cluster": "c", "node": "n", "namespace": "default", "name": "web", "uid": "1" },
/// #     "container": "app", "command": ["ls", "-l"],
/// # })).unwrap();
/// # let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
/// # let (session, mut client) = testing::session(streams).unwrap();
/// # client.stdin.take().unwrap().write_all(b"typed").await.unwrap();
/// # assert_eq!(mine.exec(testing::call(), request, session).await.unwrap().exit_code, 3);
/// # let (mut output, mut errors) = (String::new(), String::new());
/// # client.stdout.unwrap().read_to_string(&mut output).await.unwrap();
/// # client.stderr.unwrap().read_to_string(&mut errors).await.unwrap();
/// # assert_eq!((&*output, &*errors), ("[\"ls\", \"-l\"]\ntyped", "e"));
/// # std::fs::remove_dir_all(directory).unwrap();
/// # });
/// ```
pub trait Exec: Provider {
    /// Runs a command; returns its exit status after the last byte of output has been written. Dropped when the client
    /// has gone: what it has started ends with it.
    ///
    /// A command that ran and failed is an exit status, however it failed; an error means that it could not be run, or
    /// that nobody knows how it ended.
    fn exec(
        &self,
        call: Call,
        request: ExecRequest,
        session: Session,
    ) -> impl Future<Output = Result<ExitStatus>> + Send;
}

/// Attaching to a container's main process.
pub trait Attach: Provider {
    /// Attaches; returns when the container has ended. Dropped when the client has gone; the container goes on.
    fn attach(&self, call: Call, request: AttachRequest, session: Session) -> impl Future<Output = Result<()>> + Send;
}

/// Connections into a pod's network.
pub trait PortForward: Provider {
    /// Connects the client to a TCP port on the pod's loopback and copies both ways, with half-close: for two sockets
    /// that is `tokio::io::copy_bidirectional`. The error of a port that refuses says so; its message reaches the client.
    fn port_forward(
        &self,
        call: Call,
        request: PortForwardRequest,
        connection: ByteStream,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Resource use of a node and its pods.
pub trait Stats: Provider {
    /// One sample, now.
    fn stats(&self, call: Call, request: StatsRequest) -> impl Future<Output = Result<StatsSummary>> + Send;
}

/// Images that the backend holds.
pub trait Images: Provider {
    /// The images present for a node.
    fn images(&self, call: Call, node: String) -> impl Future<Output = Result<Vec<Image>>> + Send;
}

/// Meant for streams, whose client may have gone, which is no failure of the provider. What a method like `create` says should
/// name what could not be done, and whether it can be tried again: the text is in the pod's events, the cause in the log only.
impl From<io::Error> for ProviderError {
    fn from(error: io::Error) -> Self {
        ProviderError::new(ErrorCode::Internal, "input or output failed").with_source(error)
    }
}
