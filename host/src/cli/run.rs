//! `outrigger run`: from the command line to a configuration that can run, with logs on.

use super::INTERNAL;
use super::USAGE;
use crate::config::HostConfig;
use crate::config::Overlay;
use crate::config::load;
use crate::plugin;
use crate::telemetry::logs;
use std::process::ExitCode;

/// Hands the configuration to `host`, which runs until it is told to stop.
pub(super) fn run(overlay: &Overlay, host: impl FnOnce(HostConfig) -> ExitCode) -> ExitCode {
    let resolved = match load(overlay) {
        Ok(resolved) => resolved,
        Err(faults) => {
            // Logs are not on yet: where they go is part of what is wrong.
            eprintln!("{faults}");
            return USAGE.into();
        }
    };
    if let Err(error) = logs::init(&resolved.config.log) {
        eprintln!("{error}");
        return INTERNAL.into();
    }
    if let Err(error) = known_plugin(overlay, &resolved.config) {
        eprintln!("--provider: {error}");
        return USAGE.into();
    }
    host(resolved.config)
}

/// What `--provider` names must exist: a word on the command line that means nothing is a slip, and not a plugin that
/// is missing for the moment.
fn known_plugin(overlay: &Overlay, config: &HostConfig) -> Result<(), plugin::Error> {
    let Some(given) = &overlay.provider else { return Ok(()) };
    match config.providers.as_slice() {
        [only] if only.plugin == given.value && only.path.is_none() => {
            plugin::find(&only.plugin, &config.plugins.directories).map(drop)
        }
        _ => Ok(()),
    }
}
