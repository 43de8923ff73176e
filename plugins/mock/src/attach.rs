//! Attach: what the container writes from now on, and, if it has an input, what is typed. Ends with the container.

use crate::{logs::Form, provider::Mock};
use outrigger_plugin::{Attach, AttachRequest, ByteStream, Call, Result, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

impl Attach for Mock {
    async fn attach(&self, _call: Call, request: AttachRequest, session: Session) -> Result<()> {
        let inside = self.enter(&request.identity, &request.container).await?;
        let mut tail = self.tail(&request.identity, &request.container, false).await?;
        let Session {
            mut stdin, mut stdout, ..
        } = session;
        let form = Form::Output { tty: request.tty };
        let mut typed = vec![0; 4 << 10];
        loop {
            // Both are cancel safe: what the other was waiting for comes with its next turn.
            tokio::select! {
                lines = tail.next() => match (lines?, &mut stdout) {
                    (Some(lines), Some(stdout)) => tail.write(stdout, lines, form).await?,
                    (Some(_), None) => {}
                    (None, _) => return Ok(()),
                },
                read = read(&mut stdin, &mut typed) => match (read?, &mut stdout) {
                    // The input has ended, the output goes on.
                    (0, _) => stdin = None,
                    (count, Some(stdout)) if inside.stdin => stdout.write_all(&typed[..count]).await?,
                    (_, _) => {}
                },
            }
        }
    }
}

/// Without an input nothing is ever read.
async fn read(stdin: &mut Option<ByteStream>, into: &mut [u8]) -> std::io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.read(into).await,
        None => std::future::pending().await,
    }
}
