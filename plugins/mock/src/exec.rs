//! Exec: by default a command that only says what it was, and copies its input; see [`ExecConfig`].

use crate::{
    config::ExecConfig,
    door::Inside,
    process::{self, Process},
    provider::Mock,
};
use outrigger_plugin::{ByteStream, Call, Exec, ExecRequest, ExitStatus, ProviderError, Result, Session};
use std::{future::pending, io};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy_buf, sink};

/// Of a command whose container ends before it: what the kill of all processes of a container gives, 128 + SIGKILL.
const KILLED: ExitStatus = ExitStatus { exit_code: 137 };
/// Room for what is typed.
const LINE: usize = 512;
/// Bytes that are moved at once.
const CHUNK: usize = 64 << 10;
/// What ^C and ^D are on the wire. The end of the input can't be told from a terminal otherwise.
const INTERRUPT: u8 = 3;
const END_OF_INPUT: u8 = 4;

impl Exec for Mock {
    async fn exec(&self, _call: Call, request: ExecRequest, session: Session) -> Result<ExitStatus> {
        let inside = self.enter(&request.identity, &request.container).await?;
        match self.config.exec {
            ExecConfig::Echo => tokio::select! {
                ended = echo(&request, session) => ended,
                () = self.until_over(&inside) => Ok(KILLED),
            },
            ExecConfig::LocalProcess => self.run(&request, session, &inside).await,
        }
    }
}

/// Prints the command, then its input as it comes; ends with the input.
async fn echo(request: &ExecRequest, session: Session) -> Result<ExitStatus> {
    let Session {
        stdin: Some(mut stdin),
        stdout,
        ..
    } = session
    else {
        print(request, session.stdout).await?;
        return Ok(ExitStatus { exit_code: 0 });
    };
    let mut stdout = print(request, stdout).await?;
    let mut typed = vec![0; LINE];
    loop {
        let count = stdin.read(&mut typed).await?;
        let mut text = &typed[..count];
        let end = |byte: &u8| matches!(*byte, INTERRUPT | END_OF_INPUT);
        let last = text.is_empty() || request.tty && text.iter().any(end);
        if let Some(end) = text.iter().position(end).filter(|_| request.tty) {
            text = &text[..end];
        }
        if let Some(stdout) = &mut stdout {
            stdout.write_all(text).await?;
        }
        if last {
            return Ok(ExitStatus { exit_code: 0 });
        }
        if count == typed.len() && count < CHUNK {
            typed = vec![0; (count * 4).min(CHUNK)];
        }
    }
}

async fn print(request: &ExecRequest, mut stdout: Option<ByteStream>) -> Result<Option<ByteStream>> {
    if let Some(stdout) = &mut stdout {
        let line_end = if request.tty { "\r\n" } else { "\n" };
        let line = request.command.join(" ") + line_end;
        stdout.write_all(line.as_bytes()).await?;
    }
    Ok(stdout)
}

impl Mock {
    /// Runs the command as a process of this machine. Dropped in the middle, because the client has gone, it kills it.
    async fn run(&self, request: &ExecRequest, session: Session, inside: &Inside) -> Result<ExitStatus> {
        let folder = self.scratch.folder(&request.identity, &request.container).await?;
        let order = process::Order {
            command: request.command.clone(),
            folder,
            host_name: request.identity.name.clone(),
            tty: request.tty,
            stdin: session.stdin.is_some(),
        };
        let Process {
            mut group,
            stdin,
            stdout,
            stderr,
            terminal,
        } = process::spawn(order).await?;
        let input = async {
            feed(session.stdin, stdin, request.tty).await;
            // The end of the input is not the end of the command.
            pending::<()>().await;
        };
        let sizes = async {
            if let (Some(mut resize), Some(terminal)) = (session.resize, terminal) {
                while let Some((columns, rows)) = resize.next().await {
                    terminal.resize(columns, rows)?;
                }
            }
            pending::<io::Result<()>>().await
        };
        let output = async { tokio::try_join!(drain(stdout, session.stdout), drain(stderr, session.stderr)) };
        let end = async {
            tokio::select! {
                ended = group.ended() => ended,
                () = self.until_over(inside) => {
                    group.kill();
                    group.ended().await
                }
            }
        };
        tokio::select! {
            ended = async { tokio::try_join!(end, output) } => Ok(ended?.0),
            () = input => Err(ProviderError::internal("the input outlived its command")),
            failed = sizes => Err(failed.map_or_else(Into::into, |()| ProviderError::internal("no more sizes"))),
        }
    }
}

/// Copies the client's input until either side ends, and then ends the process's.
async fn feed(from: Option<ByteStream>, to: Option<Box<dyn AsyncWrite + Send + Unpin>>, tty: bool) {
    let (Some(from), Some(mut to)) = (from, to) else { return };
    // A process need not read all of its input, and a client may go: both are seen elsewhere.
    let copied = copy_buf(&mut BufReader::with_capacity(CHUNK, from), &mut to).await;
    if tty && copied.is_ok() {
        let _ = to.write_all(&[END_OF_INPUT]).await;
    }
}

/// Copies a process's output to the client, or to nobody.
async fn drain(from: Option<Box<dyn AsyncRead + Send + Unpin>>, to: Option<ByteStream>) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut from = BufReader::with_capacity(CHUNK, from);
    let copied = match to {
        Some(mut to) => copy_buf(&mut from, &mut to).await,
        None => copy_buf(&mut from, &mut sink()).await,
    };
    copied.map(drop)
}
