//! The text format of Prometheus, version 0.0.4, with times: the crate that the host's own metrics use writes none.

use std::fmt::Display;
use std::fmt::Write;

/// A page of metrics.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Into a String, which can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family, at a time in milliseconds since 1970 if that counts.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display, time: Option<i64>) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"");
            value.chars().for_each(|char| match char {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            });
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = write!(self.0, " {value}");
        if let Some(time) = time {
            let _ = write!(self.0, " {time}");
        }
        self.0.push('\n');
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Nanoseconds in seconds, to the last digit.
pub(super) struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// A time in seconds since 1970.
pub(super) struct Epoch(pub i64);

impl Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.div_euclid(1_000), self.0.rem_euclid(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_with_labels_and_times() {
        let mut page = Page::default();
        page.family("x_total", "counter", "What it is.");
        page.sample(
            "x_total",
            &[("a", "one"), ("b", "q\"\\\n")],
            Seconds(1_500_000_001),
            Some(7),
        );
        page.sample("x_total", &[], 3, None);
        let expected = "# HELP x_total What it is.\n# TYPE x_total counter\n\
                        x_total{a=\"one\",b=\"q\\\"\\\\\\n\"} 1.500000001 7\nx_total 3\n";
        assert_eq!(page.into_text(), expected);
        assert_eq!(Epoch(1_700_000_000_042).to_string(), "1700000000.042");
    }
}
