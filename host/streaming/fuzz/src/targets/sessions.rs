//! Sessions over WebSocket with a client that says anything: commands, forwarded ports and the tunnel. Whatever it says, they
//! end when it is gone, and nothing is left of them.

use super::bytes::Bytes;
use outrigger_streaming::portforward::{Connect, Target};
use outrigger_streaming::remotecommand::{Outcome, Protocol, Wanted};
use outrigger_streaming::{portforward, remotecommand};
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("there is room for it");
}

pub fn run(data: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(play(Bytes(data))));
}

async fn play(mut input: Bytes<'_>) {
    let choice = input.byte();
    let (mut io, far) = duplex(2000);
    match choice % 8 {
        0 => spawn(command(far, Protocol::WebSocketV1, choice)),
        1 => spawn(command(far, Protocol::WebSocketV4Base64, choice)),
        2 | 3 => spawn(command(far, Protocol::WebSocketV5, choice)),
        4 => spawn(forward(far, portforward::Protocol::WebSocket)),
        5 => spawn(forward(far, portforward::Protocol::WebSocketBase64)),
        6 => spawn(forward(far, portforward::Protocol::Tunnel)),
        _ => spawn(forward(far, portforward::Protocol::Spdy)),
    }
    while !input.is_empty() {
        let bytes = match input.byte() {
            // A frame, masked with zeros as a client's frames are masked.
            head @ 0..0xf0 => {
                let payload = input.some();
                let length = payload.len() as u16;
                let mut frame = vec![head, 0x80 | 126];
                frame.extend(length.to_be_bytes());
                frame.extend([0; 4]);
                frame.extend(payload);
                frame
            }
            0xf0..0xfc => input.some().to_vec(),
            _ => {
                tokio::time::advance(Duration::from_secs(u64::from(input.byte()).pow(2))).await;
                continue;
            }
        };
        say(&mut io, &bytes).await;
    }
    io.shutdown().await.expect("a duplex does not fail");
    let lives = || Handle::current().metrics().num_alive_tasks() > 0;
    for _ in 0..100 {
        if !lives() {
            return;
        }
        listen(&mut io).await;
        yield_now().await;
    }
    drop(io);
    // What it waits for, it waits for only so long.
    for _ in 0..1000 {
        if !lives() {
            return;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        yield_now().await;
    }
    panic!("a session does not end");
}

fn spawn(session: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(session));
}

async fn command(io: DuplexStream, protocol: Protocol, choice: u8) {
    let tty = choice & 0x80 != 0;
    let wanted = Wanted {
        stdin: true,
        stdout: true,
        stderr: !tty,
        tty,
    };
    let limits = remotecommand::Limits {
        receive: 1000,
        send: 1000,
        ..Default::default()
    };
    let Ok(session) = remotecommand::serve(io, protocol, wanted, limits).await else {
        return;
    };
    let remotecommand::Session {
        stdin,
        stdout,
        stderr: _stderr,
        resize,
        mut end,
    } = session;
    let input = async {
        let (mut stdin, mut stdout) = (stdin.expect("it was wanted"), stdout.expect("it was wanted"));
        drop(tokio::io::copy(&mut stdin, &mut stdout).await);
    };
    let sizes = async {
        if let Some(mut sizes) = resize {
            while sizes.next().await.is_some() {}
        }
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(input, sizes) } => {}
        () = end.gone() => {}
    }
    drop(end.finish(Outcome::Exit(7)).await);
}

struct Echo;

impl Connect for Echo {
    type Io = DuplexStream;

    fn connect(&self, port: u16) -> impl Future<Output = Result<Target<DuplexStream>, String>> + Send {
        ready(if port == 13 {
            Err("an unlucky port".to_owned())
        } else {
            let (io, far) = duplex(1000);
            spawn(async move {
                let (mut read, mut write) = tokio::io::split(far);
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
            Ok(Target {
                io,
                outcome: Box::pin(ready(Ok(()))),
            })
        })
    }
}

async fn forward(io: DuplexStream, protocol: portforward::Protocol) {
    let limits = portforward::Limits {
        pairs: 4,
        receive: 1000,
        send: 1000,
        ..Default::default()
    };
    drop(portforward::serve(io, protocol, vec![80, 13], Arc::new(Echo), limits).await);
}

/// Says as much as is taken in a few turns.
async fn say(io: &mut DuplexStream, mut bytes: &[u8]) {
    for _ in 0..8 {
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_write(cx, bytes))).await {
            Poll::Ready(Ok(count)) => bytes = &bytes[count..],
            Poll::Ready(Err(_)) => return,
            Poll::Pending => {}
        }
        yield_now().await;
        listen(io).await;
        if bytes.is_empty() {
            return;
        }
    }
}

/// Takes what was said, and lets it go.
async fn listen(io: &mut DuplexStream) {
    let mut bytes = [0; 1000];
    loop {
        let mut buf = ReadBuf::new(&mut bytes);
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_read(cx, &mut buf))).await {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
            _ => return,
        }
    }
}
