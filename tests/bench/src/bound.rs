//! Programs that end with the bench, in whatever way that ends.
//!
//! Only a program itself can ask the kernel for a signal at its parent's death, short of unsafe code. So the bench starts
//! itself: it asks, and becomes the program, which keeps the wish and the process id. The milliseconds until then are in the
//! CPU time of the process, and in no figure that is a difference.

use crate::error::Error;
use crate::error::Result;
use rustix::process::Signal;
use rustix::process::getppid;
use rustix::process::set_parent_process_death_signal;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use tokio::process::Command;

/// What to become.
#[derive(Debug, clap::Args)]
pub struct Bound {
    /// Who has started this
    parent: u32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs a program that gets SIGTERM when the bench ends without ending it. It is not in the bench's process group: ctrl-C
/// is for the bench, which ends the others in their order.
pub fn command(program: &Path) -> Result<Command> {
    let failed = |reason: String| failed(program.as_os_str().to_owned(), reason);
    if !program.is_file() {
        return Err(failed("there is no such file".to_owned()));
    }
    let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(own);
    command
        .arg("bound")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(program)
        .process_group(0);
    Ok(command)
}

/// Becomes the program; comes back only if that can't be.
pub fn run(bound: Bound) -> Error {
    let mut words = bound.command.into_iter();
    let program = words.next().unwrap_or_default();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return failed(program, error.to_string());
    }
    // A parent that had died by then gave no signal.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent.and_then(|parent| u32::try_from(parent).ok()) != Some(bound.parent) {
        return failed(program, "the bench has ended".to_owned());
    }
    let error = std::process::Command::new(&program).args(words).exec();
    failed(program, error.to_string())
}

fn failed(program: OsString, reason: String) -> Error {
    Error::Program {
        program: program.to_string_lossy().into_owned(),
        reason,
    }
}
