//! What comes over the error stream of a command: an outcome that can be read means the same when it is written again.

use super::bytes::Bytes;
use outrigger_streaming::remotecommand::{Outcome, Protocol};

pub fn run(data: &[u8]) {
    let mut input = Bytes(data);
    let protocol = match input.byte() % 3 {
        0 => Protocol::SpdyV1,
        1 => Protocol::SpdyV4,
        _ => Protocol::WebSocketV5,
    };
    let Ok(outcome) = Outcome::decode(protocol, input.0) else {
        return;
    };
    let again = Outcome::decode(protocol, &outcome.encode(protocol)).expect("it was written here");
    match (&outcome, &again) {
        (Outcome::Success | Outcome::Exit(0), Outcome::Success) => {}
        (Outcome::Exit(code), Outcome::Exit(same)) => assert_eq!(code, same),
        // A text of nothing but an end is still a failure.
        (Outcome::Failed { .. }, Outcome::Failed { .. }) => {}
        other => panic!("{other:?}"),
    }
}
