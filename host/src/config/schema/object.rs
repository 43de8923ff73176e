//! Mappings: known, unknown and missing fields.

use super::Checker;
use super::Place;
use super::Problem;
use super::expected;
use super::limits;
use super::problem;
use crate::config::nearest::nearest;
use serde_json::Map;
use serde_json::Value;

impl Checker<'_> {
    pub(super) fn check_fields(
        &self,
        map: &Map<String, Value>,
        schema: &Value,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) {
        let properties = schema["properties"].as_object();
        let mut slips = Vec::new();
        for (name, value) in map {
            let place = place.field(name);
            if let Some(names) = schema.get("propertyNames") {
                self.check(&Value::from(name.as_str()), names, &place, problems);
            }
            let known = properties.and_then(|known| known.get(name));
            let patterns = self.matching_patterns(name, schema);
            for schema in known.into_iter().chain(patterns.iter().copied()) {
                self.check(value, schema, &place, problems);
            }
            if known.is_some() || !patterns.is_empty() {
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    slips.extend(self.unknown(name, &place, &self.own_names(schema), problems));
                }
                Some(others) => self.check(value, others, &place, problems),
                None if schema["unevaluatedProperties"] == Value::Bool(false) => {
                    // The names of all parts count, so that a field of one alternative passes here; whether it is
                    // the right alternative is checked there.
                    if let Some(names) = self.all_names(schema, 0)
                        && !names.contains(&name.as_str())
                    {
                        slips.extend(self.unknown(name, &place, &names, problems));
                    }
                }
                None => {}
            }
        }
        let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        for name in required.iter().filter_map(Value::as_str) {
            // A slip is reported once, as the unknown field that it is.
            if !map.contains_key(name) && !slips.iter().any(|slip| slip == name) {
                let wanted = properties.and_then(|known| known.get(name)).unwrap_or(&Value::Null);
                let wanted = wanted
                    .get("$ref")
                    .and_then(|reference| self.resolve(reference))
                    .unwrap_or(wanted);
                problems.push(problem(
                    &place.field(name),
                    format!("missing, expected {}", expected(wanted)),
                ));
            }
        }
        limits(
            map.len(),
            schema,
            ["minProperties", "maxProperties"],
            "fields",
            place,
            problems,
        );
    }

    /// Reports an unknown field; the name that was probably meant.
    fn unknown(&self, name: &str, place: &Place, known: &[&str], problems: &mut Vec<Problem>) -> Option<String> {
        let meant = nearest(name, known.iter().copied());
        let hint = match meant {
            Some(meant) => format!(", did you mean {meant:?}?"),
            None if known.is_empty() => ", none is expected here".to_owned(),
            None => format!(", expected one of {}", known.join(", ")),
        };
        problems.push(problem(place, format!("unknown field{hint}")));
        meant.map(str::to_owned)
    }

    fn matching_patterns<'s>(&self, name: &str, schema: &'s Value) -> Vec<&'s Value> {
        let patterns = schema["patternProperties"].as_object().into_iter().flatten();
        let matches = |pattern: &str| regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name));
        patterns
            .filter(|(pattern, _)| matches(pattern))
            .map(|(_, schema)| schema)
            .collect()
    }

    fn own_names<'s>(&self, schema: &'s Value) -> Vec<&'s str> {
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The names of all fields that any part of `schema` knows; `None` where a part allows any name.
    fn all_names<'s>(&'s self, schema: &'s Value, depth: usize) -> Option<Vec<&'s str>> {
        if depth > super::DEEPEST || !matches!(schema.get("additionalProperties"), None | Some(Value::Bool(false))) {
            return None;
        }
        let mut names = self.own_names(schema);
        let parts = ["allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(|keyword| schema[keyword].as_array())
            .flatten();
        let referred = schema.get("$ref").and_then(|reference| self.resolve(reference));
        for part in parts.chain(referred) {
            names.extend(self.all_names(part, depth + 1)?);
        }
        Some(names)
    }
}
