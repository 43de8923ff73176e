//! Messages of WebSocket channels: what can be read can be written and is the same again.

use super::bytes::Bytes;
use outrigger_streaming::websocket::{Codec, Event};

pub fn run(data: &[u8]) {
    let mut input = Bytes(data);
    let codec = match input.byte() % 3 {
        0 => Codec::Raw { half_close: false },
        1 => Codec::Raw { half_close: true },
        _ => Codec::Base64,
    };
    let message = bytes::Bytes::copy_from_slice(input.0);
    match codec.decode(message) {
        Ok(Event::Data(channel, data)) if usize::from(channel) < codec.channels() => {
            let again = codec.encode(channel, &data).into_data();
            assert_eq!(codec.decode(again), Ok(Event::Data(channel, data)));
        }
        Ok(Event::End(channel)) => {
            let again = codec
                .end(channel)
                .expect("what ends a channel can be written")
                .into_data();
            assert_eq!(codec.decode(again), Ok(Event::End(channel)));
        }
        Ok(Event::Data(..) | Event::Nothing) | Err(_) => {}
    }
}
