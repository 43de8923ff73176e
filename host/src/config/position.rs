//! Places in a configuration file.

use std::collections::BTreeMap;
use std::fmt;

/// A place in a file, both numbers counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where a provider's `config` section and everything in it was written, so that the plugin's schema can be checked
/// long after the file was parsed and still name the line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SectionPositions {
    /// The file as the operator named it; empty when the section came from no file.
    pub file: String,
    /// Path of the section in the file, e.g. `providers[1].config`.
    pub path: String,
    /// JSON pointer inside the section (`""` is the section, `/zones/0` its first zone) to the place of the key, or
    /// of the item where it stands in a list.
    pub at: BTreeMap<String, Position>,
}

impl SectionPositions {
    /// The place of `pointer`, or of the nearest thing around it that has one.
    pub fn nearest(&self, pointer: &str) -> Option<Position> {
        let mut pointer = pointer;
        loop {
            if let Some(at) = self.at.get(pointer) {
                return Some(*at);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}
