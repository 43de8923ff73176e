//! What streams cost their host: descriptors, which end with their session, and memory, which does not grow with what
//! passes. Both are counted for the whole process, so this is a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plugin/fixture.rs"]
#[allow(dead_code, reason = "another binary uses the rest")]
mod fixture;

/// The fixture's libraries log into the void here.
mod logs {
    pub fn install() {}
}

use fixture::*;
use outrigger::plugin::Provider;
use outrigger::plugin::State;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::PortForwardRequest;
use serde_json::json;
use std::fs;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The most memory that the process has held so far, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn exec_of(command: &str) -> ExecRequest {
    let command: Vec<_> = command.split(' ').collect();
    serde_json::from_value(json!({
        "identity": pod("u1"), "container": "main", "command": command, "stdin": true, "stdout": true, "stderr": true,
    }))
    .unwrap()
}

/// How much passes through one stream: 64 MiB, or as many as the variable says.
fn mebibytes() -> u64 {
    std::env::var("OUTRIGGER_STREAM_MIB").map_or(64, |number| number.parse().unwrap())
}

#[tokio::test]
async fn streams_leave_nothing_behind_and_hold_nothing_back() {
    let (provider, _) = launch(&provider("costs", "streams", json!({}))).await.unwrap();
    // Once without counting, for what is opened on first use.
    every_end(&provider).await;
    let before = descriptors();
    for _ in 0..20 {
        every_end(&provider).await;
    }
    // And with an instance that was given up in the middle of one, for which there is a new one.
    let other = provider.exec(&exec_of("hang")).unwrap().outcome;
    provider.exec(&exec_of("panic")).unwrap().outcome.await.unwrap_err();
    other.await.unwrap_err();
    reaches(&provider, |state| *state == State::Ready { epoch: 2 }).await;
    eventually("all descriptors are closed", || descriptors() <= before).await;

    let before = peak_memory();
    let mut session = provider
        .exec(&exec_of(&format!("produce {}", mebibytes() << 20)))
        .unwrap();
    let mut stdout = session.stdout.take().unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let read = stdout.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        bytes += read as u64;
    }
    session.outcome.await.unwrap();
    assert_eq!(bytes, mebibytes() << 20);
    let grown = peak_memory() - before;
    assert!(grown < 8 << 10, "{grown} KiB were held for a stream");
}

/// Sessions that end in every way there is.
async fn every_end(provider: &Provider) {
    provider.exec(&exec_of("exit 3")).unwrap().outcome.await.unwrap();
    provider.exec(&exec_of("fail")).unwrap().outcome.await.unwrap_err();
    // Given up: at once, under way, and one of which only the end is kept.
    drop(provider.exec(&exec_of("hang")).unwrap());
    let mut session = provider.exec(&exec_of("produce 1000000000")).unwrap();
    session.stdout.as_mut().unwrap().read_u8().await.unwrap();
    drop(session);
    let outcome = provider.exec(&exec_of("produce 1000000000")).unwrap().outcome;
    assert!(outcome.await.is_err(), "a write to nobody fails");
    let request = PortForwardRequest {
        identity: pod("u1"),
        port: 80,
    };
    let mut forward = provider.port_forward(&request).unwrap();
    forward.stream.write_all(b"x").await.unwrap();
    drop(forward);
}
