//! WebSocket as Kubernetes uses it: several channels in one connection ([`open`]), or one stream of bytes ([`Tunnel`]).
//!
//! The frames are `tokio-tungstenite`'s. A task for each connection, the *driver*, owns the socket: it answers pings, sends
//! what writers queued and hands what comes to readers. Queues have bounds: a writer waits when its channel has too much
//! queued, and the socket isn't read while a reader has too much before it. One message can be up to [`MAX_MESSAGE`]. Of the
//! pings of a peer that takes no answers, the last is answered, as RFC 6455 has it.

mod codec;
mod driver;
mod ends;
mod lanes;
mod metered;
#[cfg(test)]
mod tests;
mod tunnel;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
pub use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub use codec::{Codec, CodecError, Event};
pub use ends::{Control, Reader, Writer};
pub use tunnel::Tunnel;

/// The longest message that is accepted: the limit of Kubernetes' own server, which clients that send files in one message
/// know.
pub const MAX_MESSAGE: usize = 32 << 20;

/// Bytes of a channel in one message: what copies in Go have.
const PIECE: usize = 32 << 10;
/// Socket reads, and what a connection in which little is said keeps for them. More comes in several reads, of which the
/// layer below, which has a whole TLS record, makes little.
const READ_BUFFER: usize = 2 << 10;
/// Small messages are joined up to this.
const WRITE_BUFFER: usize = 16 << 10;
/// What waits for the socket in all: pongs, which nobody else counts, and behind small messages a large one. A message that does
/// not fit is an error, so where pongs may wait, a flush goes before it.
const MAX_WRITE_BUFFER: usize = WRITE_BUFFER + 4 * PIECE;

/// Times after which a connection ends.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Nothing came and nothing could be sent.
    pub idle: Duration,
    /// While closing: the peer took nothing and sent nothing.
    pub patience: Duration,
    /// While closing: in any case.
    pub cap: Duration,
}

/// What one side does with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing; what comes is dropped.
    Ignore,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Both.
    Both,
}

/// How to run a connection of channels.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which side this is; clients mask what they send.
    pub role: Role,
    /// How channels are written.
    pub codec: Codec,
    /// Which there are.
    pub channels: Vec<Use>,
    /// The longest message that is accepted; see [`MAX_MESSAGE`].
    pub message: usize,
    /// Bytes of a channel that may wait for its reader; one message may come on top.
    pub receive: usize,
    /// Bytes of a channel that may wait for the socket.
    pub send: usize,
    /// When to give up.
    pub timing: Timing,
}

/// How a connection ended when it didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed, or the peer hung up without a close frame.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// What came is no WebSocket, or too long.
    #[error("unable to read a WebSocket message")]
    Protocol(#[source] tungstenite::Error),
    /// A message has no meaning in the protocol that was chosen.
    #[error("unable to read a channel message")]
    Channel(#[from] CodecError),
    /// A channel was ended that doesn't exist.
    #[error("the peer ended channel {0}, which doesn't exist")]
    NoSuchChannel(u8),
    /// The peer closed with a code that says something went wrong.
    #[error("the peer closed the connection with code {code}: {reason}")]
    Closed {
        /// RFC 6455, section 7.4.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// Nothing happened for too long.
    #[error("nothing was sent or received for {0:?}")]
    Idle(Duration),
    /// While closing, the peer took no more.
    #[error("the peer did not take the rest")]
    Stalled,
    /// This side dropped the connection.
    #[error("the connection was given up")]
    GivenUp,
    /// More channels than the protocol has names for.
    #[error("the protocol can't tell {0} channels apart")]
    TooManyChannels(usize),
}

impl Error {
    fn to_io(self: &Arc<Error>) -> io::Error {
        let kind = match &**self {
            Error::Lost(source) => source.kind(),
            Error::Protocol(_) | Error::Channel(_) | Error::NoSuchChannel(_) => io::ErrorKind::InvalidData,
            Error::Idle(_) | Error::Stalled => io::ErrorKind::TimedOut,
            Error::Closed { .. } | Error::GivenUp | Error::TooManyChannels(_) => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, self.clone())
    }
}

fn config(message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(message))
        .max_frame_size(Some(message))
}

/// Starts a connection of channels on a socket whose handshake is done. Its driver is spawned on the current runtime and ends
/// with the connection, or when [`Control`] is dropped.
///
/// # Errors
/// [`Error::TooManyChannels`].
pub async fn open<Io>(io: Io, settings: Settings) -> Result<Control, Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if settings.channels.len() > settings.codec.channels() {
        return Err(Error::TooManyChannels(settings.channels.len()));
    }
    let socket =
        WebSocketStream::from_raw_socket(metered::Metered::new(io), settings.role, Some(config(settings.message)))
            .await;
    let lanes = lanes::Lanes::new(&settings);
    let lanes = Arc::new(Mutex::new(lanes));
    let (driver, gone) = driver::Driver::new(socket, lanes.clone(), settings.timing);
    Ok(Control::new(lanes, tokio::spawn(driver), gone))
}
