//! The least that a line to a plugin and back can take: no protocol and no TLS, only what carries bytes over the boundary. That
//! is a socket pair each way and a thread with a runtime of its own, as the SDK starts it; the host waits on one thread.

use super::caller::transport;
use super::echo::LINE;
use crate::error::Result;
use crate::latencies::Latencies;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::time::Instant;

/// Says one line after the other over the boundary.
pub async fn alone(trips: usize) -> Result<Latencies> {
    let measured = tokio::task::spawn_blocking(move || {
        let host = Builder::new_current_thread().enable_all().build()?;
        host.block_on(measure(trips))
    });
    let values = measured.await.map_err(io::Error::other).flatten();
    values
        .map(Latencies::of)
        .map_err(|error| transport("measure the boundary", error))
}

async fn measure(trips: usize) -> io::Result<Vec<Duration>> {
    let (mut stdin, theirs_in) = std_pair()?;
    let (mut stdout, theirs_out) = std_pair()?;
    let plugin = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let echo = plugin.spawn(async move {
        let (mut stdin, mut stdout) = (UnixStream::from_std(theirs_in)?, UnixStream::from_std(theirs_out)?);
        let mut line = LINE;
        while stdin.read_exact(&mut line).await.is_ok() {
            stdout.write_all(&line).await?;
        }
        io::Result::Ok(())
    });
    let mut values = Vec::with_capacity(trips);
    let mut line = LINE;
    for _ in 0..trips {
        let begun = Instant::now();
        stdin.write_all(&LINE).await?;
        stdout.read_exact(&mut line).await?;
        values.push(begun.elapsed());
    }
    drop(stdin);
    let ended = echo.await;
    plugin.shutdown_background();
    ended.map_err(io::Error::other)??;
    Ok(values)
}

/// Our end, and the one that goes to another runtime.
fn std_pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}
