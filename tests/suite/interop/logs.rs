//! A log that grows faster than its reader reads, to the last line.

use super::field::Cell;
use crate::harness::phase;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Of a line, with its end.
const LINE: usize = 16 << 10;
/// What is read at once, as much as a pipe holds.
const PIECE: usize = 64 << 10;

pub async fn followed(cell: &Cell<'_>) {
    let mib: usize = std::env::var("OUTRIGGER_SUITE_LOG_MIB").map_or(32, |mib| mib.parse().unwrap());
    let lines = mib * ((1 << 20) / LINE);
    let seconds = (mib / 64).max(4);
    let name = format!("log-{}", fastrand::u32(..));
    let annotations = json!({
        "mock.outrigger.dev/runTime": format!("{seconds}s"),
        "mock.outrigger.dev/logRate": (lines / seconds).to_string(),
        "mock.outrigger.dev/logLineBytes": (LINE - 1).to_string(),
    });
    let pod = json!({ "metadata": { "annotations": annotations }, "spec": { "restartPolicy": "Never" } });
    let test = &cell.field.test;
    test.create(cell.pod(&name, pod)).await;
    let has_begun = |pod: &Pod| ["Running", "Succeeded"].contains(&phase(pod));
    test.pod_until(&name, "it has begun", has_begun).await;

    let mut child = cell.follow(&name).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // A quarter slower than it grows.
    let pause = Duration::from_secs_f64(seconds as f64 * 1.25 * PIECE as f64 / (mib << 20) as f64);
    let (mut log, mut piece) = (Log::default(), vec![0; PIECE]);
    loop {
        tokio::time::sleep(pause).await;
        match stdout.read(&mut piece).await.unwrap() {
            0 => break,
            some => log.take(cell, &piece[..some]),
        }
    }
    let ended = child.wait_with_output().await.unwrap();
    assert!(
        ended.status.success(),
        "{cell}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(log.rest.len(), 0, "{cell}: the last line has no end");
    assert!(log.lines >= lines, "{cell}: {} lines of {lines}", log.lines);
    let last = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    let last = test.pods().logs(&name, &last).await.unwrap();
    let expected = format!("line {} of app, run 0.", log.lines - 1);
    assert!(last.starts_with(&expected), "{cell}: the last line is {}", &last[..40]);
    test.delete(&name, Some(0)).await;
}

/// What has come, compared with what the mock writes.
#[derive(Default)]
struct Log {
    lines: usize,
    rest: Vec<u8>,
}

impl Log {
    fn take(&mut self, cell: &Cell<'_>, piece: &[u8]) {
        static DOTS: [u8; LINE] = [b'.'; LINE];
        self.rest.extend_from_slice(piece);
        let whole = self.rest.len() - self.rest.len() % LINE;
        for line in self.rest[..whole].chunks(LINE) {
            let begins = format!("line {} of app, run 0", self.lines);
            let (text, dots) = line.split_at(begins.len());
            let fills = dots[..dots.len() - 1] == DOTS[..dots.len() - 1] && dots.last() == Some(&b'\n');
            assert!(
                text == begins.as_bytes() && fills,
                "{cell}: not line {}: {}",
                self.lines,
                String::from_utf8_lossy(&line[..40])
            );
            self.lines += 1;
        }
        self.rest.drain(..whole);
    }
}
