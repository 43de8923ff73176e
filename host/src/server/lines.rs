//! The provider's log lines on their way to a caller: times taken off, old lines left out, the last ones kept, cut at
//! a number of bytes.
//!
//! A provider is asked for the same selection. Doing it again changes nothing where it obeyed, and the caller gets
//! what was asked for where it did not. Memory is bounded: the time at the start of a line is looked at, the line
//! itself passes through in whatever pieces it came. Only `tail` holds lines back, and at most [`HELD`] bytes, what each
//! line costs besides its text among them: beyond, the provider's own tail is taken at its word, and so it is for a log
//! that is followed, since only the provider knows where what was there already ends.

use super::query::LogOptions;
use bytes::BytesMut;
use jiff::Timestamp;
use memchr::memchr;
use memchr::memchr2;
use std::collections::VecDeque;

/// How many bytes of lines wait for the end of the log.
const HELD: usize = 8 << 20;

/// Longer than any RFC 3339 time with nanoseconds and offset.
const LONGEST_TIME: usize = 40;

/// The selection, in the middle of a log.
pub(super) struct Lines {
    timestamps: bool,
    since: Option<Timestamp>,
    place: Place,
    tail: Option<Tail>,
    left: u64,
}

/// Where in a line the next byte belongs.
enum Place {
    /// In the time at its start, of which this much was seen.
    Time(Vec<u8>),
    /// In its text.
    Text { keep: bool },
}

struct Tail {
    lines: u64,
    /// The lines, one behind the other.
    text: VecDeque<u8>,
    /// The lengths of those that are whole.
    whole: VecDeque<usize>,
    /// The length of the one behind them, which isn't.
    part: usize,
}

impl Lines {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            place: Place::Time(Vec::new()),
            tail: options.tail.filter(|_| !options.follow).map(Tail::new),
            left: options.limit.unwrap_or(u64::MAX),
        }
    }

    /// The caller has all that was asked for.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Takes bytes of the provider and appends what goes to the caller.
    pub(super) fn push(&mut self, mut input: &[u8], out: &mut BytesMut) {
        if self.timestamps && self.since.is_none() && self.tail.is_none() {
            // Nothing is chosen by line, and nothing taken off.
            return limited(&mut self.left, input, out);
        }
        while !input.is_empty() && !self.is_done() {
            input = match std::mem::replace(&mut self.place, Place::Text { keep: false }) {
                Place::Time(seen) => self.time(seen, input, out),
                Place::Text { keep } => self.text(keep, input, out),
            };
        }
    }

    /// Takes the end of the log.
    pub(super) fn end(&mut self, out: &mut BytesMut) {
        if let Place::Time(seen) = std::mem::replace(&mut self.place, Place::Text { keep: false })
            && !seen.is_empty()
        {
            self.start(&seen, out);
        }
        if let Some(tail) = self.tail.take() {
            tail.into_text(|text| limited(&mut self.left, text, out));
        }
    }

    fn time<'i>(&mut self, mut seen: Vec<u8>, input: &'i [u8], out: &mut BytesMut) -> &'i [u8] {
        let room = LONGEST_TIME.saturating_sub(seen.len()).min(input.len());
        let end = memchr2(b' ', b'\n', &input[..room]);
        let (taken, rest) = input.split_at(end.unwrap_or(room));
        // Mostly all of it is there, and nothing has to be put aside.
        let word = if seen.is_empty() && end.is_some() {
            taken
        } else {
            seen.extend_from_slice(taken);
            seen.as_slice()
        };
        if end.is_none() && word.len() < LONGEST_TIME {
            self.place = Place::Time(seen);
            return rest;
        }
        let (is_time, keep) = self.start(word, out);
        self.place = Place::Text { keep };
        // The space belongs to the time, a newline ends the line, and anything else is text already.
        match rest.split_first() {
            Some((b' ', text)) if !self.timestamps && is_time => text,
            _ => rest,
        }
    }

    /// Decides over a line by its first word: whether that is a time, and whether the line is kept, with its time written
    /// if that was asked for. A word that is no time is text, of a line whose age nobody knows.
    fn start(&mut self, word: &[u8], out: &mut BytesMut) -> (bool, bool) {
        let (is_time, keep) = match self.since {
            None => (looks_like_time(word), true),
            Some(since) => match parse(word) {
                Some(time) => (true, time >= since),
                None => (false, true),
            },
        };
        if keep && (self.timestamps || !is_time) {
            self.keep(word, out);
        }
        (is_time, keep)
    }

    fn text<'i>(&mut self, keep: bool, input: &'i [u8], out: &mut BytesMut) -> &'i [u8] {
        let end = memchr(b'\n', input).map(|at| at + 1);
        let (text, rest) = input.split_at(end.unwrap_or(input.len()));
        if keep {
            self.keep(text, out);
        }
        self.place = match end {
            Some(_) => Place::Time(Vec::new()),
            None => Place::Text { keep },
        };
        rest
    }

    fn keep(&mut self, text: &[u8], out: &mut BytesMut) {
        let Some(tail) = &mut self.tail else {
            return limited(&mut self.left, text, out);
        };
        tail.push(text);
        if tail.held() > HELD
            && let Some(tail) = self.tail.take()
        {
            tail.into_text(|text| limited(&mut self.left, text, out));
        }
    }
}

fn parse(word: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The shape of an RFC 3339 time, `2026-11-23T06:00:00`, a fraction, `Z` or an offset: every line is looked at, and where
/// nothing depends on the time itself, reading it would be most of the work.
fn looks_like_time(word: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let Some((head, rest)) = word.split_at_checked(SHAPE.len()) else {
        return false;
    };
    let fits = |byte: &u8, shape: &u8| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            &fraction[digits..]
        }
        None => rest,
    };
    let is_offset = || {
        let [b'+' | b'-', offset @ ..] = zone else { return false };
        offset.len() == 5 && offset.iter().zip(b"00:00").all(|(byte, shape)| fits(byte, shape))
    };
    head.iter().zip(SHAPE).all(|(byte, shape)| fits(byte, shape)) && (zone == b"Z" || is_offset())
}

fn limited(left: &mut u64, text: &[u8], out: &mut BytesMut) {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
    out.extend_from_slice(&text[..length]);
    *left -= length as u64;
}

impl Tail {
    fn new(lines: u64) -> Self {
        Self {
            lines,
            text: VecDeque::new(),
            whole: VecDeque::new(),
            part: 0,
        }
    }

    fn push(&mut self, text: &[u8]) {
        if self.lines == 0 {
            return;
        }
        self.text.extend(text);
        self.part += text.len();
        if text.ends_with(b"\n") {
            self.whole.push_back(std::mem::take(&mut self.part));
            self.shed();
        }
    }

    fn held(&self) -> usize {
        self.text.len() + self.whole.len() * size_of::<usize>()
    }

    /// Drops what came before the last lines.
    fn shed(&mut self) {
        while self.whole.len() as u64 + u64::from(self.part > 0) > self.lines
            && let Some(line) = self.whole.pop_front()
        {
            self.text.drain(..line);
        }
    }

    /// Gives what there is, in one piece or two.
    fn into_text(mut self, mut each: impl FnMut(&[u8])) {
        self.shed();
        let (first, second) = self.text.as_slices();
        each(first);
        each(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-23T06:00:00.000000001Z one\n\
                       2026-11-23T06:00:01.000000002Z \n\
                       2026-11-23T06:00:02.5Z two words\n\
                       2026-11-23T08:00:03+02:00 three\n";

    fn select(log: &str, options: &LogOptions, piece: usize) -> String {
        let mut lines = Lines::new(options);
        let mut out = BytesMut::new();
        for piece in log.as_bytes().chunks(piece) {
            lines.push(piece, &mut out);
        }
        lines.end(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The same, however the bytes come.
    fn selected(log: &str, options: LogOptions) -> String {
        let whole = select(log, &options, log.len().max(1));
        for piece in [1, 2, 3, 7, 31, 40] {
            assert_eq!(select(log, &options, piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn times_are_taken_off_unless_asked_for() {
        assert_eq!(selected(LOG, LogOptions::default()), "one\n\ntwo words\nthree\n");
        let options = LogOptions {
            timestamps: true,
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, options), LOG);
    }

    #[test]
    fn old_lines_are_left_out() {
        let since = |time: &str| LogOptions {
            since: Some(time.parse().unwrap()),
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, since("2026-11-23T06:00:02Z")), "two words\nthree\n");
        assert_eq!(
            selected(LOG, since("2026-11-23T06:00:01.000000002Z")),
            "\ntwo words\nthree\n"
        );
        assert_eq!(selected(LOG, since("2026-11-23T06:00:04Z")), "");
    }

    #[test]
    fn the_last_lines_are_kept() {
        let tail = |lines| LogOptions {
            tail: Some(lines),
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, tail(0)), "");
        assert_eq!(selected(LOG, tail(2)), "two words\nthree\n");
        assert_eq!(selected(LOG, tail(9)), "one\n\ntwo words\nthree\n");
        assert_eq!(selected("2026-11-23T06:00:00Z a\n2026-11-23T06:00:00Z b", tail(1)), "b");
    }

    #[test]
    fn bytes_are_counted_after_all_that() {
        let options = LogOptions {
            tail: Some(2),
            limit: Some(6),
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, options), "two wo");
        let options = LogOptions {
            timestamps: true,
            limit: Some(33),
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, options), LOG[..33]);
        let mut lines = Lines::new(&LogOptions {
            limit: Some(3),
            ..LogOptions::default()
        });
        lines.push(LOG.as_bytes(), &mut BytesMut::new());
        assert!(lines.is_done());
    }

    #[test]
    fn selecting_twice_changes_nothing() {
        let options = || LogOptions {
            timestamps: true,
            since: Some("2026-11-23T06:00:01Z".parse().unwrap()),
            tail: Some(2),
            limit: Some(50),
            ..LogOptions::default()
        };
        let once = selected(LOG, options());
        assert_eq!(selected(&once, options()), once);
    }

    #[test]
    fn lines_without_a_time_pass_whole() {
        let log = "no time here\n\n2026-11-23T06:00:00Z timed\nanother-word-that-is-longer-than-any-time-could-be x";
        let options = LogOptions {
            since: Some("2026-11-23T07:00:00Z".parse().unwrap()),
            ..LogOptions::default()
        };
        assert_eq!(
            selected(log, options),
            "no time here\n\nanother-word-that-is-longer-than-any-time-could-be x"
        );
    }

    #[test]
    fn a_log_that_is_followed_is_not_held_back() {
        let options = LogOptions {
            follow: true,
            tail: Some(1),
            ..LogOptions::default()
        };
        assert_eq!(selected(LOG, options), "one\n\ntwo words\nthree\n");
    }

    #[test]
    fn times_are_known_by_their_shape() {
        for time in [
            "2026-11-23T06:00:00Z",
            "2026-11-23T06:00:00.123456789Z",
            "2026-11-23T06:00:00.5+02:00",
            "2026-11-23T06:00:00-11:30",
        ] {
            assert!(
                looks_like_time(time.as_bytes()) && parse(time.as_bytes()).is_some(),
                "{time}"
            );
        }
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T06:00:00",
            "2026-11-23T06:00:00X",
            "2026-11-23T06:00:00+0200",
            "2026-11-23T06:00:00Z,",
            "hello-world-this-is-text",
        ] {
            assert!(!looks_like_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_tail_holds_back_no_more_than_its_budget() {
        let line = format!("2026-11-23T06:00:00Z {}\n", "x".repeat(1 << 20));
        let mut lines = Lines::new(&LogOptions {
            tail: Some(1000),
            ..LogOptions::default()
        });
        let mut out = BytesMut::new();
        for _ in 0..12 {
            lines.push(line.as_bytes(), &mut out);
        }
        assert!(out.len() > HELD, "the budget is spent, so lines go out");
        lines.end(&mut out);
        assert_eq!(out.len(), 12 * ((1 << 20) + 1));
    }

    #[test]
    fn lines_with_nothing_in_them_are_counted_too() {
        let mut lines = Lines::new(&LogOptions {
            tail: Some(u64::MAX),
            ..LogOptions::default()
        });
        let (line, mut out) = ("\n".repeat(1 << 10), BytesMut::new());
        let mut sent = 0;
        while out.is_empty() {
            lines.push(line.as_bytes(), &mut out);
            sent += line.len();
            assert!(sent < HELD / 4, "what a line costs is not counted");
        }
        lines.end(&mut out);
        assert_eq!(out.len(), sent);
    }
}
