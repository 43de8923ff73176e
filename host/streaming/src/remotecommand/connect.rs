//! The client's side.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::serve::{STREAM_TYPE, spdy_config, timing};
use super::session::{Reading, Writing, channel};
use super::{Error, Input, Limits, Outcome, Output, Protocol, Wanted};
use crate::spdy::{self, Headers, Stream};
use crate::websocket::{self, MAX_MESSAGE, Role, Settings, Use};

/// Longest outcome that is read.
const OUTCOME: u64 = 1 << 20;

/// A session from the client's side.
#[derive(Debug)]
pub struct ClientSession {
    /// What the command reads. Shutting it down ends the command's stdin, where the protocol can say so: not in v4 and earlier
    /// over WebSocket.
    pub stdin: Option<Output>,
    /// What the command writes. It has to be read: what isn't holds up all the rest.
    pub stdout: Option<Input>,
    /// The same for errors.
    pub stderr: Option<Input>,
    /// Tells the size of the terminal.
    pub resize: Option<Resizer>,
    /// How the command ended.
    pub end: ClientEnd,
}

/// Tells the server the size of the terminal.
#[derive(Debug)]
pub struct Resizer(Output);

/// How the command ended.
#[derive(Debug)]
pub struct ClientEnd {
    connection: ClientEnding,
    protocol: Protocol,
    read: Vec<u8>,
}

#[derive(Debug)]
enum ClientEnding {
    Spdy { connection: spdy::Connection, error: Input },
    WebSocket { control: websocket::Control, error: Input },
}

/// Begins a session on a connection whose upgrade the client has [asked](super::ask) for and the server granted. What is wanted must
/// be what the request's query said.
///
/// # Errors
/// The server left, broke the protocol, or did not accept a stream within 30 s.
pub async fn connect<Io>(io: Io, protocol: Protocol, wanted: Wanted) -> Result<ClientSession, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (wanted, limits) = (wanted.checked(), Limits::default());
    if protocol.is_spdy() {
        connect_spdy(io, protocol, wanted, limits).await
    } else {
        connect_websocket(io, protocol, wanted, limits).await
    }
}

async fn connect_spdy<Io>(io: Io, protocol: Protocol, wanted: Wanted, limits: Limits) -> Result<ClientSession, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = spdy::client(io, spdy_config(limits));
    // The order of Go's clients.
    let error = open(&connection, "error", limits.creation).await?;
    let mut streams = [
        (wanted.stdin, "stdin", None),
        (wanted.stdout, "stdout", None),
        (wanted.stderr, "stderr", None),
        (wanted.tty && protocol.has_sizes(), "resize", None),
    ];
    for (wanted, kind, stream) in &mut streams {
        if *wanted {
            *stream = Some(open(&connection, kind, limits.creation).await?);
        }
    }
    let [stdin, stdout, stderr, resize] = streams.map(|(_, _, stream)| stream);
    Ok(ClientSession {
        stdin: stdin.map(|s| Output(Writing::Spdy(s))),
        stdout: stdout.map(|s| Input(Reading::SpdyServed(s))),
        stderr: stderr.map(|s| Input(Reading::SpdyServed(s))),
        resize: resize.map(|s| Resizer(Output(Writing::Spdy(s)))),
        end: ClientEnd {
            connection: ClientEnding::Spdy {
                connection,
                error: Input(Reading::SpdyServed(error)),
            },
            protocol,
            read: Vec::new(),
        },
    })
}

async fn open(connection: &spdy::Connection, kind: &str, patience: Duration) -> Result<Stream, Error> {
    let headers = Headers::new().with(STREAM_TYPE, kind);
    let opened = timeout(patience, connection.open(headers, false)).await;
    Ok(opened.map_err(|_| Error::NotAccepted(patience))??)
}

async fn connect_websocket<Io>(
    io: Io,
    protocol: Protocol,
    wanted: Wanted,
    limits: Limits,
) -> Result<ClientSession, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let when = |wanted: bool, how: Use| if wanted { how } else { Use::Ignore };
    let channels = vec![
        when(wanted.stdin, Use::Write),
        when(wanted.stdout, Use::Read),
        when(wanted.stderr, Use::Read),
        Use::Read,
        when(wanted.tty, Use::Write),
    ];
    let settings = Settings {
        role: Role::Client,
        codec: protocol.codec(),
        channels,
        message: MAX_MESSAGE,
        receive: limits.receive,
        send: limits.send,
        timing: timing(limits),
    };
    let control = websocket::open(io, settings).await?;
    let reader = |wanted: bool, channel| wanted.then(|| Input(Reading::WebSocket(control.reader(channel))));
    let writer = |wanted: bool, channel| wanted.then(|| Output(Writing::WebSocket(control.writer(channel))));
    Ok(ClientSession {
        stdin: writer(wanted.stdin, channel::STDIN),
        stdout: reader(wanted.stdout, channel::STDOUT),
        stderr: reader(wanted.stderr, channel::STDERR),
        resize: writer(wanted.tty, channel::RESIZE).map(Resizer),
        end: ClientEnd {
            connection: ClientEnding::WebSocket {
                error: Input(Reading::WebSocket(control.reader(channel::ERROR))),
                control,
            },
            protocol,
            read: Vec::new(),
        },
    })
}

impl Resizer {
    /// Tells a size.
    ///
    /// # Errors
    /// The session is over.
    pub async fn send(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        let object = format!("{{\"Width\":{columns},\"Height\":{rows}}}\n");
        self.0.write_all(object.as_bytes()).await
    }

    #[cfg(test)]
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }
}

impl ClientEnd {
    /// Waits for the outcome. Output must be read meanwhile, and to its end afterwards, before [`close`](ClientEnd::close).
    /// Cancel safe.
    ///
    /// # Errors
    /// The connection ended without an outcome, or what came is none.
    pub async fn outcome(&mut self) -> Result<Outcome, Error> {
        let error = match &mut self.connection {
            ClientEnding::Spdy { error, .. } | ClientEnding::WebSocket { error, .. } => error,
        };
        let mut bytes = [0; 1024];
        loop {
            let read = error.read(&mut bytes).await.map_err(Error::Read)?;
            if read == 0 {
                return Outcome::decode(self.protocol, &self.read);
            }
            if self.read.len() as u64 > OUTCOME {
                return Err(Error::Outcome("it is too long".to_owned()));
            }
            self.read.extend_from_slice(&bytes[..read]);
        }
    }

    /// Ends the connection in order. What was not read is lost. A server that has left by itself is no error.
    ///
    /// # Errors
    /// The server did not take what was left to send.
    pub async fn close(self) -> Result<(), Error> {
        match self.connection {
            ClientEnding::Spdy { connection, error } => {
                drop(error);
                match connection.close().await {
                    Err(gone) if gone.is_gone() => {}
                    ended => ended?,
                }
            }
            ClientEnding::WebSocket { control, error } => {
                drop(error);
                match control.close().await {
                    Err(lost) if matches!(*lost, websocket::Error::Lost(_)) => {}
                    ended => ended?,
                }
            }
        }
        Ok(())
    }
}
