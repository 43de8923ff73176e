//! The query of a request for logs: `v1.PodLogOptions` as the API server passes them on.

use jiff::SignedDuration;
use jiff::Timestamp;

/// What a caller wants of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only lines of this time and later.
    pub since: Option<Timestamp>,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only the first so many bytes of what is left then.
    pub limit: Option<u64>,
    /// One of the streams alone, which no runtime here keeps apart.
    pub one_stream: bool,
}

/// A query that can't be served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadQuery {
    /// Something in it is not of the right type.
    Undecodable,
    /// A value is out of range, or two exclude each other.
    Invalid,
}

/// Reads a query. A parameter that is there twice counts once, the first; unknown ones do not count.
pub(super) fn log_options(query: Option<&str>, now: Timestamp) -> Result<LogOptions, BadQuery> {
    let query = Query::read(query.unwrap_or_default()).ok_or(BadQuery::Undecodable)?;
    let tail = match query.get("tail") {
        // What the kubelet took before there were options, and still does.
        Some("all") => None,
        Some("") | None => query.number("tailLines")?,
        Some(lines) => Some(lines.parse().map_err(|_| BadQuery::Undecodable)?),
    };
    let (limit, seconds, time) = (
        query.number("limitBytes")?,
        query.number("sinceSeconds")?,
        query.time("sinceTime")?,
    );
    let one_stream = match query.get("stream") {
        None | Some("" | "All") => false,
        Some("Stdout" | "Stderr") => true,
        Some(_) => return Err(BadQuery::Invalid),
    };
    let out_of_range = tail.is_some_and(|lines| lines < 0)
        || limit.is_some_and(|bytes| bytes < 1)
        || seconds.is_some_and(|seconds| seconds < 1);
    if out_of_range || (seconds.is_some() && time.is_some()) || (one_stream && tail.is_some()) {
        return Err(BadQuery::Invalid);
    }
    // Before all time is no limit.
    let ago = |seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok();
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since: time.or_else(|| seconds.and_then(ago)),
        tail: tail.and_then(|lines| u64::try_from(lines).ok()),
        limit: limit.and_then(|bytes| u64::try_from(bytes).ok()),
        one_stream,
    })
}

struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Option<Self> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        decoded.collect::<Option<_>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(each, _)| each == name)
            .map(|(_, value)| value.as_str())
    }

    /// As the API machinery reads a bool: whatever is not false is true.
    fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, BadQuery> {
        let number = self
            .get(name)
            .map(|value| value.parse().map_err(|_| BadQuery::Undecodable));
        number.transpose()
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, BadQuery> {
        let given = self.get(name).filter(|value| !value.is_empty());
        given
            .map(|value| value.parse().map_err(|_| BadQuery::Undecodable))
            .transpose()
    }
}

/// All values of one name, in their order; `None` for a query that can't be decoded.
pub(super) fn all(query: &str, name: &str) -> Option<Vec<String>> {
    let Query(pairs) = Query::read(query)?;
    let named = pairs.into_iter().filter(|(each, _)| each == name);
    Some(named.map(|(_, value)| value).collect())
}

/// Undoes percent-encoding; `None` for what is none, or is not UTF-8 then.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-23T06:00:00Z";

    fn read(query: &str) -> Result<LogOptions, BadQuery> {
        log_options(Some(query), NOW.parse().unwrap())
    }

    #[test]
    fn every_option_is_read() {
        let options = read("follow=true&previous=1&timestamps=TRUE&tailLines=5&limitBytes=7&sinceSeconds=60").unwrap();
        let expected = LogOptions {
            follow: true,
            previous: true,
            timestamps: true,
            since: Some("2026-11-23T05:59:00Z".parse().unwrap()),
            tail: Some(5),
            limit: Some(7),
            one_stream: false,
        };
        assert_eq!(options, expected);
        let since = read("sinceTime=2026-11-23T07%3A00%3A00%2B01%3A00").unwrap().since;
        assert_eq!(since, Some(NOW.parse().unwrap()));
        assert_eq!(log_options(None, NOW.parse().unwrap()), Ok(LogOptions::default()));
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        for query in [
            "",
            "&",
            "follow=false&timestamps=0&previous=False",
            "tail=all&tailLines=3",
            "stream=All",
            "sinceTime=",
            "color=red",
            "sinceSeconds=9223372036854775807",
        ] {
            assert_eq!(read(query), Ok(LogOptions::default()), "{query}");
        }
        assert_eq!(read("tail=4&tailLines=3").unwrap().tail, Some(4));
        assert_eq!(read("tailLines=0").unwrap().tail, Some(0));
        assert!(read("follow").unwrap().follow);
        assert!(read("stream=Stderr").unwrap().one_stream);
    }

    #[test]
    fn a_name_may_have_many_values() {
        let query = "command=sh&command=-c&x=1&command=echo+a%26b&command=";
        assert_eq!(all(query, "command").unwrap(), ["sh", "-c", "echo a&b", ""]);
        assert_eq!(all("", "command"), Some(Vec::new()));
        assert_eq!(all("command=%ff", "command"), None);
    }

    #[test]
    fn faults_are_told_apart() {
        for query in [
            "tailLines=many",
            "tailLines=",
            "limitBytes=1.5",
            "sinceTime=now",
            "sinceTime=%zz",
            "a=%ff",
        ] {
            assert_eq!(read(query), Err(BadQuery::Undecodable), "{query}");
        }
        for query in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "sinceSeconds=1&sinceTime=2026-11-23T06:00:00Z",
            "stream=Both",
            "stream=Stdout&tailLines=1",
        ] {
            assert_eq!(read(query), Err(BadQuery::Invalid), "{query}");
        }
    }
}
