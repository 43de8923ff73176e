//! A YAML document that knows where each of its parts was written.
//!
//! serde_yaml decides what a scalar is; a maintained parser that keeps positions decides where it stands. The loader
//! also draws the line for what a configuration may do to the process: depth and number of values are limited, so
//! that neither nesting nor a chain of aliases can exhaust it.

use super::Position;
use super::fault::Collector;
use saphyr_parser::Event;
use saphyr_parser::Marker;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::ScanError;
use saphyr_parser::Span;
use saphyr_parser::StrInput;
use std::collections::HashMap;

/// Values in a document after aliases are expanded.
const MOST_VALUES: usize = 100_000;
/// Lists and mappings inside each other.
const DEEPEST: usize = 64;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing was written, or `null`.
    Null,
    Bool(bool),
    Number(serde_yaml::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Place of the key.
    pub(super) at: Position,
    pub(super) node: Node,
}

/// `path.key`, or `path["odd key"]` for a key that would be misread.
pub(super) fn field_path(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    match (path, plain) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// Reads the one document in `text`. Faults that leave a usable tree (a duplicate key, a tag) are collected and the
/// tree is returned; `None` means that there is no tree, and the reason is among the faults.
pub(super) fn parse(text: &str, faults: &mut Collector) -> Option<Node> {
    let mut loader = Loader {
        parser: Parser::new_from_str(text),
        faults,
        anchors: HashMap::new(),
        values: 0,
    };
    match loader.document() {
        Ok(root) => root,
        Err(Stop { at, path, message }) => {
            faults.add(at, path, message);
            None
        }
    }
}

/// A fault that ends the reading.
struct Stop {
    at: Position,
    path: String,
    message: String,
}

struct Loader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    faults: &'a mut Collector,
    /// By the parser's anchor id: the value, and how many values it holds.
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
}

impl<'a> Loader<'a> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => {
                    let message = "a second document starts here, expected one: a host has one configuration file";
                    self.faults.add(place(span.start), "", message);
                    return Ok(root);
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => root = Some(self.node(event, span, "", 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, path: &str, depth: usize) -> Result<Node, Stop> {
        let at = place(span.start);
        let before = self.values;
        self.count(1, at, path)?;
        if depth > DEEPEST {
            let message = format!("nested too deep, at most {DEEPEST} levels are read");
            return Err(Stop {
                at,
                path: path.to_owned(),
                message,
            });
        }
        let tag = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => tag.as_ref(),
            _ => None,
        };
        if tag.is_some() {
            self.faults
                .add(at, path, "YAML tags (!...) are not read here, write the plain value");
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = scalar(text.into_owned(), style).unwrap_or_else(|| {
                    let message = "this number is too large to be read; if it is a name, put it in quotes";
                    self.faults.add(at, path, message);
                    Value::Null
                });
                (anchor, value)
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(path, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(path, depth)?),
            Event::Alias(anchor) => return self.alias(anchor, at, path),
            _ => {
                return Err(Stop {
                    at,
                    path: path.to_owned(),
                    message: "expected a value".to_owned(),
                });
            }
        };
        let node = Node { at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.values - before));
        }
        Ok(node)
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => {
                    let path = format!("{path}[{}]", items.len());
                    items.push(self.node(event, span, &path, depth + 1)?);
                }
            }
        }
    }

    fn map(&mut self, path: &str, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Position> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, span, path, depth + 1)?;
            let at = key.at;
            let name = match key.value {
                Value::Text(name) => Some(name),
                other => {
                    let found = Node { at, value: other }.found();
                    self.faults.add(
                        at,
                        path,
                        format!("expected a text as the name of a field, found {found}"),
                    );
                    None
                }
            };
            let path = field_path(path, name.as_deref().unwrap_or("?"));
            let (event, span) = self.next()?;
            let node = self.node(event, span, &path, depth + 1)?;
            let Some(key) = name else { continue };
            if let Some(first) = seen.get(&key) {
                self.faults
                    .add(at, path, format!("duplicate field, first given in line {}", first.line));
                continue;
            }
            seen.insert(key.clone(), at);
            entries.push(Entry { key, at, node });
        }
    }

    fn alias(&mut self, anchor: usize, at: Position, path: &str) -> Result<Node, Stop> {
        let Some((node, values)) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside the value that it names".to_owned();
            return Err(Stop {
                at,
                path: path.to_owned(),
                message,
            });
        };
        let (node, values) = (node.clone(), *values);
        self.count(values, at, path)?;
        Ok(node)
    }

    fn count(&mut self, values: usize, at: Position, path: &str) -> Result<(), Stop> {
        self.values += values;
        if self.values <= MOST_VALUES {
            return Ok(());
        }
        let message =
            format!("too many values, at most {MOST_VALUES} are read, aliases counted as what they stand for");
        Err(Stop {
            at,
            path: path.to_owned(),
            message,
        })
    }
}

impl Node {
    /// What was found, for "expected x, found y".
    pub(super) fn found(&self) -> String {
        match &self.value {
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Number(number) => format!("the number {number}"),
            Value::Text(text) => format!("the text {}", quoted(text)),
            Value::Null | Value::List(_) | Value::Map(_) => self.kind().to_owned(),
        }
    }

    /// The kind of what was found, for places where a value may be a secret.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// `text` in quotes, cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    format!("{:?}", text.chars().take(LONGEST).chain(['…']).collect::<String>())
}

/// Quoted scalars are text; for a plain one serde_yaml says what it is. `None` is a number that nothing holds.
fn scalar(text: String, style: ScalarStyle) -> Option<Value> {
    if style != ScalarStyle::Plain {
        return Some(Value::Text(text));
    }
    if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Some(Value::Null);
    }
    match serde_yaml::from_str(&text) {
        Ok(serde_yaml::Value::Bool(value)) => Some(Value::Bool(value)),
        Ok(serde_yaml::Value::Number(number)) => Some(Value::Number(number)),
        Err(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+') => None,
        _ => Some(Value::Text(text)),
    }
}

fn place(marker: Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

fn syntax(error: &ScanError) -> Stop {
    let message = format!("invalid YAML: {}", error.info());
    Stop {
        at: place(*error.marker()),
        path: String::new(),
        message,
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
