//! Port-forwards as `kubectl` and a kubelet speak them, server and client side.
//!
//! A request is [negotiated](negotiate), and after the answer 101 the connection is [served](serve) with something that
//! [connects](Connect) to a port of the pod.
//!
//! | protocol | connections | half-close | errors |
//! |---|---|---|---|
//! | `portforward.k8s.io` over SPDY | as many pairs of streams as the client opens | yes | for each pair |
//! | `SPDY/3.1+portforward.k8s.io` over WebSocket | the same, through a [tunnel](crate::websocket::Tunnel) (KEP-4006) | yes | for each pair |
//! | `v4.channel.k8s.io`, `v4.base64.channel.k8s.io`, none, over WebSocket | one for each port of the query | no | for each port |

mod channels;
mod client;
mod forward;
mod pairs;
mod protocol;
mod streams;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub use client::{Client, Forwarding, connect};
pub use protocol::{Protocol, ask, negotiate, ports_from_query};

pub use crate::upgrade::{Offer, Refusal};
use crate::websocket::{Role, Tunnel};
use crate::{spdy, websocket};

/// A request that was accepted.
pub type Upgrade = crate::upgrade::Upgrade<Protocol>;
/// A request to make.
pub type Ask = crate::upgrade::Ask<Protocol>;

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; what comes on top is refused.
    pub pairs: usize,
    /// For the second stream of a pair: the kubelet's 30 s.
    pub creation: Duration,
    /// Without a frame in either direction, pings included: the kubelet's 4 h.
    pub idle: Duration,
    /// After the pod's side of a connection has ended: for its [outcome](Target::outcome), and where there is no half-close for
    /// what the client still sends. After the client has left: for what it sent before. What container runtimes give, 1 s.
    pub grace: Duration,
    /// At the end of a connection by this side, for a client that takes nothing and sends nothing.
    pub patience: Duration,
    /// At the end, in any case.
    pub cap: Duration,
    /// Bytes of one stream that may wait for the pod.
    pub receive: usize,
    /// Bytes of one stream that may wait for the client.
    pub send: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pairs: 256,
            creation: Duration::from_secs(30),
            idle: Duration::from_secs(4 * 60 * 60),
            grace: Duration::from_secs(1),
            patience: Duration::from_secs(60),
            cap: Duration::from_secs(15 * 60),
            receive: 256 << 10,
            send: 128 << 10,
        }
    }
}

/// Connects to ports of a pod.
pub trait Connect: Send + Sync + 'static {
    /// The connection.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to one port. Dropping the future cancels it. An error is shown to the user as it is: it should say what was done,
    /// `error forwarding port 80 to pod web, uid 6f2c: ...`. `kubectl` then ends the whole command.
    fn connect(&self, port: u16) -> impl Future<Output = Result<Target<Self::Io>, String>> + Send;
}

/// A connection to a port of a pod.
pub struct Target<Io> {
    /// Its bytes. Shutting it down tells the pod that the client will send no more.
    pub io: Io,
    /// How it ended on the far side, known at the latest after `io` is dropped; an error is shown to the user as it is, and ends
    /// the connection: after [`Limits::grace`], nothing more is waited for. It is dropped when it is of no interest any more.
    pub outcome: BoxFuture<'static, Result<(), String>>,
}

/// Why port-forwarding ended other than by the client's leaving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed, over SPDY.
    #[error("unable to keep up the SPDY connection")]
    Spdy(#[from] spdy::Error),
    /// The connection failed, over WebSocket.
    #[error("unable to keep up the WebSocket connection")]
    WebSocket(#[from] Arc<websocket::Error>),
    /// The server did not accept a stream in time.
    #[error("the server did not accept a stream within {} s", .0.as_secs())]
    NotAccepted(Duration),
    /// Asked of a client on WebSocket channels, which have no streams to open.
    #[error("unable to open connections one by one over {0:?}")]
    NoStreams(Protocol),
}

/// Serves a connection after its upgrade, until the client leaves, or where the number of connections is given by `ports` until
/// the last of them has ended. `ports` is used only if [`Protocol::needs_ports`].
///
/// Each connection runs by itself: what fails in one is told on its error stream, and the others go on. Bytes are never dropped
/// while somebody is there to take them. All tasks have ended when this returns; cancelling it ends them, too.
///
/// # Errors
/// The client broke the protocol, was lost, or silent for [`Limits::idle`]. A client that simply goes is no error.
pub async fn serve<Io, C>(
    io: Io,
    protocol: Protocol,
    ports: Vec<u16>,
    connect: Arc<C>,
    limits: Limits,
) -> Result<(), Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Connect,
{
    match protocol {
        Protocol::Spdy => streams::serve(io, connect, limits).await,
        Protocol::Tunnel => streams::serve(Tunnel::new(io, Role::Server).await, connect, limits).await,
        Protocol::WebSocket | Protocol::WebSocketBase64 => channels::serve(io, protocol, ports, connect, limits).await,
    }
}
