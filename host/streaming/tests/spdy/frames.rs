//! The decoder against frames that are written down here: it finds the same ones wherever the bytes are cut.

use outrigger_streaming::spdy::Config;
use outrigger_streaming::spdy::frame::{Decoder, Frame, Step};
use proptest::prelude::*;

/// What a frame says, pieces of DATA put together.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Control {
        kind: u16,
        flags: u8,
        first: u32,
        rest: Vec<u8>,
    },
    Data {
        id: u32,
        fin: bool,
        bytes: Vec<u8>,
    },
}

fn said() -> impl Strategy<Value = Said> {
    let id = 1..=0x7fff_ffffu32;
    let control = |kind: u16, flags: u8, length: std::ops::Range<usize>| {
        (
            Just(kind),
            0..=flags,
            id.clone(),
            prop::collection::vec(any::<u8>(), length),
        )
            .prop_map(|(kind, flags, first, rest)| Said::Control {
                kind,
                flags,
                first,
                rest,
            })
    };
    prop_oneof![
        4 => (id.clone(), any::<bool>(), prop_oneof![Just(0), 0..20usize, 0..3000usize], any::<u8>())
            .prop_map(|(id, fin, length, byte)| Said::Data { id, fin, bytes: vec![byte; length] }),
        1 => control(1, 3, 6..100),
        1 => control(2, 1, 0..100),
        1 => control(3, 0, 4..5),
        1 => control(6, 0, 0..1),
        1 => control(7, 0, 4..5),
        1 => control(8, 1, 0..100),
        1 => control(99, 0, 0..3000),
    ]
}

fn encode(said: &Said, out: &mut Vec<u8>) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap();
    match said {
        Said::Control {
            kind,
            flags,
            first,
            rest,
        } => {
            out.extend([0x80, 3]);
            out.extend(kind.to_be_bytes());
            out.extend((u32::from(*flags) << 24 | length(rest.len() + 4)).to_be_bytes());
            out.extend(first.to_be_bytes());
            out.extend(rest);
        }
        Said::Data { id, fin, bytes } => {
            out.extend(id.to_be_bytes());
            out.extend((u32::from(*fin) << 24 | length(bytes.len())).to_be_bytes());
            out.extend(bytes);
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// Checks one frame, or a piece of one, against the next that was said.
fn check(frame: Frame<'_>, said: &[Said], at: &mut usize, data: &mut Vec<u8>) {
    let next = &said[*at];
    match (frame, next) {
        (
            Frame::Data { id, bytes, last, fin },
            Said::Data {
                id: was,
                fin: ends,
                bytes: all,
            },
        ) => {
            assert_eq!(id, *was);
            data.extend(bytes);
            assert_eq!(last, data.len() == all.len(), "which piece is the last");
            assert_eq!(fin, last && *ends);
            if !last {
                return;
            }
            assert_eq!(data, all);
            data.clear();
        }
        (
            Frame::SynStream {
                id,
                fin,
                unidirectional,
                block,
            },
            Said::Control {
                kind: 1,
                flags,
                first,
                rest,
            },
        ) => {
            assert_eq!(
                (id, fin, unidirectional, block),
                (*first, flags & 1 != 0, flags & 2 != 0, &rest[6..])
            );
        }
        (
            Frame::SynReply { id, fin, block },
            Said::Control {
                kind: 2,
                flags,
                first,
                rest,
            },
        )
        | (
            Frame::Headers { id, fin, block },
            Said::Control {
                kind: 8,
                flags,
                first,
                rest,
            },
        ) => {
            assert_eq!((id, fin, block), (*first, *flags == 1, &rest[..]));
        }
        (
            Frame::Reset { id, status },
            Said::Control {
                kind: 3, first, rest, ..
            },
        )
        | (
            Frame::GoAway { last: id, status },
            Said::Control {
                kind: 7, first, rest, ..
            },
        ) => {
            assert_eq!((id, status), (*first, word(rest)));
        }
        (Frame::Ping { id }, Said::Control { kind: 6, first, .. }) => assert_eq!(id, *first),
        (Frame::Unknown { kind: 99 }, Said::Control { kind: 99, .. }) => {}
        other => panic!("{other:?}"),
    }
    *at += 1;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_found_wherever_they_are_cut(
        said in prop::collection::vec(said(), 1..20),
        cuts in prop::collection::vec(prop_oneof![Just(1), 1..12usize, 1..5000usize], 1..50),
    ) {
        let mut wire = Vec::new();
        for said in &said {
            encode(said, &mut wire);
        }
        let config = Config::default();
        let mut decoder = Decoder::new(&config);
        let (mut at, mut data) = (0, Vec::new());
        // What was said and not used.
        let (mut start, mut end) = (0, 0);
        let mut cuts = cuts.iter().cycle();
        while end < wire.len() {
            end = (end + cuts.next().unwrap()).min(wire.len());
            loop {
                match decoder.decode(&wire[start..end]).unwrap() {
                    Step::Frame { frame, used } => {
                        prop_assert!(used > 0 && start + used <= end);
                        check(frame, &said, &mut at, &mut data);
                        start += used;
                    }
                    Step::More { wanted } => {
                        prop_assert!(wanted > end - start, "there is enough already");
                        prop_assert!(wanted <= 8 + config.control_frame);
                        break;
                    }
                }
            }
        }
        prop_assert_eq!((start, at), (wire.len(), said.len()));
    }
}
