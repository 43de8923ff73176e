//! A peer that says and sees single frames, right or wrong, and what else the tests share.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use outrigger_streaming::spdy::block::DICTIONARY;
use outrigger_streaming::spdy::{Config, Connection, client, server};
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

pub const FIN: u8 = 1;
pub const UNIDIRECTIONAL: u8 = 2;

pub const PROTOCOL_ERROR: u32 = 1;
pub const INVALID_STREAM: u32 = 2;
pub const REFUSED_STREAM: u32 = 3;
pub const CANCEL: u32 = 5;
pub const STREAM_IN_USE: u32 = 8;
pub const STREAM_ALREADY_CLOSED: u32 = 9;

/// A frame as it was seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    SynStream {
        id: u32,
        fin: bool,
        headers: Vec<(String, String)>,
    },
    SynReply {
        id: u32,
        headers: Vec<(String, String)>,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping(u32),
    GoAway {
        last: u32,
        status: u32,
    },
    Data {
        id: u32,
        fin: bool,
        bytes: Vec<u8>,
    },
    /// The transport has ended.
    End,
}

pub fn reply(id: u32) -> Seen {
    Seen::SynReply {
        id,
        headers: Vec::new(),
    }
}

pub fn reset(id: u32, status: u32) -> Seen {
    Seen::Reset { id, status }
}

pub fn data(id: u32, fin: bool, bytes: &[u8]) -> Seen {
    let bytes = bytes.to_vec();
    Seen::Data { id, fin, bytes }
}

/// A deadline on the clock of the test, which stands still while anything can happen: reaching it means that nothing will.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(1), what)
        .await
        .expect("nothing happens any more")
}

pub struct Peer {
    pub io: DuplexStream,
    deflate: Compress,
    inflate: Decompress,
}

impl Peer {
    fn new(io: DuplexStream) -> Peer {
        let mut deflate = Compress::new(Compression::best(), true);
        deflate.set_dictionary(&DICTIONARY).unwrap();
        Peer {
            io,
            deflate,
            inflate: Decompress::new(true),
        }
    }

    /// The client of a server under test.
    pub fn client(config: Config) -> (Peer, Connection) {
        let (near, far) = duplex(1 << 20);
        (Peer::new(near), server(far, config))
    }

    /// The server of a client under test.
    pub fn server(config: Config) -> (Peer, Connection) {
        let (near, far) = duplex(1 << 20);
        (Peer::new(near), client(far, config))
    }

    /// As [`client`](Peer::client), with an accepted stream 1.
    pub async fn with_stream(config: Config) -> (Peer, Connection, outrigger_streaming::spdy::Stream) {
        let (mut peer, mut connection) = Peer::client(config);
        peer.syn(1, 0, &[]).await;
        let stream = soon(connection.accept()).await.unwrap().accept(Default::default());
        assert_eq!(peer.see().await, reply(1));
        (peer, connection, stream)
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        soon(self.io.write_all(bytes)).await.unwrap();
    }

    pub async fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) {
        let mut frame = vec![0x80, 3];
        frame.extend(kind.to_be_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        frame.extend((u32::from(flags) << 24 | length).to_be_bytes());
        frame.extend(payload);
        self.say(&frame).await;
    }

    /// A block of headers that goes through the zlib stream.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut raw = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            raw.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            raw.extend(text.bytes());
        }
        self.compress(&raw)
    }

    pub fn compress(&mut self, raw: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(raw.len() + 1024);
        self.deflate.compress_vec(raw, &mut block, FlushCompress::Sync).unwrap();
        block
    }

    pub async fn syn(&mut self, id: u32, flags: u8, headers: &[(&str, &str)]) {
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend([0; 6]);
        payload.extend(self.block(headers));
        self.control(1, flags, &payload).await;
    }

    pub async fn syn_reply(&mut self, id: u32, flags: u8) {
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend(self.block(&[]));
        self.control(2, flags, &payload).await;
    }

    pub async fn reset(&mut self, id: u32, status: u32) {
        self.control(3, 0, &[id.to_be_bytes(), status.to_be_bytes()].concat())
            .await;
    }

    pub async fn ping(&mut self, id: u32) {
        self.control(6, 0, &id.to_be_bytes()).await;
    }

    pub async fn go_away(&mut self, last: u32) {
        self.control(7, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    pub async fn data(&mut self, id: u32, flags: u8, bytes: &[u8]) {
        let mut frame = id.to_be_bytes().to_vec();
        frame.extend((u32::from(flags) << 24 | u32::try_from(bytes.len()).unwrap()).to_be_bytes());
        frame.extend(bytes);
        self.say(&frame).await;
    }

    /// The next frame.
    pub async fn see(&mut self) -> Seen {
        soon(self.frame()).await
    }

    /// Has `ping` echoed, with nothing before it: so all that was said before was taken up without an answer.
    pub async fn see_echo(&mut self, id: u32) {
        self.ping(id).await;
        assert_eq!(self.see().await, Seen::Ping(id));
    }

    /// The next frame, however long it takes.
    pub async fn frame(&mut self) -> Seen {
        let mut head = [0; 8];
        match self.io.read(&mut head[..1]).await.unwrap() {
            0 => return Seen::End,
            _ => self.io.read_exact(&mut head[1..]).await.unwrap(),
        };
        let word = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
        let (first, second) = (word(&head[..4]), word(&head[4..]));
        let fin = second >> 24 & 1 == 1;
        let mut payload = vec![0; usize::try_from(second & 0xff_ffff).unwrap()];
        self.io.read_exact(&mut payload).await.unwrap();
        match first {
            0x8003_0001 => {
                assert_eq!(payload[4..10], [0; 6]);
                let headers = self.headers(&payload[10..]);
                Seen::SynStream {
                    id: word(&payload[..4]),
                    fin,
                    headers,
                }
            }
            0x8003_0002 => Seen::SynReply {
                id: word(&payload[..4]),
                headers: self.headers(&payload[4..]),
            },
            0x8003_0003 => Seen::Reset {
                id: word(&payload[..4]),
                status: word(&payload[4..]),
            },
            0x8003_0006 => Seen::Ping(word(&payload)),
            0x8003_0007 => Seen::GoAway {
                last: word(&payload[..4]),
                status: word(&payload[4..]),
            },
            id if id >> 31 == 0 => Seen::Data {
                id,
                fin,
                bytes: payload,
            },
            other => panic!("a frame that nobody wants: {other:#x}"),
        }
    }

    fn headers(&mut self, mut block: &[u8]) -> Vec<(String, String)> {
        let mut raw = Vec::with_capacity(128 << 10);
        while !block.is_empty() {
            let before = self.inflate.total_in();
            if let Err(error) = self.inflate.decompress_vec(block, &mut raw, FlushDecompress::Sync) {
                error.needs_dictionary().unwrap();
                self.inflate.set_dictionary(&DICTIONARY).unwrap();
            }
            block = &block[usize::try_from(self.inflate.total_in() - before).unwrap()..];
        }
        let mut rest = &raw[..];
        let number = |rest: &mut &[u8]| {
            let (number, after) = rest.split_at(4);
            *rest = after;
            usize::try_from(u32::from_be_bytes(number.try_into().unwrap())).unwrap()
        };
        let count = number(&mut rest);
        let mut text = || {
            let length = number(&mut rest);
            let (text, after) = rest.split_at(length);
            rest = after;
            String::from_utf8(text.to_vec()).unwrap()
        };
        (0..count).map(|_| (text(), text())).collect()
    }
}
