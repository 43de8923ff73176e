//! Port-forwards.

use super::field::Cell;
use crate::harness::SOON;
use std::net::SocketAddr;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::process::Child;

/// A client that forwards a port of its own to the pod's echo, and which.
pub async fn forwarding(cell: &Cell<'_>) -> (Child, SocketAddr) {
    let mut child = cell.command(&["port-forward", cell.side.pod, ":8080"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap();
    let line = line.unwrap_or_default();
    let address = line
        .strip_prefix("Forwarding from ")
        .and_then(|rest| rest.split(' ').next());
    let address = address.and_then(|address| address.parse().ok());
    // Whoever prints must not find the pipe full.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let Some(address) = address else {
        let ended = child.wait_with_output().await.unwrap();
        panic!(
            "{cell} does not forward: {line}{}",
            String::from_utf8_lossy(&ended.stderr)
        );
    };
    (child, address)
}

pub async fn parallel(cell: &Cell<'_>) {
    let (mut child, address) = forwarding(cell).await;
    let echoes = (0..100_u8).map(|number| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let sent = vec![number; 100_000];
        let mut echo = Vec::new();
        let (mut read, mut write) = stream.split();
        if cell.client.half_close {
            let sending = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            // The echo ends when the end has gone all the way and come back.
            let ((), all) = tokio::join!(sending, read.read_to_end(&mut echo));
            all.unwrap();
        } else {
            echo.resize(sent.len(), 0);
            let ((), all) = tokio::join!(
                async { write.write_all(&sent).await.unwrap() },
                read.read_exact(&mut echo)
            );
            all.unwrap();
        }
        assert!(echo == sent, "{cell}: connection {number} brought {} bytes", echo.len());
    });
    let all = futures::future::join_all(echoes);
    let in_time = tokio::time::timeout(SOON, all).await;
    assert!(in_time.is_ok(), "{cell}: the echoes take too long");
    child.kill().await.unwrap();
    cell.is_idle().await;
}
