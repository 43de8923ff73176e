/// The text that both sides of SPDY/3 put before the first block of headers (draft 3, section 2.6.10.1): words of HTTP, each behind its length in four bytes, then text without lengths. No NUL at the end.
pub static DICTIONARY: [u8; LENGTH] = build();

/// Adler-32 of the dictionary, by which a zlib stream names it.
pub(super) const ID: u32 = 0xe3c6_a7c2;

const LENGTH: usize = 1423;

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];

const TEXT: &str = "\
    100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

const fn build() -> [u8; LENGTH] {
    let mut all = [0; LENGTH];
    let mut at = 0;
    let mut word = 0;
    while word < WORDS.len() {
        // The longest word has 19 letters: three of the four bytes of its length are zero.
        all[at + 3] = WORDS[word].len() as u8;
        at = copy(WORDS[word].as_bytes(), &mut all, at + 4);
        word += 1;
    }
    copy(TEXT.as_bytes(), &mut all, at);
    all
}

const fn copy(from: &[u8], to: &mut [u8; LENGTH], at: usize) -> usize {
    let mut i = 0;
    while i < from.len() {
        to[at + i] = from[i];
        i += 1;
    }
    at + i
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    // A wrong dictionary round-trips with itself: only these say that it is the one of all others.
    #[test]
    fn it_is_the_one_of_the_draft() {
        assert_eq!(DICTIONARY.len(), 1423);
        assert!(DICTIONARY.ends_with(b"enq=0."));
        let digest: String = Sha256::digest(DICTIONARY)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"
        );
    }

    #[test]
    fn its_name_is_its_checksum() {
        let (a, b) = DICTIONARY.iter().fold((1u32, 0u32), |(a, b), &byte| {
            let a = (a + u32::from(byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!(b << 16 | a, ID);
    }
}
