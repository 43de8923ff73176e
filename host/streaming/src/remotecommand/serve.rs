//! The server's side of the beginning: all streams, or none.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::session::{Ending, Reading, Writing, channel, shut};
use super::{End, Error, Input, Limits, Outcome, Output, Protocol, Session, Sizes, Wanted};
use crate::spdy::{self, Headers, Stream};
use crate::websocket::{self, MAX_MESSAGE, Role, Settings, Timing, Use};

/// The header that says which stream it is.
pub(super) const STREAM_TYPE: &str = "streamtype";

/// Serves a connection after its upgrade; returns when all streams that `wanted` and the protocol ask for are there. Over SPDY
/// nothing is sent before the client has opened its first stream; over WebSocket the first message is an empty one, for which
/// several clients wait.
///
/// The tasks that this spawns end with the session. Cancelling gives the connection up.
///
/// # Errors
/// The client left, broke the protocol, or did not open all its streams within [`Limits::creation`].
pub async fn serve<Io>(io: Io, protocol: Protocol, wanted: Wanted, limits: Limits) -> Result<Session, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wanted = wanted.checked();
    if protocol.is_spdy() {
        serve_spdy(io, protocol, wanted, limits).await
    } else {
        serve_websocket(io, protocol, wanted, limits).await
    }
}

/// The streams of a session over SPDY, as they come.
#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    /// Which there must be, with where they go.
    fn expected(
        &mut self,
        protocol: Protocol,
        wanted: Wanted,
    ) -> impl Iterator<Item = (&'static str, &mut Option<Stream>)> {
        [
            (true, "error", &mut self.error),
            (wanted.stdin, "stdin", &mut self.stdin),
            (wanted.stdout, "stdout", &mut self.stdout),
            (wanted.stderr, "stderr", &mut self.stderr),
            (wanted.tty && protocol.has_sizes(), "resize", &mut self.resize),
        ]
        .into_iter()
        .filter_map(|(wanted, name, slot)| wanted.then_some((name, slot)))
    }

    fn missing(&mut self, protocol: Protocol, wanted: Wanted) -> Vec<&'static str> {
        let missing = self.expected(protocol, wanted).filter(|(_, slot)| slot.is_none());
        missing.map(|(name, _)| name).collect()
    }
}

pub(super) fn spdy_config(limits: Limits) -> spdy::Config {
    spdy::Config {
        receive: limits.receive,
        send: limits.send,
        idle: limits.idle,
        // Five, and room for some that are ignored.
        streams: 16,
        ..spdy::Config::default()
    }
}

async fn serve_spdy<Io>(io: Io, protocol: Protocol, wanted: Wanted, limits: Limits) -> Result<Session, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut connection = spdy::server(io, spdy_config(limits));
    let mut streams = Streams::default();
    let collected = timeout(
        limits.creation,
        collect(&mut connection, &mut streams, protocol, wanted),
    )
    .await;
    let missing = streams.missing(protocol, wanted).join(", ");
    match (collected, streams.error) {
        (Ok(true), Some(error)) => {
            error.ignore_input();
            let end = End {
                connection: Ending::Spdy { connection, error },
                protocol,
                limits,
            };
            if let (Protocol::SpdyV1, Some(stdin)) = (protocol, &mut streams.stdin) {
                // What the first kubelets did, and the clients of that time wait for.
                shut(stdin);
            }
            for written in [&streams.stdout, &streams.stderr].into_iter().flatten() {
                written.ignore_input();
            }
            Ok(Session {
                stdin: streams.stdin.map(|s| Input(Reading::Spdy(s))),
                stdout: streams.stdout.map(|s| Output(Writing::Spdy(s))),
                stderr: streams.stderr.map(|s| Output(Writing::Spdy(s))),
                resize: streams.resize.map(|s| Sizes::new(Input(Reading::Spdy(s)))),
                end,
            })
        }
        (Ok(_), _) => Err(connection
            .error()
            .map_or(Error::Left, |e| if e.is_gone() { Error::Left } else { e.into() })),
        (Err(_), error) => {
            let after = limits.creation;
            if let Some(error) = error {
                // The client is faulty already: it hears why, and isn't waited for longer than it took.
                let message = format!("timed out waiting for the client to create streams: {missing}");
                let limits = Limits {
                    patience: limits.creation,
                    cap: limits.creation,
                    ..limits
                };
                let end = End {
                    connection: Ending::Spdy { connection, error },
                    protocol,
                    limits,
                };
                let _ = end.finish(Outcome::Failed { message }).await;
            }
            Err(Error::Streams { after, missing })
        }
    }
}

/// Takes streams until all are there. `false`: the client left before.
async fn collect(connection: &mut spdy::Connection, streams: &mut Streams, protocol: Protocol, wanted: Wanted) -> bool {
    while !streams.missing(protocol, wanted).is_empty() {
        let Some(incoming) = connection.accept().await else {
            return false;
        };
        let kind = incoming.headers.get(STREAM_TYPE).unwrap_or_default();
        match streams.expected(protocol, wanted).find(|(name, _)| *name == kind) {
            Some((_, slot @ None)) => *slot = Some(incoming.accept(Headers::new())),
            Some(_) => incoming.reject(spdy::Status::ProtocolError),
            // As upstream, which logs it: the stream is there, and nothing happens on it.
            None => shut(&mut incoming.accept(Headers::new())),
        }
    }
    true
}

pub(super) fn timing(limits: Limits) -> Timing {
    Timing {
        idle: limits.idle,
        patience: limits.patience,
        cap: limits.cap,
    }
}

async fn serve_websocket<Io>(io: Io, protocol: Protocol, wanted: Wanted, limits: Limits) -> Result<Session, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let when = |wanted: bool, how: Use| if wanted { how } else { Use::Ignore };
    let channels = vec![
        when(wanted.stdin, Use::Read),
        when(wanted.stdout, Use::Write),
        when(wanted.stderr, Use::Write),
        Use::Write,
        when(wanted.tty, Use::Read),
    ];
    let settings = Settings {
        role: Role::Server,
        codec: protocol.codec(),
        channels,
        message: MAX_MESSAGE,
        receive: limits.receive,
        send: limits.send,
        timing: timing(limits),
    };
    let control = websocket::open(io, settings).await?;
    let first = match wanted {
        Wanted { stdout: true, .. } => channel::STDOUT,
        Wanted { stderr: true, .. } => channel::STDERR,
        _ => channel::ERROR,
    };
    control.send(first, b"");
    let reader = |wanted: bool, channel| wanted.then(|| Input(Reading::WebSocket(control.reader(channel))));
    let writer = |wanted: bool, channel| wanted.then(|| Output(Writing::WebSocket(control.writer(channel))));
    Ok(Session {
        stdin: reader(wanted.stdin, channel::STDIN),
        stdout: writer(wanted.stdout, channel::STDOUT),
        stderr: writer(wanted.stderr, channel::STDERR),
        resize: reader(wanted.tty, channel::RESIZE).map(Sizes::new),
        end: End {
            connection: Ending::WebSocket(control),
            protocol,
            limits,
        },
    })
}
