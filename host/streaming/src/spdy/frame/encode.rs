//! The bytes of frames that this side sends. Each is appended to what is there.

use super::super::Status;
use super::{CONTROL, FIN, GOAWAY, HEAD, PING, RST_STREAM, SYN_REPLY, SYN_STREAM, VERSION};

/// `block` has gone through the connection's [`Deflater`](super::super::block::Deflater).
pub(in super::super) fn syn_stream(out: &mut Vec<u8>, id: u32, fin: bool, block: &[u8]) {
    control(out, SYN_STREAM, if fin { FIN } else { 0 }, 10 + block.len());
    out.extend_from_slice(&id.to_be_bytes());
    // No stream that it belongs to, the highest priority, no credential.
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(block);
}

/// `block` has gone through the connection's [`Deflater`](super::super::block::Deflater).
pub(in super::super) fn syn_reply(out: &mut Vec<u8>, id: u32, block: &[u8]) {
    control(out, SYN_REPLY, 0, 4 + block.len());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(block);
}

pub(in super::super) fn reset(out: &mut Vec<u8>, id: u32, status: Status) {
    control(out, RST_STREAM, 0, 8);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&status.code().to_be_bytes());
}

pub(in super::super) fn ping(out: &mut Vec<u8>, id: u32) {
    control(out, PING, 0, 4);
    out.extend_from_slice(&id.to_be_bytes());
}

pub(in super::super) fn go_away(out: &mut Vec<u8>, last: u32, status: u32) {
    control(out, GOAWAY, 0, 8);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&status.to_be_bytes());
}

/// The head of a DATA frame.
pub(in super::super) fn data_head(id: u32, fin: bool, length: usize) -> [u8; HEAD] {
    let [a, b, c, d] = id.to_be_bytes();
    let [_, l1, l2, l3] = length_of(length);
    [a, b, c, d, if fin { FIN } else { 0 }, l1, l2, l3]
}

fn control(out: &mut Vec<u8>, kind: u16, flags: u8, length: usize) {
    out.reserve(HEAD + length);
    out.extend_from_slice(&(u16::from(CONTROL) << 8 | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    let [_, l1, l2, l3] = length_of(length);
    out.extend_from_slice(&[flags, l1, l2, l3]);
}

/// Nothing that this side sends comes near 24 bits.
fn length_of(length: usize) -> [u8; 4] {
    debug_assert!(length < 1 << 24);
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}
