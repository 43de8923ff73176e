//! `outrigger version`

use crate::plugin::Abi;
use std::process::ExitCode;

/// The version of the host, for `--version`.
pub(super) fn line() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Prints the version of the host, and of the boundary that it speaks with plugins.
pub(super) fn run() -> ExitCode {
    super::show(&format!("outrigger {} (plugin ABI {})\n", line(), Abi::OURS))
}
