//! Ages in kubectl's words: two units at most, fewer as they grow.

/// Seconds as `5s`, `2m30s`, `8m`, `3h12m`, `26h`, `2d3h`, `12d`, `2y45d`, `9y`.
pub fn human(seconds: f64) -> String {
    // A clock that is a little behind is no reason for alarm.
    if seconds < -1.0 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0.0) as u64;
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        let rest = seconds % 60;
        return if rest == 0 {
            format!("{minutes}m")
        } else {
            format!("{minutes}m{rest}s")
        };
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        let rest = minutes % 60;
        return if rest == 0 {
            format!("{hours}h")
        } else {
            format!("{hours}h{rest}m")
        };
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if hours < 192 {
        let rest = hours % 24;
        return if rest == 0 {
            format!("{days}d")
        } else {
            format!("{days}d{rest}h")
        };
    }
    let years = days / 365;
    if years < 2 {
        return format!("{days}d");
    }
    let rest = days % 365;
    if years < 8 && rest > 0 {
        format!("{years}y{rest}d")
    } else {
        format!("{years}y")
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn ages_read_as_in_kubectl() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (150, "2m30s"),
            (180, "3m"),
            (601, "10m"),
            (10_799, "179m"),
            (11_520, "3h12m"),
            (28_800, "8h"),
            (93_600, "26h"),
            (183_600, "2d3h"),
            (1_036_800, "12d"),
            (66_960_000, "2y45d"),
            (290_000_000, "9y"),
        ] {
            assert_eq!(human(f64::from(seconds)), expected, "{seconds}");
        }
    }
}
