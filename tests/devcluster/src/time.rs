//! Times as the API writes them.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// `metav1.Time`: whole seconds.
pub fn now() -> String {
    format(Timestamp::now())
}

/// Seconds from now, which may be in the past.
pub fn in_seconds(seconds: i64) -> String {
    let when = Timestamp::now().as_second().saturating_add(seconds);
    Timestamp::from_second(when).map_or_else(|_| now(), format)
}

/// Any time in whole seconds.
pub fn format(time: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(0)).timestamp_to_string(&time)
}

/// Reads either form.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Seconds since `text`; zero for what can't be read.
pub fn age_seconds(text: &str) -> f64 {
    parse(text).map_or(0.0, |then| Timestamp::now().duration_since(then).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_shape_of_the_api() {
        assert_eq!(now().len(), "2026-01-02T03:04:05Z".len());
        assert!(now().ends_with('Z'));
        assert!((age_seconds(&in_seconds(-90)) - 90.0).abs() < 2.0);
        assert_eq!(age_seconds("nonsense"), 0.0);
    }
}
