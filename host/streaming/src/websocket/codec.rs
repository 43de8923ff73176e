//! Channel messages: the first byte of a message says which channel the rest belongs to.
//!
//! Upstream calls this `channel.k8s.io`; with `base64.` in the name, the channel is a digit and the rest is base64, for
//! clients that can't send bytes. From `v5.channel.k8s.io` on, a client may end one of its channels with the two bytes
//! 255 and the channel (KEP-4006).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

/// The "channel" that ends another one.
const END: u8 = 255;
/// Channels of text messages are characters, from this one on.
const DIGIT: u8 = b'0';
/// The highest channel that a text message can name, as a character has to be ASCII.
const LAST_TEXT_CHANNEL: u8 = 0x7f - DIGIT;

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How channels are written into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Bytes.
    Raw {
        /// Whether 255 ends a channel (v5).
        half_close: bool,
    },
    /// Text with base64.
    Base64,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a channel, none perhaps.
    Data(u8, Bytes),
    /// The sender will send no more on this channel.
    End(u8),
    /// An empty message: nothing.
    Nothing,
}

/// A message that can't be understood. After it, what the sender meant is unknown, so the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// 255 without exactly one channel behind it.
    #[error("a message that ends a channel has {0} bytes instead of 2")]
    EndLength(usize),
    /// Not base64.
    #[error("a message is not base64")]
    Base64,
}

impl Codec {
    /// Reads a data message. Text and bytes are the same to it, as they are upstream.
    pub fn decode(self, message: Bytes) -> Result<Event, CodecError> {
        let Some(&first) = message.first() else {
            return Ok(Event::Nothing);
        };
        match self {
            Codec::Raw { half_close: true } if first == END => match message[..] {
                [_, channel] => Ok(Event::End(channel)),
                _ => Err(CodecError::EndLength(message.len())),
            },
            Codec::Raw { .. } => Ok(Event::Data(first, message.slice(1..))),
            Codec::Base64 => {
                let data = decode_base64(&message[1..])?;
                Ok(Event::Data(first.wrapping_sub(DIGIT), data.into()))
            }
        }
    }

    /// Writes a message.
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Codec::Raw { .. } => {
                let mut message = BytesMut::with_capacity(data.len() + 1);
                message.put_u8(channel);
                message.put_slice(data);
                Message::Binary(message.freeze())
            }
            Codec::Base64 => {
                let mut message = String::with_capacity(data.len().div_ceil(3) * 4 + 1);
                message.push(char::from(DIGIT + channel.min(LAST_TEXT_CHANNEL)));
                TOLERANT.encode_string(data, &mut message);
                Message::Text(message.into())
            }
        }
    }

    /// The message that ends a channel, where there is one.
    pub fn end(self, channel: u8) -> Option<Message> {
        match self {
            Codec::Raw { half_close: true } => Some(Message::Binary(Bytes::from(vec![END, channel]))),
            _ => None,
        }
    }

    /// How many channels can be told apart.
    pub fn channels(self) -> usize {
        match self {
            Codec::Raw { .. } => usize::from(END),
            Codec::Base64 => usize::from(LAST_TEXT_CHANNEL) + 1,
        }
    }
}

/// As Go's decoder, skips line ends.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, CodecError> {
    let decoded = if text.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        let joined: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
        TOLERANT.decode(joined)
    } else {
        TOLERANT.decode(text)
    };
    decoded.map_err(|_| CodecError::Base64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V5: Codec = Codec::Raw { half_close: true };
    const V4: Codec = Codec::Raw { half_close: false };

    fn bytes(message: Message) -> Bytes {
        message.into_data()
    }

    #[test]
    fn channels_and_ends() {
        assert_eq!(V4.decode(Bytes::new()), Ok(Event::Nothing));
        assert_eq!(V4.decode(Bytes::from_static(&[1])), Ok(Event::Data(1, Bytes::new())));
        assert_eq!(V5.decode(Bytes::from_static(&[255, 0])), Ok(Event::End(0)));
        assert_eq!(
            V4.decode(Bytes::from_static(&[255, 0])),
            Ok(Event::Data(255, Bytes::from_static(&[0])))
        );
        assert_eq!(V5.decode(Bytes::from_static(&[255])), Err(CodecError::EndLength(1)));
        assert_eq!(
            V5.decode(Bytes::from_static(&[255, 0, 0])),
            Err(CodecError::EndLength(3))
        );
        assert_eq!(V5.end(0).map(bytes), Some(Bytes::from_static(&[255, 0])));
        assert_eq!(V4.end(0), None);
    }

    #[test]
    fn base64_as_upstream_documents_it() {
        assert_eq!(
            Codec::Base64.decode(Bytes::from_static(b"0Zm9vCg==")),
            Ok(Event::Data(0, Bytes::from_static(b"foo\n")))
        );
        assert_eq!(
            Codec::Base64.decode(Bytes::from_static(b"0Zm9\r\nvCg")),
            Ok(Event::Data(0, Bytes::from_static(b"foo\n")))
        );
        assert_eq!(
            Codec::Base64.decode(Bytes::from_static(b"0Zm9v!")),
            Err(CodecError::Base64)
        );
        assert_eq!(bytes(Codec::Base64.encode(1, b"\n")), "1Cg==");
        assert_eq!(bytes(Codec::Base64.encode(3, b"")), "3");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(channel in 0u8..80, data in prop::collection::vec(any::<u8>(), 0..300)) {
            for codec in [V4, V5, Codec::Base64] {
                prop_assert!(usize::from(channel) < codec.channels());
                let read = codec.decode(bytes(codec.encode(channel, &data)));
                prop_assert_eq!(read, Ok(Event::Data(channel, data.clone().into())));
            }
        }

        #[test]
        fn anything_can_be_read(data in prop::collection::vec(any::<u8>(), 0..64)) {
            for codec in [V4, V5, Codec::Base64] {
                // Data never grows: what a message can cost is known from its length.
                if let Ok(Event::Data(_, decoded)) = codec.decode(data.clone().into()) {
                    prop_assert!(decoded.len() < data.len());
                }
            }
        }
    }
}
