//! Remote commands: `exec` and `attach` as `kubectl` and a kubelet speak them, server and client side.
//!
//! A request is [negotiated](negotiate), its query [read](Wanted::from_query), and after the answer 101 the connection is
//! [served](serve): the [`Session`] has a stream for each of stdin, stdout, stderr and the terminal's size, and an [`End`]
//! that says when the client left and takes the [`Outcome`].
//!
//! | protocol | over | outcome | sizes | half-close of stdin |
//! |---|---|---|---|---|
//! | `v4.channel.k8s.io` | SPDY | JSON status with the exit code | yes | yes |
//! | `v3.channel.k8s.io` | SPDY | text, nothing for success | yes | yes |
//! | `v2.channel.k8s.io` | SPDY | text | no | yes |
//! | `channel.k8s.io` (v1) | SPDY | text | no | yes, but the server ends its half at once |
//! | `v5.channel.k8s.io` | WebSocket | JSON status | yes | yes (KEP-4006) |
//! | `v4.channel.k8s.io`, `v4.base64.channel.k8s.io` | WebSocket | JSON status | yes | no: stdin ends with the connection |
//! | `channel.k8s.io`, `base64.channel.k8s.io`, none | WebSocket | text | yes | no |

mod connect;
mod error;
mod outcome;
mod protocol;
mod serve;
mod session;
mod sizes;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use connect::{ClientEnd, ClientSession, Resizer, connect};
pub use error::Error;
pub use outcome::Outcome;
pub use protocol::{Protocol, Wanted, ask, negotiate};
pub use serve::serve;
pub use session::{End, Input, Output, Session};
pub use sizes::{NotASize, SizeParser, Sizes};

pub use crate::upgrade::{Offer, Refusal};

/// A request that was accepted.
pub type Upgrade = crate::upgrade::Upgrade<Protocol>;
/// A request to make.
pub type Ask = crate::upgrade::Ask<Protocol>;

/// What a session may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the client to open all its streams: the kubelet's 30 s.
    pub creation: Duration,
    /// Without a frame in either direction, pings included: the kubelet's 4 h.
    pub idle: Duration,
    /// At the end, for a client that takes nothing and sends nothing.
    pub patience: Duration,
    /// At the end, in any case.
    pub cap: Duration,
    /// Bytes of one stream that may wait for a reader here. Over WebSocket, one message of a client may come on top.
    pub receive: usize,
    /// Bytes of one stream that may wait for the client to take them.
    pub send: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            creation: Duration::from_secs(30),
            idle: Duration::from_secs(4 * 60 * 60),
            patience: Duration::from_secs(60),
            cap: Duration::from_secs(15 * 60),
            receive: 256 << 10,
            send: 128 << 10,
        }
    }
}
