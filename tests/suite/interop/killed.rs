//! Clients that are killed in the middle of what they do.

use super::field::Cell;
use super::field::value;
use super::ports::forwarding;
use crate::harness::Host;
use crate::harness::SOON;
use crate::harness::eventually;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::process::Command;

/// Of each kind at once, so that what each leaves behind can't hide among the descriptors that come and go.
const CLIENTS: usize = 3;

pub async fn nothing_is_left(cell: &Cell<'_>) {
    // The connections that the API server keeps are there when this has been done.
    assert!(cell.shell("true").await.status.success(), "{cell}");
    cell.is_idle().await;
    let before = descriptors(&cell.side.host);

    let mut begun = futures::future::join_all((0..CLIENTS).map(|_| begin(cell))).await;
    let processes: Vec<PathBuf> = begun.iter().map(|begun| begun.process.clone()).collect();
    assert!(processes.iter().all(|process| process.exists()), "{cell}");
    assert!(descriptors(&cell.side.host) >= before + CLIENTS, "{cell}");
    if let Some(metrics) = cell.metrics().await {
        for kind in ["exec", "portforward"] {
            let series = format!("outrigger_kubelet_sessions{{kind=\"{kind}\"}}");
            let all = CLIENTS.to_string();
            assert_eq!(value(&metrics, &series), Some(all.as_str()), "{cell}: {kind}");
        }
    }

    for child in begun.iter_mut().flat_map(|begun| &mut begun.clients) {
        child.kill().await.unwrap();
    }
    eventually(SOON, &format!("{cell}: the processes in the pod are gone"), || async {
        match processes.iter().find(|process| process.exists()) {
            Some(process) => Err(format!("{} is there", process.display())),
            None => Ok(()),
        }
    })
    .await;
    cell.is_idle().await;
    eventually(SOON, &format!("{cell}: all descriptors are closed"), || async {
        let now = descriptors(&cell.side.host);
        match now < before + CLIENTS {
            true => Ok(()),
            false => Err(format!("{now}, and {before} before")),
        }
    })
    .await;
}

/// One client of each kind, in the middle of something.
struct Begun {
    clients: [Child; 3],
    /// What the first has started in the pod.
    process: PathBuf,
    /// To the port that the last one forwards.
    _connection: TcpStream,
}

async fn begin(cell: &Cell<'_>) -> Begun {
    let ((exec, pid), (log, _), (forward, address)) = tokio::join!(
        first_line(cell, cell.exec(&["-i"], "echo $$; exec sleep 1000")),
        first_line(cell, cell.follow(cell.side.pod)),
        forwarding(cell),
    );
    let mut connection = TcpStream::connect(address).await.unwrap();
    let echoing = async {
        connection.write_all(b"x").await.unwrap();
        connection.read_u8().await.unwrap()
    };
    let echo = tokio::time::timeout(SOON, echoing).await;
    assert_eq!(echo.ok(), Some(b'x'), "{cell}");
    Begun {
        clients: [exec, log, forward],
        process: Path::new("/proc").join(pid),
        _connection: connection,
    }
}

/// Starts a client, whose input stays open, and waits for its first line.
async fn first_line(cell: &Cell<'_>, mut command: Command) -> (Child, String) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let reading = tokio::time::timeout(SOON, stdout.read_line(&mut line)).await;
    assert!(
        reading.is_ok_and(|read| read.is_ok_and(|read| read > 0)),
        "{cell}: no line"
    );
    child.stdout = Some(stdout.into_inner());
    (child, line.trim().to_owned())
}

fn descriptors(host: &Host) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap().count()
}
