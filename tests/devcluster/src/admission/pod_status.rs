//! What the real server refuses in a pod's status; a host depends on each of these.

use std::net::IpAddr;

use serde_json::Value;

use crate::error::{ApiError, Cause, Result};
use crate::resources::Resource;

/// Checks a whole pod after an edit of its status.
pub fn validate(resource: &Resource, pod: &Value) -> Result<()> {
    let mut causes = Vec::new();
    let status = &pod["status"];
    addresses(&status["podIPs"], &status["podIP"], "status.podIPs", &mut causes);
    addresses(&status["hostIPs"], &status["hostIP"], "status.hostIPs", &mut causes);
    match status["phase"].as_str() {
        None | Some("" | "Pending" | "Running" | "Succeeded" | "Failed" | "Unknown") => {}
        Some(_) => {
            let detail = "supported values: \"Pending\", \"Running\", \"Succeeded\", \"Failed\", \"Unknown\"";
            causes.push(Cause::invalid("status.phase", &status["phase"], detail));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        resource,
        pod["metadata"]["name"].as_str().unwrap_or_default(),
        causes,
    ))
}

/// At most one address of each family, the first of them the singular field's.
fn addresses(list: &Value, first: &Value, field: &str, causes: &mut Vec<Cause>) {
    let entries: Vec<&str> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["ip"].as_str())
        .collect();
    let mut families = Vec::new();
    for (at, text) in entries.iter().enumerate() {
        match text.parse::<IpAddr>() {
            Err(_) => causes.push(Cause::invalid(
                format!("{field}[{at}]"),
                &Value::from(*text),
                "must be a valid IP address",
            )),
            Ok(ip) if families.contains(&ip.is_ipv4()) => {
                causes.push(Cause::invalid(
                    field,
                    list,
                    "may specify no more than one IP for each IP family",
                ));
                return;
            }
            Ok(ip) => families.push(ip.is_ipv4()),
        }
    }
    if let (Some(head), Some(single)) = (entries.first(), first.as_str())
        && *head != single
    {
        causes.push(Cause::invalid(
            format!("{field}[0].ip"),
            &Value::from(*head),
            "must be equal to the singular field",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::Kind;

    fn check(status: Value) -> Result<()> {
        validate(
            Kind::Pods.resource(),
            &json!({"metadata": {"name": "p"}, "status": status}),
        )
    }

    #[test]
    fn two_addresses_of_a_family_are_refused() {
        assert!(check(json!({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]})).is_ok());
        let refused =
            check(json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]})).unwrap_err();
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains("no more than one IP for each IP family"));
        assert!(check(json!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]})).is_err());
        assert!(check(json!({"podIPs": [{"ip": "nonsense"}]})).is_err());
        assert!(check(json!({"phase": "Sleeping"})).is_err());
    }
}
