//! `$(NAME)` in values, commands and paths.
//!
//! `$$` is a single `$`; a name that nobody knows, and anything else after a `$`, stays as it is written.

use outrigger_plugin::{Part, Value};

/// A piece of a text with references.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// The variable of this name.
    Variable(&'a str),
}

/// Cuts a text into its pieces.
pub fn pieces(text: &str) -> Pieces<'_> {
    Pieces { rest: text }
}

/// See [`pieces`].
pub struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let plain = self.rest.find('$').unwrap_or(self.rest.len());
        if plain > 0 {
            return Some(Piece::Text(self.take(plain)));
        }
        let mut after = self.rest.chars().skip(1);
        Some(match after.next() {
            None if self.rest.is_empty() => return None,
            None => Piece::Text(self.take(1)),
            Some('$') => Piece::Text(&self.take(2)[..1]),
            Some('(') => match self.rest.find(')') {
                Some(end) => Piece::Variable(&self.take(end + 1)[2..end]),
                None => Piece::Text(self.take(2)),
            },
            Some(other) => Piece::Text(self.take(1 + other.len_utf8())),
        })
    }
}

/// A value that is put together piece by piece.
#[derive(Default)]
pub struct Composed {
    parts: Vec<Part>,
    /// What comes behind the parts.
    text: String,
}

impl Composed {
    pub fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Another value. `name` is the variable that it is the value of.
    pub fn value(&mut self, value: &Value, name: &str) {
        let parts = match value {
            Value::Now(text) => return self.text(text),
            Value::Late(parts) => parts,
        };
        for part in parts {
            let part = match part {
                Part::Text(text) => {
                    self.text(text);
                    continue;
                }
                Part::FileKey(key) if key.reference.is_empty() => {
                    let mut key = key.clone();
                    key.reference = name.to_owned();
                    Part::FileKey(key)
                }
                part => part.clone(),
            };
            self.flush();
            self.parts.push(part);
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(Part::Text(std::mem::take(&mut self.text)));
        }
    }

    pub fn finish(mut self) -> Value {
        if self.parts.is_empty() {
            return Value::Now(self.text);
        }
        self.flush();
        Value::Late(self.parts)
    }
}
