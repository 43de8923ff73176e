//! A connection: what a peer says, right or wrong, and what is done here with its streams meanwhile, both as the input
//! decides. Whatever it is, what the connection says is well formed, and no byte of one stream comes out of another.

use super::bytes::Bytes;
use outrigger_streaming::spdy::block::Deflater;
use outrigger_streaming::spdy::frame::{Decoder, Frame, Step};
use outrigger_streaming::spdy::{Config, Connection, Headers, Status, Stream, client, server};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("there is room for it");
}

pub fn run(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(Bytes(data))));
}

struct Play {
    io: DuplexStream,
    connection: Option<Connection>,
    streams: Vec<Stream>,
    deflater: Deflater,
    /// What the connection has said.
    heard: Vec<u8>,
    decoder: Decoder,
    /// Streams that the connection has opened.
    opened: Vec<u32>,
    /// Nothing was said but whole frames, so data is where it should be.
    orderly: bool,
    is_client: bool,
}

async fn play(mut input: Bytes<'_>) {
    let choice = input.byte();
    let config = Config {
        control_frame: 2000,
        header_block: 2000,
        header_count: 4,
        header_field: 100,
        settings: 4,
        streams: 4,
        receive: 1 + usize::from(choice >> 1) * 8,
        receive_total: 3000,
        send: 1000,
        control_backlog: 500,
        ..Config::default()
    };
    let (io, far) = duplex(2000);
    let is_client = choice & 1 == 1;
    let mut play = Play {
        io,
        connection: Some(if is_client {
            client(far, config.clone())
        } else {
            server(far, config.clone())
        }),
        streams: Vec::new(),
        deflater: Deflater::default(),
        heard: Vec::new(),
        decoder: Decoder::new(&config),
        opened: Vec::new(),
        orderly: true,
        is_client,
    };
    while !input.is_empty() {
        play.step(&mut input).await;
        yield_now().await;
        play.listen().await;
    }
    // Whatever has happened, the connection ends with its peer, and nothing is left of it.
    play.streams.clear();
    play.connection = None;
    play.io.shutdown().await.expect("a duplex does not fail");
    while play.listen().await {
        yield_now().await;
    }
    while Handle::current().metrics().num_alive_tasks() > 0 {
        yield_now().await;
    }
}

impl Play {
    async fn step(&mut self, input: &mut Bytes<'_>) {
        let (what, id) = (input.byte(), u32::from(input.byte()));
        match what % 20 {
            0 | 1 => {
                // Well-formed headers more often than not.
                let raw = if what & 0x80 == 0 {
                    Headers::new()
                        .with("streamtype", "data")
                        .with("more", String::from_utf8_lossy(input.some()))
                        .block()
                } else {
                    input.some().to_vec()
                };
                self.control(
                    1,
                    input.byte() & 3,
                    &[&id.to_be_bytes()[..], &[0; 6]].concat(),
                    Some(&raw),
                )
                .await;
            }
            2 => {
                self.control(2, input.byte() & 1, &id.to_be_bytes(), Some(&[0; 4]))
                    .await
            }
            3 => {
                self.control(8, input.byte() & 1, &id.to_be_bytes(), Some(input.some()))
                    .await
            }
            4 => {
                self.control(3, 0, &[id.to_be_bytes(), input.word().to_be_bytes()].concat(), None)
                    .await
            }
            5 => self.control(6, 0, &id.to_be_bytes(), None).await,
            6 => self.control(7, 0, &[id.to_be_bytes(), [0; 4]].concat(), None).await,
            7 => {
                self.control(u16::from(input.byte()), input.byte(), input.some(), None)
                    .await
            }
            8 | 9 => {
                let mut frame = id.to_be_bytes().to_vec();
                let length = u32::from(input.byte()) * if what & 0x80 == 0 { 1 } else { 20 };
                frame.extend((u32::from(input.byte() & 1) << 24 | length).to_be_bytes());
                frame.resize(8 + length as usize, id as u8);
                self.say(&frame).await;
            }
            10 => {
                self.orderly = false;
                self.say(input.some()).await;
            }
            11 | 12 => {
                if let Some(connection) = &mut self.connection
                    && let Poll::Ready(Some(incoming)) = once(connection.accept()).await
                {
                    match what & 0x80 {
                        0 => self.streams.push(incoming.accept(Headers::new())),
                        _ => incoming.reject(Status::from(id)),
                    }
                }
            }
            13 => {
                let Some(connection) = &self.connection else { return };
                let handle = connection.handle();
                tokio::spawn(async move {
                    if let Ok(mut stream) = handle.open(Headers::new(), id & 1 == 1).await {
                        drop(stream.write_all(b"hello").await);
                        drop(stream.read(&mut [0; 10]).await);
                    }
                });
            }
            14 | 15 => self.read(id, usize::from(input.byte()) * 10).await,
            16 => {
                let bytes = vec![id as u8; usize::from(input.byte()) * 20];
                if let Some(stream) = self.stream(id) {
                    drop(once(stream.write(&bytes)).await);
                }
            }
            17 => {
                let Some(stream) = self.stream(id) else { return };
                match input.byte() % 4 {
                    0 => drop(once(stream.flush()).await),
                    1 => drop(once(stream.shutdown()).await),
                    2 => stream.reset(Status::Cancel),
                    _ => drop(self.streams.pop()),
                }
            }
            18 => tokio::time::advance(Duration::from_secs(u64::from(input.byte()).pow(2))).await,
            19 => {
                if let Some(connection) = self.connection.take() {
                    match id % 4 {
                        0 => drop(connection),
                        1 => drop(tokio::spawn(connection.close())),
                        _ => {
                            let seconds = Duration::from_secs;
                            drop(tokio::spawn(connection.finish(seconds(id.into()), seconds(1000))));
                        }
                    }
                }
            }
            _ => unreachable!("it is below 20"),
        }
    }

    fn stream(&mut self, which: u32) -> Option<&mut Stream> {
        let count = self.streams.len();
        self.streams.get_mut(which as usize % count.max(1))
    }

    async fn read(&mut self, which: u32, size: usize) {
        let orderly = self.orderly;
        let Some(stream) = self.stream(which) else { return };
        let mut bytes = vec![0; size];
        if let Poll::Ready(Ok(count)) = once(stream.read(&mut bytes)).await
            && orderly
        {
            assert!(
                bytes[..count].iter().all(|byte| *byte == stream.id() as u8),
                "a byte of another stream"
            );
        }
    }

    async fn control(&mut self, kind: u16, flags: u8, payload: &[u8], block: Option<&[u8]>) {
        let mut payload = payload.to_vec();
        if let Some(block) = block {
            self.deflater.deflate(block, &mut payload).expect("it is small");
        }
        let mut frame = vec![0x80, 3];
        frame.extend(kind.to_be_bytes());
        frame.extend((u32::from(flags) << 24 | payload.len() as u32).to_be_bytes());
        frame.extend(payload);
        self.say(&frame).await;
    }

    /// Says as much as the connection takes, which has a few turns for it.
    async fn say(&mut self, mut bytes: &[u8]) {
        for _ in 0..8 {
            let io = &mut self.io;
            let said = poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_write(cx, bytes))).await;
            match said {
                Poll::Ready(Ok(count)) => bytes = &bytes[count..],
                Poll::Ready(Err(_)) => return,
                Poll::Pending => {}
            }
            if bytes.is_empty() {
                return;
            }
            yield_now().await;
            self.listen().await;
        }
        // The rest is never said, so that what follows is not what it seems.
        self.orderly = false;
    }

    /// Takes what the connection has said, all of it frames. `false` at its end.
    async fn listen(&mut self) -> bool {
        let mut bytes = [0; 1000];
        loop {
            let (io, mut buf) = (&mut self.io, ReadBuf::new(&mut bytes));
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_read(cx, &mut buf))).await {
                Poll::Pending => return true,
                Poll::Ready(result) => result.expect("a duplex does not fail"),
            }
            if buf.filled().is_empty() {
                return false;
            }
            self.heard.extend(buf.filled());
            self.understand();
        }
    }

    fn understand(&mut self) {
        let mut start = 0;
        while let Step::Frame { frame, used } = self.decoder.decode(&self.heard[start..]).expect("it is well formed") {
            start += used;
            match frame {
                Frame::SynStream { id, .. } => {
                    assert_eq!(id % 2 == 1, self.is_client);
                    assert!(self.opened.iter().all(|before| *before < id), "its ids rise");
                    self.opened.push(id);
                }
                Frame::Data { .. }
                | Frame::SynReply { .. }
                | Frame::Reset { .. }
                | Frame::Ping { .. }
                | Frame::GoAway { .. } => {}
                other => panic!("nobody wants {other:?}"),
            }
        }
        self.heard.drain(..start);
    }
}

/// Polls once.
async fn once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx: &mut Context<'_>| Poll::Ready(future.as_mut().poll(cx))).await
}
