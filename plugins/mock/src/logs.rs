//! Container logs that nobody wrote: line n of a run is a function of the run's start and its rate.

use crate::{
    backend::Follower,
    engine::report::LogSource,
    protocol::{Reply, Request},
    provider::{Mock, surprise},
};
use outrigger_plugin::{ByteStream, Call, ErrorCode, LogRequest, Logs, PodIdentity, Result, Timestamp};
use std::{fmt::Write, ops::Range, time::Duration};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;
/// Between two looks while the back end is away; it may come back without a word of the pod.
const AWAY: Duration = Duration::from_secs(1);

impl Logs for Mock {
    async fn read_logs(&self, _call: Call, request: LogRequest, mut out: ByteStream) -> Result<()> {
        if self.shown.has(&request.identity.uid) {
            return self.show_materials(request, out).await;
        }
        let mut tail = self
            .tail(&request.identity, &request.container, request.previous)
            .await?;
        let first = wanted(&tail.source, &request, Timestamp::now());
        tail.written = first.end;
        tail.write(&mut out, first, Form::Log).await?;
        if request.follow {
            while let Some(lines) = tail.next().await? {
                tail.write(&mut out, lines, Form::Log).await?;
            }
        }
        Ok(out.shutdown().await?)
    }
}

/// How a line is written.
#[derive(Clone, Copy)]
pub enum Form {
    /// With its time.
    Log,
    /// As the container has written it.
    Output {
        /// To a terminal, whose lines end with a carriage return.
        tty: bool,
    },
}

/// The lines of one run as they come.
pub struct Tail<'a> {
    mock: &'a Mock,
    pod: PodIdentity,
    container: String,
    previous: bool,
    changes: Follower,
    source: LogSource,
    /// How many lines were given out.
    written: u64,
    /// All were.
    over: bool,
}

/// What a look at a run has shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It goes on.
    Runs,
    /// It has ended, and when is known.
    Ended,
    /// It has ended some time since the last look.
    Gone,
    /// The back end is away.
    Away,
}

impl Mock {
    /// The lines of a run from now on.
    pub async fn tail(&self, pod: &PodIdentity, container: &str, previous: bool) -> Result<Tail<'_>> {
        // Before the first look, so that no change falls between the two.
        let changes = self.backend.followers().follow();
        let source = self.log_source(pod, container, previous).await?;
        Ok(Tail {
            mock: self,
            pod: pod.clone(),
            container: container.to_owned(),
            previous,
            changes,
            written: source.lines(Timestamp::now()),
            source,
            over: false,
        })
    }

    async fn log_source(&self, pod: &PodIdentity, container: &str, previous: bool) -> Result<LogSource> {
        let ask = Request::Log {
            identity: pod.clone(),
            container: container.to_owned(),
            previous,
        };
        match self.backend.ask(ask).await? {
            Reply::Log(source) => Ok(source),
            other => Err(surprise(&other)),
        }
    }
}

impl Tail<'_> {
    /// Waits for more lines; `None` after the last one of the run. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Range<u64>>> {
        while !self.over {
            let now = Timestamp::now();
            let pause = match self.look().await? {
                // Whether there are lines is not known either.
                Look::Away => Some(AWAY),
                look => {
                    self.over = look != Look::Runs;
                    let known = if look == Look::Gone {
                        self.written
                    } else {
                        self.source.lines(now)
                    };
                    if self.over || known > self.written {
                        let lines = known.max(self.written);
                        return Ok(Some(std::mem::replace(&mut self.written, lines)..lines));
                    }
                    self.source.until_line(self.written, now)
                }
            };
            match pause {
                Some(pause) => drop(tokio::time::timeout(pause, self.changes.changed(&self.pod.uid)).await),
                None => self.changes.changed(&self.pod.uid).await,
            }
        }
        Ok(None)
    }

    async fn look(&mut self) -> Result<Look> {
        let run = self.source.run;
        let mut newest = self.mock.log_source(&self.pod, &self.container, self.previous).await;
        if !self.previous && newest.as_ref().is_ok_and(|newest| newest.run != run) {
            // It was started again meanwhile: the run before is this one, unless that has happened twice.
            newest = self.mock.log_source(&self.pod, &self.container, true).await;
        }
        match newest {
            Ok(newest) if newest.run == run => {
                self.source.ended = newest.ended;
                Ok(newest.ended.map_or(Look::Runs, |_| Look::Ended))
            }
            Ok(_) => Ok(Look::Gone),
            Err(error) if error.code == ErrorCode::NotFound => Ok(Look::Gone),
            Err(error) if error.code == ErrorCode::Unavailable => Ok(Look::Away),
            Err(error) => Err(error),
        }
    }

    /// Writes lines.
    pub async fn write(&self, out: &mut (impl AsyncWrite + Unpin), lines: Range<u64>, form: Form) -> Result<()> {
        let LogSource { run, line_bytes, .. } = self.source;
        let width = usize::try_from(line_bytes).unwrap_or(usize::MAX);
        let mut chunk = String::with_capacity(CHUNK.min(4 << 10));
        let end = if let Form::Output { tty: true } = form {
            "\r\n"
        } else {
            "\n"
        };
        let behind = format!(" of {}, run {run}", self.container);
        let mut times = Times::default();
        for line in lines {
            if let Form::Log = form {
                times.write(self.source.started, self.source.offset(line), &mut chunk);
                chunk.push(' ');
            }
            let text = chunk.len();
            // Writing to a string does not fail.
            let _ = write!(chunk, "line {line}");
            chunk.push_str(&behind);
            fill(&mut chunk, text + width);
            chunk.push_str(end);
            if chunk.len() >= CHUNK {
                out.write_all(chunk.as_bytes()).await?;
                chunk.clear();
            }
        }
        Ok(out.write_all(chunk.as_bytes()).await?)
    }
}

/// Fills up to a length.
fn fill(text: &mut String, length: usize) {
    const DOTS: &str = "................................................................";
    while text.len() < length {
        let missing = length - text.len();
        text.push_str(&DOTS[..missing.min(DOTS.len())]);
    }
}

impl LogSource {
    /// How many lines there are by then. The first comes with the start.
    fn lines(&self, now: Timestamp) -> u64 {
        let end = self.ended.unwrap_or(now);
        let seconds = end.0.saturating_sub(self.started.0) as f64 / 1_000.0;
        if self.rate <= 0.0 || seconds < 0.0 {
            return 0;
        }
        (seconds * self.rate).floor() as u64 + 1
    }

    /// Nanoseconds from the start to a line.
    fn offset(&self, line: u64) -> u64 {
        (line as f64 / self.rate * 1e9).round() as u64
    }

    /// How long until a line is there.
    fn until_line(&self, line: u64, now: Timestamp) -> Option<Duration> {
        if self.rate <= 0.0 {
            return None;
        }
        let ran = u64::try_from(now.0.saturating_sub(self.started.0)).unwrap_or(0);
        let passed = Duration::from_millis(ran);
        // Never nothing: times are kept in milliseconds, lines come in nanoseconds.
        let left = Duration::from_nanos(self.offset(line)).saturating_sub(passed);
        Some(left.max(Duration::from_millis(1)))
    }
}

/// The lines that a request is for.
fn wanted(source: &LogSource, request: &LogRequest, now: Timestamp) -> Range<u64> {
    let end = source.lines(now);
    let since = request.since.map_or(0, |since| {
        let seconds = since.0.saturating_sub(source.started.0).max(0) as f64 / 1_000.0;
        (seconds * source.rate).ceil() as u64
    });
    let tail = request.tail.map_or(0, |tail| end.saturating_sub(tail));
    since.max(tail).min(end)..end
}

/// A point in time with nanoseconds, in UTC.
pub struct Rfc3339(pub Timestamp, pub u64);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        Times::default().write(self.0, self.1, &mut text);
        f.write_str(&text)
    }
}

/// Writes such points in time one after the other: many are in the same second, of which all but the fraction is known then.
#[derive(Default)]
struct Times {
    second: Option<i64>,
    text: String,
}

impl Times {
    /// Appends the time so many nanoseconds after another.
    fn write(&mut self, from: Timestamp, nanos: u64, out: &mut String) {
        const SECOND: u64 = 1_000_000_000;
        let fraction = from.0.rem_euclid(1_000) as u64 * 1_000_000 + nanos % SECOND;
        let second = from.0.div_euclid(1_000) + (nanos / SECOND + fraction / SECOND) as i64;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = date_and_time(second);
        }
        out.push_str(&self.text);
        let mut fraction = fraction % SECOND;
        let mut digits = *b".000000000Z";
        for digit in digits[1..10].iter_mut().rev() {
            *digit += (fraction % 10) as u8;
            fraction /= 10;
        }
        // It is ASCII.
        out.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
}

/// `2026-11-28T19:30:00`
fn date_and_time(second: i64) -> String {
    let (day, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let (year, month, day) = civil(day.into());
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// The date of a day since 1970-01-01: with years that begin in March, leap days come last (Howard Hinnant, "chrono-
/// Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(day: i128) -> (i128, i128, i128) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year + era * 400 + i128::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(rate: f64, ended: Option<i64>) -> LogSource {
        LogSource {
            run: 0,
            started: Timestamp(1_000_000),
            ended: ended.map(Timestamp),
            rate,
            line_bytes: 0,
        }
    }

    fn request(since: Option<i64>, tail: Option<u64>) -> LogRequest {
        let identity = PodIdentity {
            cluster: String::new(),
            node: String::new(),
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
        };
        LogRequest {
            identity,
            container: "app".into(),
            previous: false,
            follow: false,
            since: since.map(Timestamp),
            tail,
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        let text = |ms, nanos| Rfc3339(Timestamp(ms), nanos).to_string();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(1_709_210_096_789, 42), "2024-02-29T12:34:56.789000042Z");
        assert_eq!(text(951_868_799_999, 0), "2000-02-29T23:59:59.999000000Z");
        assert_eq!(text(1_735_689_600_000, 1_500_000_000), "2025-01-01T00:00:01.500000000Z");
        assert_eq!(text(-1, 0), "1969-12-31T23:59:59.999000000Z");
    }

    #[test]
    fn times_that_follow_each_other_are_written_as_if_alone() {
        let (mut times, start) = (Times::default(), Timestamp(1_735_689_599_250));
        for nanos in [0, 1, 749_999_999, 750_000_000, 60_000_000_000, 5] {
            let mut text = String::new();
            times.write(start, nanos, &mut text);
            assert_eq!(text, Rfc3339(start, nanos).to_string());
        }
    }

    #[test]
    fn lines_follow_from_start_and_rate() {
        assert_eq!(source(2.0, None).lines(Timestamp(1_000_000)), 1);
        assert_eq!(source(2.0, None).lines(Timestamp(1_001_600)), 4);
        assert_eq!(source(2.0, Some(1_000_500)).lines(Timestamp(9_000_000)), 2);
        assert_eq!(source(0.0, None).lines(Timestamp(9_000_000)), 0);
        assert_eq!(source(2.0, None).lines(Timestamp(0)), 0);
    }

    #[test]
    fn a_request_can_be_for_the_end() {
        let (source, now) = (source(1.0, None), Timestamp(1_010_000));
        assert_eq!(wanted(&source, &request(None, None), now), 0..11);
        assert_eq!(wanted(&source, &request(None, Some(3)), now), 8..11);
        assert_eq!(wanted(&source, &request(None, Some(0)), now), 11..11);
        assert_eq!(wanted(&source, &request(Some(1_007_001), None), now), 8..11);
        assert_eq!(wanted(&source, &request(Some(1_007_000), Some(100)), now), 7..11);
        assert_eq!(wanted(&source, &request(Some(9_999_999), None), now), 11..11);
    }

    #[test]
    fn the_next_line_is_waited_for() {
        let source = source(4.0, None);
        assert_eq!(
            source.until_line(2, Timestamp(1_000_100)),
            Some(Duration::from_millis(400))
        );
        assert_eq!(
            source.until_line(2, Timestamp(1_000_600)),
            Some(Duration::from_millis(1))
        );
    }
}
