//! What form of answer the client wants.

use http::HeaderMap;
use http::header::ACCEPT;

use crate::error::{ApiError, Result};

/// The form of an object or list in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Whole,
    /// Metadata alone.
    Partial,
    /// Rows and columns, as `kubectl get` prints them.
    Table {
        /// `meta.k8s.io/v1beta1` rather than `v1`.
        beta: bool,
    },
}

/// The first form in `Accept` that can be served. Protobuf can't: clients name JSON behind it.
pub fn form(headers: &HeaderMap) -> Result<Form> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.trim().is_empty() {
        return Ok(Form::Whole);
    }
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(
            media,
            "application/json" | "*/*" | "application/*" | "application/yaml" | "text/plain"
        ) {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let beta = parameters.contains(&"v=v1beta1");
        let form = parameters.iter().find_map(|p| p.strip_prefix("as="));
        return Ok(match form {
            None => Form::Whole,
            Some("Table") => Form::Table { beta },
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Partial,
            Some(_) => continue,
        });
    }
    let message = "only the following media types are accepted: application/json";
    Err(ApiError::new(406, "NotAcceptable", message))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_form_that_is_served_wins() {
        let of = |accept: &'static str| form(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]));
        assert_eq!(
            of("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").unwrap(),
            Form::Table { beta: false }
        );
        assert_eq!(
            of("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Form::Whole
        );
        assert_eq!(
            of("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").unwrap(),
            Form::Partial
        );
        assert_eq!(
            of("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json").unwrap(),
            Form::Whole
        );
        assert_eq!(of("application/vnd.kubernetes.protobuf").unwrap_err().code, 406);
        assert_eq!(form(&HeaderMap::new()).unwrap(), Form::Whole);
    }
}
