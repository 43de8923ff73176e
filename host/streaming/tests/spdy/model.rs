//! Both sides against a model: many streams that write, read, end and reset in an order that a seed decides, over a transport
//! that cuts bytes anywhere. Each byte of each stream is a function of its place, so that a lost, doubled or misplaced one
//! shows.

use outrigger_streaming::spdy::{Config, Connection, Headers, Status, Stream, client, server};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What happens on one direction of one stream.
#[derive(Clone, Debug)]
struct Half {
    /// Sizes of writes.
    writes: Vec<usize>,
    /// Pauses after every write, and after every read on the other side, in milliseconds.
    pauses: (u8, u8),
    /// Size of reads.
    read: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// `shutdown`.
    Shutdown,
    /// The stream is reset as soon as all is sent.
    Reset,
    /// The stream is reset when the other half has ended, or after a while.
    Flush,
}

#[derive(Clone, Debug)]
struct Plan {
    /// Of each stream: who opens it, what the opener sends, what comes back.
    streams: Vec<(bool, Half, Half)>,
    /// The transport: its room, and the sizes of its cuts.
    room: usize,
    cuts: Vec<usize>,
    limits: (usize, usize, usize),
}

fn half() -> impl Strategy<Value = Half> {
    let size = prop_oneof![4 => 1..10usize, 4 => 1..3000usize, 1 => 1..100_000usize];
    let end = prop_oneof![8 => Just(End::Shutdown), 1 => Just(End::Flush), 1 => Just(End::Reset)];
    (
        prop::collection::vec(size, 0..8),
        (0..3u8, 0..3u8),
        prop_oneof![1..50usize, 1000..70_000usize],
        end,
    )
        .prop_map(|(writes, pauses, read, end)| Half {
            writes,
            pauses,
            read,
            end,
        })
}

fn plan() -> impl Strategy<Value = Plan> {
    let cut = prop_oneof![1..9usize, 1..100usize, 1..100_000usize];
    (
        prop::collection::vec((any::<bool>(), half(), half()), 1..8),
        prop_oneof![100..1000usize, 10_000..200_000usize],
        // One of them large, so that it ends some day.
        (prop::collection::vec(cut, 1..20), 3000..10_000usize).prop_map(|(cuts, large)| [cuts, vec![large]].concat()),
        (1..100_000usize, 1..200_000usize, 1..100_000usize),
    )
        .prop_map(|(streams, room, cuts, limits)| Plan {
            streams,
            room,
            cuts,
            limits,
        })
}

/// Moves as many bytes at a time as the next cut says.
struct Cutting {
    io: DuplexStream,
    cuts: Vec<usize>,
    next: usize,
}

impl Cutting {
    fn cut(&mut self) -> usize {
        self.next = (self.next + 1) % self.cuts.len();
        self.cuts[self.next]
    }
}

impl AsyncRead for Cutting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let mut bytes = vec![0; self.cut().min(buf.remaining())];
        let mut cut = ReadBuf::new(&mut bytes);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut cut);
        buf.put_slice(cut.filled());
        result
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let cut = self.cut().min(buf.len());
        Pin::new(&mut self.io).poll_write(cx, &buf[..cut])
    }

    /// As a socket would, so that frames are cut within and between.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let cut = self.cut();
        let mut bytes = Vec::new();
        for buf in bufs {
            bytes.extend_from_slice(&buf[..buf.len().min(cut - bytes.len())]);
        }
        Pin::new(&mut self.io).poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn byte(seed: u32, at: usize) -> u8 {
    let at = u32::try_from(at).unwrap();
    (seed ^ at).wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

/// Both directions of one end: what it sends, and what it expects. Returns what it has received.
async fn end(stream: Stream, seed: u32, sends: Half, expects: Half) {
    let total: usize = expects.writes.iter().sum();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let mut at = 0;
        for size in &sends.writes {
            let bytes: Vec<u8> = (at..at + size).map(|at| byte(seed, at)).collect();
            if write.write_all(&bytes).await.is_err() {
                // The other end has reset it.
                return;
            }
            at += size;
            sleep(Duration::from_millis(sends.pauses.0.into())).await;
        }
        match sends.end {
            End::Shutdown => drop(write.shutdown().await),
            End::Flush | End::Reset => drop(write.flush().await),
        }
    };
    let reading = async {
        let (mut at, mut bytes) = (0, vec![0; expects.read.max(total / 200)]);
        loop {
            match read.read(&mut bytes).await {
                Ok(0) => break assert_eq!(at, total, "the end came early"),
                Ok(count) => {
                    for got in &bytes[..count] {
                        assert_eq!(*got, byte(!seed, at), "at {at}");
                        at += 1;
                    }
                }
                // Only if somebody has reset it.
                Err(error) => break assert!(sends.end != End::Shutdown || expects.end != End::Shutdown, "{error}"),
            }
            sleep(Duration::from_millis(expects.pauses.1.into())).await;
        }
    };
    if sends.end == End::Shutdown {
        tokio::join!(writing, reading);
    } else {
        // It ends early, whatever the other side does.
        tokio::select! {
            () = async { writing.await; if sends.end == End::Flush { std::future::pending::<()>().await } } => {}
            () = reading => {}
            () = sleep(Duration::from_secs(5)) => {}
        }
        read.unsplit(write).reset(Status::InternalError);
    }
}

/// Accepts the peer's streams, which say in a header which they are.
async fn accepts(connection: &mut Connection, plan: &Plan, ends: &mut JoinSet<()>, ours: bool) {
    for _ in 0..plan.streams.iter().filter(|(by_client, ..)| *by_client != ours).count() {
        let incoming = connection.accept().await.expect("all streams come");
        let which: usize = incoming.headers.get("which").unwrap().parse().unwrap();
        let (_, there, back) = plan.streams[which].clone();
        let stream = incoming.accept(Headers::new());
        ends.spawn(end(stream, !u32::try_from(which).unwrap(), back, there));
    }
}

async fn opens(connection: &Connection, plan: &Plan, ends: &mut JoinSet<()>, ours: bool) {
    for (which, (_, there, back)) in plan
        .streams
        .iter()
        .enumerate()
        .filter(|(_, (by_client, ..))| *by_client == ours)
    {
        let handle = connection.handle();
        let (there, back) = (there.clone(), back.clone());
        ends.spawn(async move {
            let stream = handle
                .open(Headers::new().with("which", which.to_string()), false)
                .await
                .unwrap();
            end(stream, u32::try_from(which).unwrap(), there, back).await;
        });
    }
}

async fn run(mut plan: Plan) {
    // The server may speak only after the client has.
    plan.streams[0].0 = true;
    let (near, far) = duplex(plan.room);
    let cutting = |io| Cutting {
        io,
        cuts: plan.cuts.clone(),
        next: 0,
    };
    let (receive, receive_total, send) = plan.limits;
    let config = Config {
        receive,
        receive_total,
        send,
        ..Config::default()
    };
    let mut near = client(cutting(near), config.clone());
    let mut far = server(cutting(far), config);
    let mut ends = JoinSet::new();
    opens(&near, &plan, &mut ends, true).await;
    opens(&far, &plan, &mut ends, false).await;
    let (mut near_ends, mut far_ends) = (JoinSet::new(), JoinSet::new());
    tokio::join!(
        accepts(&mut near, &plan, &mut near_ends, true),
        accepts(&mut far, &plan, &mut far_ends, false)
    );
    for mut set in [ends, near_ends, far_ends] {
        while let Some(result) = set.join_next().await {
            result.unwrap();
        }
    }
    assert!(near.error().is_none(), "{:?}", near.error());
    assert!(far.error().is_none(), "{:?}", far.error());
    let minute = Duration::from_secs(60);
    let (closed, finished) = tokio::join!(near.close(), far.finish(minute, minute));
    closed.unwrap();
    // The rest of a frame of a stream that was reset can be in the way, and the client does not wait for it.
    let reset = plan
        .streams
        .iter()
        .any(|(_, there, back)| there.end != End::Shutdown || back.end != End::Shutdown);
    match finished {
        Err(error) if reset => assert!(error.is_gone(), "{error}"),
        other => other.unwrap(),
    }
}

#[test]
fn whatever_happens_every_byte_arrives_in_its_place() {
    let cases = Cases {
        cases: 400,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Cases::default()
    };
    TestRunner::new(cases)
        .run(&plan(), |plan| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime
                .block_on(async { timeout(Duration::from_secs(3600), run(plan)).await })
                .expect("nothing happens any more");
            Ok(())
        })
        .unwrap();
}
