//! Makes sure that what the positions were kept for is what serde_yaml reads: two parsers that see different values in
//! one file would make every message a guess.

use super::Position;
use super::fault::Collector;
use super::tree::Node;
use super::tree::Value;
use serde_yaml::Value as Plain;

/// Holds `root`, which was read from `text` without faults, against serde_yaml's reading of it. Where it refuses the
/// text or sees something else, a fault says so.
pub(super) fn check(root: &Node, text: &str, faults: &mut Collector) {
    match serde_yaml::from_str::<Plain>(text) {
        Ok(plain) => {
            if let Some(at) = difference(root, &plain) {
                faults.add(
                    at,
                    "",
                    "this YAML can be read in more than one way, write it more plainly",
                );
            }
        }
        Err(error) => {
            let at = error.location().map(|at| Position {
                line: at.line(),
                column: at.column(),
            });
            faults.push(
                at,
                "",
                "invalid YAML: it breaks a rule for indentation, anchors, tags or special characters",
            );
        }
    }
}

/// The first place at which the two differ.
fn difference(node: &Node, plain: &Plain) -> Option<Position> {
    let same = match (&node.value, plain) {
        (Value::Null, Plain::Null) => true,
        (Value::Bool(ours), Plain::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), Plain::Number(theirs)) => ours == theirs,
        (Value::Text(ours), Plain::String(theirs)) => ours == theirs,
        (Value::List(ours), Plain::Sequence(theirs)) if ours.len() == theirs.len() => {
            return ours
                .iter()
                .zip(theirs)
                .find_map(|(ours, theirs)| difference(ours, theirs));
        }
        (Value::Map(ours), Plain::Mapping(theirs)) if ours.len() == theirs.len() => {
            return ours.iter().find_map(|entry| match theirs.get(&entry.key) {
                Some(theirs) => difference(&entry.node, theirs),
                None => Some(entry.at),
            });
        }
        _ => false,
    };
    (!same).then_some(node.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree;

    fn faults(text: &str, read_as: &str) -> Vec<String> {
        let mut faults = Collector::new("x");
        let root = tree::parse(text, &mut faults).unwrap();
        assert!(faults.is_empty());
        check(&root, read_as, &mut faults);
        faults.into_faults().list().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_read_alike_passes() {
        let text = "a: [1, x, {b: ~}]\nc: true\n";
        assert_eq!(faults(text, text), Vec::<String>::new());
    }

    #[test]
    fn a_difference_has_its_place() {
        let text = "a: [1, x, {b: ~}]\nc: true\n";
        for (other, at) in [
            ("a: [1, y, {b: ~}]\nc: true\n", "x:1:8"),
            ("a: [1, x, {b: 2}]\nc: true\n", "x:1:15"),
            ("a: [1, x]\nc: true\n", "x:1:4"),
            ("a: [1, x, {b: ~}]\nd: true\n", "x:2:1"),
            ("a: [1, x, {b: ~}]\nc: 'true'\n", "x:2:4"),
        ] {
            assert_eq!(
                faults(text, other),
                [format!(
                    "{at}: this YAML can be read in more than one way, write it more plainly"
                )]
            );
        }
    }

    #[test]
    fn what_serde_yaml_alone_refuses_is_refused() {
        let text = "\t# a comment behind a tab\na: 1\n";
        let found = faults(text, text);
        assert_eq!(
            found,
            ["x:1:1: invalid YAML: it breaks a rule for indentation, anchors, tags or special characters"]
        );
    }
}
