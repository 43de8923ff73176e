use std::time::Duration;

/// The limits of one connection. What a peer can make us hold is bounded by them; the defaults suit a kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest control frame that is read, in bytes without its head of eight. A larger one ends the connection.
    pub control_frame: usize,
    /// Largest block of headers after inflating, in bytes. A larger one ends the connection.
    pub header_block: usize,
    /// Most headers in one block. A stream that comes with more is refused.
    pub header_count: usize,
    /// Longest name or value of a header, in bytes. A stream that comes with a longer one is refused.
    pub header_field: usize,
    /// Most entries in a SETTINGS frame. More end the connection.
    pub settings: usize,
    /// Most streams of the peer at a time, those included that ended and whose [`Stream`](super::Stream) is still held here;
    /// more are answered with REFUSED_STREAM. The same for the streams that this side opens, as an error of `open`.
    pub streams: usize,
    /// Most bytes that wait in one stream for this side to read them. When they are reached, nothing more is read from the
    /// connection until half of them are gone: SPDY as Kubernetes speaks it has no other way to hold back a peer.
    pub receive: usize,
    /// The same for all streams of the connection together.
    pub receive_total: usize,
    /// Most bytes that wait in one stream to be sent; writers wait when they are reached.
    pub send: usize,
    /// Most bytes of control frames (answers to pings, resets) that wait to be sent. When they are reached, nothing more is
    /// read, so that a peer which asks and never listens costs no memory.
    pub control_backlog: usize,
    /// The connection ends when no frame has been received or sent for this long. Clients of Kubernetes ping every 5 s.
    pub idle: Duration,
    /// While reading is held back by a full stream, a peer that is gone would not be noticed; a ping is sent this often, and
    /// fails then.
    pub probe: Duration,
    /// How long the end of a connection may take: writing GOAWAY and shutting the transport down.
    pub linger: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            control_frame: 64 << 10,
            header_block: 64 << 10,
            header_count: 64,
            header_field: 8 << 10,
            settings: 64,
            streams: 512,
            receive: 256 << 10,
            receive_total: 4 << 20,
            send: 128 << 10,
            control_backlog: 64 << 10,
            idle: Duration::from_secs(4 * 60 * 60),
            probe: Duration::from_secs(30),
            linger: Duration::from_secs(10),
        }
    }
}
