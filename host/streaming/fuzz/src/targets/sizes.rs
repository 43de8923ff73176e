//! Sizes of terminals: the same are found in all bytes at once and in bytes that come in pieces.

use outrigger_streaming::remotecommand::{NotASize, SizeParser};

/// The first byte says how the others are cut.
pub fn run(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let whole = find(data, data.len().max(1));
    let pieces = find(data, usize::from(*cut % 64) + 1);
    // An object that is too long is noticed only before its end has come.
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
}

fn find(data: &[u8], cut: usize) -> Result<Vec<(u16, u16)>, NotASize> {
    let (mut parser, mut found) = (SizeParser::default(), Vec::new());
    for piece in data.chunks(cut) {
        parser.push(piece);
        while let Some(size) = parser.take()? {
            found.push(size);
        }
    }
    Ok(found)
}
