//! Alternatives: which one was meant, and what is wrong with it.

use super::Checker;
use super::Place;
use super::Problem;
use super::Stranger;
use super::expected;
use super::kind_of;
use super::problem;
use super::words_of;
use crate::config::nearest::alternatives;
use crate::config::nearest::nearest;
use serde_json::Value;

impl Checker<'_> {
    pub(super) fn check_choices(&self, value: &Value, schema: &Value, place: &Place, problems: &mut Vec<Problem>) {
        let parts = |keyword: &str| schema[keyword].as_array().map(Vec::as_slice).unwrap_or_default();
        let here = place.deeper();
        for part in parts("allOf") {
            self.check(value, part, &here, problems);
        }
        for (keyword, only_one) in [("anyOf", false), ("oneOf", true)] {
            let branches = parts(keyword);
            let results: Vec<_> = branches
                .iter()
                .map(|branch| self.problems_of(value, branch, &here))
                .collect();
            match results.iter().filter(|problems| problems.is_empty()).count() {
                0 if !branches.is_empty() => problems.extend(self.closest(value, branches, results, place)),
                2.. if only_one => problems.push(problem(place, "it fits several alternatives, expected one")),
                _ => {}
            }
        }
        if let Some(unwanted) = schema.get("not")
            && self.problems_of(value, unwanted, &here).is_empty()
        {
            problems.push(problem(place, "the plugin does not allow this value"));
        }
    }

    fn problems_of(&self, value: &Value, schema: &Value, place: &Place) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check(value, schema, place, &mut problems);
        problems
    }

    /// The problems of the alternative that was probably meant.
    fn closest(&self, value: &Value, branches: &[Value], results: Vec<Vec<Problem>>, place: &Place) -> Vec<Problem> {
        let targets: Vec<_> = branches
            .iter()
            .map(|branch| {
                branch
                    .get("$ref")
                    .and_then(|reference| self.resolve(reference))
                    .unwrap_or(branch)
            })
            .collect();
        if let Some(tag) = self.wrong_tag(value, &targets, place) {
            return vec![tag];
        }
        let meant = |problems: &&Vec<Problem>| !problems.iter().any(|problem| is_of_another(problem, place));
        if let Some(problems) = results.iter().filter(meant).min_by_key(|problems| problems.len()) {
            return problems.clone();
        }
        let words: Vec<String> = targets.iter().flat_map(|target| words_of(target)).collect();
        let hint = value
            .as_str()
            .and_then(|text| nearest(text, words.iter().map(String::as_str)));
        let hint = hint
            .map(|word| format!(" (did you mean {word:?}?)"))
            .unwrap_or_default();
        let mut wanted: Vec<String> = targets
            .iter()
            .flat_map(|target| {
                Some(words_of(target))
                    .filter(|words| !words.is_empty())
                    .unwrap_or(vec![expected(target)])
            })
            .collect();
        wanted.retain(|wanted| wanted != "null");
        wanted.dedup();
        let wanted = alternatives(wanted.iter().map(String::as_str));
        let message = format!("expected {wanted}{hint}, found {}", kind_of(value));
        vec![Problem {
            stranger: Stranger::Kind,
            ..problem(place, message)
        }]
    }

    /// Of alternatives that are told apart by the constant in one field: what is wrong with that field.
    fn wrong_tag(&self, value: &Value, branches: &[&Value], place: &Place) -> Option<Problem> {
        let map = value.as_object()?;
        let objects: Vec<_> = branches
            .iter()
            .filter_map(|branch| branch["properties"].as_object())
            .collect();
        let is_tag = |name: &&String| {
            objects.iter().all(|properties| {
                properties
                    .get(*name)
                    .is_some_and(|schema| schema.get("const").is_some())
            })
        };
        let name = objects.first()?.keys().find(is_tag)?;
        let tags: Vec<String> = objects
            .iter()
            .flat_map(|properties| words_of(&properties[name]))
            .collect();
        let wanted = alternatives(tags.iter().map(String::as_str));
        let place = place.field(name);
        let Some(tag) = map.get(name) else {
            return Some(problem(&place, format!("missing, expected {wanted}")));
        };
        if objects.iter().any(|properties| properties[name]["const"] == *tag) {
            return None;
        }
        let hint = tag
            .as_str()
            .and_then(|text| nearest(text, tags.iter().map(String::as_str)));
        let hint = hint
            .map(|word| format!(" (did you mean {word:?}?)"))
            .unwrap_or_default();
        Some(problem(&place, format!("expected {wanted}{hint}")))
    }
}

/// Whether the problem says that another alternative was meant: the value itself is of another kind, or a field of it
/// is another tag.
fn is_of_another(problem: &Problem, place: &Place) -> bool {
    let inside = problem
        .place
        .pointer
        .strip_prefix(&place.pointer)
        .unwrap_or_default()
        .matches('/')
        .count();
    match problem.stranger {
        Stranger::No => false,
        Stranger::Kind => inside == 0,
        Stranger::Constant => inside <= 1,
    }
}
