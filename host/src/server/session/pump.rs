//! Bytes from one side to the other. Nothing is read that was not handed on, so whoever is slow holds up who writes, and
//! no more than a buffer lies between them.

use std::io;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

/// A session in which somebody types costs little.
const SMALLEST: usize = 512;
/// Where much goes through, more is no faster, and makes pings wait.
const LARGEST: usize = 32 << 10;

/// Why no more bytes go.
#[derive(Debug)]
pub(super) enum Ended {
    /// All were handed on.
    Whole,
    /// There are no more because of this.
    Reading(io::Error),
    /// Nobody takes them any more.
    Writing,
}

/// `moved` is told of all that was handed on, in bytes.
pub(super) async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: impl Fn(u64),
) -> Ended {
    let mut buffer = vec![0; SMALLEST];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => return Ended::Whole,
            Ok(read) => read,
            Err(error) => return Ended::Reading(error),
        };
        if to.write_all(&buffer[..read]).await.is_err() {
            return Ended::Writing;
        }
        moved(read as u64);
        if read == buffer.len() && read < LARGEST {
            buffer = vec![0; read * 4];
        }
    }
}

/// Takes what comes and forgets it, so that it does not stand in the way of others on the same connection.
pub(super) async fn discard(mut from: impl AsyncRead + Unpin) {
    // Its end is all that matters, and one that broke has ended as well.
    let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_bytes_arrive_in_order() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
        let (mut ours, mut theirs) = tokio::io::duplex(777);
        let mut source = bytes.as_slice();
        let mut read = Vec::new();
        let pumping = async {
            let moved = std::cell::Cell::new(0);
            let ended = pump(&mut source, &mut ours, |bytes| moved.set(moved.get() + bytes)).await;
            drop(ours);
            assert_eq!(moved.get(), bytes.len() as u64);
            ended
        };
        let (ended, all) = tokio::join!(pumping, theirs.read_to_end(&mut read));
        all.unwrap();
        assert!(matches!(ended, Ended::Whole) && read == bytes);
    }

    #[tokio::test]
    async fn it_says_which_side_broke() {
        let (mut ours, theirs) = tokio::io::duplex(8);
        drop(theirs);
        let writing = pump(&mut [1].as_slice(), &mut ours, |_| {}).await;
        assert!(matches!(writing, Ended::Writing));
        let reading = pump(&mut Broken, &mut Vec::new(), |_| {}).await;
        assert!(matches!(reading, Ended::Reading(_)));
    }

    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
}
