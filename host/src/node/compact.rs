//! JSON that is kept for long and read seldom.

use serde_json::Value;

/// An object as text: as a tree a Node takes ten times as much, and a host may have a thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compact(Box<str>);

impl Compact {
    /// Reads it as a tree; what was one before can be.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Value> for Compact {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let tree = json!({ "metadata": { "name": "vk\"0", "labels": {} }, "n": [1, 2.5, null, true] });
        let compact = Compact::from(&tree);
        assert_eq!(compact.value(), tree);
        assert_eq!(compact, Compact::from(&compact.value()));
    }
}
