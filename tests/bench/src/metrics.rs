//! Writes as the API server itself counts them: `apiserver_request_total`.

use crate::api::Client;
use crate::error::Error;
use crate::error::Result;
use std::collections::BTreeMap;

/// What changes something.
const WRITES: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];

/// Counts by verb and resource (`pods`, `pods/status`), everybody's but the generator's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// All answers.
    pub sent: BTreeMap<(String, String), u64>,
    /// Those of 400 and above.
    pub refused: BTreeMap<(String, String), u64>,
}

impl Writes {
    /// The counts at this time, less what `generator` itself has written.
    pub async fn read(admin: &Client, generator: &Client) -> Result<Self> {
        let text = admin.get("/metrics").await?;
        let text = std::str::from_utf8(&text).map_err(|error| Error::Malformed {
            what: "/metrics".to_owned(),
            reason: error.to_string(),
        })?;
        let mut writes = Self::parse(text);
        for ((verb, resource), count) in generator.writes() {
            let sent = writes.sent.entry((verb.to_owned(), resource.to_owned())).or_default();
            *sent = sent.saturating_sub(count);
        }
        Ok(writes)
    }

    fn parse(text: &str) -> Self {
        let mut writes = Self::default();
        for line in text.lines() {
            let Some((labels, value)) = line
                .strip_prefix("apiserver_request_total{")
                .and_then(|rest| rest.split_once("} "))
            else {
                continue;
            };
            let labels: BTreeMap<&str, &str> = labels
                .split("\",")
                .filter_map(|pair| pair.split_once("=\""))
                .map(|(key, value)| (key, value.trim_end_matches('"')))
                .collect();
            let label = |key| labels.get(key).copied().unwrap_or_default();
            // Counters are floats to Prometheus: whole ones, below 2^53.
            let count = value.trim().parse::<f64>().map_or(0, |value| value as u64);
            if !WRITES.contains(&label("verb")) || count == 0 {
                continue;
            }
            let resource = match label("subresource") {
                "" => label("resource").to_owned(),
                subresource => format!("{}/{subresource}", label("resource")),
            };
            let key = (label("verb").to_owned(), resource);
            if label("code").parse::<u16>().is_ok_and(|code| code >= 400) {
                *writes.refused.entry(key.clone()).or_default() += count;
            }
            *writes.sent.entry(key).or_default() += count;
        }
        writes
    }

    /// What came after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: &BTreeMap<(String, String), u64>, then: &BTreeMap<(String, String), u64>| {
            now.iter()
                .map(|(key, count)| (key.clone(), count.saturating_sub(then.get(key).copied().unwrap_or(0))))
                .filter(|(_, count)| *count > 0)
                .collect()
        };
        Self {
            sent: less(&self.sent, &before.sent),
            refused: less(&self.refused, &before.refused),
        }
    }

    /// All writes to a resource and its subresources.
    pub fn of(&self, resource: &str) -> u64 {
        total(&self.sent, resource)
    }

    /// Those that were refused.
    pub fn refused_of(&self, resource: &str) -> u64 {
        total(&self.refused, resource)
    }
}

fn total(counts: &BTreeMap<(String, String), u64>, resource: &str) -> u64 {
    let matching = counts
        .iter()
        .filter(|((_, name), _)| name.split('/').next() == Some(resource));
    matching.map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 3000
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="status",verb="PATCH",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="DELETE",version="v1"} 1.5e+03
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"} 9
apiserver_request_duration_seconds_count{verb="PATCH"} 7
"#;

    #[test]
    fn writes_are_read_by_verb_and_resource() {
        let writes = Writes::parse(TEXT);
        assert_eq!(writes.sent[&("PATCH".to_owned(), "pods/status".to_owned())], 3002);
        assert_eq!(writes.sent[&("DELETE".to_owned(), "pods".to_owned())], 1500);
        assert_eq!(writes.sent.len(), 2);
        assert_eq!((writes.of("pods"), writes.refused_of("pods")), (4502, 2));
    }

    #[test]
    fn differences_leave_out_what_did_not_change() {
        let before = Writes::parse(TEXT);
        let after = Writes::parse(&TEXT.replace(" 3000", " 3007"));
        let since = after.since(&before);
        assert_eq!(since.sent.len(), 1);
        assert_eq!((since.of("pods"), since.refused_of("pods")), (7, 0));
    }
}
