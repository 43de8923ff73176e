//! Label and field selectors, matched against heads only.

use super::object::Head;

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LabelTest {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

/// A parsed `labelSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<(String, LabelTest)>);

impl Labels {
    /// Parses the query form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub fn parse(text: &str) -> Result<Labels, String> {
        split_outside_parens(text)
            .into_iter()
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(label_requirement)
            .collect::<Result<_, _>>()
            .map(Labels)
    }

    /// Whether the labels of `head` satisfy all requirements.
    pub fn matches(&self, head: &Head) -> bool {
        self.0.iter().all(|(key, test)| {
            let value = head.label(key);
            match test {
                LabelTest::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
                LabelTest::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
                LabelTest::Exists => value.is_some(),
                LabelTest::Absent => value.is_none(),
            }
        })
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn split_outside_parens(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0usize, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn label_requirement(text: &str) -> Result<(String, LabelTest), String> {
    let set = |list: &str| -> Result<Vec<String>, String> {
        let inner = list.trim().strip_prefix('(').and_then(|l| l.strip_suffix(')'));
        let inner =
            inner.ok_or_else(|| format!("unable to parse requirement: {text}: expected a list in parentheses"))?;
        Ok(inner.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let found = if let Some((key, list)) = text.split_once(" notin ") {
        (key, LabelTest::NotIn(set(list)?))
    } else if let Some((key, list)) = text.split_once(" in ") {
        (key, LabelTest::In(set(list)?))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, LabelTest::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once('=') {
        (
            key,
            LabelTest::In(vec![value.trim_start_matches('=').trim().to_owned()]),
        )
    } else if let Some(key) = text.strip_prefix('!') {
        (key, LabelTest::Absent)
    } else {
        (text, LabelTest::Exists)
    };
    let key = found.0.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(format!("unable to parse requirement: {text}"));
    }
    Ok((key.to_owned(), found.1))
}

/// One requirement of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldTest {
    field: String,
    value: String,
    equal: bool,
}

/// A parsed `fieldSelector`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<FieldTest>);

impl Fields {
    /// Parses `a=b,c!=d`; refuses fields that the kind doesn't offer, in the real server's words.
    pub fn parse(text: &str, offered: impl Fn(&str) -> bool) -> Result<Fields, String> {
        let mut out = Vec::new();
        for part in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let (field, value, equal) = if let Some((f, v)) = part.split_once("!=") {
                (f, v, false)
            } else if let Some((f, v)) = part.split_once("==") {
                (f, v, true)
            } else if let Some((f, v)) = part.split_once('=') {
                (f, v, true)
            } else {
                return Err(format!("invalid selector: '{part}'; can't understand '{part}'"));
            };
            if field != "metadata.name" && field != "metadata.namespace" && !offered(field) {
                return Err(format!("field label not supported: {field}"));
            }
            out.push(FieldTest {
                field: field.to_owned(),
                value: value.to_owned(),
                equal,
            });
        }
        Ok(Fields(out))
    }

    fn matches(&self, head: &Head) -> bool {
        self.0
            .iter()
            .all(|test| (head.field(&test.field) == test.value) == test.equal)
    }

    /// The value that `field` must have, if the selector says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|t| t.equal && t.field == field)
            .map(|t| t.value.as_str())
    }
}

/// What a list or watch selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty: all namespaces.
    pub namespace: String,
    /// By label.
    pub labels: Labels,
    /// By field.
    pub fields: Fields,
}

impl Filter {
    /// Everything in one namespace.
    pub fn namespace(namespace: &str) -> Filter {
        Filter {
            namespace: namespace.to_owned(),
            ..Filter::default()
        }
    }

    /// Whether an object with this head is selected.
    pub fn matches(&self, head: &Head) -> bool {
        (self.namespace.is_empty() || *self.namespace == *head.namespace)
            && self.fields.matches(head)
            && self.labels.matches(head)
    }

    /// True when nothing but the namespace narrows the selection.
    pub fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Kind;

    fn head() -> Head {
        Head::of(
            Kind::Pods,
            &json!({"metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web", "tier": "a"}},
                "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
        )
    }

    #[test]
    fn label_selectors_match_as_documented() {
        for (text, expected) in [
            ("app=web", true),
            ("app==web,tier!=b", true),
            ("app in (web, db),tier notin (b,c)", true),
            ("app,!gone", true),
            ("!app", false),
            ("app!=web", false),
            ("missing!=x", true),
            ("missing in (x)", false),
            ("missing notin (x)", true),
            ("", true),
        ] {
            assert_eq!(Labels::parse(text).unwrap().matches(&head()), expected, "{text}");
        }
        assert!(Labels::parse("a in b").is_err());
        assert!(Labels::parse("a b").is_err());
    }

    #[test]
    fn field_selectors_match_and_refuse_unknown_fields() {
        let offered = |f: &str| f == "spec.nodeName" || f == "status.phase";
        for (text, expected) in [
            ("spec.nodeName=n1", true),
            ("spec.nodeName!=n1", false),
            ("spec.nodeName=n1,status.phase!=Failed", true),
            ("metadata.name=p,metadata.namespace=ns", true),
            ("spec.nodeName=", false),
        ] {
            let filter = Filter {
                fields: Fields::parse(text, offered).unwrap(),
                ..Filter::default()
            };
            assert_eq!(filter.matches(&head()), expected, "{text}");
        }
        assert_eq!(
            Fields::parse("a.b=c", offered).unwrap_err(),
            "field label not supported: a.b"
        );
        assert_eq!(
            Fields::parse("spec.nodeName=n1", offered)
                .unwrap()
                .required("spec.nodeName"),
            Some("n1")
        );
    }
}
