//! Holds a provider's section against the JSON Schema of its plugin, and prints what does not fit with its line.
//!
//! The keywords are those that the SDK's schemas consist of (draft 2020-12: types, properties, items, the string and
//! number limits, `enum`, `const`, `$ref`, `allOf`, `anyOf`, `oneOf`, `not`). Others are left to the plugin, which reads
//! its config itself when it starts; this check is there to name the line before that. No value of a section is ever
//! part of a message: it may be a secret.

mod choice;
mod object;

use super::Fault;
use super::SectionPositions;
use super::nearest::alternatives;
use super::nearest::nearest;
use serde_json::Value;

/// Schemas inside each other, references included: more is a schema that refers to itself for ever.
const DEEPEST: usize = 128;

/// Everything in `section` that does not fit `schema`. `positions` gives each fault its line.
pub fn validate(section: &Value, positions: &SectionPositions, schema: &Value) -> Vec<Fault> {
    let mut problems = Vec::new();
    Checker { root: schema }.check(section, schema, &Place::root(), &mut problems);
    let fault = |problem: Problem| Fault {
        source: positions.file.clone(),
        at: positions.nearest(&problem.place.pointer),
        path: format!("{}{}", positions.path, problem.place.path),
        message: problem.message,
    };
    let mut faults: Vec<_> = problems.into_iter().map(fault).collect();
    faults.sort_by_key(|fault| fault.at);
    faults.dedup();
    faults
}

/// A place in the section.
#[derive(Debug, Clone)]
struct Place {
    /// JSON pointer, for the position.
    pointer: String,
    /// As people write it, for the message.
    path: String,
    depth: usize,
}

impl Place {
    fn root() -> Self {
        Self {
            pointer: String::new(),
            path: String::new(),
            depth: 0,
        }
    }

    fn field(&self, name: &str) -> Self {
        let token = name.replace('~', "~0").replace('/', "~1");
        let plain = format!("x{}", self.path);
        let path = super::tree::field_path(&plain, name);
        Self {
            pointer: format!("{}/{token}", self.pointer),
            path: path[1..].to_owned(),
            depth: self.depth + 1,
        }
    }

    fn item(&self, index: usize) -> Self {
        let (pointer, path) = (format!("{}/{index}", self.pointer), format!("{}[{index}]", self.path));
        Self {
            pointer,
            path,
            depth: self.depth + 1,
        }
    }

    /// The same place, seen through another schema.
    fn deeper(&self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self.clone()
        }
    }
}

/// Something that does not fit.
#[derive(Debug, Clone)]
struct Problem {
    place: Place,
    message: String,
    stranger: Stranger,
}

/// Whether the value is so different that another alternative was probably meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// It is of the right kind, only not right.
    No,
    /// It is of another type, or not among the listed values.
    Kind,
    /// It is not the one constant, as a tag of another alternative is not.
    Constant,
}

fn problem(place: &Place, message: impl Into<String>) -> Problem {
    Problem {
        place: place.clone(),
        message: message.into(),
        stranger: Stranger::No,
    }
}

struct Checker<'a> {
    /// What `#` means in references.
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, value: &Value, schema: &Value, place: &Place, problems: &mut Vec<Problem>) {
        if place.depth > DEEPEST {
            problems.push(problem(
                place,
                "unable to check it: nested too deep, or the plugin's schema refers to itself",
            ));
            return;
        }
        let Value::Object(keywords) = schema else {
            if schema == &Value::Bool(false) {
                problems.push(problem(place, "nothing is expected here"));
            }
            return;
        };
        if let Some(target) = keywords.get("$ref").and_then(|reference| self.resolve(reference)) {
            self.check(value, target, &place.deeper(), problems);
        }
        if let Some(expected) = wrong_kind(value, schema) {
            let message = format!("expected {expected}, found {}", kind_of(value));
            let stranger = if schema.get("const").is_some() {
                Stranger::Constant
            } else {
                Stranger::Kind
            };
            problems.push(Problem {
                stranger,
                ..problem(place, message)
            });
            return;
        }
        match value {
            Value::String(text) => check_text(text, schema, place, problems),
            Value::Number(number) => check_number(number.as_f64().unwrap_or(f64::NAN), schema, place, problems),
            Value::Array(items) => self.check_items(items, schema, place, problems),
            Value::Object(map) => self.check_fields(map, schema, place, problems),
            Value::Null | Value::Bool(_) => {}
        }
        self.check_choices(value, schema, place, problems);
    }

    /// A reference inside the schema; those to elsewhere are not followed.
    fn resolve(&self, reference: &Value) -> Option<&Value> {
        self.root.pointer(reference.as_str()?.strip_prefix('#')?)
    }

    fn check_items(&self, items: &[Value], schema: &Value, place: &Place, problems: &mut Vec<Problem>) {
        let prefix = schema["prefixItems"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = prefix.get(index).or_else(|| schema.get("items")) {
                self.check(item, schema, &place.item(index), problems);
            }
        }
        limits(
            items.len(),
            schema,
            ["minItems", "maxItems"],
            "entries",
            place,
            problems,
        );
        if schema["uniqueItems"] == Value::Bool(true) {
            let twice = (1..items.len()).find(|index| items[..*index].contains(&items[*index]));
            problems.extend(
                twice.map(|index| problem(&place.item(index), "this entry is there twice, expected each once")),
            );
        }
    }
}

/// What was expected, if the value is of no kind that the schema allows, or none of the values.
fn wrong_kind(value: &Value, schema: &Value) -> Option<String> {
    let is = |kind: &str| match (kind, value) {
        ("integer", Value::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        ("number", Value::Number(_)) | ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => true,
        ("array", Value::Array(_)) | ("object", Value::Object(_)) | ("null", Value::Null) => true,
        _ => false,
    };
    let wrong_type = match &schema["type"] {
        Value::String(kind) => !is(kind),
        Value::Array(kinds) => !kinds.iter().filter_map(Value::as_str).any(is),
        _ => false,
    };
    let wrong_value = schema["enum"].as_array().is_some_and(|values| !values.contains(value))
        || schema.get("const").is_some_and(|wanted| wanted != value);
    if !wrong_type && !wrong_value {
        return None;
    }
    let words = words_of(schema);
    let hint = value
        .as_str()
        .filter(|_| !wrong_type)
        .and_then(|text| nearest(text, words.iter().map(String::as_str)));
    let hint = hint
        .map(|word| format!(" (did you mean {word:?}?)"))
        .unwrap_or_default();
    Some(format!("{}{hint}", expected(schema)))
}

/// The values that a schema lists, as words.
fn words_of(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = schema.get("const");
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    listed
        .iter()
        .chain(one)
        .filter(|value| !value.is_null())
        .map(word)
        .collect()
}

/// What a schema wants, in a few words.
fn expected(schema: &Value) -> String {
    let words = words_of(schema);
    if !words.is_empty() {
        return alternatives(words.iter().map(String::as_str));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let names = kinds
        .iter()
        .filter(|kind| **kind != "null" || kinds.len() == 1)
        .map(|kind| match *kind {
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a text",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a mapping",
            other => other,
        });
    if kinds.is_empty() {
        "a value".to_owned()
    } else {
        alternatives(names)
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn check_text(text: &str, schema: &Value, place: &Place, problems: &mut Vec<Problem>) {
    limits(
        text.chars().count(),
        schema,
        ["minLength", "maxLength"],
        "characters",
        place,
        problems,
    );
    let Some(pattern) = schema["pattern"].as_str() else {
        return;
    };
    // A pattern that this engine does not know is the plugin's to check.
    if regex::Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text)) {
        let examples = schema["examples"].as_array().map(Vec::as_slice).unwrap_or_default();
        let examples: Vec<_> = examples.iter().filter_map(Value::as_str).collect();
        let message = match examples.as_slice() {
            [] => format!("expected a text that matches {pattern}"),
            examples => format!("expected a text such as {}", alternatives(examples.iter().copied())),
        };
        problems.push(problem(place, message));
    }
}

fn check_number(number: f64, schema: &Value, place: &Place, problems: &mut Vec<Problem>) {
    let limit = |keyword: &str| schema[keyword].as_f64();
    for (keyword, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("exclusiveMinimum", "more than"),
        ("exclusiveMaximum", "less than"),
    ] {
        let broken = limit(keyword).is_some_and(|limit| match keyword {
            "minimum" => number < limit,
            "maximum" => number > limit,
            "exclusiveMinimum" => number <= limit,
            _ => number >= limit,
        });
        if broken {
            problems.push(problem(place, format!("expected {words} {}", schema[keyword])));
        }
    }
    if let Some(step) = limit("multipleOf")
        && step > 0.0
        && !is_whole(number / step)
    {
        problems.push(problem(
            place,
            format!("expected a multiple of {}", schema["multipleOf"]),
        ));
    }
}

/// Whether a quotient is a whole number, but for what was rounded: of 0.3 and 0.1 it is 2.9999999999999996.
fn is_whole(quotient: f64) -> bool {
    (quotient - quotient.round()).abs() <= quotient.abs() * 4.0 * f64::EPSILON
}

/// Checks a count against a pair of keywords for its least and most.
fn limits(
    count: usize,
    schema: &Value,
    [least, most]: [&str; 2],
    of: &str,
    place: &Place,
    problems: &mut Vec<Problem>,
) {
    let limit = |keyword: &str| {
        schema[keyword]
            .as_u64()
            .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    };
    if let Some(least) = limit(least).filter(|least| count < *least) {
        problems.push(problem(place, format!("expected at least {least} {of}, found {count}")));
    }
    if let Some(most) = limit(most).filter(|most| count > *most) {
        problems.push(problem(place, format!("expected at most {most} {of}, found {count}")));
    }
}

#[cfg(test)]
mod tests;
