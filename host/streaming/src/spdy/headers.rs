use super::{Config, Error};

/// The headers of a stream: names in lower case, in order, each once.
///
/// A value may hold several, with NUL between them, as SPDY/3.1 has it; [`get`](Headers::get) gives the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(String, String)>,
}

impl Headers {
    /// None.
    #[must_use]
    pub fn new() -> Headers {
        Headers::default()
    }

    /// These and one more; see [`insert`](Headers::insert).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Headers {
        self.insert(name, value);
        self
    }

    /// Sets a header, whose name is put into lower case. One of that name is replaced, in its place.
    pub fn insert(&mut self, name: &str, value: impl Into<String>) {
        let name = name.to_ascii_lowercase();
        let value = value.into();
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name, value)),
        }
    }

    /// The (first) value of a header; the case of `name` does not matter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        value.split('\0').next()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Reads an inflated block: a count, then names and values behind their lengths, all in 32 bits, and nothing else. Names
    /// in upper case are forgiven, as Kubernetes forgives them.
    ///
    /// # Errors
    ///
    /// [`Error::Headers`] when it is something else, has more or longer headers than `limits` allow, a name twice, a name
    /// without letters, or text that is not UTF-8. The connection can go on: only the stream is to be refused.
    pub fn parse(block: &[u8], limits: &Config) -> Result<Headers, Error> {
        let (count, mut rest) = number(block)?;
        if count > limits.header_count {
            return Err(bad(format!("there are {count}, more than {}", limits.header_count)));
        }
        let mut headers = Headers {
            fields: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let (name, after) = text(rest, limits)?;
            let (value, after) = text(after, limits)?;
            rest = after;
            if name.is_empty() {
                return Err(bad("one has no name"));
            }
            if headers.get(name).is_some() {
                return Err(bad("one is there twice"));
            }
            headers.fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        if !rest.is_empty() {
            return Err(bad("something follows the last one"));
        }
        Ok(headers)
    }

    /// The block as it is before compression, to go through a [`Deflater`](super::block::Deflater).
    #[must_use]
    pub fn block(&self) -> Vec<u8> {
        let length = self
            .fields
            .iter()
            .map(|(name, value)| 8 + name.len() + value.len())
            .sum::<usize>();
        let mut block = Vec::with_capacity(4 + length);
        let mut number = |length: usize, text: &str| {
            // A length above 32 bits is far above what a deflater takes.
            block.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        };
        number(self.fields.len(), "");
        for (name, value) in &self.fields {
            number(name.len(), name);
            number(value.len(), value);
        }
        block
    }
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::Headers(why.into())
}

fn number(block: &[u8]) -> Result<(usize, &[u8]), Error> {
    let (number, rest) = block
        .split_first_chunk::<4>()
        .ok_or_else(|| bad("they end too early"))?;
    let number = usize::try_from(u32::from_be_bytes(*number)).map_err(|_| bad("a length is too large"))?;
    Ok((number, rest))
}

fn text<'a>(block: &'a [u8], limits: &Config) -> Result<(&'a str, &'a [u8]), Error> {
    let (length, rest) = number(block)?;
    if length > limits.header_field {
        return Err(bad(format!(
            "one has {length} bytes, more than {}",
            limits.header_field
        )));
    }
    let (text, rest) = rest.split_at_checked(length).ok_or_else(|| bad("they end too early"))?;
    Ok((std::str::from_utf8(text).map_err(|_| bad("one is not UTF-8"))?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(block: &[u8]) -> Result<Headers, Error> {
        Headers::parse(block, &Config::default())
    }

    fn raw(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut block = u32::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
        for text in fields.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend(*text);
        }
        block
    }

    fn refused(block: &[u8], why: &str) {
        let error = parse(block).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn goes_there_and_back() {
        let headers = Headers::new()
            .with("streamType", "data")
            .with("port", "80")
            .with("empty", "");
        assert_eq!(parse(&headers.block()).unwrap(), headers);
        assert_eq!(parse(&Headers::new().block()).unwrap(), Headers::new());
        assert_eq!(Headers::new().block(), [0; 4]);
        assert_eq!(headers.iter().next(), Some(("streamtype", "data")));
    }

    #[test]
    fn names_have_no_case_and_values_can_be_several() {
        let headers = parse(&raw(&[(b"StreamType", b"error"), (b"many", b"one\0two")])).unwrap();
        assert_eq!(headers.get("streamtype"), Some("error"));
        assert_eq!(headers.get("STREAMTYPE"), Some("error"));
        assert_eq!(headers.get("many"), Some("one"));
        assert_eq!(headers.get("none"), None);
        let headers = headers.with("Many", "three");
        assert_eq!((headers.len(), headers.get("many")), (2, Some("three")));
    }

    #[test]
    fn every_cut_is_an_error() {
        let block = raw(&[(b"streamtype", b"data"), (b"port", b"80")]);
        for end in 0..block.len() {
            refused(&block[..end], "end too early");
        }
        refused(&[&block[..], &[0]].concat(), "something follows");
    }

    #[test]
    fn limits_hold() {
        let limits = Config::default();
        let name = |i: usize| format!("name-{i}").into_bytes();
        let names: Vec<_> = (0..=limits.header_count).map(name).collect();
        let fields: Vec<_> = names.iter().map(|name| (&name[..], &b""[..])).collect();
        assert_eq!(parse(&raw(&fields[1..])).unwrap().len(), limits.header_count);
        refused(&raw(&fields), "more than 64");
        // A count that nothing stands behind allocates nothing.
        refused(&[0xff; 4], "more than 64");
        let long = vec![b'a'; limits.header_field + 1];
        assert!(parse(&raw(&[(b"name", &long[1..])])).is_ok());
        refused(&raw(&[(b"name", &long)]), "more than 8192");
        refused(&raw(&[(&long, b"")]), "more than 8192");
    }

    #[test]
    fn nonsense_is_refused() {
        refused(&raw(&[(b"", b"value")]), "no name");
        refused(&raw(&[(b"name", b"1"), (b"NAME", b"2")]), "twice");
        refused(&raw(&[(b"name", b"\xff")]), "UTF-8");
    }
}
