//! Commands: exit codes, output to its last byte, files in and out, terminals.

use super::field::Cell;
use crate::harness::SOON;
use crate::harness::feed;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub async fn exit_codes(cell: &Cell<'_>) {
    for code in [0, 1, 137, 255] {
        let ended = cell.shell(&format!("echo out; echo err >&2; exit {code}")).await;
        let errors = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{cell}: {errors}");
        assert_eq!(text(&ended.stdout), "out\n", "{cell}: {errors}");
        assert!(errors.starts_with("err\n"), "{cell}: {errors}");
    }
    let killed = cell.shell("kill -9 $$").await;
    assert_eq!(killed.status.code(), Some(137), "{cell}: 128 and the signal");
    cell.is_idle().await;
}

/// What `seq 1 ...` prints first.
fn numbers(size: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(size + 10);
    for number in 1.. {
        if all.len() >= size {
            break;
        }
        all.extend_from_slice(format!("{number}\n").as_bytes());
    }
    all.truncate(size);
    all
}

pub async fn much_output(cell: &Cell<'_>) {
    // An API server that translates ends the client's connection as soon as the node's has ended, and what a client has not
    // read by its next ping, 5 s later, is lost (kubernetes issue 142376).
    let size: usize = if cell.is_translated() { 8 << 20 } else { 32 << 20 };
    let mut command = cell.exec(&[], &format!("seq 1 9999999 | head -c {size}; exit 7"));
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut output, mut piece) = (Vec::with_capacity(size), vec![0; 1 << 20]);
    loop {
        // The reader is slow.
        tokio::time::sleep(Duration::from_millis(10)).await;
        match stdout.read(&mut piece).await.unwrap() {
            0 => break,
            some => output.extend_from_slice(&piece[..some]),
        }
    }
    assert_eq!(output.len(), size, "{cell}");
    assert!(output == numbers(size), "{cell}: other bytes than were sent");
    assert_eq!(child.wait().await.unwrap().code(), Some(7), "{cell}");
}

pub async fn copies(cell: &Cell<'_>) {
    let mib: usize = std::env::var("OUTRIGGER_SUITE_COPY_MIB").map_or(64, |mib| mib.parse().unwrap());
    let mut bytes = vec![0; mib << 20];
    fastrand::fill(&mut bytes);
    let directory = cell.field.test.directory();
    let there = directory.join("there");
    std::fs::write(&there, &bytes).unwrap();
    let expected = sum(&bytes).await;
    if cell.client.is_kubectl {
        let inside = format!("{}:copied", cell.side.pod);
        copy(cell, &there.display().to_string(), &inside).await;
    } else {
        // By its length: not every protocol can tell a command that its input ends.
        let script = format!("head -c {} > copied", bytes.len());
        let ended = feed(cell.exec(&["-i"], &script), &bytes).await;
        assert!(ended.status.success(), "{cell}: {}", text(&ended.stderr));
    }
    let inside = cell.shell("sha256sum < copied").await;
    assert_eq!(text(&inside.stdout), expected, "{cell}: on the way in");
    let back = if cell.client.is_kubectl {
        copy(cell, &format!("{}:copied", cell.side.pod), "back").await;
        std::fs::read(directory.join("back")).unwrap()
    } else {
        let ended = cell.shell("cat copied").await;
        assert!(ended.status.success(), "{cell}: {}", text(&ended.stderr));
        ended.stdout
    };
    assert_eq!(sum(&back).await, expected, "{cell}: on the way out");
}

/// `kubectl cp`, which takes what has a colon for a pod's.
async fn copy(cell: &Cell<'_>, from: &str, to: &str) {
    let mut command = cell.command(&["cp", from, to]);
    command.current_dir(cell.field.test.directory());
    let ended = feed(command, b"").await;
    assert!(ended.status.success(), "{cell}: {}", text(&ended.stderr));
}

async fn sum(bytes: &[u8]) -> String {
    let mut command = tokio::process::Command::new("sha256sum");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    text(&feed(command, bytes).await.stdout)
}

pub async fn terminal(cell: &Cell<'_>) {
    let (mut pty, pts) = pty_process::open().unwrap();
    pty.resize(pty_process::Size::new(31, 97)).unwrap();
    // The size comes when the command runs already, as with every kubelet.
    let script = "until [ \"$(stty size)\" = '40 120' ]; do stty size; sleep 0.1; done; stty size; \
                  read line; echo \"got $line\"; exit 3";
    let command = cell.exec(&["-i", "-t"], script);
    let command = command.as_std();
    let envs = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut child = pty_process::Command::new(command.get_program())
        .args(command.get_args())
        .envs(envs)
        .kill_on_drop(true)
        .spawn(pts)
        .unwrap();
    shows(cell, &mut pty, "31 97").await;
    pty.resize(pty_process::Size::new(40, 120)).unwrap();
    shows(cell, &mut pty, "40 120").await;
    pty.write_all(b"typed\r").await.unwrap();
    shows(cell, &mut pty, "got typed").await;
    let ended = tokio::time::timeout(SOON, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(3), "{cell}");
}

/// Reads until a terminal has shown this.
async fn shows(cell: &Cell<'_>, pty: &mut pty_process::Pty, wanted: &str) {
    let mut seen = Vec::new();
    let reading = async {
        while !text(&seen).contains(wanted) {
            let mut piece = [0; 1024];
            match pty.read(&mut piece).await {
                Ok(some @ 1..) => seen.extend_from_slice(&piece[..some]),
                end => panic!("{cell}: {end:?} instead of {wanted:?} after {}", text(&seen)),
            }
        }
    };
    let in_time = tokio::time::timeout(SOON, reading).await;
    assert!(in_time.is_ok(), "{cell}: no {wanted:?} in {}", text(&seen));
}
