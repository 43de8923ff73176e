//! Durations as operators write them: `500ms`, `10s`, `5m`, `1h30m`.

use super::NotReadyAfter;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Anything longer is a slip, and near the end of what clocks can add up.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration in a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurationText(pub(super) Duration);

/// A duration that is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PositiveDuration(pub(super) Duration);

impl FromStr for DurationText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unreadable = || "expected a duration such as 500ms, 10s, 5m or 1h".to_owned();
        let (mut rest, mut total, mut previous) = (text, Duration::ZERO, Duration::MAX);
        while !rest.is_empty() || text.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(unreadable)?;
            let number: u64 = rest[..digits].parse().map_err(|_| unreadable())?;
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = match &rest[..unit_end] {
                "ms" => Duration::from_millis(1),
                "s" => Duration::from_secs(1),
                "m" => Duration::from_secs(60),
                "h" => Duration::from_secs(3600),
                _ => return Err(unreadable()),
            };
            if unit >= previous {
                return Err(unreadable());
            }
            previous = unit;
            rest = &rest[unit_end..];
            let part = u32::try_from(number).ok().and_then(|number| unit.checked_mul(number));
            total = part.and_then(|part| total.checked_add(part)).unwrap_or(Duration::MAX);
        }
        if total > LONGEST {
            Err("expected a duration of at most 8760h, a year".to_owned())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let parts = [
            (millis / 3_600_000, "h"),
            (millis / 60_000 % 60, "m"),
            (millis / 1000 % 60, "s"),
            (millis % 1000, "ms"),
        ];
        if millis == 0 {
            return f.write_str("0s");
        }
        parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

impl FromStr for PositiveDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            DurationText(Duration::ZERO) => Err("expected a duration longer than zero".to_owned()),
            DurationText(duration) => Ok(Self(duration)),
        }
    }
}

impl FromStr for NotReadyAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            _ => text
                .parse()
                .map(|DurationText(duration)| Self::After(duration))
                .map_err(|e| format!("{e}, or never")),
        }
    }
}

impl fmt::Display for NotReadyAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => DurationText(*duration).fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            let read: DurationText = text.parse().unwrap();
            assert_eq!(read.0.as_millis(), millis, "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "", "10", "s", "10 s", "-5s", "1.5s", "5m5m", "1s1h", "10sec", "10S", "never", "٣s", "é", "5d",
        ] {
            let error = bad.parse::<DurationText>().unwrap_err();
            assert_eq!(error, "expected a duration such as 500ms, 10s, 5m or 1h", "{bad}");
        }
        for long in ["8761h", "99999999999h", "4294967295h"] {
            assert!(
                long.parse::<DurationText>().unwrap_err().contains("at most 8760h"),
                "{long}"
            );
        }
        assert!("0ms".parse::<PositiveDuration>().is_err());
        assert_eq!("never".parse(), Ok(NotReadyAfter::Never));
        assert_eq!("30s".parse(), Ok(NotReadyAfter::After(Duration::from_secs(30))));
        assert!("nver".parse::<NotReadyAfter>().unwrap_err().ends_with("or never"));
    }
}
