//! Blocks of headers between the wire and [`Headers`](super::Headers): one zlib stream in each direction for the whole
//! connection, which is why every block has to go through it, even one that nobody reads.

use super::Error;
pub use super::dictionary::DICTIONARY;
use super::dictionary::ID;
use flate2::{Decompress, FlushDecompress, Status};

/// The receiving end of a connection's zlib stream.
///
/// Its state (some 40 KiB) is made when the first block comes.
#[derive(Debug)]
pub struct Inflater {
    zlib: Option<Box<Decompress>>,
    limit: usize,
}

impl Inflater {
    /// One that lets no block grow above `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Inflater {
        Inflater { zlib: None, limit }
    }

    /// Inflates the next block.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when it is no zlib, wants another dictionary or is larger than the limit. Nothing of the
    /// connection can be understood after that.
    pub fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, Error> {
        let zlib = self.zlib.get_or_insert_with(|| Box::new(Decompress::new(true)));
        // One more than allowed, so that the excess shows.
        let largest = self.limit + 1;
        let mut out = Vec::with_capacity((block.len() * 2).clamp(128, 4096).min(largest));
        let mut rest = block;
        loop {
            let (read, written) = (zlib.total_in(), out.len());
            let result = zlib.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            let used = usize::try_from(zlib.total_in() - read).unwrap_or(rest.len());
            rest = rest.get(used..).unwrap_or_default();
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    zlib.set_dictionary(&DICTIONARY)
                        .map_err(|_| Error::Protocol("its headers want a dictionary that is not SPDY/3's".into()))?;
                    continue;
                }
                Err(_) => return Err(Error::Protocol("its headers are not compressed with zlib".into())),
                Ok(Status::StreamEnd) if !rest.is_empty() => {
                    return Err(Error::Protocol(
                        "its headers go on behind the end of their zlib stream".into(),
                    ));
                }
                Ok(_) => {}
            }
            if out.len() > self.limit {
                let limit = self.limit;
                return Err(Error::Protocol(
                    format!("its headers are larger than {limit} bytes").into(),
                ));
            }
            if out.len() == out.capacity() {
                out.reserve_exact(out.len().min(largest - out.len()));
            } else if rest.is_empty() {
                return Ok(out);
            } else if used == 0 && out.len() == written {
                return Err(Error::Protocol("its headers are not compressed with zlib".into()));
            }
        }
    }
}

/// The sending end of a connection's zlib stream. It stores and does not compress.
///
/// The blocks of this protocol are a few words, often none, and come out smaller this way; a deflater would hold 200 KiB for
/// each connection; and headers whose length tells nothing can't be guessed by their length (CVE-2012-4929).
#[derive(Debug, Default)]
pub struct Deflater {
    begun: bool,
}

impl Deflater {
    /// The largest block that can be sent: what every peer takes, with room for the rest of its frame.
    pub const LARGEST: usize = 60 << 10;

    /// Appends `block` to `out` in its compressed form, flushed, so that the peer gets all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Headers`] above [`LARGEST`](Deflater::LARGEST). Nothing has happened then.
    pub fn deflate(&mut self, block: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let length = match u16::try_from(block.len()) {
            Ok(length) if block.len() <= Deflater::LARGEST => length,
            _ => {
                return Err(Error::Headers(
                    format!("they are larger than {} bytes", Deflater::LARGEST).into(),
                ));
            }
        };
        if !self.begun {
            self.begun = true;
            // RFC 1950: deflate with a window of 32 KiB, with a preset dictionary, which some peers insist on.
            out.extend_from_slice(&[0x78, 0x20]);
            out.extend_from_slice(&ID.to_be_bytes());
        }
        // RFC 1951, 3.2.4: a stored block, not the last; then an empty one, which is how zlib says "flush".
        for (length, bytes) in [(length, block), (0, &[][..])] {
            out.push(0);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    struct Zlib(Compress);

    impl Zlib {
        fn new(dictionary: Option<&[u8]>) -> Zlib {
            let mut zlib = Compress::new(Compression::best(), true);
            if let Some(dictionary) = dictionary {
                zlib.set_dictionary(dictionary).unwrap();
            }
            Zlib(zlib)
        }

        fn block(&mut self, raw: &[u8]) -> Vec<u8> {
            let mut out = Vec::with_capacity(raw.len() + 1024);
            self.0.compress_vec(raw, &mut out, FlushCompress::Sync).unwrap();
            assert!(out.len() < out.capacity(), "the block did not fit");
            out
        }
    }

    fn texts() -> Vec<Vec<u8>> {
        vec![
            vec![0, 0, 0, 0],
            b"streamtype error port 8080 requestid 0".to_vec(),
            b"streamtype data port 8080 requestid 0".to_vec(),
            (0..40_000u32)
                .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes().into_iter().take(1))
                .collect(),
            Vec::new(),
            vec![b'a'; 60_000],
            b"the last".to_vec(),
        ]
    }

    #[test]
    fn inflates_what_zlib_makes_with_and_without_the_dictionary() {
        for dictionary in [Some(&DICTIONARY[..]), None] {
            let (mut zlib, mut inflater) = (Zlib::new(dictionary), Inflater::new(64 << 10));
            for text in texts() {
                assert_eq!(inflater.inflate(&zlib.block(&text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn zlib_inflates_what_is_stored_here() {
        let (mut deflater, mut zlib) = (Deflater::default(), Decompress::new(true));
        for (i, text) in texts().into_iter().enumerate() {
            let mut block = Vec::new();
            deflater.deflate(&text, &mut block).unwrap();
            assert_eq!(block.len(), text.len() + 10 + if i == 0 { 6 } else { 0 });
            let mut out = Vec::with_capacity(text.len() + 16);
            let mut rest = &block[..];
            if i == 0 {
                let error = zlib.decompress_vec(rest, &mut out, FlushDecompress::Sync).unwrap_err();
                assert_eq!(error.needs_dictionary(), Some(ID));
                rest = &rest[usize::try_from(zlib.total_in()).unwrap()..];
                zlib.set_dictionary(&DICTIONARY).unwrap();
            }
            zlib.decompress_vec(rest, &mut out, FlushDecompress::Sync).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn the_largest_block_passes_and_one_byte_more_does_not() {
        let (mut zlib, mut inflater) = (Zlib::new(Some(&DICTIONARY)), Inflater::new(1000));
        assert_eq!(inflater.inflate(&zlib.block(&[7; 1000])).unwrap().len(), 1000);
        let error = inflater.inflate(&zlib.block(&[7; 1001])).unwrap_err();
        assert!(error.to_string().contains("larger than 1000 bytes"), "{error}");

        let mut out = Vec::new();
        assert!(
            Deflater::default()
                .deflate(&vec![0; Deflater::LARGEST + 1], &mut out)
                .is_err()
        );
        assert!(out.is_empty());
    }

    // 16 MiB of zeros in 16 KiB: the kind of block that took down others (CVE-2026-35469).
    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let mut zlib = Zlib::new(Some(&DICTIONARY));
        let mut bomb = Vec::with_capacity(64 << 10);
        zlib.0
            .compress_vec(&vec![0; 16 << 20], &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert!(bomb.len() < 32 << 10);
        assert!(Inflater::new(64 << 10).inflate(&bomb).is_err());
    }

    #[test]
    fn what_is_no_zlib_is_an_error_and_no_loop() {
        assert!(Inflater::new(100).inflate(b"no zlib").is_err());
        let other = Zlib::new(Some(b"another dictionary")).block(b"text");
        let error = Inflater::new(100).inflate(&other).unwrap_err();
        assert!(error.to_string().contains("dictionary"), "{error}");
        // A stream that ended has no second block.
        let mut ended = Vec::with_capacity(100);
        Compress::new(Compression::best(), true)
            .compress_vec(b"text", &mut ended, FlushCompress::Finish)
            .unwrap();
        let mut inflater = Inflater::new(100);
        assert_eq!(inflater.inflate(&ended).unwrap(), b"text");
        assert!(inflater.inflate(&ended).is_err());
    }
}
