//! Holds a document against the [`Shape`] of the format, collects everything that does not fit, and hands on the rest.
//!
//! What does not fit is left out of the result, so that the checks that need typed values can still run and one look
//! shows all faults.

use super::fault::Collector;
use super::misplaced;
use super::names;
use super::nearest::did_you_mean;
use super::nearest::nearest;
use super::shape::Field;
use super::shape::Shape;
use super::tree::Entry;
use super::tree::Node;
use super::tree::Value;
use super::tree::field_path;
use serde_yaml::Value as Plain;

/// The parts of `node` that fit `shape`; `None` if nothing of it does.
pub(super) fn fitting(node: &Node, shape: &Shape, path: &str, faults: &mut Collector) -> Option<Plain> {
    match (shape, &node.value) {
        (Shape::Text(_, check), Value::Text(text)) => {
            checked(node, check(text), path, faults).map(|()| Plain::from(text.as_str()))
        }
        (Shape::Bool, Value::Bool(value)) => Some(Plain::from(*value)),
        (Shape::Integer(least, most), Value::Number(number))
            if number.as_u64().is_some_and(|n| (*least..=*most).contains(&n)) =>
        {
            Some(Plain::Number(number.clone()))
        }
        (Shape::OneOf(words), Value::Text(text)) => {
            if words.contains(&text.as_str()) {
                return Some(Plain::from(text.as_str()));
            }
            let hint = did_you_mean(text, words.iter().copied());
            faults.add(
                node.at,
                path,
                format!("unknown value {text:?}, expected {}{hint}", shape.expected()),
            );
            None
        }
        (Shape::Quantity, Value::Text(text)) => {
            checked(node, names::quantity(text), path, faults).map(|()| Plain::from(text.as_str()))
        }
        (Shape::Quantity, Value::Number(number)) => {
            let text = number.to_string();
            checked(node, names::quantity(&text), path, faults).map(|()| Plain::from(text))
        }
        (Shape::List(item), Value::List(nodes)) => {
            let items = nodes.iter().enumerate().map(|(index, node)| {
                // The place is kept for an item that does not fit, so that the others keep their index.
                fitting(node, item, &format!("{path}[{index}]"), faults).unwrap_or(Plain::Null)
            });
            Some(Plain::Sequence(items.collect()))
        }
        (Shape::Map(key_check, shape), Value::Map(entries)) => Some(map(entries, *key_check, shape, path, faults)),
        (Shape::Fields(known), Value::Map(entries)) => Some(fields(node, entries, known, path, faults)),
        (Shape::Section, Value::Map(_)) => section(node, path, faults),
        (Shape::List(_) | Shape::Map(..) | Shape::Section, Value::Null) => None,
        // A whole block that was commented out, `log:` with nothing below; the required ones say what they miss.
        (Shape::Fields(known), Value::Null) if known.iter().all(|field| !field.required) => None,
        (shape, value) => {
            let hint = match (shape, value) {
                (Shape::Text(_, check), Value::Bool(_) | Value::Number(_)) if check(&plainly(value)).is_ok() => {
                    ", put it in quotes"
                }
                (Shape::Integer(..), Value::Text(text)) if text.parse::<u64>().is_ok() => ", write it without quotes",
                _ => "",
            };
            let found = if matches!(shape, Shape::Section) {
                node.kind().to_owned()
            } else {
                node.found()
            };
            faults.add(
                node.at,
                path,
                format!("expected {}, found {found}{hint}", shape.expected()),
            );
            None
        }
    }
}

fn plainly(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn checked(node: &Node, check: Result<(), String>, path: &str, faults: &mut Collector) -> Option<()> {
    check.map_err(|message| faults.add(node.at, path, message)).ok()
}

fn map(
    entries: &[Entry],
    key_check: fn(&str) -> Result<(), String>,
    shape: &Shape,
    path: &str,
    faults: &mut Collector,
) -> Plain {
    let mut map = serde_yaml::Mapping::new();
    for entry in entries {
        let path = field_path(path, &entry.key);
        if let Err(message) = key_check(&entry.key) {
            faults.add(entry.at, &path, message);
            continue;
        }
        if let Some(value) = fitting(&entry.node, shape, &path, faults) {
            map.insert(entry.key.as_str().into(), value);
        }
    }
    Plain::Mapping(map)
}

fn fields(node: &Node, entries: &[Entry], known: &[Field], path: &str, faults: &mut Collector) -> Plain {
    let mut map = serde_yaml::Mapping::new();
    for entry in entries {
        let path = field_path(path, &entry.key);
        let Some(field) = known.iter().find(|field| field.name == entry.key) else {
            let hint = misplaced::hint(&entry.key, known, &path);
            faults.add(entry.at, &path, format!("unknown field{hint}"));
            continue;
        };
        if let (Some(none), Value::Null) = (field.none, &entry.node.value) {
            let expected = field.shape.expected();
            faults.add(entry.at, &path, format!("expected {expected}, found nothing; {none}"));
        } else if let Some(value) = fitting(&entry.node, &field.shape, &path, faults) {
            map.insert(field.name.into(), value);
        }
    }
    // A slip is reported once, as the unknown field that it is, and not as a missing one too.
    let names = || known.iter().map(|field| field.name);
    let slips: Vec<_> = entries
        .iter()
        .filter(|entry| names().all(|name| name != entry.key))
        .filter_map(|entry| nearest(&entry.key, names()))
        .collect();
    for field in known
        .iter()
        .filter(|field| field.required && !slips.contains(&field.name))
    {
        let missing = match entries.iter().find(|entry| entry.key == field.name) {
            None => Some(node.at),
            Some(entry) => match &entry.node.value {
                Value::Null if matches!(field.shape, Shape::List(_)) => Some(entry.at),
                Value::List(items) if items.is_empty() => Some(entry.node.at),
                _ => None,
            },
        };
        if let Some(at) = missing {
            let expected = match &field.shape {
                Shape::List(_) => "a list with at least one entry".to_owned(),
                shape => shape.expected(),
            };
            faults.add(
                at,
                field_path(path, field.name),
                format!("missing, expected {expected}"),
            );
        }
    }
    Plain::Mapping(map)
}

/// A provider's section as it will be handed to the plugin. No value of it is ever part of a message.
fn section(node: &Node, path: &str, faults: &mut Collector) -> Option<Plain> {
    Some(match &node.value {
        Value::Null => Plain::Null,
        Value::Bool(value) => Plain::from(*value),
        Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => Plain::Number(number.clone()),
        Value::Number(_) => {
            faults.add(
                node.at,
                path,
                "expected a finite number: JSON carries neither .inf nor .nan",
            );
            return None;
        }
        Value::Text(text) => Plain::from(text.as_str()),
        Value::List(nodes) => {
            let items = nodes.iter().enumerate();
            let items = items.map(|(i, node)| section(node, &format!("{path}[{i}]"), faults).unwrap_or(Plain::Null));
            Plain::Sequence(items.collect())
        }
        Value::Map(entries) => {
            let mut map = serde_yaml::Mapping::new();
            for entry in entries {
                let path = field_path(path, &entry.key);
                if entry.key == "<<" {
                    faults.add(entry.at, path, misplaced::MERGE_KEY);
                } else if let Some(value) = section(&entry.node, &path, faults) {
                    map.insert(entry.key.as_str().into(), value);
                }
            }
            Plain::Mapping(map)
        }
    })
}
