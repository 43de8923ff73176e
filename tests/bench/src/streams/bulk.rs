//! Much, in one direction.

use super::caller::Caller;
use super::caller::transport;
use super::server::Door;
use crate::error::Error;
use crate::error::Result;
use http_body_util::BodyExt;
use outrigger_streaming::remotecommand::ClientSession;
use outrigger_streaming::remotecommand::Outcome;
use outrigger_streaming::remotecommand::Output;
use outrigger_streaming::remotecommand::Protocol;
use outrigger_streaming::remotecommand::Wanted;
use std::time::Duration;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

/// Bytes that are read or written at once.
const CHUNK: usize = 64 << 10;
/// Follows a log until so many bytes have come.
pub async fn log(caller: &Caller, door: &Door, bytes: u64) -> Result<Duration> {
    let begun = Instant::now();
    let query = format!("follow=true&limitBytes={bytes}");
    let mut body = caller.log(door, &query).await?.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| transport("follow a log", error))?;
        let Some(data) = frame.data_ref() else { continue };
        if read == 0 && !data.starts_with(door.first_line.as_bytes()) {
            return Err(other("a log", "it does not begin with its first line"));
        }
        read += data.len() as u64;
    }
    all("a log", read, bytes)?;
    Ok(begun.elapsed())
}

/// Reads so many bytes of a command's output, and how it ended.
pub async fn output(caller: &Caller, door: &Door, protocol: Protocol, bytes: u64) -> Result<Duration> {
    let begun = Instant::now();
    let wanted = Wanted {
        stdout: true,
        ..Wanted::default()
    };
    let command = format!("head -c {bytes} /dev/zero");
    let mut session = caller.exec(door, protocol, wanted, &["sh", "-c", &command]).await?;
    let mut read = 0;
    if let Some(stdout) = &mut session.stdout {
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdout.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => read += count as u64,
                Err(error) => return Err(transport("read output", error)),
            }
        }
    }
    all("output", read, bytes)?;
    end(session).await?;
    Ok(begun.elapsed())
}

/// Writes so many bytes to a command, which ends when it has read them: earlier versions than v5 can't tell it the end of
/// its input over WebSocket.
pub async fn input(caller: &Caller, door: &Door, protocol: Protocol, bytes: u64) -> Result<Duration> {
    let begun = Instant::now();
    let wanted = Wanted {
        stdin: true,
        stdout: true,
        ..Wanted::default()
    };
    // It fails if that was not all.
    let command = format!("test $(head -c {bytes} | wc -c) = {bytes}");
    let mut session = caller.exec(door, protocol, wanted, &["sh", "-c", &command]).await?;
    let written = match &mut session.stdin {
        Some(stdin) => write(stdin, bytes).await,
        None => Ok(()),
    };
    // The command's word counts: a server may end the session between the command's last byte and our knowing that it has
    // gone out, as a kubelet does.
    let ended = end(session).await;
    ended.map_err(|error| match written {
        Err(before) => transport("write input", before),
        Ok(()) => error,
    })?;
    Ok(begun.elapsed())
}

async fn write(stdin: &mut Output, bytes: u64) -> std::io::Result<()> {
    let chunk = vec![b'.'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        stdin.write_all(&chunk[..next]).await?;
        left -= next as u64;
    }
    stdin.flush().await
}

/// Waits until the command has ended well. Its input stays open until then, so that it has ended by itself.
async fn end(mut session: ClientSession) -> Result<()> {
    let outcome = session.end.outcome().await;
    match outcome.map_err(|error| transport("see the end of a command", error))? {
        Outcome::Success => {}
        other_end => return Err(other("the end of a command", &format!("{other_end:?}"))),
    }
    let ClientSession { stdin, end, .. } = session;
    drop(stdin);
    let closed = end.close().await;
    closed.map_err(|error| transport("end a session", error))
}

fn all(what: &str, read: u64, bytes: u64) -> Result<()> {
    if read == bytes {
        return Ok(());
    }
    Err(other(what, &format!("{read} bytes of {bytes} came")))
}

fn other(what: &str, reason: &str) -> Error {
    Error::Malformed {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}
