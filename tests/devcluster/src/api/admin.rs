//! Fault switches over HTTP, below `/_devcluster/`, for tests that run in other processes. The administrator's token is
//! needed as for everything else.
//!
//! | request | effect |
//! |---|---|
//! | `GET /_devcluster/faults` | the rules that are on |
//! | `POST /_devcluster/faults` with a rule | switches it on; answers `{"id": N}` |
//! | `DELETE /_devcluster/faults` or `.../faults/N` | switches all or one off |
//! | `POST /_devcluster/pause`, `POST /_devcluster/resume` | stalls everything; ends all stalls |
//! | `POST /_devcluster/watches/drop?resource=pods` | ends open watches |
//! | `POST /_devcluster/history/forget?resource=pods` | earlier revisions are 410 Gone from now on |
//! | `POST /_devcluster/lists/freeze?resource=pods`, `.../thaw` | lists, and what watches begin with, show the past; the present again |
//!
//! Without `resource` the last three are for all.

use std::sync::Arc;

use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::query::Query;
use super::respond::{self, Body};
use crate::cluster::Cluster;
use crate::error::{ApiError, Result};
use crate::faults::{Action, Rule};
use crate::resources::Kind;

fn kinds(query: &Query) -> Result<Vec<Kind>> {
    let Some(plural) = query.get("resource") else {
        return Ok(Kind::ALL.to_vec());
    };
    let found = Kind::ALL.into_iter().find(|k| k.resource().plural == plural);
    found
        .map(|k| vec![k])
        .ok_or_else(|| ApiError::bad_request(format!("unknown resource \"{plural}\"")))
}

/// Answers a request.
pub async fn handle(
    cluster: &Arc<Cluster>,
    method: &Method,
    path: &str,
    query: &Query,
    body: Incoming,
) -> Result<Response<Body>> {
    let store = &cluster.store;
    let rest = path.trim_start_matches("/_devcluster/");
    let answer = match (method.as_str(), rest) {
        ("GET", "faults") => {
            let rules: Vec<Value> = cluster
                .faults
                .list()
                .into_iter()
                .map(|(id, rule)| json!({"id": id, "rule": rule}))
                .collect();
            json!({"faults": rules})
        }
        ("POST", "faults") => {
            let bytes = super::read_body(body).await?;
            let rule: Rule = serde_json::from_slice(&bytes)
                .map_err(|e| ApiError::bad_request(format!("unable to read the rule: {e}")))?;
            if let Action::Status { code, .. } = rule.action
                && !(400..600).contains(&code)
            {
                return Err(ApiError::bad_request(format!(
                    "a fault's status is 400 to 599, not {code}"
                )));
            }
            json!({"id": cluster.faults.add(rule)})
        }
        ("DELETE", "faults") => {
            cluster.faults.clear();
            json!({})
        }
        ("POST", "pause") => json!({"id": cluster.faults.pause()}),
        ("POST", "resume") => {
            let stalls = cluster
                .faults
                .list()
                .into_iter()
                .filter(|(_, rule)| rule.action == Action::Stall);
            json!({"removed": stalls.filter(|(id, _)| cluster.faults.remove(*id)).count()})
        }
        ("POST", "watches/drop") => {
            json!({"dropped": kinds(query)?.into_iter().map(|kind| store.drop_watches(kind)).sum::<usize>()})
        }
        ("POST", "history/forget") => {
            kinds(query)?.into_iter().for_each(|kind| store.forget_history(kind));
            json!({"revision": store.revision()})
        }
        ("POST", "lists/freeze" | "lists/thaw") => {
            kinds(query)?
                .into_iter()
                .for_each(|kind| store.freeze(kind, rest == "lists/freeze"));
            json!({"revision": store.revision()})
        }
        ("DELETE", one) => {
            let id = one
                .strip_prefix("faults/")
                .and_then(|id| id.parse().ok())
                .ok_or_else(ApiError::no_route)?;
            json!({"removed": cluster.faults.remove(id)})
        }
        _ => return Err(ApiError::no_route()),
    };
    Ok(respond::value(&answer))
}
