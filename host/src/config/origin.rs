//! Where each value of the effective configuration came from.

use std::collections::BTreeMap;
use std::fmt;

/// Where a value came from; the first of these that has one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, e.g. `--log-level`.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// A line of the file.
    File {
        /// The file as the operator named it.
        file: String,
        /// Line, from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "from flag {flag}"),
            Self::Env(name) => write!(f, "from env {name}"),
            Self::File { file, line } => write!(f, "from file {file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// How a fault names the place that a flag or variable is; `None` for the file, which has lines, and defaults.
    pub fn outside_the_file(&self) -> Option<&'static str> {
        match self {
            Self::Flag(name) | Self::Env(name) => Some(name),
            Self::File { .. } | Self::Default => None,
        }
    }
}

/// A value together with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// What was given.
    pub value: T,
    /// By whom.
    pub from: Origin,
}

impl<T> Given<T> {
    /// The same, of another form.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Given<U> {
        Given {
            value: form(self.value),
            from: self.from,
        }
    }
}

/// Path in the effective configuration (`nodes[3].port`) to the origin of its value; what is missing is a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Notes where the value at `path` came from.
    pub(super) fn note(&mut self, path: impl Into<String>, origin: Origin) {
        self.0.insert(path.into(), origin);
    }

    /// Where the value at `path` came from.
    pub fn of(&self, path: &str) -> &Origin {
        self.0.get(path).unwrap_or(&Origin::Default)
    }
}
