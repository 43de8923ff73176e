//! What plays with a connection have in common.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;

thread_local! {
    /// Its time is the input's.
    pub static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("there is room for it");
}

/// Says what is taken at once, and takes that off. `false`: nobody listens any more.
pub async fn say(io: &mut DuplexStream, bytes: &mut &[u8]) -> bool {
    match poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_write(cx, bytes))).await {
        Poll::Ready(Ok(count)) => *bytes = &bytes[count..],
        Poll::Ready(Err(_)) => return false,
        Poll::Pending => {}
    }
    true
}

/// Adds what has been said. `false` at the end.
pub async fn hear(io: &mut DuplexStream, heard: &mut Vec<u8>) -> bool {
    let mut bytes = [0; 1000];
    loop {
        let mut buf = ReadBuf::new(&mut bytes);
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut *io).poll_read(cx, &mut buf))).await {
            Poll::Pending => return true,
            Poll::Ready(result) => result.expect("a duplex does not fail"),
        }
        if buf.filled().is_empty() {
            return false;
        }
        heard.extend(buf.filled());
    }
}

/// Polls once.
pub async fn once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx: &mut Context<'_>| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Waits until nothing is left of what was spawned.
pub async fn rest() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        yield_now().await;
    }
}
