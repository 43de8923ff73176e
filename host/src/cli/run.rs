//! `outrigger run`: from the command line to a configuration that can run, with logs on.

use super::INTERNAL;
use super::USAGE;
use super::missing_plugin;
use crate::config::Faults;
use crate::config::HostConfig;
use crate::config::Overlay;
use crate::config::load;
use crate::telemetry::logs;
use std::process::ExitCode;

/// Hands the configuration to `host`, which runs until it is told to stop.
pub(super) fn run(overlay: &Overlay, host: impl FnOnce(HostConfig) -> ExitCode) -> ExitCode {
    let checked = load(overlay).and_then(|resolved| match missing_plugin(&resolved) {
        Some(fault) => Err(Faults::new(vec![fault])),
        None => Ok(resolved),
    });
    let resolved = match checked {
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
    host(resolved.config)
}
