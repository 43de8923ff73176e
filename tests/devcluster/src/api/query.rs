//! The query of a request.

use http::Uri;

/// Decoded parameters. There are few: looking through them is cheaper than a map.
#[derive(Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes the query of a URI.
    pub fn of(uri: &Uri) -> Query {
        match uri.query() {
            None => Query::default(),
            Some(text) => Query(form_urlencoded::parse(text.as_bytes()).into_owned().collect()),
        }
    }

    /// A parameter; absent and empty are the same.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number; `Err` has the refusal's text.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| format!("invalid value for query parameter {name}: \"{text}\"")),
        }
    }

    /// A flag: present as `true` or `1`.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "TRUE" | "t" | "T"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::of(
            &"/x?fieldSelector=spec.nodeName%3Dn1&limit=5&watch=1&empty="
                .parse()
                .unwrap(),
        );
        assert_eq!(query.get("fieldSelector"), Some("spec.nodeName=n1"));
        assert_eq!(query.number::<usize>("limit"), Ok(Some(5)));
        assert!(query.flag("watch") && !query.flag("limit"));
        assert_eq!(query.get("empty"), None);
        assert!(query.number::<u64>("fieldSelector").is_err());
    }
}
