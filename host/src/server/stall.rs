//! Connections whose peer stops reading end after a while, however long the answer may last otherwise.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio::time::Sleep;

/// How long the peer of a connection may leave unread what it is sent. Clones are of the same connection.
#[derive(Clone)]
pub(super) struct Patience(Arc<AtomicU64>);

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self(Arc::new(AtomicU64::new(millis(limit))))
    }

    /// From now on, and until the connection's end, it is at least this long.
    pub(super) fn extend(&self, limit: Duration) {
        self.0.fetch_max(millis(limit), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

/// A stream whose writes fail when none of them got anywhere for a time.
pub(super) struct Stall<S> {
    stream: S,
    patience: Patience,
    /// Since when a write waits.
    since: Option<Instant>,
    /// Made by the first write that waits, and kept: a busy connection waits often.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> Stall<S> {
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        Self {
            stream,
            patience,
            since: None,
            alarm: None,
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.since = None;
            return progress;
        }
        let begins = self.since.is_none();
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + self.patience.get();
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if begins {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // There is more patience now than when the write began to wait.
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_ends_the_writer() {
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut ours = Stall::new(ours, Patience::new(HOUR));
        let begun = Instant::now();
        let error = ours.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_that_is_taken_starts_the_clock_anew() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut ours = Stall::new(ours, Patience::new(HOUR));
        let begun = Instant::now();
        let writing = tokio::spawn(async move { ours.write_all(&[0; 9]).await });
        for _ in 0..9 {
            tokio::time::sleep(HOUR * 3 / 4).await;
            theirs.read_u8().await.unwrap();
        }
        writing.await.unwrap().unwrap();
        assert!(begun.elapsed() > HOUR * 6);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_that_grows_counts_for_a_write_that_waits_already() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let patience = Patience::new(HOUR);
        let mut ours = Stall::new(ours, patience.clone());
        let begun = Instant::now();
        {
            let mut writing = pin!(ours.write_all(&[0; 2]));
            assert!(futures::poll!(writing.as_mut()).is_pending());
            patience.extend(HOUR * 3);
            patience.extend(HOUR * 2);
            assert!(writing.await.is_err());
        }
        assert!(begun.elapsed() >= HOUR * 3);
    }
}
