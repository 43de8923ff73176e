//! For a provider's own tests: a host that writes down what it is told, and the ends that a host would hold.
//!
//! ```
//! use outrigger_plugin::{PodIdentity, testing::{self, Pushed}};
//!
//! let (host, mut pushed) = testing::host("mine");
//! let identity = PodIdentity {
//!     cluster: "c".into(), node: "n".into(), namespace: "default".into(), name: "web".into(), uid: "1".into(),
//! };
//! host.pod_gone(identity);
//! assert!(matches!(pushed.try_recv(), Ok(Pushed::Pod(report)) if report.gone));
//! ```

use crate::{ByteStream, Call, Event, Host, MetricSample, NodeDescription, PodReport, Resize, Session};
use std::io;
use tokio::{io::AsyncWriteExt, net::UnixStream, sync::mpsc};

/// How many messages a recorded host keeps for its reader; later ones are lost.
const KEPT: usize = 65_536;

/// What a provider has told its host.
#[derive(Clone, Debug, PartialEq)]
pub enum Pushed {
    /// [`Host::pod_status`] or [`Host::pod_gone`].
    Pod(PodReport),
    /// [`Host::node_changed`].
    Node {
        /// The node.
        node: String,
        /// How it looks.
        description: NodeDescription,
    },
    /// [`Host::event`].
    Event(Event),
    /// [`Host::metric`].
    Metric(MetricSample),
}

/// A host without a process behind it, and what it will be told.
pub fn host(provider: impl Into<String>) -> (Host, mpsc::Receiver<Pushed>) {
    let (sender, receiver) = mpsc::channel(KEPT);
    (Host::recorded(sender, provider.into()), receiver)
}

/// A call whose caller waits without limit.
pub fn call() -> Call {
    Call { id: 1, deadline: None }
}

/// A stream for a method that moves bytes, and its other end: the client's.
pub fn stream() -> io::Result<(ByteStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ByteStream::new(ours), theirs))
}

/// Which streams a session of a test has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The client sends input.
    pub stdin: bool,
    /// It wants output.
    pub stdout: bool,
    /// It wants errors.
    pub stderr: bool,
    /// It has a terminal: there are sizes, and no errors of their own.
    pub tty: bool,
}

/// The client's ends of a session.
#[derive(Debug)]
pub struct Client {
    /// Goes to [`Session::stdin`].
    pub stdin: Option<UnixStream>,
    /// Comes from [`Session::stdout`].
    pub stdout: Option<UnixStream>,
    /// Comes from [`Session::stderr`].
    pub stderr: Option<UnixStream>,
    sizes: Option<UnixStream>,
}

impl Client {
    /// The client's terminal has another size. Fails for a session without a terminal, and when nobody reads sizes.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        let sizes = self.sizes.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let ([c0, c1], [r0, r1]) = (columns.to_le_bytes(), rows.to_le_bytes());
        sizes.write_all(&[c0, c1, r0, r1]).await
    }
}

/// A session for [`Exec`](crate::Exec) or [`Attach`](crate::Attach), and the client's ends of its streams.
pub fn session(streams: Streams) -> io::Result<(Session, Client)> {
    let pair = |wanted: bool| -> io::Result<(Option<UnixStream>, Option<UnixStream>)> {
        Ok(wanted.then(UnixStream::pair).transpose()?.unzip())
    };
    let (stdin, to_stdin) = pair(streams.stdin)?;
    let (stdout, from_stdout) = pair(streams.stdout)?;
    let (stderr, from_stderr) = pair(streams.stderr && !streams.tty)?;
    let (resize, sizes) = pair(streams.tty)?;
    let session = Session {
        stdin: stdin.map(ByteStream::new),
        stdout: stdout.map(ByteStream::new),
        stderr: stderr.map(ByteStream::new),
        resize: resize.map(Resize::new),
    };
    let client = Client {
        stdin: to_stdin,
        stdout: from_stdout,
        stderr: from_stderr,
        sizes,
    };
    Ok((session, client))
}
