//! The examples, run as their first lines say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

/// An example, which cargo builds before it runs tests.
fn example(name: &str, arguments: &[&str]) -> Command {
    // target/<profile>/deps/examples-<hash>, beside target/<profile>/examples
    let this = std::env::current_exe().unwrap();
    let path: PathBuf = this.ancestors().nth(2).unwrap().join("examples").join(name);
    let mut command = Command::new(path);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts an example that listens, and waits until it says where: the word after this beginning of its first line.
async fn listening(mut command: Command, beginning: &str) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap();
    let line = line.expect("it ended");
    let rest = line.strip_prefix(beginning).unwrap_or_else(|| panic!("{line}"));
    let address = rest.split(' ').next().unwrap().to_owned();
    (child, address)
}

/// Runs an example with this input to its end.
async fn called(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let run = async {
        let feed = async {
            stdin.write_all(input).await.unwrap();
            drop(stdin);
        };
        tokio::join!(feed, child.wait_with_output()).1.unwrap()
    };
    timeout(DEADLINE, run).await.unwrap()
}

fn noise() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn exec_server_runs_commands_for_its_client_over_both_protocols() {
    let (_server, address) = listening(example("exec_server", &["serve", "127.0.0.1:0"]), "listening on ").await;
    for protocol in [&[][..], &["--spdy"]] {
        let run = |command: &[&'static str]| {
            let arguments = [&["run", address.as_str()][..], protocol, command].concat();
            example("exec_server", &arguments)
        };
        let shout = called(run(&["tr", "a-z", "A-Z"]), b"hello\n").await;
        assert_eq!(
            (shout.status.code(), &*shout.stdout),
            (Some(0), &b"HELLO\n"[..]),
            "{protocol:?}"
        );
        let noise = noise();
        let echo = called(run(&["cat"]), &noise).await;
        assert!(echo.status.success() && echo.stdout == noise, "{protocol:?}");
        let failed = called(run(&["sh", "-c", "echo no >&2; exit 7"]), b"").await;
        assert_eq!(
            (failed.status.code(), &*failed.stderr),
            (Some(7), &b"no\n"[..]),
            "{protocol:?}"
        );
        let missing = called(run(&["/no/such/program"]), b"").await;
        let words = String::from_utf8_lossy(&missing.stderr).into_owned();
        assert!(
            !missing.status.success() && words.contains("error executing command"),
            "{words}"
        );
    }
}

/// A server that sends back what it gets, and its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tcp.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn port_forward_carries_connections_both_ways_over_both_protocols() {
    let port = echo().await.to_string();
    let (_server, address) = listening(example("port_forward", &["serve", "127.0.0.1:0"]), "listening on ").await;
    for protocol in [&[][..], &["--tunnel"]] {
        let arguments = [&["forward", address.as_str(), "0", port.as_str()][..], protocol].concat();
        let (_client, local) = listening(example("port_forward", &arguments), "forwarding ").await;
        let noise = noise();
        let carried = async {
            let mut tcp = TcpStream::connect(&local).await.unwrap();
            let (mut from, mut to) = tcp.split();
            let send = async {
                to.write_all(&noise).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let mut back = Vec::new();
            let (_, read) = tokio::join!(send, from.read_to_end(&mut back));
            read.unwrap();
            back
        };
        let back = timeout(DEADLINE, carried).await.unwrap();
        assert!(back == noise, "{protocol:?}: {} bytes came back", back.len());
    }
}

#[tokio::test]
async fn spdy_brings_back_what_it_is_given() {
    let alone = called(example("spdy", &[]), b"").await;
    assert!(alone.status.success(), "{alone:?}");
    assert_eq!(
        (&*alone.stdout, &*alone.stderr),
        (&b"there and back again\n"[..], &b"21 bytes\n"[..])
    );
    let (_server, address) = listening(example("spdy", &["serve", "127.0.0.1:0"]), "listening on ").await;
    let noise = noise();
    let back = called(example("spdy", &["call", &address]), &noise).await;
    assert!(
        back.status.success() && back.stdout == noise,
        "{} bytes came back",
        back.stdout.len()
    );
    assert_eq!(back.stderr, format!("{} bytes\n", noise.len()).as_bytes());
}
