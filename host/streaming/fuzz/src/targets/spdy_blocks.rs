//! Compressed blocks of headers, one after the other in one zlib stream: as they are, and as this side sends them.

use super::bytes::Bytes;
use outrigger_streaming::spdy::block::{Deflater, Inflater};

const LIMIT: usize = 4096;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut inflater = Inflater::new(LIMIT);
    while !bytes.is_empty() {
        match inflater.inflate(bytes.some()) {
            Ok(block) => assert!(block.len() <= LIMIT),
            Err(_) => break,
        }
    }
    let mut bytes = Bytes(data);
    let (mut deflater, mut inflater) = (Deflater::default(), Inflater::new(LIMIT));
    while !bytes.is_empty() {
        let (block, mut out) = (bytes.some(), Vec::new());
        deflater.deflate(block, &mut out).expect("it is small");
        assert_eq!(inflater.inflate(&out).expect("it is zlib"), block);
    }
}
