//! The configuration of a host under test.

use serde_json::Value;
use serde_json::json;

/// A HostConfig in the making.
#[derive(Clone, Debug)]
pub struct HostConfig(Value);

impl HostConfig {
    /// With what every host here needs, and no provider or node yet.
    pub fn new(base: Value) -> Self {
        Self(base)
    }

    /// Adds an instance of the mock.
    pub fn mock(self, name: &str, config: Value) -> Self {
        self.provider(json!({ "name": name, "plugin": "mock", "config": config }))
    }

    /// Adds a provider.
    pub fn provider(mut self, provider: Value) -> Self {
        self.push("providers", provider);
        self
    }

    /// Adds a node, with whatever else it has.
    pub fn node(mut self, name: &str, provider: &str, rest: Value) -> Self {
        let mut node = json!({ "name": name, "provider": provider, "port": 0 });
        merge(&mut node, self.0["nodeBase"].clone());
        merge(&mut node, rest);
        self.push("nodes", node);
        self
    }

    /// Sets parts of the file.
    pub fn with(mut self, parts: Value) -> Self {
        merge(&mut self.0, parts);
        self
    }

    /// For a host that finds its cluster by what a cluster gives its pods.
    pub fn in_cluster(mut self) -> Self {
        self.0["cluster"].as_object_mut().unwrap().remove("kubeconfig");
        self
    }

    fn push(&mut self, list: &str, entry: Value) {
        match &mut self.0[list] {
            Value::Array(entries) => entries.push(entry),
            other => *other = json!([entry]),
        }
    }

    /// The file's text.
    pub fn yaml(&self) -> String {
        let mut file = self.0.clone();
        if let Value::Object(file) = &mut file {
            file.remove("nodeBase");
        }
        serde_yaml::to_string(&file).unwrap()
    }
}

pub(super) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (into, from) => *into = from,
    }
}
