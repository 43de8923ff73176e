//! Lengths of time as people write them.

use outrigger_plugin::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

/// A length of time (`250ms`, `1.5s`, `5m`, `2h`, `0`), or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// That long. Kept in milliseconds.
    Lasts(Duration),
    /// Without end.
    Never,
}

const EXPECTED: &str = "expected a duration such as 250ms, 1.5s, 5m or 2h, or never";
/// A century: beyond it `never` is meant, and arithmetic stays far from its limits.
const LONGEST_MS: f64 = 100.0 * 365.25 * 86_400_000.0;

impl Span {
    /// Nothing.
    pub const ZERO: Self = Self::Lasts(Duration::ZERO);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self::Lasts(Duration::from_secs(seconds))
    }

    /// The length; `None` for never.
    pub fn finite(self) -> Option<Duration> {
        match self {
            Self::Lasts(duration) => Some(duration),
            Self::Never => None,
        }
    }

    /// When it is over, if ever.
    pub fn after(self, start: Timestamp) -> Option<Timestamp> {
        let duration = self.finite()?;
        Some(later(start, duration))
    }
}

/// A point in time so much later.
pub fn later(start: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(
        start
            .0
            .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
    )
}

/// How long it is from one point in time to a later one; zero if it is not later.
pub fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(end.0.saturating_sub(start.0)).unwrap_or(0))
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let wrong = || format!("`{text}`: {EXPECTED}");
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let milliseconds = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "" if number == "0" => 1.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let total = number * milliseconds;
        if total > LONGEST_MS {
            return Err(format!("`{text}` is more than a century: write never"));
        }
        Ok(Self::Lasts(Duration::from_millis(total.round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Lasts(duration) => write!(f, "{}ms", duration.as_millis()),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 250ms, 1.5s, 5m or 2h, or never")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Span, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a duration such as 250ms, 1.5s, 5m or 2h, 0, or never",
            "anyOf": [
                { "type": "string", "pattern": r"^(never|0|[0-9]*\.?[0-9]+(ms|s|m|h))$" },
                { "const": 0 },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let ms = |text: &str| text.parse::<Span>().unwrap().finite().map(|d| d.as_millis());
        assert_eq!(ms("250ms"), Some(250));
        assert_eq!(ms("1.5s"), Some(1_500));
        assert_eq!(ms("5m"), Some(300_000));
        assert_eq!(ms("2h"), Some(7_200_000));
        assert_eq!(ms("0"), Some(0));
        assert_eq!(ms("never"), None);
    }

    #[test]
    fn refuses_the_rest_with_what_it_expected() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.2.3s",
            "5 s",
            "1d",
            "forever",
            "99999999999h",
            ".s",
        ] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(
                error.contains("expected a duration") || error.contains("century"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn survives_being_written() {
        for text in ["250ms", "1.5s", "never", "0"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }
}
