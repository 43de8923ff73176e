//! Fuzz targets: functions that take any bytes and must neither panic nor hold more memory than their ceiling.
//!
//! The fuzzer calls them from `fuzz_targets/`, and the tests of the crate from `tests/fuzz.rs`, with the inputs of `corpus/`.

mod bytes;
mod channels;
mod outcomes;
mod play;
mod requests;
mod services;
mod sessions;
mod sizes;
mod spdy_blocks;
mod spdy_connection;
mod spdy_frames;
mod spdy_headers;
mod websocket_connection;

/// A target.
pub struct Target {
    /// Of its binary, and of its folder in `corpus/`.
    pub name: &'static str,
    /// Bytes that it may hold at a time.
    pub ceiling: usize,
    /// Takes an input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // The decoder itself holds nothing; the rest is the list of what was found, which is compared.
    Target {
        name: "spdy_frames",
        ceiling: 1 << 20,
        run: spdy_frames::run,
    },
    Target {
        name: "spdy_headers",
        ceiling: 256 << 10,
        run: spdy_headers::run,
    },
    // The state of zlib, and blocks up to their limit.
    Target {
        name: "spdy_blocks",
        ceiling: 256 << 10,
        run: spdy_blocks::run,
    },
    // That and the queues of a connection with the limits that the target sets.
    Target {
        name: "spdy_connection",
        ceiling: 1 << 20,
        run: spdy_connection::run,
    },
    Target {
        name: "channels",
        ceiling: 64 << 10,
        run: channels::run,
    },
    Target {
        name: "outcomes",
        ceiling: 64 << 10,
        run: outcomes::run,
    },
    Target {
        name: "requests",
        ceiling: 256 << 10,
        run: requests::run,
    },
    // The longest message of a WebSocket, for which room is made (and not touched) when its head has come; twice, as a tunnel's
    // frame and its message. The rest is little.
    Target {
        name: "sessions",
        ceiling: 66 << 20,
        run: sessions::run,
    },
    Target {
        name: "sizes",
        ceiling: 64 << 10,
        run: sizes::run,
    },
    // Two connections, each with the state of zlib for both directions and the short queues that the target sets.
    Target {
        name: "services",
        ceiling: 1 << 20,
        run: services::run,
    },
    // Its longest message is short, and so are its queues; the rest is what is read from the socket at a time.
    Target {
        name: "websocket_connection",
        ceiling: 512 << 10,
        run: websocket_connection::run,
    },
];
