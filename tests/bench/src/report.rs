//! Medians and spreads of all rounds, as a table.

use crate::round::Sample;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// All rounds of a run.
#[derive(Serialize)]
pub struct Report {
    /// Which bench it was.
    pub title: &'static str,
    /// The subject that others are compared with.
    pub peer: &'static str,
    /// What the run was: title and value, in order.
    pub facts: Vec<(&'static str, String)>,
    /// The rounds, in order.
    pub rounds: Vec<Round>,
}

/// A round's figures.
#[derive(Serialize)]
pub struct Round {
    pub subject: &'static str,
    pub samples: Vec<Sample>,
}

/// Median and spread.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { least, median, most })
    }
}

impl Report {
    /// Nothing measured yet.
    pub fn new(title: &'static str, peer: &'static str) -> Self {
        Self {
            title,
            peer,
            facts: Vec::new(),
            rounds: Vec::new(),
        }
    }

    /// In the order of their first rounds.
    fn subjects(&self) -> Vec<&'static str> {
        let mut subjects = Vec::new();
        for round in &self.rounds {
            if !subjects.contains(&round.subject) {
                subjects.push(round.subject);
            }
        }
        subjects
    }

    /// Names and units of all figures. A figure that only some subjects have (an event) stands behind its neighbours.
    fn rows(&self) -> Vec<(&str, &'static str)> {
        let mut rows: Vec<(&str, &'static str)> = Vec::new();
        for round in &self.rounds {
            let mut behind = None;
            for sample in &round.samples {
                let known = rows.iter().position(|(name, _)| *name == sample.name);
                behind = Some(known.unwrap_or_else(|| {
                    let at = behind.map_or(0, |at: usize| at + 1);
                    rows.insert(at, (&sample.name, sample.unit));
                    at
                }));
            }
        }
        rows
    }

    fn spreads(&self, name: &str, unit: &str) -> BTreeMap<&'static str, Spread> {
        // What was never counted happened never; a time that was not taken is none.
        let absent = (unit != "ms").then_some(0.0);
        let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for round in &self.rounds {
            let value = round.samples.iter().find(|sample| sample.name == name);
            let value = value.map(|sample| sample.value).or(absent);
            values.entry(round.subject).or_default().extend(value);
        }
        values
            .into_iter()
            .filter_map(|(subject, values)| Some((subject, Spread::of(values)?)))
            .collect()
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n", self.title);
        // Writing to a string does not fail.
        for (title, value) in &self.facts {
            let _ = writeln!(out, "- {title}: {value}");
        }
        if self.rounds.is_empty() {
            return out;
        }
        let subjects = self.subjects();
        let has_peer = subjects.contains(&self.peer);
        let compared: Vec<&str> = subjects
            .iter()
            .copied()
            .filter(|subject| has_peer && *subject != self.peer)
            .collect();
        let _ = write!(
            out,
            "\nMedian (least..most) of the rounds; a ratio is one of medians.\n\n| | unit |"
        );
        for subject in &subjects {
            let _ = write!(out, " {subject} |");
        }
        for subject in &compared {
            let _ = write!(out, " {subject} / {} |", self.peer);
        }
        let _ = write!(out, "\n|---|---|{}\n", "---:|".repeat(subjects.len() + compared.len()));
        for (name, unit) in self.rows() {
            let spreads = self.spreads(name, unit);
            let _ = write!(out, "| {name} | {unit} |");
            for subject in &subjects {
                let cell = spreads.get(subject).map_or_else(String::new, |spread| cell(*spread));
                let _ = write!(out, " {cell} |");
            }
            let peer = spreads.get(self.peer).map(|spread| spread.median);
            for subject in &compared {
                let ratio = peer.zip(spreads.get(subject)).filter(|(peer, _)| *peer > 0.0);
                let cell = ratio.map_or_else(String::new, |(peer, spread)| format!("{:.3}", spread.median / peer));
                let _ = write!(out, " {cell} |");
            }
            out.push('\n');
        }
        out
    }
}

fn cell(spread: Spread) -> String {
    let digits = match spread.median {
        median if median >= 100.0 => 0,
        median if median >= 10.0 => 1,
        _ => 3,
    };
    let Spread { least, median, most } = spread;
    format!("{median:.digits$} ({least:.digits$}..{most:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(subject: &'static str, figures: &[(&str, f64)]) -> Round {
        let sample = |(name, value): &(&str, f64)| Sample {
            name: (*name).to_owned(),
            unit: "1",
            value: *value,
        };
        Round {
            subject,
            samples: figures.iter().map(sample).collect(),
        }
    }

    #[test]
    fn medians_spreads_and_ratios_are_shown() {
        let report = Report {
            title: "churn",
            peer: "ideal",
            facts: vec![("cluster", "none".to_owned())],
            rounds: vec![
                round("ideal", &[("up", 400.0), ("down", 8.0)]),
                round("host", &[("up", 300.0), ("events", 2.0), ("down", 4.0)]),
                round("ideal", &[("up", 200.0), ("down", 8.0)]),
                round("host", &[("up", 210.0), ("down", 4.0)]),
                round("host", &[("up", 240.0), ("down", 4.0)]),
            ],
        };
        let text = report.markdown();
        let table: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            table,
            [
                "| | unit | ideal | host | host / ideal |",
                "|---|---|---:|---:|---:|",
                "| up | 1 | 300 (200..400) | 240 (210..300) | 0.800 |",
                "| events | 1 | 0.000 (0.000..0.000) | 0.000 (0.000..2.000) |  |",
                "| down | 1 | 8.000 (8.000..8.000) | 4.000 (4.000..4.000) | 0.500 |",
            ]
        );
    }

    #[test]
    fn a_time_that_a_subject_does_not_have_is_left_empty() {
        let mut host = round("host", &[("up", 3.0), ("way", 0.5)]);
        host.samples[1].unit = "ms";
        let report = Report {
            rounds: vec![round("ideal", &[("up", 4.0)]), host],
            ..Report::new("churn", "ideal")
        };
        let text = report.markdown();
        assert!(text.contains("| way | ms |  | 0.500 (0.500..0.500) |  |"), "{text}");
    }
}
