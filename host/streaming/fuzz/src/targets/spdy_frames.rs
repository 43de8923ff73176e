//! Frames: the same are found in all bytes at once and in bytes that come in pieces.

use outrigger_streaming::spdy::Config;
use outrigger_streaming::spdy::frame::{Decoder, Frame, Step};

/// What was found: frames, with the bytes of DATA in one.
#[derive(Debug, PartialEq)]
enum Found {
    Control(String),
    Data {
        id: u32,
        bytes: Vec<u8>,
        last: bool,
        fin: bool,
    },
    Error(String),
}

/// The first byte says how the others are cut.
pub fn run(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let (whole, pieces) = (find(data, data.len().max(1)), find(data, usize::from(*cut % 32) + 1));
    assert_eq!(whole, pieces);
}

fn find(data: &[u8], cut: usize) -> Vec<Found> {
    let config = Config {
        control_frame: 100,
        settings: 4,
        ..Config::default()
    };
    let (mut decoder, mut found) = (Decoder::new(&config), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < data.len() {
        end = (end + cut).min(data.len());
        loop {
            match decoder.decode(&data[start..end]) {
                Ok(Step::Frame { frame, used }) => {
                    assert!(used > 0 && used <= end - start);
                    start += used;
                    add(&mut found, frame);
                }
                Ok(Step::More { wanted }) => {
                    assert!(wanted > end - start && wanted <= 8 + config.control_frame);
                    break;
                }
                Err(error) => {
                    found.push(Found::Error(error.to_string()));
                    return found;
                }
            }
        }
    }
    found
}

fn add(found: &mut Vec<Found>, frame: Frame<'_>) {
    match frame {
        Frame::Data { id, bytes, last, fin } => match found.last_mut() {
            Some(Found::Data {
                id: was,
                bytes: all,
                last: ended,
                fin: ends,
            }) if !*ended => {
                assert_eq!(*was, id);
                all.extend(bytes);
                (*ended, *ends) = (last, fin);
            }
            _ => found.push(Found::Data {
                id,
                bytes: bytes.to_vec(),
                last,
                fin,
            }),
        },
        other => {
            assert!(
                !matches!(found.last(), Some(Found::Data { last: false, .. })),
                "inside of a frame"
            );
            found.push(Found::Control(format!("{other:?}")));
        }
    }
}
