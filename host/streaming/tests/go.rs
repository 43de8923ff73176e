//! SPDY against the library that Kubernetes speaks it with, in both roles: the Go program in `tests/interop/spdy`.
//!
//! Without Go this is skipped, and says so on stderr and in the file that `OUTRIGGER_SKIPS` names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use outrigger_streaming::spdy::{Config, Connection, Error, Headers, Incoming, Status, client, server};
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(120);

/// The Go program, built once; `None` without Go.
fn peer() -> Option<PathBuf> {
    static PEER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let path = format!("{}:/usr/local/go/bin", std::env::var("PATH").unwrap_or_default());
        let binary = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("spdy-peer");
        let built = std::process::Command::new("env")
            .args([
                &format!("PATH={path}"),
                "CGO_ENABLED=0",
                "GOWORK=off",
                "go",
                "build",
                "-buildvcs=false",
                "-o",
            ])
            .args([binary.as_os_str(), ".".as_ref()])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/spdy"))
            .output()
            .expect("env is there");
        match built.status.code() {
            Some(0) => Some(binary),
            // What `env` says about a command that it can't find.
            Some(127) => {
                skip(
                    "SPDY against Go",
                    "there is no Go; install Go 1.26 or newer from https://go.dev/dl/",
                );
                None
            }
            _ => panic!("the peer does not build: {}", String::from_utf8_lossy(&built.stderr)),
        }
    };
    PEER.get_or_init(build).clone()
}

fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED {what}: {why}\n");
    // Past the harness, which would swallow it.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("OUTRIGGER_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("the deadline has passed")
}

fn pattern(size: u64) -> Vec<u8> {
    let byte = |place: u64| u32::try_from(place).unwrap().wrapping_mul(2_654_435_761).to_be_bytes()[0];
    (0..size).map(byte).collect()
}

/// Does on a stream what its header "do" says, as the peer does.
async fn serve(incoming: Incoming) -> std::io::Result<()> {
    let what = incoming.headers.get("do").unwrap_or_default().to_owned();
    let size = incoming.headers.get("size").map(|size| size.parse().unwrap());
    if what == "refuse" {
        incoming.reject(Status::RefusedStream);
        return Ok(());
    }
    let (mut read, mut write) = tokio::io::split(incoming.accept(Headers::new()));
    match what.as_str() {
        "echo" => drop(copy(&mut read, &mut write).await?),
        "source" => write.write_all(&pattern(size.unwrap())).await?,
        "sink" => {
            let size = copy(&mut read, &mut sink()).await?;
            write.write_all(size.to_string().as_bytes()).await?;
        }
        other => panic!("it wants {other:?}"),
    }
    write.shutdown().await
}

#[tokio::test]
async fn a_client_in_go_is_served() {
    let Some(peer) = peer() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = start(Command::new(peer).args(["call", &address]));
    let (socket, _) = soon(listener.accept()).await.unwrap();
    let mut connection = server(socket, Config::default());
    let mut streams = JoinSet::new();
    while let Some(incoming) = soon(connection.accept()).await {
        streams.spawn(serve(incoming));
    }
    // It has said that it leaves, or is gone: nothing of this side's is in its way.
    let output = soon(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((text(&output.stdout).trim(), text(&output.stderr).as_str()), ("ok", ""));
    let results = soon(streams.join_all()).await;
    assert_eq!(results.len(), 33);
    for result in results {
        result.unwrap();
    }
}

/// The peer as a server, and a connection to it.
async fn call(peer: PathBuf) -> (Child, Connection) {
    let mut child = start(Command::new(peer).arg("serve"));
    let mut address = String::new();
    soon(BufReader::new(child.stdout.take().unwrap()).read_line(&mut address))
        .await
        .unwrap();
    let socket = soon(TcpStream::connect(address.trim())).await.unwrap();
    (child, client(socket, Config::default()))
}

#[tokio::test]
async fn a_server_in_go_is_called() {
    let Some(peer) = peer() else { return };
    let (_child, connection) = call(peer).await;
    let mut streams = JoinSet::new();
    for i in 0..32u64 {
        let (handle, size) = (connection.handle(), 1 << (i % 24));
        streams.spawn(async move {
            let what = ["echo", "echo", "source", "sink"][usize::try_from(i % 4).unwrap()];
            let headers = Headers::new()
                .with("do", what)
                .with("size", size.to_string())
                .with("Padding", "ignored");
            let (mut read, mut write) = tokio::io::split(handle.open(headers, false).await.unwrap());
            // Only then it takes what is sent: see the peer.
            assert_eq!(read.read_u8().await.unwrap(), b'+');
            let write = async {
                if what != "source" {
                    write.write_all(&pattern(size)).await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (read, ()) = tokio::join!(read.read_to_end(&mut got), write);
            read.unwrap();
            let wanted = if what == "sink" {
                size.to_string().into_bytes()
            } else {
                pattern(size)
            };
            assert!(got == wanted, "{what} of {size}: {} bytes came", got.len());
        });
    }
    soon(streams.join_all()).await;
    let refused = soon(connection.open(Headers::new().with("do", "refuse"), false)).await;
    assert!(
        matches!(refused, Err(Error::Reset(Status::RefusedStream))),
        "{refused:?}"
    );
    soon(connection.close()).await.unwrap();
}

// The end of a session as the server of this crate does it, with a client that reads slowly.
#[tokio::test]
async fn a_client_in_go_gets_all_before_the_end() {
    let Some(peer) = peer() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = start(Command::new(peer).args(["slow", &address]));
    let (socket, _) = soon(listener.accept()).await.unwrap();
    let mut connection = server(socket, Config::default());
    let mut stream = soon(connection.accept()).await.unwrap().accept(Headers::new());
    soon(stream.write_all(&pattern(24 << 20))).await.unwrap();
    let patience = Duration::from_secs(30);
    soon(connection.finish(patience, DEADLINE)).await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!((text(&output.stdout).trim(), text(&output.stderr).as_str()), ("ok", ""));
}
