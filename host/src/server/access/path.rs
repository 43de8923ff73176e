//! The path of a request as both authorization and routing see it.

use std::borrow::Cow;

/// `path` without its dot segments, which lead elsewhere than the path says: `/stats/../exec/a/b/c` is `/exec/a/b/c`
/// (RFC 3986, section 5.2.4, percent-encoded dots included). What may be asked for is decided on the cleaned path, so it
/// must be what is routed on, too.
///
/// Nothing else is changed: the path stays percent-encoded, so that a part of it may hold any character, and empty parts
/// stay, so that an endpoint can say which one is missing. Cleaning a cleaned path changes nothing.
pub(in crate::server) fn clean(path: &str) -> Cow<'_, str> {
    if !path.split('/').any(|segment| dots(segment).is_some()) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let dots = dots(segment);
        match dots {
            None => kept.push(segment),
            Some(Dots::One) => {}
            Some(Dots::Two) => drop(kept.pop()),
        }
        // `/a/.` and `/a/b/..` are the directory `/a/`.
        if dots.is_some() && segments.peek().is_none() {
            kept.push("");
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

#[derive(Clone, Copy)]
enum Dots {
    One,
    Two,
}

fn dots(segment: &str) -> Option<Dots> {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        let dot = rest.strip_prefix('.').or_else(|| rest.strip_prefix("%2e"));
        rest = dot.or_else(|| rest.strip_prefix("%2E"))?;
        count += 1;
    }
    match count {
        1 => Some(Dots::One),
        2 => Some(Dots::Two),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_gone() {
        for (path, cleaned) in [
            ("/stats/../exec/a/b/c", "/exec/a/b/c"),
            ("/stats/%2e%2E/exec/a/b/c", "/exec/a/b/c"),
            ("/stats/.%2e/exec/a/b/c", "/exec/a/b/c"),
            ("/stats/./summary", "/stats/summary"),
            ("/stats/x/..", "/stats/"),
            ("/pods/.", "/pods/"),
            ("/..", "/"),
            ("/../../pods", "/pods"),
            ("/../../..", "/"),
            ("/stats//../summary", "/stats/summary"),
            ("..", "/"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
            assert_eq!(clean(cleaned), cleaned, "{cleaned}");
        }
    }

    #[test]
    fn the_rest_stays_as_it_is() {
        for path in [
            "",
            "/",
            "*",
            "/pods",
            "/pods/",
            "//pods",
            "/containerLogs//web/app",
            "/containerLogs/default/we%2fb/%61pp",
            "/logs/...",
            "/logs/.hidden",
            "/logs/a..b",
            "/logs/%2",
        ] {
            assert!(matches!(clean(path), Cow::Borrowed(same) if same == path), "{path}");
        }
    }
}
