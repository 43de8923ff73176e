//! Text in quotes as the downward API writes it: the way Go does, which every reader of such files expects.

use std::fmt::Write;

/// Appends `text` in double quotes. Whatever can't be printed is escaped: `\n`, `\x01`, `\u200b`, `\U000e0001`.
pub fn push(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        let _ = match character {
            '"' | '\\' => write!(out, "\\{character}"),
            ' '..='~' => out.write_char(character),
            '\u{7}' => out.write_str("\\a"),
            '\u{8}' => out.write_str("\\b"),
            '\u{c}' => out.write_str("\\f"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\u{b}' => out.write_str("\\v"),
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\x{:02x}", u32::from(character)),
            character if is_printable(character) => out.write_char(character),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(character)),
            _ => write!(out, "\\U{:08x}", u32::from(character)),
        };
    }
    out.push('"');
}

/// Whether a character beyond ASCII is a letter, mark, number, sign or punctuation. The standard library knows, but only
/// tells by what it escapes; it escapes a mark too where a text begins with one.
fn is_printable(character: char) -> bool {
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    let text = std::str::from_utf8(&buffer[..=length]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(character)
}

#[cfg(test)]
mod tests {
    /// What `strconv.Quote` of Go gives for each.
    #[test]
    fn quotes_as_go_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("it's \"so\" \\", r#""it's \"so\" \\""#),
            ("a\nb\tc\rd\u{7}\u{8}\u{b}\u{c}", r#""a\nb\tc\rd\a\b\v\f""#),
            ("\0\u{1}\u{1f}\u{7f}", r#""\x00\x01\x1f\x7f""#),
            ("größe 中文 🦀", r#""größe 中文 🦀""#),
            ("e\u{301}\u{301}", "\"e\u{301}\u{301}\""),
            (
                "\u{80}\u{a0}\u{200b}\u{2028}\u{feff}",
                r#""\u0080\u00a0\u200b\u2028\ufeff""#,
            ),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            let mut out = String::new();
            super::push(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        }
    }
}
