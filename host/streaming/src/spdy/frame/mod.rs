//! Frames of SPDY/3.1 and their bytes (draft 3.1, section 2.2).

mod decode;
pub(super) mod encode;

pub use decode::{Decoder, Step};

/// Bytes before every frame's payload.
pub const HEAD: usize = 8;
/// Most payload that this side puts into one DATA frame, so that a ping never waits for more than that.
pub const LARGEST_DATA: usize = 32 << 10;
/// The largest stream id: 31 bits.
pub const LARGEST_ID: u32 = 0x7fff_ffff;

const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
const FIN: u8 = 0x01;
const UNIDIRECTIONAL: u8 = 0x02;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// A frame that was received, or a piece of one: DATA comes as its bytes come.
///
/// Blocks of headers are as on the wire and have to go through the connection's
/// [`Inflater`](super::block::Inflater), in order, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A stream begins.
    SynStream {
        /// Its id.
        id: u32,
        /// The peer sends nothing on it.
        fin: bool,
        /// The peer wants nothing sent on it.
        unidirectional: bool,
        /// Its headers.
        block: &'a [u8],
    },
    /// A stream of this side is accepted.
    SynReply {
        /// The stream.
        id: u32,
        /// The peer sends nothing on it.
        fin: bool,
        /// Headers of the answer.
        block: &'a [u8],
    },
    /// A stream ends at once, in both directions.
    Reset {
        /// The stream.
        id: u32,
        /// Why, see [`Status`](super::Status).
        status: u32,
    },
    /// The peer's settings, of which none concerns this side.
    Settings {
        /// How many.
        count: usize,
    },
    /// To be echoed, or the echo of ours.
    Ping {
        /// Odd when the client asks, even when the server does.
        id: u32,
    },
    /// The peer takes no more streams.
    GoAway {
        /// The last stream of this side that it has taken.
        last: u32,
        /// 0 when nothing was wrong, 1 when this side broke the protocol, 2 when the peer failed.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        id: u32,
        /// The last that the peer sends on it.
        fin: bool,
        /// The headers.
        block: &'a [u8],
    },
    /// The peer has read something. Kubernetes has no flow control and never waits for it.
    WindowUpdate {
        /// The stream; 0 for the connection.
        id: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        id: u32,
        /// Some of the frame's bytes, as many as are there; can be none.
        bytes: &'a [u8],
        /// These are the last of the frame.
        last: bool,
        /// The frame's FIN, on its last piece: the peer sends nothing more on the stream.
        fin: bool,
    },
    /// A control frame of a type that SPDY/3.1 does not have, or has dropped.
    Unknown {
        /// The type.
        kind: u16,
    },
}
