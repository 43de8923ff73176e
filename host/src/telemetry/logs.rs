//! Logs: one subscriber for the process, on stderr, so that stdout stays free for what a command prints.

use crate::config::LogConfig;
use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level is no filter directive.
    #[error("unable to read the log level: {0}")]
    Level(String),
    /// The process has a subscriber already.
    #[error("unable to start logging: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

const LEVELS: &str = "off, error, warn, info, debug or trace";
const EXAMPLE: &str = "warn,outrigger::pod=debug";

/// Whether `level` is a filter directive, else what is wrong with it and what to write.
///
/// A single word must be a level: `EnvFilter` itself would take a typo like `inof` for the name of a module.
pub fn check(level: &str) -> Result<(), String> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let fault = |reason: &str| format!("expected {LEVELS}, or directives like {EXAMPLE:?}, found {level:?}: {reason}");
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    for directive in level.split(',') {
        let bare = !level.contains('{') && !directive.contains(['=', '[', ':']);
        if directive.is_empty() || (bare && !is_level(directive)) {
            return Err(fault(&format!("{directive:?} is no level")));
        }
    }
    EnvFilter::try_new(level).map_err(|_| fault("it is no directive"))
}

/// Starts logging for the whole process; call it once.
pub fn init(config: &LogConfig) -> Result<(), Error> {
    let filter = filter(&config.level).map_err(Error::Level)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init()?,
        LogFormat::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(true))
            .try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken() {
        for good in [
            "info",
            "TRACE",
            "off",
            "warn,outrigger::pod=debug",
            "outrigger[sync{pod=web}]=trace",
        ] {
            assert_eq!(check(good), Ok(()));
        }
    }

    #[test]
    fn typos_are_refused_with_a_hint() {
        let hint = "expected off, error, warn, info, debug or trace, or directives like \"warn,outrigger::pod=debug\"";
        for (bad, reason) in [
            ("", "found \"\": \"\" is no level"),
            ("inof", "found \"inof\": \"inof\" is no level"),
            ("info,,warn", "found \"info,,warn\": \"\" is no level"),
            ("outrigger=loud", "found \"outrigger=loud\": it is no directive"),
        ] {
            assert_eq!(check(bad), Err(format!("{hint}, {reason}")));
        }
    }
}
