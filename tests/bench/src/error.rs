//! What ends a bench.

use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::SignalKind;

/// Why there is no result. Slowness is never an error here: a bench prints what it saw.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The generator or the responder could not use a kubeconfig.
    #[error("unable to use kubeconfig {}: {reason}", path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    /// An answer that is no success.
    #[error("unable to {what}: status {status}: {message}")]
    Refused { what: String, status: u16, message: String },
    /// No answer.
    #[error("unable to {what}: {reason}")]
    Transport { what: String, reason: String },
    /// An answer that is not what the API promises.
    #[error("unable to read {what}: {reason}")]
    Malformed { what: String, reason: String },
    /// A program that could not be started, or ended by itself.
    #[error("unable to run {program}: {reason}")]
    Program { program: String, reason: String },
    /// A file.
    #[error("unable to {verb} {}", path.display())]
    File {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// Something that has to happen did not.
    #[error("unable to see {what} within {limit:?}; see {}", log.display())]
    Late {
        what: String,
        limit: Duration,
        log: PathBuf,
    },
    /// The subject lost pods: a functional fault, the one thing a bench fails for.
    #[error("lost {lost} of {pods} pods: not {state} and no progress for {limit:?}, e.g. {examples}")]
    Lost {
        lost: usize,
        pods: usize,
        state: &'static str,
        limit: Duration,
        examples: String,
    },
    /// A signal.
    #[error("unable to finish: told to end by {}", signal_name(.0))]
    Told(SignalKind),
    /// A wrong command line.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// With its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

fn signal_name(signal: &SignalKind) -> &'static str {
    match *signal == SignalKind::interrupt() {
        true => "SIGINT",
        false => "SIGTERM",
    }
}

/// What came out of something, and of tidying up behind it, which is done in any case. Of two errors the first counts, and the
/// other is told at once.
pub fn tidied<T>(outcome: Result<T>, tidied: Result<()>) -> Result<T> {
    match (outcome, tidied) {
        (Ok(value), tidied) => tidied.map(|()| value),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(second)) => {
            eprintln!("{}", second.chain());
            Err(error)
        }
    }
}
