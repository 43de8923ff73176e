//! A connection of channels: what a peer says, right or wrong, and what is done here with its channels meanwhile, both as the
//! input decides. Whatever it is, what the connection says are whole frames, nothing follows its close frame, and no byte of
//! one channel comes out of another.

use super::bytes::Bytes;
use super::play::{RUNTIME, hear, once, rest, say};
use outrigger_streaming::websocket::{Codec, Control, Reader, Role, Settings, Timing, Use, Writer, open};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;

const CHANNELS: usize = 3;

pub fn run(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(Bytes(data))));
}

struct Play {
    io: DuplexStream,
    control: Option<Control>,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
    heard: Vec<u8>,
    /// The connection has said its last.
    closed: bool,
    /// All that was said were whole messages of channels, so data is where it should be.
    orderly: bool,
    is_client: bool,
    codec: Codec,
}

async fn play(mut input: Bytes<'_>) {
    let choice = input.byte();
    let is_client = choice & 1 == 1;
    let codec = match choice >> 1 & 3 {
        0 => Codec::Base64,
        other => Codec::Raw { half_close: other == 1 },
    };
    let settings = Settings {
        role: if is_client { Role::Client } else { Role::Server },
        codec,
        channels: vec![Use::Both; CHANNELS],
        message: 2000,
        receive: 1 + usize::from(choice >> 3) * 50,
        send: 1000,
        timing: Timing {
            idle: Duration::from_secs(4 * 60 * 60),
            patience: Duration::from_secs(60),
            cap: Duration::from_secs(900),
        },
    };
    let (io, far) = duplex(2000);
    let control = open(far, settings).await.expect("there are few channels");
    let mut play = Play {
        io,
        readers: (0..CHANNELS as u8).map(|channel| control.reader(channel)).collect(),
        writers: (0..CHANNELS as u8).map(|channel| control.writer(channel)).collect(),
        control: Some(control),
        heard: Vec::new(),
        closed: false,
        orderly: true,
        is_client,
        codec,
    };
    while !input.is_empty() {
        play.step(&mut input).await;
        yield_now().await;
        play.listen().await;
    }
    // Whatever has happened, the connection ends with its peer, and nothing is left of it.
    play.control = None;
    play.io.shutdown().await.expect("a duplex does not fail");
    while play.listen().await {
        yield_now().await;
    }
    rest().await;
}

impl Play {
    async fn step(&mut self, input: &mut Bytes<'_>) {
        let (what, channel) = (input.byte(), input.byte());
        match what % 16 {
            // Data of a channel, all of it the channel's number.
            0..=3 => {
                let data = vec![channel; usize::from(input.byte()) * if what & 0x80 == 0 { 1 } else { 7 }];
                let message = self
                    .codec
                    .encode(channel % 8, &vec![channel % 8; data.len()])
                    .into_data();
                let text = matches!(self.codec, Codec::Base64);
                self.frame(if text { 0x81 } else { 0x82 }, &message).await;
            }
            4 => {
                if let Some(message) = self.codec.end(channel % 8) {
                    self.frame(0x82, &message.into_data()).await;
                }
            }
            5 => self.frame(0x89, input.some()).await,
            6 => {
                self.orderly = false;
                let first = input.byte();
                self.frame(first, input.some()).await;
            }
            7 => {
                self.orderly = false;
                self.say(input.some()).await;
            }
            8 => {
                self.frame(0x88, &u16::from(input.byte()).wrapping_add(995).to_be_bytes())
                    .await
            }
            9 | 10 => {
                let mut bytes = vec![0; usize::from(input.byte()) * 10];
                let orderly = self.orderly;
                let which = usize::from(channel) % CHANNELS;
                if let Some(reader) = self.readers.get_mut(which)
                    && let Poll::Ready(Ok(count)) = once(reader.read(&mut bytes)).await
                    && orderly
                {
                    assert!(
                        bytes[..count].iter().all(|byte| usize::from(*byte) == which),
                        "a byte of another channel"
                    );
                }
            }
            11 | 12 => {
                let bytes = vec![channel; usize::from(input.byte()) * 20];
                if let Some(writer) = self.writers.get_mut(usize::from(channel) % CHANNELS) {
                    drop(once(writer.write(&bytes)).await);
                }
            }
            13 => match channel % 3 {
                0 => drop(self.readers.pop()),
                1 => drop(self.writers.pop()),
                _ => {
                    if let Some(writer) = self.writers.last_mut() {
                        drop(once(writer.shutdown()).await);
                    }
                }
            },
            14 => tokio::time::advance(Duration::from_secs(u64::from(channel).pow(2))).await,
            _ => match channel % 4 {
                0 => self.control = None,
                1 => {
                    if let Some(control) = self.control.take() {
                        drop(tokio::spawn(control.close()));
                    }
                }
                _ => {
                    if let Some(control) = &mut self.control {
                        let _ = once(control.gone()).await;
                    }
                }
            },
        }
    }

    /// Says a frame: masked, as clients do, with a mask that changes nothing.
    async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mask = if self.is_client { 0 } else { 0x80 };
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(mask | short as u8),
            long => {
                frame.push(mask | 126);
                frame.extend((long as u16).to_be_bytes());
            }
        }
        if mask != 0 {
            frame.extend([0; 4]);
        }
        frame.extend(payload);
        self.say(&frame).await;
    }

    async fn say(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        for _ in 0..8 {
            if !say(&mut self.io, &mut left).await || left.is_empty() {
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
        let goes_on = hear(&mut self.io, &mut self.heard).await;
        while let Some(used) = self.understand() {
            self.heard.drain(..used);
        }
        goes_on
    }

    /// The length of the first frame, if it is whole.
    fn understand(&mut self) -> Option<usize> {
        let [first, second, rest @ ..] = &self.heard[..] else {
            return None;
        };
        assert_eq!(second & 0x80 != 0, self.is_client, "clients mask and servers don't");
        let (head, length) = match second & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))),
            127 => panic!("nobody writes so much at a time"),
            short => (2, usize::from(short)),
        };
        let whole = head + length + if self.is_client { 4 } else { 0 };
        if self.heard.len() < whole {
            return None;
        }
        assert!(!self.closed, "a frame after the last");
        match first {
            0x81 | 0x82 => {}
            0x88 => self.closed = true,
            0x8a => assert!(length < 126),
            other => panic!("nobody wants a frame of {other:#x}"),
        }
        Some(whole)
    }
}
