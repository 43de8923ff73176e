//! `outrigger plugins`: what is installed, and what it can do.
//!
//! Every file is loaded in a child process of its own, never in this one: what is broken may crash.

mod inspect;
mod list;

use super::INTERNAL;
use super::UNAVAILABLE;
use super::USAGE;
use super::runtime;
use super::show;
use crate::config::Overlay;
use crate::config::plugin_settings;
use clap::Subcommand;
use std::process::ExitCode;

/// Subcommands of `outrigger plugins`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List every plugin in the plugin directories, and why it can't be used if it can't
    List,
    /// Show what a plugin is and what it can do
    Inspect {
        /// A plugin's name, or the path of its file
        name_or_path: String,
        /// Print the JSON Schema of its config, and nothing else
        #[arg(long)]
        schema: bool,
    },
}

/// Runs a subcommand with the plugin settings of `overlay`.
pub(super) fn run(overlay: &Overlay, command: &Command) -> ExitCode {
    let settings = match plugin_settings(overlay) {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{faults}");
            return USAGE.into();
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("unable to start a runtime: {error}; look for limits on threads or files");
            return INTERNAL.into();
        }
    };
    let printed = runtime.block_on(async {
        match command {
            Command::List => list::page(&settings).await,
            Command::Inspect { name_or_path, schema } => inspect::page(name_or_path, *schema, &settings).await,
        }
    });
    match printed {
        Ok(page) => show(&page),
        Err(error) => {
            eprintln!("{error}");
            UNAVAILABLE.into()
        }
    }
}
