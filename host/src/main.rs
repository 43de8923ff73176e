//! The `outrigger` program.
//!
//! The boot story: the command line and the configuration file become one checked configuration
//! ([`outrigger::cli`], [`outrigger::config`]), logs come on, and the host ([`outrigger::app`]) runs until a signal
//! tells it to stop.

use outrigger::{app, cli, cluster::Pressure, config::HostConfig};
use std::{error::Error, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Pods are many small pieces that come and go together. The system's allocator spends a third more CPU on each, and keeps
/// their room when they have gone.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::dispatch(std::env::args_os(), host)
}

/// Runs the host on one thread: what it does is wait for others, a moment longer where that makes it wake up less often.
/// Plugins have threads of their own.
fn host(config: HostConfig) -> ExitCode {
    raise_descriptor_limit();
    let pressure = Pressure::new();
    let idle = pressure.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || idle.gather())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "unable to start the runtime");
            return cli::INTERNAL.into();
        }
    };
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let signals = tokio::spawn(end_on_signal(shutdown.clone()));
        let outcome = app::run(config, pressure, shutdown).await;
        signals.abort();
        outcome
    });
    // Whatever blocks a thread of its own, a name that is looked up or somebody's program that hangs, is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            exit_code(&error).into()
        }
    }
}

fn exit_code(error: &app::Error) -> u8 {
    use app::Error;
    match error {
        Error::NoProvider | Error::Required { .. } | Error::Server { .. } => cli::UNAVAILABLE,
        Error::Cluster(_) | Error::Access(_) | Error::Section(_) | Error::NodeIdentity(_) | Error::ResolvConf(_) => {
            cli::USAGE
        }
        Error::Identity(_) | Error::Ended { .. } => cli::INTERNAL,
    }
}

/// The first SIGTERM or SIGINT ends the host in order; a second one ends it as it is.
async fn end_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("unable to listen for signals; the process can only be killed");
        return;
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    tracing::info!(signal = name, "ending; a second signal ends at once");
    shutdown.cancel();
    let name = next().await;
    tracing::warn!(signal = name, "ending at once");
    // Nothing is lost by it: what must survive is in the API server and in the backends.
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
}

/// Connections, streams and kept plugin files add up: the soft limit of 1,024 is for programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    ) {
        tracing::warn!(%error, "unable to raise the limit of open files");
    }
}

/// An error with its sources, as one sentence.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
