use std::fmt;

/// Why a stream was reset: the codes of RST_STREAM in SPDY/3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// A rule of the protocol was broken on this stream.
    ProtocolError,
    /// A frame came for a stream that is not there.
    InvalidStream,
    /// The stream was refused before anything was done for it.
    RefusedStream,
    /// The version of SPDY is not known.
    UnsupportedVersion,
    /// The stream is no longer wanted.
    Cancel,
    /// The sender of the reset failed.
    InternalError,
    /// The rules of flow control were broken.
    FlowControlError,
    /// A second SYN_REPLY came.
    StreamInUse,
    /// Data came for a half of the stream that had ended.
    StreamAlreadyClosed,
    /// Credentials don't fit the stream.
    InvalidCredentials,
    /// The frame is larger than the receiver takes.
    FrameTooLarge,
    /// A code that SPDY/3.1 does not name.
    Other(u32),
}

impl Status {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Status::ProtocolError => 1,
            Status::InvalidStream => 2,
            Status::RefusedStream => 3,
            Status::UnsupportedVersion => 4,
            Status::Cancel => 5,
            Status::InternalError => 6,
            Status::FlowControlError => 7,
            Status::StreamInUse => 8,
            Status::StreamAlreadyClosed => 9,
            Status::InvalidCredentials => 10,
            Status::FrameTooLarge => 11,
            Status::Other(code) => code,
        }
    }
}

impl From<u32> for Status {
    fn from(code: u32) -> Status {
        match code {
            1 => Status::ProtocolError,
            2 => Status::InvalidStream,
            3 => Status::RefusedStream,
            4 => Status::UnsupportedVersion,
            5 => Status::Cancel,
            6 => Status::InternalError,
            7 => Status::FlowControlError,
            8 => Status::StreamInUse,
            9 => Status::StreamAlreadyClosed,
            10 => Status::InvalidCredentials,
            11 => Status::FrameTooLarge,
            other => Status::Other(other),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Status::ProtocolError => "protocol error",
            Status::InvalidStream => "invalid stream",
            Status::RefusedStream => "stream refused",
            Status::UnsupportedVersion => "unsupported version",
            Status::Cancel => "cancelled",
            Status::InternalError => "internal error",
            Status::FlowControlError => "flow control error",
            Status::StreamInUse => "stream in use",
            Status::StreamAlreadyClosed => "stream already closed",
            Status::InvalidCredentials => "invalid credentials",
            Status::FrameTooLarge => "frame too large",
            Status::Other(code) => return write!(f, "status {code}"),
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_goes_there_and_back() {
        for code in 0..=64 {
            assert_eq!(Status::from(code).code(), code);
        }
        assert_eq!(Status::from(5), Status::Cancel);
        assert_eq!(Status::from(3), Status::RefusedStream);
        assert_eq!(Status::Other(77).to_string(), "status 77");
    }
}
