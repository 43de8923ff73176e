//! What is wrong with a configuration, in a form that can be clicked on in a terminal.

use super::Position;
use std::fmt;

/// One thing that is wrong: `configs/x.yaml:12:5: nodes[0].provder: unknown field, did you mean "provider"?`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A file as the operator named it, a flag (`--nodename`) or an environment variable.
    pub source: String,
    /// Where in the file; `None` for flags, variables and files that can't be read at all.
    pub at: Option<Position>,
    /// Path of the field, empty where the whole file is meant.
    pub path: String,
    /// What is wrong and what was expected; never a value from a provider's section, which may be a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(at) = self.at {
            write!(f, ":{at}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A configuration that can't be used: every fault that was found, one a line, then what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

/// More lines than this help nobody.
const SHOWN: usize = 200;

impl Faults {
    /// Puts `faults` in the order of the file; those without a place come last.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.at.is_none(), fault.at));
        faults.dedup();
        Self(faults)
    }

    /// The faults in the order in which they are printed.
    pub fn list(&self) -> &[Fault] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.0.iter().take(SHOWN) {
            writeln!(f, "{fault}")?;
        }
        if self.0.len() > SHOWN {
            writeln!(f, "... and {} more", self.0.len() - SHOWN)?;
        }
        let them = if self.0.len() == 1 { "the fault" } else { "the faults" };
        write!(
            f,
            "unable to use the configuration: correct {them} above, then try it with `outrigger check-config`"
        )
    }
}

/// Collects the faults of one source.
#[derive(Debug)]
pub(super) struct Collector {
    source: String,
    faults: Vec<Fault>,
}

impl Collector {
    /// Nothing wrong with `source` yet.
    pub(super) fn new(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            faults: Vec::new(),
        }
    }

    /// The file, flag or variable that is looked at.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Adds a fault with its place.
    pub(super) fn add(&mut self, at: Position, path: impl Into<String>, message: impl Into<String>) {
        self.push(Some(at), path, message);
    }

    /// Adds a fault whose place may be unknown.
    pub(super) fn push(&mut self, at: Option<Position>, path: impl Into<String>, message: impl Into<String>) {
        let source = self.source.clone();
        self.faults.push(Fault {
            source,
            at,
            path: path.into(),
            message: message.into(),
        });
    }

    /// Adds a fault of another source, such as a flag.
    pub(super) fn elsewhere(&mut self, source: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault {
            source: source.into(),
            at: None,
            path: String::new(),
            message: message.into(),
        });
    }

    /// Takes over what was found by the checks of another module.
    pub(super) fn extend(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults);
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Everything that was found.
    pub(super) fn into_faults(self) -> Faults {
        Faults::new(self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stand_in_the_order_of_the_file_and_end_with_what_to_do() {
        let mut found = Collector::new("x.yaml");
        found.elsewhere("--nodename", "it is empty");
        found.add(Position { line: 9, column: 1 }, "log", "b");
        found.add(Position { line: 2, column: 7 }, "", "a");
        let text = found.into_faults().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["x.yaml:2:7: a", "x.yaml:9:1: log: b", "--nodename: it is empty"]
        );
        assert!(
            lines[3].starts_with("unable to use the configuration: correct the faults"),
            "{text}"
        );
    }

    #[test]
    fn a_flood_is_cut_and_says_so() {
        let mut found = Collector::new("x.yaml");
        for line in 1..=1000 {
            found.add(Position { line, column: 1 }, "", "bad");
        }
        let faults = found.into_faults();
        assert_eq!(faults.list().len(), 1000);
        assert_eq!(faults.to_string().lines().count(), SHOWN + 2);
        assert!(faults.to_string().contains("... and 800 more"));
    }
}
