//! SIGINT and SIGTERM: the bench ends early, but in order.

use crate::error::Error;
use crate::error::Result;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::SetOnce;

/// The first signal. There is one bench in a process.
static TOLD: SetOnce<SignalKind> = SetOnce::const_new();
/// The second.
static INSISTED: SetOnce<SignalKind> = SetOnce::const_new();

/// Listens from now on.
pub fn listen() -> Result<()> {
    let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    tokio::spawn(async move {
        // Nobody else sets the two.
        let _ = TOLD.set(next(&mut interrupt, &mut terminate).await);
        eprintln!("told to end: what runs is ended and its nodes taken away; at a second signal they are left");
        let _ = INSISTED.set(next(&mut interrupt, &mut terminate).await);
    });
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

fn hear(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::Program {
        program: "pod-churn".to_owned(),
        reason: format!("unable to listen for signals: {error}"),
    })
}

/// Waits until the bench is told to end.
pub async fn told() -> Error {
    Error::Told(*TOLD.wait().await)
}

/// Waits until it is told so again, to end where it is.
pub async fn insisted() -> Error {
    Error::Told(*INSISTED.wait().await)
}

/// As a shell says it of a program that a signal has ended.
pub fn exit_code(signal: SignalKind) -> u8 {
    u8::try_from(signal.as_raw_value()).map_or(u8::MAX, |number| 128 | number)
}
