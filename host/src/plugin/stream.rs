//! A container's log on its way from a plugin.

use super::session::SessionEnd;
use super::session::Stream;
use futures::FutureExt;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::Result;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;

/// The host's end of a log stream. The bytes end with an end of stream; whether they are all is what
/// [`finish`](Self::finish) says. Dropping it cancels the call and closes the stream, which the plugin sees at its next
/// write.
///
/// Reading ends with the call in any case, even if a plugin keeps its end open or was given up while it hangs.
pub struct LogStream {
    // In this order: dropped, it cancels first and closes then.
    end: SessionEnd<()>,
    stream: Stream,
    /// How the call ended, once it has.
    outcome: Option<Result<()>>,
}

impl LogStream {
    pub(super) fn new(stream: Stream, end: SessionEnd<()>) -> Self {
        Self {
            stream,
            end,
            outcome: None,
        }
    }

    /// How the call ended: after the last byte, or earlier to give the rest up. An error after a clean end of stream means
    /// that the log is not whole.
    pub async fn finish(self) -> Result<()> {
        let Self {
            stream,
            mut end,
            outcome,
        } = self;
        // What has happened already is told before what follows from the closing.
        if let Some(outcome) = outcome.or_else(|| (&mut end).now_or_never()) {
            return outcome;
        }
        // So that a plugin that still writes learns that nobody reads.
        drop(stream);
        end.await
    }
}

impl AsyncRead for LogStream {
    /// At the call's deadline reading fails with [`io::ErrorKind::TimedOut`].
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.outcome.is_none()
            && let Poll::Ready(outcome) = self.end.poll_unpin(cx)
        {
            self.outcome = Some(outcome);
        }
        // Before the bytes: a stream that never runs dry has an end as well.
        match &self.outcome {
            Some(Err(error)) if error.code == ErrorCode::Timeout => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => Pin::new(&mut self.stream).poll_read(cx, buf),
        }
    }
}
