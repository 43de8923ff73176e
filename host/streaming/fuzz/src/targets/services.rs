//! Both services over SPDY, below them a peer that follows the rules of SPDY and no others: it opens streams with any headers in
//! any order, writes to them, ends and resets them as the input decides. Whatever it does, the service ends with it.

use super::bytes::Bytes;
use super::play::{RUNTIME, once, rest};
use outrigger_streaming::portforward::{self, Connect, Target};
use outrigger_streaming::remotecommand::{self, Outcome, Protocol, Wanted};
use outrigger_streaming::spdy::{Config, Headers, Status, Stream, client};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::task::yield_now;

pub fn run(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(Bytes(data))));
}

async fn play(mut input: Bytes<'_>) {
    let choice = input.byte();
    let (near, far) = duplex(2000);
    let serving = if choice & 1 == 0 {
        tokio::spawn(command(far, choice))
    } else {
        let limits = portforward::Limits {
            pairs: 3,
            receive: 1000,
            send: 1000,
            ..Default::default()
        };
        tokio::spawn(async move {
            drop(portforward::serve(far, portforward::Protocol::Spdy, Vec::new(), Arc::new(Pod), limits).await);
        })
    };
    let config = Config {
        receive: 1000,
        send: 1000,
        ..Config::default()
    };
    let peer = client(near, config);
    let mut streams: Vec<Stream> = Vec::new();
    while !input.is_empty() {
        let (what, which) = (input.byte(), usize::from(input.byte()));
        let count = streams.len().max(1);
        match what % 8 {
            0..=2 => {
                let kinds = ["error", "stdin", "stdout", "stderr", "resize", "data", "", "Data"];
                let mut headers = Headers::new().with("streamType", kinds[which % kinds.len()]);
                if which & 0x80 == 0 {
                    headers = headers
                        .with("port", (input.byte() % 8).to_string())
                        .with("requestID", (input.byte() % 4).to_string());
                } else {
                    headers = headers.with("port", String::from_utf8_lossy(input.some()));
                }
                // A peer doesn't wait for longer than a few turns.
                let opening = peer.open(headers, what & 0x80 != 0);
                tokio::pin!(opening);
                for _ in 0..6 {
                    if let std::task::Poll::Ready(opened) = once(&mut opening).await {
                        streams.extend(opened.ok());
                        break;
                    }
                    yield_now().await;
                }
            }
            3 => {
                let bytes = input.some().repeat(1 + usize::from(what >> 5) * 4);
                if let Some(stream) = streams.get_mut(which % count) {
                    drop(once(stream.write(&bytes)).await);
                }
            }
            4 => {
                if let Some(stream) = streams.get_mut(which % count) {
                    drop(once(stream.read(&mut [0; 500])).await);
                }
            }
            5 => {
                if let Some(stream) = streams.get_mut(which % count) {
                    drop(once(stream.shutdown()).await);
                }
            }
            6 => {
                if let Some(stream) = streams.get(which % count) {
                    stream.reset(Status::Cancel);
                }
            }
            _ => tokio::time::advance(Duration::from_secs(which as u64)).await,
        }
        yield_now().await;
    }
    drop((streams, peer));
    serving.await.expect("it does not panic");
    rest().await;
}

/// A command that says what it hears, until its stdin ends or its client leaves.
async fn command(io: DuplexStream, choice: u8) {
    let protocols = [Protocol::SpdyV1, Protocol::SpdyV2, Protocol::SpdyV3, Protocol::SpdyV4];
    let protocol = protocols[usize::from(choice >> 1 & 3)];
    let wanted = Wanted {
        stdin: choice & 0x10 != 0,
        stdout: choice & 0x20 != 0,
        stderr: choice & 0x40 != 0,
        tty: choice & 0x80 != 0,
    };
    let limits = remotecommand::Limits {
        receive: 1000,
        send: 1000,
        ..Default::default()
    };
    let Ok(mut session) = remotecommand::serve(io, protocol, wanted, limits).await else {
        return;
    };
    assert!(session.stdin.is_some() == wanted.stdin && session.stdout.is_some() == wanted.stdout);
    assert!(session.stderr.is_none() || !wanted.tty);
    let echo = async {
        if let (Some(mut stdin), Some(mut stdout)) = (session.stdin.take(), session.stdout.take()) {
            drop(copy(&mut stdin, &mut stdout).await);
        }
        while let Some(sizes) = &mut session.resize
            && sizes.next().await.is_some()
        {}
    };
    tokio::select! {
        () = echo => {}
        () = session.end.gone() => {}
    }
    drop(session.end.finish(Outcome::Exit(choice.into())).await);
}

/// Ports by number: one that echoes, one that is closed, one that fails, one that never answers, one that talks for ever.
struct Pod;

impl Connect for Pod {
    type Io = DuplexStream;

    async fn connect(&self, port: u16) -> Result<Target<DuplexStream>, String> {
        let (near, far) = duplex(500);
        match port {
            1 => return Err("it is refused".to_owned()),
            2 => std::future::pending().await,
            3 => drop(far),
            4 => drop(tokio::spawn(async move {
                let mut far = far;
                while far.write_all(&[4; 100]).await.is_ok() {
                    yield_now().await;
                }
            })),
            _ => drop(tokio::spawn(async move {
                let (mut read, mut write) = split(far);
                drop(copy(&mut read, &mut write).await);
            })),
        }
        let outcome = if port == 3 { Err("it failed".to_owned()) } else { Ok(()) };
        Ok(Target {
            io: near,
            outcome: Box::pin(ready(outcome)),
        })
    }
}
