//! A command in a pod, with this program's streams and its terminal for its own.

use crate::Error;
use crate::target::Target;
use futures::SinkExt;
use futures::channel::mpsc::Sender;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::api::TerminalSize;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::copy;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Bytes under way in each direction.
const BUFFER: usize = 64 << 10;

/// Runs `[-i] [-t] POD -- COMMAND...` to its end and returns its exit code.
pub async fn run(target: &Target, args: &[&str]) -> Result<i32, Error> {
    let dashes = args.iter().position(|word| *word == "--");
    let (before, command) = args.split_at(dashes.ok_or("there is no command")?);
    let (pod, flags) = before.split_last().ok_or("there is no pod")?;
    let (stdin, tty) = (flags.contains(&"-i"), flags.contains(&"-t"));
    let params = AttachParams::default()
        .stdin(stdin)
        .stderr(!tty)
        .tty(tty)
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER);
    let mut process = target.exec(pod, &command[1..], &params).await?;
    let mut input = process.stdin();
    let feeding = async move {
        if let Some(input) = &mut input {
            // A command that takes no more has its reasons.
            let _ = copy(&mut tokio::io::stdin(), input).await;
        }
        // It stays open: what ends it ends the session by all protocols but the newest, without a status.
        std::future::pending::<()>().await;
        drop(input);
    };
    tokio::spawn(feeding);
    if let Some(sizes) = process.terminal_size() {
        tokio::spawn(tell_sizes(signal(SignalKind::window_change())?, sizes));
    }
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    tokio::try_join!(show(stdout, tokio::io::stdout()), show(stderr, tokio::io::stderr()))?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    exit_code(&status.ok_or("the session ended without a status")?)
}

async fn show(from: Option<impl AsyncRead + Unpin>, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    if let Some(mut from) = from {
        copy(&mut from, &mut to).await?;
    }
    to.flush().await
}

async fn tell_sizes(mut changes: Signal, mut sizes: Sender<TerminalSize>) {
    while let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let size = TerminalSize {
            width: size.ws_col,
            height: size.ws_row,
        };
        if sizes.send(size).await.is_err() || changes.recv().await.is_none() {
            return;
        }
    }
}

fn exit_code(status: &Status) -> Result<i32, Error> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let details = status.details.as_ref();
    let causes = details
        .and_then(|details| details.causes.as_deref())
        .unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|cause| cause.message.as_deref()) {
        Some(code) => Ok(code.parse()?),
        None => Err(status.message.clone().unwrap_or_default().into()),
    }
}
