//! A plugin for which the process has no descriptors left: what is missing is said, and the provider comes back. The limit is
//! that of the whole process, so this is a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plugin/fixture.rs"]
#[allow(dead_code, reason = "another binary uses the rest")]
mod fixture;

/// The test collects the log itself.
mod logs {
    pub fn install() {}
}

use fixture::*;
use outrigger::plugin::State;
use outrigger::plugin::Tuning;
use rustix::process::Resource;
use rustix::process::Rlimit;
use serde_json::json;
use std::io;
use std::sync::Mutex;

/// What the process has logged.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// So many descriptors more than none may be open. Returns how many could.
fn limit(most: Option<u64>) -> Option<u64> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: most,
        maximum: before.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    before.current
}

#[tokio::test]
async fn a_plugin_without_descriptors_says_so_and_comes_back() {
    let subscriber = tracing_subscriber::fmt().with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let tuning = Tuning {
        max_failures: usize::MAX,
        ..tuning()
    };
    let config = provider("starved", "panic", json!({ "at": "ping" }));
    let (panicky, _) = launch_with(&config, tuning).await.unwrap();

    let most = limit(Some(0));
    panicky.ping(LONG).await.unwrap_err();
    let state = reaches(
        &panicky,
        |state| matches!(state, State::Poisoned { attempts, .. } if *attempts > 1),
    )
    .await;
    assert!(state.reason().unwrap().contains("open files"), "{state:?}");
    let said = || String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
    let words = [
        "ERROR",
        "unable to make a runtime for the provider",
        "Too many open files",
        "starved",
    ];
    let is_told = || said().lines().any(|line| words.iter().all(|word| line.contains(word)));
    eventually("the log says what is missing", is_told).await;

    limit(most);
    reaches(&panicky, |state| matches!(state, State::Ready { .. })).await;
}
