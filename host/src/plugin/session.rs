//! Byte streams between a client and a plugin: exec, attach and port-forward; logs are built on one of them.
//!
//! Each stream is a socket pair of its own; the plugin gets one end of each. Bytes move without copies in between, and the
//! kernel holds a writer back whose reader is slow. How the whole ended is the call's completion, never an end of stream.

use super::instance::Instance;
use super::instance::Waiting;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Result;
use outrigger_wire::CallHeader;
use outrigger_wire::capability::SessionFds;
use rustix::net::Shutdown;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::os::fd::IntoRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;
use tokio::net::UnixStream;

/// Streams of a command, or of a container's main process. Those that were not asked for are `None`.
///
/// Dropped as a whole it cancels first and closes then: the plugin does not take a client that has gone for the end of
/// its input.
pub struct Session<T> {
    /// How it ended.
    pub outcome: SessionEnd<T>,
    /// To the process; shutting it down is the end of its input, dropping it as well.
    pub stdin: Option<Stream>,
    /// From the process; with a terminal, all of its output.
    pub stdout: Option<Stream>,
    /// Errors of the process; `None` with a terminal.
    pub stderr: Option<Stream>,
    /// The terminal's size; `None` without one.
    pub resize: Option<Resizer>,
}

/// A connection into a pod. Dropped as a whole it cancels first and closes then.
pub struct Forward {
    /// How it ended.
    pub outcome: SessionEnd<()>,
    /// Both ways, with half-close.
    pub stream: Stream,
}

/// Which streams a session has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// The host's end of one stream. Shutting it down closes the writing half only. Dropping it closes it: the plugin's next
/// write fails, and its reads end.
///
/// Once the session's [outcome](SessionEnd) has been seen, reading gives what is left and then ends, even if the plugin
/// keeps its end open.
pub struct Stream(Arc<UnixStream>);

/// How a session ended: the plugin's completion, which follows its last byte. Fails when the provider is given up.
///
/// Poll it beside the streams: a plugin that was given up while it hangs closes nothing, and only this tells of it.
/// Dropping it before it is ready cancels the call in the plugin. It must not be polled after it was ready.
#[must_use = "dropping it cancels the session"]
pub struct SessionEnd<T> {
    ended: Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>,
    /// Those that the plugin writes to.
    readers: Vec<Arc<UnixStream>>,
    reply: PhantomData<fn() -> T>,
}

/// Tells a plugin the size of a terminal.
pub struct Resizer(UnixStream);

impl Stream {
    /// A stream, and the plugin's end of it.
    fn pair() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = pair()?;
        Ok((Self(Arc::new(ours)), theirs))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, Shutdown::Write).map_err(Into::into))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The session's end may still hold it. It fails only for a stream that the plugin has closed already.
        let _ = rustix::net::shutdown(&*self.0, Shutdown::Both);
    }
}

impl Resizer {
    /// Tells a size. Waits while the plugin leaves many sizes unread; fails once it does not want any more, which is no
    /// end of the session. Cancel safe: four bytes go at once or not at all.
    pub async fn send(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        let ([c0, c1], [r0, r1]) = (columns.to_le_bytes(), rows.to_le_bytes());
        self.0.write_all(&[c0, c1, r0, r1]).await
    }
}

impl<T> SessionEnd<T> {
    fn new(waiting: Waiting, readers: Vec<Arc<UnixStream>>) -> Self {
        Self {
            ended: Box::pin(async { waiting.ended().await.into_outcome() }),
            readers,
            reply: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Future for SessionEnd<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.ended.as_mut().poll(cx));
        for reader in self.readers.drain(..) {
            // What the plugin has written stays readable; it fails only for a stream that was closed already.
            let _ = rustix::net::shutdown(&*reader, Shutdown::Read);
        }
        Poll::Ready(outcome.and_then(|reply| super::provider::decode(&reply)))
    }
}

/// Begins a session without a time limit: `start` is the capability's function.
pub(super) fn open<T>(
    instance: &Arc<Instance>,
    wanted: Wanted,
    start: impl FnOnce(u64, CallHeader, SessionFds) -> u32,
) -> Result<Session<T>> {
    let one = |wanted: bool| wanted.then(Stream::pair).transpose().map(Option::unzip);
    let (stdin, stdin_fd) = one(wanted.stdin)?;
    let (stdout, stdout_fd) = one(wanted.stdout)?;
    let (stderr, stderr_fd) = one(wanted.stderr && !wanted.tty)?;
    let (resize, resize_fd) = wanted.tty.then(pair).transpose()?.unzip();
    let waiting = instance.begin(Duration::MAX, move |handle, header| {
        // Given up here and not earlier: before the call they are ours to close, from then on the plugin's.
        let fds = SessionFds {
            stdin: raw(stdin_fd),
            stdout: raw(stdout_fd),
            stderr: raw(stderr_fd),
            resize: raw(resize_fd),
        };
        start(handle, header, fds)
    })?;
    let readers = [&stdout, &stderr];
    let readers = readers.into_iter().flatten().map(|stream| stream.0.clone()).collect();
    Ok(Session {
        stdin,
        stdout,
        stderr,
        resize: resize.map(Resizer),
        outcome: SessionEnd::new(waiting, readers),
    })
}

/// Begins a call with one stream: `start` is the capability's function.
pub(super) fn forward(
    instance: &Arc<Instance>,
    limit: Duration,
    start: impl FnOnce(u64, CallHeader, i32) -> u32,
) -> Result<Forward> {
    let (stream, theirs) = Stream::pair()?;
    let waiting = instance.begin(limit, move |handle, header| start(handle, header, theirs.into_raw_fd()))?;
    let readers = vec![stream.0.clone()];
    Ok(Forward {
        stream,
        outcome: SessionEnd::new(waiting, readers),
    })
}

/// The host's end, and the plugin's, which is close-on-exec as well. Needs a tokio runtime.
fn pair() -> Result<(UnixStream, OwnedFd)> {
    let made = || {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs.into()))
    };
    made().map_err(|error: io::Error| {
        ProviderError::unavailable("the host has no room for another stream; raise its limit of open files")
            .with_source(error)
    })
}

/// The wire's word for a stream that was not asked for is -1.
fn raw(fd: Option<OwnedFd>) -> i32 {
    fd.map_or(-1, IntoRawFd::into_raw_fd)
}
