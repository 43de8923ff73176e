//! One word for what differs from pod to pod and from run to run: names, UIDs, addresses, times, ids.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Each thing by which one pod can be told from another, and the word that stands for it.
#[derive(Clone, Debug, Default)]
pub struct Words(Vec<(String, &'static str)>);

impl Words {
    /// Has a word stand for something; what is empty is not known yet.
    pub fn add(&mut self, thing: impl Into<String>, word: &'static str) {
        let thing = thing.into();
        if !thing.is_empty() {
            self.0.push((thing, word));
            // What contains another thing goes first.
            self.0.sort_by_key(|(thing, _)| std::cmp::Reverse(thing.len()));
        }
    }

    /// A pod's own, and its node's.
    pub fn of(pod: &Value) -> Self {
        let mut words = Self::default();
        for (pointer, word) in [
            ("/metadata/name", "<pod>"),
            ("/metadata/uid", "<uid>"),
            ("/spec/nodeName", "<node>"),
            ("/status/podIP", "<pod ip>"),
            ("/status/hostIP", "<host ip>"),
        ] {
            words.add(pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default(), word);
        }
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let name = volume["name"].as_str().unwrap_or_default();
            if name.starts_with("kube-api-access-") {
                words.add(name, "<api access>");
            }
        }
        words
    }

    /// A text in these words.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (thing, word) in &self.0 {
            text = text.replace(thing, word);
        }
        if text.parse::<Timestamp>().is_ok() {
            return "<time>".to_owned();
        }
        if text.contains("://") && text.split("://").nth(1).is_some_and(is_id) || is_id(&text) {
            return "<id>".to_owned();
        }
        text
    }

    /// Every leaf below a value with its path, in these words. Entries of lists that have a name or a type go by it.
    pub fn flatten(&self, path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    self.flatten(&format!("{path}.{name}"), value, into);
                }
            }
            Value::Array(entries) if !entries.is_empty() => {
                for (number, entry) in entries.iter().enumerate() {
                    let key = ["name", "type", "mountPath"].iter().find_map(|key| entry[key].as_str());
                    let key = key.map_or_else(|| number.to_string(), |key| self.text(key));
                    self.flatten(&format!("{path}[{key}]"), entry, into);
                }
            }
            Value::String(text) => drop(into.insert(path.to_owned(), self.text(text))),
            other => drop(into.insert(path.to_owned(), other.to_string())),
        }
    }
}

/// Whether a text is an id, as of a container or of an image's content.
fn is_id(text: &str) -> bool {
    // Images that were imported have no name in their id, those that were pulled do.
    let digits = text.rsplit("sha256:").next().unwrap_or(text);
    digits.len() >= 32 && digits.chars().all(|char| char.is_ascii_hexdigit() || char == '-')
}
