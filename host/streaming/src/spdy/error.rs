use super::Status;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a connection or a stream ended, or an operation could not be done.
///
/// Readers and writers of a [`Stream`](super::Stream) get it inside an [`io::Error`], from which `get_ref` and
/// `downcast_ref` lead back here.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    #[error("unable to read or write the connection")]
    Transport(#[source] Arc<io::Error>),
    /// The peer closed the transport.
    #[error("the peer closed the connection")]
    Gone,
    /// The peer broke a rule or a limit of the protocol; it was told with GOAWAY, where it may be spoken to.
    #[error("unable to go on with the peer: {0}")]
    Protocol(Cow<'static, str>),
    /// Nothing was received or sent for as long as [`Config::idle`](super::Config::idle) says.
    #[error("the connection was idle for {} s", .0.as_secs())]
    Idle(Duration),
    /// This side closed the connection.
    #[error("the connection was closed by this side")]
    Closed,
    /// The peer neither took what was left to send nor left, for the time given to `finish` or for
    /// [`Config::linger`](super::Config::linger).
    #[error("unable to end the connection: the peer did not go on within {} s", .0.as_secs())]
    Stuck(Duration),
    /// The peer has said with GOAWAY that it takes no more streams.
    #[error("unable to open a stream: the peer takes no more of them")]
    GoAway,
    /// As many streams as [`Config::streams`](super::Config::streams) says are open from this side.
    #[error("unable to open a stream: {0} are open, which is the limit; end one first")]
    TooManyStreams(usize),
    /// All stream ids of the connection have been used.
    #[error("unable to open a stream: all ids are used up; open a new connection")]
    NoMoreIds,
    /// The headers are more than a peer has to take.
    #[error("unable to send headers: {0}")]
    Headers(Cow<'static, str>),
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Status),
    /// This side reset the stream.
    #[error("the stream was reset by this side: {0}")]
    ResetHere(Status),
    /// The writing half of the stream has ended already.
    #[error("unable to write: this half of the stream has ended")]
    HalfClosed,
}

impl Error {
    /// Whether the peer or the transport ended the connection: nothing was wrong on this side and nothing more can be sent.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::Gone | Error::Transport(_))
    }

    /// Whether what a reader or writer of a stream got is that the peer reset the stream.
    #[must_use]
    pub fn is_reset(error: &io::Error) -> bool {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        matches!(inner, Some(Error::Reset(_)))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Transport(source) => source.kind(),
            Error::Gone => io::ErrorKind::UnexpectedEof,
            Error::Protocol(_) | Error::Headers(_) => io::ErrorKind::InvalidData,
            Error::Idle(_) | Error::Stuck(_) => io::ErrorKind::TimedOut,
            Error::Closed | Error::ResetHere(_) => io::ErrorKind::ConnectionAborted,
            Error::GoAway => io::ErrorKind::NotConnected,
            Error::TooManyStreams(_) | Error::NoMoreIds => io::ErrorKind::QuotaExceeded,
            Error::Reset(_) => io::ErrorKind::ConnectionReset,
            Error::HalfClosed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}
