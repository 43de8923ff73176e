//! The sizes of a client's terminal: JSON objects, one after the other, `{"Width":80,"Height":24}`.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use tokio::io::AsyncReadExt;

use super::Input;

/// Longest object that is waited for.
const OBJECT: usize = 1 << 10;
/// Bytes read at a time.
const READ: usize = 256;

/// The sizes that the client's terminal takes, one after the other.
#[derive(Debug)]
pub struct Sizes {
    input: Option<Input>,
    parser: SizeParser,
}

impl Sizes {
    pub(super) fn new(input: Input) -> Sizes {
        Sizes {
            input: Some(input),
            parser: SizeParser::default(),
        }
    }

    /// The next size: columns, then rows. `None` when no more will come: the stream ended, or what came is no size; then the rest
    /// is dropped, and the session goes on without. Cancel safe.
    pub async fn next(&mut self) -> Option<(u16, u16)> {
        loop {
            match self.parser.take() {
                Ok(Some(size)) => return Some(size),
                Ok(None) => {}
                Err(NotASize) => self.input = None,
            }
            let mut bytes = [0; READ];
            match self.input.as_mut()?.read(&mut bytes).await {
                Ok(read @ 1..) => self.parser.push(&bytes[..read]),
                Ok(0) | Err(_) => self.input = None,
            }
        }
    }
}

/// What came is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a terminal size is not of the form {{\"Width\":80,\"Height\":24}}")]
pub struct NotASize;

/// Finds objects in bytes that come in pieces.
#[derive(Debug, Default)]
pub struct SizeParser {
    bytes: Vec<u8>,
}

impl SizeParser {
    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next size; `None` until more bytes are there.
    ///
    /// # Errors
    /// The bytes are no size, and no more can follow; or an object is longer than any size is.
    pub fn take(&mut self) -> Result<Option<(u16, u16)>, NotASize> {
        let mut objects = serde_json::Deserializer::from_slice(&self.bytes).into_iter::<Size>();
        match objects.next() {
            Some(Ok(size)) => {
                let used = objects.byte_offset();
                self.bytes.drain(..used);
                Ok(Some((size.width, size.height)))
            }
            Some(Err(error)) if error.is_eof() && self.bytes.len() <= OBJECT => Ok(None),
            Some(Err(_)) => Err(NotASize),
            None => {
                self.bytes.clear();
                Ok(None)
            }
        }
    }
}

struct Size {
    width: u16,
    height: u16,
}

/// As Go does: names in any case, unknown ones passed over, missing ones 0, the last of several.
impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Size;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Size, A::Error> {
                let mut size = Size { width: 0, height: 0 };
                while let Some(name) = map.next_key::<String>()? {
                    if name.eq_ignore_ascii_case("width") {
                        size.width = map.next_value()?;
                    } else if name.eq_ignore_ascii_case("height") {
                        size.height = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(size)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(parser: &mut SizeParser) -> Result<Vec<(u16, u16)>, NotASize> {
        let mut found = Vec::new();
        while let Some(size) = parser.take()? {
            found.push(size);
        }
        Ok(found)
    }

    fn parse(text: &str) -> Result<Vec<(u16, u16)>, NotASize> {
        let mut parser = SizeParser::default();
        parser.push(text.as_bytes());
        all(&mut parser)
    }

    #[test]
    fn forms_that_clients_send() {
        assert_eq!(
            parse("{\"Width\":80,\"Height\":24}\n{\"Width\":81,\"Height\":25}\n"),
            Ok(vec![(80, 24), (81, 25)])
        );
        assert_eq!(parse(r#"{"height":1,"width":65535}"#), Ok(vec![(65535, 1)]));
        assert_eq!(parse(r#"{"Height":1,"x":[{}],"WIDTH":2}{}"#), Ok(vec![(2, 1), (0, 0)]));
        assert_eq!(parse("  \n "), Ok(vec![]));
    }

    #[test]
    fn what_is_no_size() {
        for text in [
            "x",
            "null",
            "[80,24]",
            r#"{"Width":65536,"Height":1}"#,
            r#"{"Width":-1}"#,
            r#"{"Width":"80"}"#,
        ] {
            assert_eq!(parse(text), Err(NotASize), "{text}");
        }
        assert_eq!(parse(&format!("{{\"{}", "x".repeat(2 * OBJECT))), Err(NotASize));
    }

    proptest! {
        #[test]
        fn pieces_don_t_matter(sizes in prop::collection::vec(any::<(u16, u16)>(), 0..5), cut in 1usize..40) {
            let text: String = sizes.iter().map(|(w, h)| format!("{{\"Width\":{w},\"Height\":{h}}}\n")).collect();
            let mut parser = SizeParser::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                parser.push(piece);
                found.extend(all(&mut parser).unwrap());
            }
            prop_assert_eq!(found, sizes);
        }

        #[test]
        fn memory_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            let mut parser = SizeParser::default();
            for piece in bytes.chunks(READ) {
                parser.push(piece);
                if all(&mut parser).is_err() {
                    break;
                }
                prop_assert!(parser.bytes.len() <= OBJECT);
            }
        }
    }
}
