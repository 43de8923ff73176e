//! Sessions in which little is said: what each line costs in time, and what they cost in memory.

use super::caller::Caller;
use super::caller::transport;
use super::server::Door;
use crate::error::Error;
use crate::error::Result;
use crate::latencies::Latencies;
use outrigger_streaming::remotecommand::ClientSession;
use outrigger_streaming::remotecommand::Protocol;
use outrigger_streaming::remotecommand::Wanted;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What is said, and comes back.
pub const LINE: [u8; 64] = [b'x'; 64];
/// From one round trip of a session among many to its next.
const EVERY: Duration = Duration::from_millis(200);
/// Sessions that are begun at a time.
const BEGINNING: usize = 16;

/// A session whose server says everything again.
pub struct Echo(ClientSession);

impl Echo {
    /// Begins one; it has had its first round trip.
    pub async fn begin(caller: &Caller, door: &Door, protocol: Protocol) -> Result<Self> {
        let wanted = Wanted {
            stdin: true,
            stdout: true,
            ..Wanted::default()
        };
        let mut echo = Self(caller.exec(door, protocol, wanted, door.echo).await?);
        // The command, which it prints first.
        let mut first = [0; 5];
        echo.read(&mut first).await?;
        echo.trip().await?;
        Ok(echo)
    }

    async fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        if let Some(stdout) = &mut self.0.stdout {
            let read = stdout.read_exact(buffer).await;
            read.map_err(|error| transport("read an echo", error))?;
        }
        Ok(())
    }

    async fn trip(&mut self) -> Result<()> {
        if let Some(stdin) = &mut self.0.stdin {
            let written = stdin.write_all(&LINE).await;
            written.map_err(|error| transport("say something", error))?;
            let flushed = stdin.flush().await;
            flushed.map_err(|error| transport("say something", error))?;
        }
        let mut line = [0; LINE.len()];
        self.read(&mut line).await?;
        if line != LINE {
            return Err(Error::Malformed {
                what: "an echo".to_owned(),
                reason: "it is not what was said".to_owned(),
            });
        }
        Ok(())
    }

    /// Says one line after the other.
    pub async fn alone(&mut self, trips: usize) -> Result<Latencies> {
        let mut values = Vec::with_capacity(trips);
        for _ in 0..trips {
            let begun = Instant::now();
            self.trip().await?;
            values.push(begun.elapsed());
        }
        Ok(Latencies::of(values))
    }

    /// Says a line at fixed times, the first at `first`, until `end`. What takes longer than it should is counted from when
    /// it should have begun.
    async fn paced(mut self, first: Instant, end: Instant) -> Result<(Self, Vec<Duration>)> {
        let mut values = Vec::new();
        let mut due = first;
        while due < end {
            let late = Instant::now() > due;
            tokio::time::sleep_until(due).await;
            // A timer's own lateness is nobody's.
            let begun = if late { due } else { Instant::now() };
            self.trip().await?;
            values.push(begun.elapsed());
            due += EVERY;
        }
        Ok((self, values))
    }

    async fn end(self) -> Result<()> {
        let ClientSession { stdin, stdout, end, .. } = self.0;
        drop((stdin, stdout));
        end.close().await.map_err(|error| transport("end a session", error))
    }
}

/// Sessions that are open at once.
#[derive(Default)]
pub struct Crowd(Vec<Echo>);

impl Crowd {
    /// Lets more come, until there are so many.
    pub async fn grow(&mut self, caller: &Caller, door: &Door, protocol: Protocol, count: usize) -> Result<()> {
        let mut beginning = JoinSet::new();
        let mut missing = count.saturating_sub(self.0.len());
        while missing > 0 || !beginning.is_empty() {
            while missing > 0 && beginning.len() < BEGINNING {
                let (caller, door) = (caller.clone(), door.clone());
                beginning.spawn(async move { Echo::begin(&caller, &door, protocol).await });
                missing -= 1;
            }
            if let Some(begun) = beginning.join_next().await {
                self.0
                    .push(begun.map_err(|error| transport("begin a session", error))??);
            }
        }
        Ok(())
    }

    /// All of them talk, five times a second each and evenly spread.
    pub async fn talk(&mut self, span: Duration) -> Result<Latencies> {
        let begin = Instant::now() + EVERY;
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        let mut talking = JoinSet::new();
        for (echo, place) in self.0.drain(..).zip(0..) {
            talking.spawn(echo.paced(begin + EVERY * place / count, begin + span));
        }
        let mut all = Vec::new();
        while let Some(done) = talking.join_next().await {
            let (echo, values) = done.map_err(|error| transport("talk", error))??;
            self.0.push(echo);
            all.extend(values);
        }
        Ok(Latencies::of(all))
    }

    /// All of them leave.
    pub async fn leave(self) -> Result<()> {
        let mut leaving = JoinSet::new();
        for echo in self.0 {
            leaving.spawn(echo.end());
        }
        while let Some(left) = leaving.join_next().await {
            left.map_err(|error| transport("end a session", error))??;
        }
        Ok(())
    }
}
