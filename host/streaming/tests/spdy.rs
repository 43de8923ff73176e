//! SPDY between its two sides, and each of them against a peer that is written here, byte by byte, with zlib's own compressor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "spdy/ends.rs"]
mod ends;
#[path = "spdy/frames.rs"]
mod frames;
#[path = "spdy/model.rs"]
mod model;
#[path = "spdy/peer.rs"]
mod peer;
#[path = "spdy/pressure.rs"]
mod pressure;
#[path = "spdy/rules.rs"]
mod rules;
#[path = "spdy/streams.rs"]
mod streams;
