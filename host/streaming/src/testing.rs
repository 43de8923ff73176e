//! Tools of this crate's tests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// Gives and takes no more bytes at a time than the next of `sizes` says, round and round: so a network may cut what goes over it.
pub struct Dribble<Io> {
    io: Io,
    sizes: Vec<usize>,
    next: usize,
}

impl<Io> Dribble<Io> {
    pub fn new(io: Io, sizes: Vec<usize>) -> Self {
        assert!(sizes.iter().all(|size| *size > 0) && !sizes.is_empty());
        Dribble { io, sizes, next: 0 }
    }

    fn size(&mut self) -> usize {
        self.next = (self.next + 1) % self.sizes.len();
        self.sizes[self.next]
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Dribble<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let size = self.size();
        let mut small = buf.take(size);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut small);
        let read = small.filled().len();
        // Initialised by the reader just now.
        let _ = small;
        buf.initialize_unfilled_to(read);
        buf.advance(read);
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Dribble<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let size = self.size().min(buf.len());
        Pin::new(&mut self.io).poll_write(cx, &buf[..size])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Two ends, with room for `room` bytes in each direction, cut up as `sizes` says.
pub fn dribbling(room: usize, sizes: &[usize]) -> (Dribble<DuplexStream>, Dribble<DuplexStream>) {
    let (a, b) = tokio::io::duplex(room);
    (Dribble::new(a, sizes.to_vec()), Dribble::new(b, sizes.to_vec()))
}

/// Bytes that show when some are missing, doubled or out of order.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}
