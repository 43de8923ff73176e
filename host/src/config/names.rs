//! The syntax of names and values that the Kubernetes API would refuse later, and less clearly.

use super::tree::quoted;

/// An RFC 1123 subdomain, as node names are: labels of lower-case letters, digits and `-`, joined by `.`.
pub(super) fn subdomain(text: &str) -> Result<(), String> {
    let valid = text.len() <= 253 && text.split('.').all(|label| is_label(label, |_| false));
    if valid {
        return Ok(());
    }
    Err(format!(
        "expected a DNS name (lower-case letters, digits, '-' and '.', at most 253 characters), found {}",
        quoted(text)
    ))
}

/// An RFC 1123 label, as provider names are: they become the value of a taint.
pub(super) fn label(text: &str) -> Result<(), String> {
    if text.len() <= 63 && is_label(text, |_| false) {
        return Ok(());
    }
    Err(format!(
        "expected a name (lower-case letters, digits and '-', at most 63 characters), found {}",
        quoted(text)
    ))
}

/// The name of a plugin, which becomes part of a file name.
pub(super) fn plugin(text: &str) -> Result<(), String> {
    if text.len() <= 63 && is_label(text, |b| b == b'_') {
        return Ok(());
    }
    let file = text.contains('/') || text.ends_with(".so");
    let hint = if file { "; a file is named by `path`" } else { "" };
    Err(format!(
        "expected a plugin's name (lower-case letters, digits, '-' and '_'), found {}{hint}",
        quoted(text)
    ))
}

fn is_label(text: &str, extra: impl Fn(u8) -> bool) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(inner) && text.bytes().next_back().is_some_and(inner);
    ends && text.bytes().all(|b| inner(b) || b == b'-' || extra(b))
}

/// A qualified name, as the keys of labels, annotations, taints and resources are: `[prefix/]name`.
pub(super) fn qualified(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_none_or(|prefix| subdomain(prefix).is_ok()) && is_name(name) {
        return Ok(());
    }
    Err(format!(
        "expected a qualified name ([prefix/]name, the name of letters, digits, '-', '_' and '.', at most 63), found {}",
        quoted(text)
    ))
}

/// The value of a label or taint; may be empty.
pub(super) fn label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_name(text) {
        return Ok(());
    }
    Err(format!(
        "expected a label value (letters, digits, '-', '_' and '.', at most 63 characters), found {}",
        quoted(text)
    ))
}

fn is_name(text: &str) -> bool {
    let ends = |b: u8| b.is_ascii_alphanumeric();
    text.len() <= 63
        && text.bytes().next().is_some_and(ends)
        && text.bytes().next_back().is_some_and(ends)
        && text.bytes().all(|b| ends(b) || matches!(b, b'-' | b'_' | b'.'))
}

/// A Kubernetes quantity that is not negative: `4`, `500m`, `1.5`, `16Gi`, `1e3`.
pub(super) fn quantity(text: &str) -> Result<(), String> {
    const SUFFIXES: [&str; 15] = [
        "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P",
    ];
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let number_ok = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
    let exponent = || {
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        Some(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    if number_ok && (SUFFIXES.contains(&suffix) || suffix == "E" || exponent() == Some(true)) {
        return Ok(());
    }
    Err(format!(
        "expected a quantity such as 4, 500m or 16Gi, found {}",
        quoted(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(check: fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_the_rules_of_the_api() {
        let (l253, l254) = ("a".repeat(253), "a".repeat(254));
        let (l63, l64) = ("a".repeat(63), "a".repeat(64));
        all(
            subdomain,
            &["a", "vk-0", "a.b.c", "0", &l253],
            &["", "A", "-a", "a-", "a..b", ".a", "a_b", "é", &l254],
        );
        all(label, &["a", "mock-a", &l63], &["", "a.b", "A", "a_b", &l64]);
        all(
            plugin,
            &["mock", "my_plugin", "a-b"],
            &["", "Mock", "../x", "a/b", "libx.so", "_a"],
        );
        let prefixed = format!("example.com/{l63}");
        all(
            qualified,
            &["a", "A_b.c", "example.com/x", &prefixed],
            &["", "/x", "a/", "a/b/c", "Ex.com/x", "a b", &l64],
        );
        all(label_value, &["", "a", "A.b_c-9", &l63], &["-", "a b", "é", &l64]);
    }

    #[test]
    fn quantities_follow_the_rules_of_the_api() {
        all(
            quantity,
            &[
                "0", "4", "1.5", ".5", "5.", "500m", "16Gi", "1e3", "1E-3", "2E", "3Ei", "10k",
            ],
            &["", ".", "-1", "1.2.3", "4GB", "1 Gi", "e3", "1e", "Gi", "1K", "∞"],
        );
    }
}
