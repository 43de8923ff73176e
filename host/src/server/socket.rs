//! A caller's connection, which can be asked for its end apart from being read.

use rustix::net::sockopt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::Interest;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// How long a silent peer is believed to be there; then it is asked this often, this many times.
const SILENCE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// A connection. Clones are the same connection, which ends with the last of them.
#[derive(Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    /// Sends without delay, and notices a peer that vanished without a word within a minute.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (idle, interval, tries) = SILENCE;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, idle)?;
        sockopt::set_tcp_keepintvl(&stream, interval)?;
        sockopt::set_tcp_keepcnt(&stream, tries)?;
        Ok(Self(Arc::new(stream)))
    }

    /// Waits until the peer has ended the connection, or it broke. What the peer sent before may be unread then: a
    /// session whose input stands still still learns that its client has left.
    pub(super) async fn closed(&self) {
        // Out-of-band data may come first, and is of no interest; its flag would stay.
        let closed = self.0.ready(Interest::PRIORITY).await;
        if closed.is_ok_and(|ready| !ready.is_read_closed()) {
            std::future::pending().await
        }
    }
}

impl AsyncRead for Socket {
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

impl Socket {
    fn poll_try(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(cx, |stream| stream.try_write_vectored(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Write).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (Socket::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"ping").await.unwrap();
        let mut read = [0; 4];
        ours.read_exact(&mut read).await.unwrap();
        ours.write_all(b"pong").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut all = String::new();
        theirs.read_to_string(&mut all).await.unwrap();
        assert_eq!((&read, all.as_str()), (b"ping", "pong"));
    }

    #[tokio::test]
    async fn the_end_is_seen_behind_what_nobody_reads() {
        let (ours, mut theirs) = pair().await;
        theirs.write_all(b"never read").await.unwrap();
        assert!(futures::poll!(std::pin::pin!(ours.closed())).is_pending());
        drop(theirs);
        tokio::time::timeout(PATIENCE, ours.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn the_end_is_seen_by_who_waits_already() {
        let (ours, theirs) = pair().await;
        let waiting = tokio::spawn({
            let ours = ours.clone();
            async move { ours.closed().await }
        });
        tokio::task::yield_now().await;
        drop(theirs);
        tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    }
}
