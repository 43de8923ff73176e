//! Times as `metav1.Time` writes them: RFC 3339, whole seconds, UTC.

use outrigger_plugin::Timestamp;

/// A timestamp cut to whole seconds.
pub fn rfc3339(time: Timestamp) -> String {
    let seconds = time.0.div_euclid(1000);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// Reads such a time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(|time| Timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds() {
        assert_eq!(rfc3339(Timestamp(1_700_000_000_999)), "2023-11-14T22:13:20Z");
        assert_eq!(parse("2023-11-14T22:13:20Z"), Some(Timestamp(1_700_000_000_000)));
        assert_eq!(parse("yesterday"), None);
    }
}
