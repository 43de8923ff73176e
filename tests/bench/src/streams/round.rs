//! One round of one subject: for each protocol a fresh process, first with many sessions, then with one that says much.

use super::bulk;
use super::caller::Caller;
use super::echo::Crowd;
use super::echo::Echo;
use super::server::LOG_LINE;
use super::server::LOG_RATE;
use super::server::Server;
use crate::cli;
use crate::error::Result;
use crate::latencies::Latencies;
use crate::process::Processes;
use crate::round::Sample;
use crate::round::mebibytes;
use outrigger_streaming::remotecommand::Protocol;
use std::time::Duration;
use tokio::time::Instant;

/// The newest protocols that both servers have: Kubernetes' package has v5 in its client only.
pub const PROTOCOLS: [(Protocol, &str); 2] = [(Protocol::WebSocketV4, "WebSocket"), (Protocol::SpdyV4, "SPDY")];

/// A round with one process.
pub struct Course<'a> {
    pub plan: &'a cli::StreamLoad,
    pub settle: Duration,
    pub caller: &'a Caller,
    pub server: &'a Server,
    /// Since when it runs, and its containers write their logs.
    pub started: Instant,
    /// Over which commands are run, and its name.
    pub protocol: (Protocol, &'static str),
    pub samples: Vec<Sample>,
}

impl Course<'_> {
    /// Everything that goes by protocol.
    pub async fn sessions(&mut self) -> Result<()> {
        let processes = self.server.processes()?;
        let (protocol, name) = self.protocol;
        let door = &self.server.echo;
        let all = usize::from(self.plan.sessions);
        let first = all / 4;
        let mut crowd = Crowd::default();
        let fewer = self.resident(&mut crowd, first).await?;
        let more = self.resident(&mut crowd, all).await?;
        let each = (more as f64 - fewer as f64) / (all - first) as f64;
        self.sample(format!("memory per session, {name}"), "KiB", each / 1024.0);
        let crowded = crowd.talk(Duration::from_secs_f64(self.plan.seconds)).await?;
        self.latencies(&format!("echo, {all} sessions, {name}"), &crowded);
        crowd.leave().await?;

        let mut echo = Echo::begin(self.caller, door, protocol).await?;
        let alone = echo.alone(self.plan.trips).await?;
        drop(echo);
        self.latencies(&format!("echo alone, {name}"), &alone);

        let (caller, door, bytes) = (self.caller, &self.server.process, self.bytes());
        let output = bulk::output(caller, door, protocol, bytes);
        let output = Self::costs(&processes, output).await?;
        self.rate(&format!("exec out, {name}"), output);
        let input = Self::costs(&processes, bulk::input(caller, door, protocol, bytes)).await?;
        self.rate(&format!("exec in, {name}"), input);
        Ok(())
    }

    /// A log goes over plain HTTP.
    pub async fn log(&mut self) -> Result<()> {
        // What is followed was written before, so that its writer is not what is waited for.
        let written = self.bytes() as f64 / (LOG_RATE * LOG_LINE as f64);
        tokio::time::sleep_until(self.started + Duration::from_secs_f64(written)).await;
        let log = bulk::log(self.caller, &self.server.log, self.bytes());
        let log = Self::costs(&self.server.processes()?, log).await?;
        self.rate("log follow", log);
        Ok(())
    }

    /// The most that it ever took.
    pub fn peak(&mut self) -> Result<()> {
        let peak = self.server.processes()?.memory()?.peak;
        self.sample(format!("RSS peak, {}", self.protocol.1), "MiB", mebibytes(peak));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.server.bytes
    }

    /// What the server holds in quiet, once there are so many sessions.
    async fn resident(&self, crowd: &mut Crowd, count: usize) -> Result<u64> {
        let door = &self.server.echo;
        crowd.grow(self.caller, door, self.protocol.0, count).await?;
        tokio::time::sleep(self.settle).await;
        Ok(self.server.processes()?.memory()?.resident)
    }

    /// How long something takes, and how much of the server's CPU.
    async fn costs(
        processes: &Processes,
        work: impl Future<Output = Result<Duration>>,
    ) -> Result<(Duration, Duration)> {
        let before = processes.cpu()?;
        let took = work.await?;
        Ok((took, processes.cpu()?.saturating_sub(before)))
    }

    fn rate(&mut self, name: &str, (took, cpu): (Duration, Duration)) {
        let sent = mebibytes(self.bytes());
        self.sample(name.to_owned(), "MiB/s", sent / took.as_secs_f64());
        self.sample(
            format!("{name}, CPU of the server"),
            "s/GiB",
            cpu.as_secs_f64() / sent * 1024.0,
        );
    }

    /// Adds the two quantiles that are told.
    pub fn latencies(&mut self, name: &str, latencies: &Latencies) {
        for (quantile, share) in [("p50", 0.5), ("p99", 0.99)] {
            if let Some(value) = latencies.quantile(share) {
                self.sample(format!("{name}, {quantile}"), "ms", value.as_secs_f64() * 1e3);
            }
        }
    }

    fn sample(&mut self, name: String, unit: &'static str, value: f64) {
        self.samples.push(Sample { name, unit, value });
    }
}
