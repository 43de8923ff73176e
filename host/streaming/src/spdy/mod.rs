//! SPDY/3.1: many byte streams over one connection, as Kubernetes speaks it.
//!
//! [`server`] and [`client`] take a connection after its HTTP upgrade. Each side opens streams with [`Handle::open`] and
//! takes those of its peer from [`Connection::accept`]; a [`Stream`] is an `AsyncRead` and `AsyncWrite` whose halves end one
//! by one.
//!
//! ```
//! use outrigger_streaming::spdy::{Config, Headers, client, server};
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, duplex, split};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = duplex(1000);
//! let (client, mut server) = (client(near, Config::default()), server(far, Config::default()));
//! let serving = tokio::spawn(async move {
//!     let incoming = server.accept().await.expect("the client opens one");
//!     assert_eq!(incoming.headers.get("streamtype"), Some("data"));
//!     let (mut from, mut to) = split(incoming.accept(Headers::new()));
//!     copy(&mut from, &mut to).await?;
//!     to.shutdown().await?;
//!     // Everything gets there, and the client leaves before the transport is closed.
//!     let (patience, cap) = (Duration::from_secs(60), Duration::from_secs(900));
//!     server.finish(patience, cap).await.map_err(std::io::Error::from)
//! });
//!
//! let mut stream = client.open(Headers::new().with("streamType", "data"), false).await?;
//! stream.write_all(b"there and back again").await?;
//! stream.shutdown().await?;
//! let mut text = String::new();
//! stream.read_to_string(&mut text).await?;
//! assert_eq!(text, "there and back again");
//! client.close().await?;
//! serving.await??;
//! # Ok(())
//! # }
//! ```
//!
//! What this side does where the protocol, or what others made of it, leaves room:
//!
//! - It is silent until the client has opened a stream: clients in Go lose bytes that come together with the answer to their
//!   upgrade. Nor does it send SETTINGS.
//! - No flow control. Peers of Kubernetes have none: they neither send WINDOW_UPDATE nor wait for it. A stream whose reader
//!   is slow fills its queue, then the connection is not read any more, and TCP holds back the peer. Nothing is dropped. As
//!   with them, one stalled reader stalls the streams beside it.
//! - Every queue has a bound, and every input a limit: see [`Config`].
//! - Headers are sent uncompressed inside of zlib ([`block::Deflater`]).
//! - Frames of control overtake data, of which one frame has 32 KiB at most, so that pings are answered early.
//!
//! One task owns the transport (`driver`): it reads frames and hands them to the streams (`mux`), takes frames of control
//! first and then of each stream in turn, and writes them together (`sender`). Streams and the task share a queue for each
//! direction (`core`) and tell each other when something is there (`shared`).

pub mod block;
mod config;
mod connection;
mod core;
mod dictionary;
mod driver;
mod error;
pub mod frame;
mod half;
mod headers;
mod inbound;
mod mux;
mod outbound;
mod receiver;
mod sender;
mod shared;
mod status;
mod stream;

pub use config::Config;
pub use connection::{Connection, Handle, client, server};
pub use error::Error;
pub use headers::Headers;
pub use status::Status;
pub use stream::{Incoming, Stream};
