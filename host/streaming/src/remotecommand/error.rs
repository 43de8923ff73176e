use std::sync::Arc;
use std::time::Duration;

use crate::{spdy, websocket};

/// Why a session could not be begun or ended as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed, over SPDY.
    #[error("unable to keep up the SPDY connection")]
    Spdy(#[from] spdy::Error),
    /// The connection failed, over WebSocket.
    #[error("unable to keep up the WebSocket connection")]
    WebSocket(#[from] Arc<websocket::Error>),
    /// The peer left before all streams were there.
    #[error("the client left before it opened all streams")]
    Left,
    /// Streams are missing. The client was told.
    #[error("the client did not open all streams within {} s; missing: {missing}", .after.as_secs())]
    Streams {
        /// How long it had.
        after: Duration,
        /// Which did not come.
        missing: String,
    },
    /// The server did not accept a stream in time.
    #[error("the server did not accept a stream within {} s", .0.as_secs())]
    NotAccepted(Duration),
    /// What the server said about the end can't be read, or broke off.
    #[error("unable to read the outcome")]
    Read(#[source] std::io::Error),
    /// What the server said about the end is no status.
    #[error("unable to understand the outcome: {0}")]
    Outcome(String),
}

impl From<websocket::Error> for Error {
    fn from(error: websocket::Error) -> Error {
        Error::WebSocket(Arc::new(error))
    }
}
