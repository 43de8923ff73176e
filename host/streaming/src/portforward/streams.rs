//! Pairs of SPDY streams.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::forward::{Verdict, forward};
use super::pairs::{Added, Half, Key, Kind, Pairs};
use super::{Connect, Error, Limits};
use crate::spdy::{self, Headers, Incoming, Status, Stream};

pub(super) const STREAM_TYPE: &str = "streamtype";
pub(super) const PORT: &str = "port";
pub(super) const REQUEST: &str = "requestid";

pub(super) fn config(limits: Limits) -> spdy::Config {
    spdy::Config {
        receive: limits.receive,
        send: limits.send,
        idle: limits.idle,
        streams: limits.pairs.saturating_mul(2),
        ..spdy::Config::default()
    }
}

/// One client.
struct Server<C> {
    connect: Arc<C>,
    limits: Limits,
    pairs: Pairs<Stream>,
    running: JoinSet<()>,
}

pub(super) async fn serve<Io, C>(io: Io, connect: Arc<C>, limits: Limits) -> Result<(), Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Connect,
{
    let mut connection = spdy::server(io, config(limits));
    let mut server = Server {
        connect,
        limits,
        pairs: Pairs::new(),
        running: JoinSet::new(),
    };
    loop {
        let deadline = server.pairs.next_deadline();
        let expiry = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            incoming = connection.accept() => match incoming {
                Some(incoming) => server.take(incoming),
                None => break,
            },
            () = expiry => server.expire(),
            Some(_) = server.running.join_next(), if !server.running.is_empty() => {}
        }
    }
    // What the client sent before it left goes on to the pod.
    let rest = async { while server.running.join_next().await.is_some() {} };
    let _ = timeout(limits.grace, rest).await;
    server.running.shutdown().await;
    match connection.error() {
        Some(error @ (spdy::Error::Protocol(_) | spdy::Error::Idle(_))) => Err(error.into()),
        Some(_) => Ok(()),
        None => {
            // It has said that it leaves, and may be waiting for our word.
            let _ = connection.close().await;
            Ok(())
        }
    }
}

impl<C: Connect> Server<C> {
    fn take(&mut self, incoming: Incoming) {
        let port = incoming
            .headers
            .get(PORT)
            .filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
        let port: Option<u16> = port.and_then(|p| p.parse().ok()).filter(|p| *p > 0);
        let kind = match incoming.headers.get(STREAM_TYPE) {
            Some("data") => Some(Kind::Data),
            Some("error") => Some(Kind::Error),
            _ => None,
        };
        let (Some(port), Some(kind)) = (port, kind) else {
            return incoming.reject(Status::ProtocolError);
        };
        let key = Key::new(incoming.headers.get(REQUEST), kind, incoming.id());
        let busy = self.running.len() + self.pairs.len() >= self.limits.pairs;
        if busy && !self.pairs.contains(&key) {
            return incoming.reject(Status::RefusedStream);
        }
        let stream = incoming.accept(Headers::new());
        let deadline = Instant::now() + self.limits.creation;
        match self.pairs.add(key, kind, port, stream, deadline) {
            Added::Waiting => {}
            Added::Duplicate(stream) => stream.reset(Status::ProtocolError),
            Added::Complete { data, error, port } => {
                let (connect, limits) = (self.connect.clone(), self.limits);
                self.running.spawn(run(port, data, error, connect, limits));
            }
        }
    }

    fn expire(&mut self) {
        for (key, half) in self.pairs.expired(Instant::now()) {
            let request = match key {
                Key::Request(id) => id,
                Key::Number(id) => id.to_string(),
            };
            match half {
                Half {
                    kind: Kind::Error,
                    stream,
                    ..
                } => {
                    let text = format!("request {request}: timed out waiting for the data stream");
                    self.running.spawn(async move { tell(stream, &text).await });
                }
                Half { stream, .. } => stream.reset(Status::Cancel),
            }
        }
    }
}

/// Runs one connection to its end.
async fn run<C: Connect>(port: u16, data: Stream, error: Stream, connect: Arc<C>, limits: Limits) {
    error.ignore_input();
    let (from_client, to_client) = tokio::io::split(data);
    match forward(port, from_client, to_client, connect, limits).await {
        Verdict::Done(rest) => {
            tell(error, "").await;
            rest.await;
        }
        // The data stream was dropped: that resets it, so that the client can open another.
        Verdict::Failed(text) => tell(error, &text).await,
        Verdict::ClientGone => tell(error, "").await,
    }
}

/// The last words on an error stream. An empty stream means that nothing failed; either way clients wait for its end.
async fn tell(mut error: Stream, text: &str) {
    // A client that doesn't listen any more needs no words.
    if error.write_all(text.as_bytes()).await.is_ok() {
        let _ = error.shutdown().await;
    }
}
