//! Why a plugin can't be used: one line each, with the path, the cause and what to do.

use super::load;
use super::probe;
use super::verify;
use crate::config::Fault;
use outrigger_plugin::{ErrorCode, ProviderError};
use std::path::PathBuf;
use std::time::Duration;

/// A plugin or a provider that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory has the plugin.
    #[error("unable to find plugin {name:?}: no {file} in {searched}; {advice}")]
    NotFound {
        /// The plugin's name.
        name: String,
        /// The file it would be.
        file: String,
        /// The directories, for people.
        searched: String,
        /// What is there instead, and what to do.
        advice: String,
    },
    /// The name can't be that of a plugin.
    #[error(
        "unable to find plugin {name:?}: a plugin's name consists of letters, digits, dashes and underscores; correct it in the config"
    )]
    Name {
        /// As it was asked for.
        name: String,
    },
    /// A directory can't be read.
    #[error("unable to search plugin directory {}: {cause}; correct its permissions or the list of directories", path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("unable to use plugin file {}: {fault}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        fault: verify::Fault,
    },
    /// The file could not be tried out.
    #[error("unable to load plugin {}: {fault}", path.display())]
    Probe {
        /// Which file.
        path: PathBuf,
        /// What happened.
        fault: probe::Fault,
    },
    /// The file could not be loaded.
    #[error("unable to load plugin {}: {fault}", path.display())]
    Load {
        /// Which file.
        path: PathBuf,
        /// What happened.
        fault: load::Fault,
    },
    /// The provider's section does not fit the plugin's schema.
    #[error("unable to start provider {provider:?}: its config does not fit plugin {}: {}; correct the config, `outrigger plugins inspect --schema` shows what is expected", path.display(), joined(faults))]
    Config {
        /// The provider's name in the config.
        provider: String,
        /// The plugin's file.
        path: PathBuf,
        /// Each fault with its place.
        faults: Vec<Fault>,
    },
    /// The provider could not be started.
    #[error("unable to start provider {provider:?} with plugin {}: {fault}", path.display())]
    Start {
        /// The provider's name in the config.
        provider: String,
        /// The plugin's file.
        path: PathBuf,
        /// What happened.
        fault: StartFault,
    },
    /// A task of the host ended early: the process is shutting down.
    #[error("unable to load plugin {}: the host is ending", path.display())]
    Ending {
        /// Which file.
        path: PathBuf,
    },
}

impl Error {
    /// Whether the configuration does not want the file: nothing of it was run.
    pub fn is_refusal(&self) -> bool {
        use verify::Fault::{Hash, NotAllowed};
        matches!(
            self,
            Self::File {
                fault: Hash { .. } | NotAllowed { .. },
                ..
            }
        )
    }

    /// The text for the cluster's users: see [`StartFault::told`].
    pub fn told(&self) -> String {
        match self {
            Self::Start { provider, path, fault } => format!(
                "unable to start provider {provider:?} with plugin {}: {}",
                path.display(),
                fault.told()
            ),
            other => other.to_string(),
        }
    }
}

fn joined(faults: &[Fault]) -> String {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Why an instance did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartFault {
    /// The plugin made no instance.
    #[error("the plugin made no instance (see its log lines above); look for exhausted threads, open files or memory")]
    NoInstance,
    /// The start did not end.
    #[error("it did not start within {0:?}; look at the plugin's log lines and at its backend")]
    Hung(Duration),
    /// The plugin's code panicked.
    #[error("its start panicked: {0}; report it to the plugin's author")]
    Panicked(String),
    /// The plugin refused.
    #[error("{0}; correct the provider's config or its backend")]
    Refused(ProviderError),
    /// The host is ending.
    #[error("the host is ending")]
    Ending,
}

impl StartFault {
    /// The text for the cluster's users: without the detail of the plugin's error, which is for the operator's log.
    pub fn told(&self) -> String {
        match self {
            Self::Refused(error) => Self::Refused(ProviderError::new(error.code, error.message.as_str())).to_string(),
            other => other.to_string(),
        }
    }

    /// What only the operator's log may have of it; mostly nothing.
    pub fn detail(&self) -> &str {
        match self {
            Self::Refused(error) => &error.detail,
            _ => "",
        }
    }

    /// How long the plugin asks for no other attempt; mostly not at all.
    pub fn asked(&self) -> Duration {
        match self {
            Self::Refused(error) => error.code.retry_after().unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether the plugin itself says that another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Refused(error)
                if matches!(error.code, ErrorCode::Unavailable | ErrorCode::RetryAfter(_) | ErrorCode::Timeout)
        )
    }
}
