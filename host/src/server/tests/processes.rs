//! Processes and connections made up, that do what their command or port says.

use super::*;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Result;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What a stream holds that nobody reads.
pub const HELD: usize = 64 << 10;

/// The process's ends of its streams.
struct Ends {
    stdin: Option<DuplexStream>,
    stdout: Option<DuplexStream>,
    stderr: Option<DuplexStream>,
    sizes: mpsc::Receiver<(u16, u16)>,
}

/// Ends the process when the outcome is dropped, and counts it out.
struct Alive(AbortHandle, Arc<AtomicU64>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Terminal(mpsc::Sender<(u16, u16)>);

impl Resize for Terminal {
    fn resize(&mut self, columns: u16, rows: u16) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let sent = self.0.send((columns, rows)).await;
            sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
        })
    }
}

/// Which streams were asked for.
#[derive(Clone, Copy)]
pub struct Asked {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// Starts one; `open` counts those whose outcome is waited for.
pub fn start<T: Send + 'static>(
    command: &[String],
    asked: Asked,
    open: &Arc<AtomicU64>,
    end: fn(u8) -> T,
) -> Process<T> {
    let stream = |wanted: bool| wanted.then(|| tokio::io::duplex(HELD)).unzip();
    let (stdin, their_stdin) = stream(asked.stdin);
    let (stdout, their_stdout) = stream(asked.stdout);
    let (stderr, their_stderr) = stream(asked.stderr && !asked.tty);
    let (size, sizes) = mpsc::channel(1);
    let ends = Ends {
        stdin: their_stdin,
        stdout: their_stdout,
        stderr: their_stderr,
        sizes,
    };
    let command: Vec<String> = command.to_vec();
    let task = tokio::spawn(async move { run(&command, ends).await });
    open.fetch_add(1, Ordering::SeqCst);
    let alive = Alive(task.abort_handle(), Arc::clone(open));
    Process {
        stdin: stdin.map(|stream| Box::new(stream) as Writer),
        stdout: stdout.map(|stream| Box::new(stream) as Reader),
        stderr: stderr.map(|stream| Box::new(stream) as Reader),
        resize: asked.tty.then(|| Box::new(Terminal(size)) as Box<dyn Resize>),
        outcome: Box::pin(async move {
            let _alive = alive;
            task.await.unwrap().map(end)
        }),
    }
}

async fn run(command: &[String], mut ends: Ends) -> Result<u8> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let out = &mut ends.stdout;
    match words.as_slice() {
        ["cat"] => {
            let (Some(stdin), Some(out)) = (&mut ends.stdin, out) else {
                return Ok(1);
            };
            tokio::io::copy(stdin, out).await?;
            Ok(0)
        }
        ["exit", code] => Ok(code.parse().unwrap()),
        ["say", rest @ ..] => {
            out.as_mut().unwrap().write_all(rest.join(" ").as_bytes()).await?;
            Ok(0)
        }
        ["both"] => {
            out.as_mut().unwrap().write_all(b"out").await?;
            if let Some(stderr) = &mut ends.stderr {
                stderr.write_all(b"err").await?;
            }
            Ok(3)
        }
        ["zeros", count] => {
            let mut zeros = tokio::io::repeat(0).take(count.parse().unwrap());
            tokio::io::copy(&mut zeros, out.as_mut().unwrap()).await?;
            Ok(0)
        }
        ["first-line"] => {
            // Takes a little of its input and closes it.
            let mut stdin = ends.stdin.take().unwrap();
            let byte = stdin.read_u8().await?;
            drop(stdin);
            out.as_mut().unwrap().write_u8(byte).await?;
            // Ends only when told to, so that the rest of the input has to go somewhere.
            ends.sizes.recv().await;
            Ok(0)
        }
        ["size"] => {
            let (columns, rows) = ends.sizes.recv().await.unwrap();
            let text = format!("{columns}x{rows}");
            out.as_mut().unwrap().write_all(text.as_bytes()).await?;
            Ok(0)
        }
        ["into", path] => {
            // Says so of all that it has read, and takes its time.
            let (Some(stdin), Some(out)) = (&mut ends.stdin, out) else {
                return Ok(1);
            };
            let mut file = tokio::fs::File::create(path).await?;
            let mut piece = vec![0; 16 << 10];
            loop {
                let read = stdin.read(&mut piece).await?;
                file.write_all(&piece[..read]).await?;
                if read == 0 {
                    file.flush().await?;
                    return Ok(0);
                }
                out.write_all(b"x").await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        ["hang"] => std::future::pending().await,
        ["slow", millis] => {
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
            Ok(0)
        }
        ["break"] => {
            out.as_mut().unwrap().write_all(b"some").await?;
            let mut error = ProviderError::unavailable("the backend went away");
            error.detail = "password hunter2".to_owned();
            Err(error)
        }
        other => panic!("no such command: {other:?}"),
    }
}

/// A connection to a port: 7 echoes, 13 says the time and hangs up, 9 can't be reached, 1 hangs.
pub fn forward(port: u16, open: &Arc<AtomicU64>) -> Forwarded {
    let (ours, mut theirs) = tokio::io::duplex(HELD);
    let task = tokio::spawn(async move {
        match port {
            7 => {
                let (mut read, mut write) = tokio::io::split(theirs);
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await?;
                Ok(())
            }
            13 => Ok(theirs.write_all(b"it is late").await?),
            1 => std::future::pending().await,
            _ => Err(ProviderError::not_found(format!("nobody listens on port {port}"))),
        }
    });
    open.fetch_add(1, Ordering::SeqCst);
    let alive = Alive(task.abort_handle(), Arc::clone(open));
    Forwarded {
        io: Box::new(ours),
        outcome: Box::pin(async move {
            let _alive = alive;
            task.await.unwrap()
        }),
    }
}

pub fn exit_status(exit_code: u8) -> ExitStatus {
    ExitStatus { exit_code }
}
