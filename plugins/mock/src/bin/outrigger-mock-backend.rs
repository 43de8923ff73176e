//! Holds the pods of mock providers with `backend: {kind: external}`: it outlives the hosts, and counts what they ask.

use clap::{Parser, Subcommand};
use outrigger_mock::{
    protocol::{Ask, Line, Reply, Request, line},
    server::Server,
};
use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    signal::unix::{SignalKind, signal},
};

/// The mock provider's external back end.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Path of the Unix socket.
    #[arg(long, global = true)]
    socket: Option<PathBuf>,
    /// File that keeps the pods over a restart of this process.
    #[arg(long)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Prints as JSON what hosts have asked of a running back end, by UID, and which pods it has.
    Counts,
}

/// sysexits: bad usage.
const USAGE: u8 = 64;
/// sysexits: a service is not there.
const UNAVAILABLE: u8 = 69;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Without an output there is nowhere to say so.
            let _ = error.print();
            return code.into();
        }
    };
    let Some(socket) = arguments.socket else {
        eprintln!("unable to begin without a socket: add --socket PATH");
        return USAGE.into();
    };
    let outcome = match arguments.verb {
        None => serve(&socket, arguments.state.as_deref()).await,
        Some(Verb::Counts) => counts(&socket).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut next = error.source();
            while let Some(cause) = next {
                text.push_str(&format!(": {cause}"));
                next = cause.source();
            }
            eprintln!("{text}");
            UNAVAILABLE.into()
        }
    }
}

/// Until SIGTERM or SIGINT.
async fn serve(socket: &Path, state: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::open(socket, state).await?;
    println!("listening on {}", socket.display());
    let outcome = tokio::select! {
        error = server.run() => Err(error.into()),
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    };
    std::fs::remove_file(socket)?;
    outcome
}

async fn counts(socket: &Path) -> Result<(), Box<dyn Error>> {
    let ask = Ask {
        id: 1,
        request: Request::Counts,
    };
    let away = |error| {
        format!(
            "unable to reach a backend at {}: {error}; start one there",
            socket.display()
        )
    };
    let mut stream = BufReader::new(UnixStream::connect(socket).await.map_err(away)?);
    stream.write_all(&line(&ask)?).await?;
    let mut text = String::new();
    while stream.read_line(&mut text).await? > 0 {
        // Pushes of other hosts' doings may come first.
        if let Line::Reply { outcome, .. } = serde_json::from_str(&text)? {
            return match outcome.map_err(outrigger_plugin::ProviderError::from)? {
                Reply::Counts(counts) => {
                    println!("{}", serde_json::to_string_pretty(&counts)?);
                    Ok(())
                }
                other => Err(format!("the backend answered with something else: {other:?}").into()),
            };
        }
        text.clear();
    }
    Err("the backend closed the connection".into())
}
