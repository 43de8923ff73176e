use super::frame::{Decoder, HEAD, Step};
use super::{Config, Error};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// A quiet connection, on which pings come and keys are pressed, has this much memory to receive with.
const SMALLEST: usize = 2 << 10;
/// A busy one has this much.
const LARGEST: usize = 64 << 10;
/// So many small reads in a row make a connection quiet.
const QUIET: u8 = 32;

/// Bytes from the transport, and the frames in them.
#[derive(Debug)]
pub(super) struct Receiver {
    decoder: Decoder,
    buffer: Vec<u8>,
    /// What has come and was not used.
    start: usize,
    end: usize,
    /// What the next frame needs to be whole.
    wanted: usize,
    /// Small reads in a row.
    small: u8,
}

impl Receiver {
    pub(super) fn new(config: &Config) -> Receiver {
        Receiver {
            decoder: Decoder::new(config),
            buffer: vec![0; SMALLEST],
            start: 0,
            end: 0,
            wanted: HEAD,
            small: 0,
        }
    }

    /// The next frame in what has been read, and how much of it to [`consume`](Receiver::consume) when it is done with.
    pub(super) fn next(&mut self) -> Result<Step<'_>, Error> {
        let step = self.decoder.decode(&self.buffer[self.start..self.end])?;
        if let Step::More { wanted } = step {
            self.wanted = wanted;
        }
        Ok(step)
    }

    pub(super) fn consume(&mut self, used: usize) {
        self.start += used;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once. To be called when [`next`](Receiver::next) has nothing. 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        io: Pin<&mut (impl AsyncRead + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut buf = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(io.poll_read(cx, &mut buf))?;
        let (count, filled) = (buf.filled().len(), buf.remaining() == 0);
        self.end += count;
        self.adapt(count, filled);
        Poll::Ready(Ok(count))
    }

    /// Room for the frame that is wanted and for one byte at least.
    fn make_room(&mut self) {
        let needed = self.wanted.max(self.end - self.start + 1);
        if self.start > 0 && self.start + needed > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if needed > self.buffer.len() {
            self.buffer.resize(needed.next_power_of_two(), 0);
        }
    }

    /// Grows when the transport had more than there was room for, shrinks when it has had little for a while.
    fn adapt(&mut self, count: usize, filled: bool) {
        let size = self.buffer.len();
        if filled {
            self.small = 0;
            if size < LARGEST {
                self.buffer.resize((size * 4).min(LARGEST), 0);
            }
        } else if count > size / 8 {
            self.small = 0;
        } else if size > SMALLEST {
            self.small = self.small.saturating_add(1);
            if self.small >= QUIET && self.end <= SMALLEST && self.wanted <= SMALLEST {
                self.small = 0;
                self.buffer.truncate(SMALLEST);
                self.buffer.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::*;
    use futures::task::noop_waker;
    use tokio::io::AsyncWriteExt;

    /// Reads all of `bytes` and says how much data was in it.
    fn read(receiver: &mut Receiver, mut bytes: &[u8]) -> usize {
        let (waker, mut data) = (noop_waker(), 0);
        while !bytes.is_empty() {
            let result = receiver.poll_read(Pin::new(&mut bytes), &mut Context::from_waker(&waker));
            assert!(matches!(result, Poll::Ready(Ok(_))), "{result:?}");
            data += drain(receiver);
        }
        data
    }

    fn drain(receiver: &mut Receiver) -> usize {
        let mut data = 0;
        while let Step::Frame { frame, used } = receiver.next().unwrap() {
            if let Frame::Data { bytes, .. } = frame {
                data += bytes.len();
            }
            receiver.consume(used);
        }
        data
    }

    #[test]
    fn memory_follows_the_traffic() {
        let mut receiver = Receiver::new(&Config::default());
        let mut frame = vec![0, 0, 0, 1, 0, 1, 0, 0];
        frame.resize(8 + (1 << 16), 7);
        assert_eq!((read(&mut receiver, &frame), receiver.buffer.len()), (1 << 16, LARGEST));
        for _ in 0..QUIET {
            read(&mut receiver, &[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        }
        assert_eq!(
            (receiver.buffer.len(), receiver.buffer.capacity()),
            (SMALLEST, SMALLEST)
        );
    }

    // A control frame above the usual size comes byte by byte, and room is made for it once.
    #[tokio::test]
    async fn a_large_control_frame_comes_in_small_reads() {
        let config = Config::default();
        let mut receiver = Receiver::new(&config);
        let length = config.control_frame;
        let mut frame = vec![0x80, 3, 0x12, 0x34, 0, 0, 0, 0];
        frame[4..].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        frame.resize(8 + length, 0);
        let (mut near, mut far) = tokio::io::duplex(77);
        let writer = tokio::spawn(async move { near.write_all(&frame).await });
        let mut frames = 0;
        while frames == 0 {
            std::future::poll_fn(|cx| receiver.poll_read(Pin::new(&mut far), cx))
                .await
                .unwrap();
            while let Step::Frame { frame, used } = receiver.next().unwrap() {
                assert_eq!(frame, Frame::Unknown { kind: 0x1234 });
                receiver.consume(used);
                frames += 1;
            }
        }
        writer.await.unwrap().unwrap();
        assert_eq!(receiver.buffer.len(), 128 << 10);
    }
}
