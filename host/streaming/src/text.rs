//! Error texts, as long as they may be.

/// Longest text that is sent; more would be no help.
pub(crate) const LONGEST: usize = 16 << 10;

/// As much of a text as is sent.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
