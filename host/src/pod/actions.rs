//! The steps as they are carried out, away from the controller's own task.

use super::{
    entry::{CallKind, NodeIndex, Uid},
    nodes::ProviderIndex,
};
use crate::{
    cluster::{
        ApiError, Client,
        raw::{self, Patch, Reply},
    },
    node::NodeHandle,
    plugin::Provider,
};
use futures::FutureExt;
use outrigger_plugin::{ErrorCode, Materials, PodIdentity, PodReport, ProviderError, Termination, UpdateOutcome};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a provider may take to accept a pod or a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(120);
/// What a stop may take beyond its grace period.
const STOP_MARGIN: Duration = Duration::from_secs(30);
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);
const LIST_TIMEOUT: Duration = Duration::from_secs(120);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of an action.
pub enum Done {
    Call {
        uid: Uid,
        number: u64,
        kind: CallKind,
        outcome: Outcome,
    },
    Written {
        uid: Uid,
        ends: bool,
        result: Result<Reply, ApiError>,
    },
    Deleted {
        uid: Uid,
        result: Result<Reply, ApiError>,
    },
    /// A Node was read, for these pods.
    Looked {
        node: NodeIndex,
        doubts: Vec<Uid>,
        result: Result<Reply, ApiError>,
    },
    Listed {
        provider: ProviderIndex,
        epochs: Vec<(usize, u64)>,
        began: Instant,
        result: Result<Vec<PodReport>, ProviderError>,
    },
    /// An orphan was swept, or not.
    Swept {
        provider: ProviderIndex,
        identity: PodIdentity,
        result: Result<(), ProviderError>,
    },
}

/// What came of a provider's call.
pub enum Outcome {
    Created(Result<PodReport, ProviderError>),
    Updated(Result<UpdateOutcome, ProviderError>),
    Stopped(Result<PodReport, ProviderError>),
    Removed(Result<(), ProviderError>),
}

impl Outcome {
    /// Of a call of that kind whose task panicked.
    pub fn panicked(kind: CallKind, fault: String) -> Self {
        let error = ProviderError::new(ErrorCode::Panicked, fault);
        match kind {
            CallKind::Create => Self::Created(Err(error)),
            CallKind::Update => Self::Updated(Err(error)),
            CallKind::Stop { .. } => Self::Stopped(Err(error)),
            CallKind::Remove => Self::Removed(Err(error)),
        }
    }
}

/// Runs an action to its end. A panic in it is a fault of outrigger; it becomes a failure like any other, so that the
/// pod's place is free again and the action is tried again.
pub async fn contained<T>(action: impl Future<Output = T>, otherwise: impl FnOnce(String) -> T) -> T {
    match AssertUnwindSafe(action).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "an action panicked; this is a fault of outrigger");
            otherwise("a fault of outrigger, see its log".to_owned())
        }
    }
}

/// What a pod that is made again has behind it.
#[derive(Debug, Default)]
pub struct Past {
    /// Of the first runs.
    pub restart_counts: BTreeMap<String, u32>,
    /// Containers that are not started again.
    pub ended: BTreeMap<String, Termination>,
}

/// Body of a create or an update: JSON of a `PodRequest`.
pub struct RequestBody {
    pub json: Vec<u8>,
    /// Of the materials in it: equal materials have equal digests within one process.
    pub digest: u64,
}

impl RequestBody {
    /// `raw` is JSON already, and is copied as it is.
    ///
    /// # Errors
    /// When an identity can't be encoded, which none of an API server is.
    pub fn of(
        identity: &PodIdentity,
        raw: &[u8],
        past: &Past,
        materials: &Materials,
        hasher: &RandomState,
    ) -> Result<Self, serde_json::Error> {
        // A little more than what most pods have, so that there is one allocation.
        let mut json = Vec::with_capacity(raw.len() + 6 * 1024);
        json.extend_from_slice(br#"{"identity":"#);
        serde_json::to_writer(&mut json, identity)?;
        if !past.restart_counts.is_empty() {
            json.extend_from_slice(br#","restart_counts":"#);
            serde_json::to_writer(&mut json, &past.restart_counts)?;
        }
        if !past.ended.is_empty() {
            json.extend_from_slice(br#","ended":"#);
            serde_json::to_writer(&mut json, &past.ended)?;
        }
        json.extend_from_slice(br#","materials":"#);
        let begin = json.len();
        serde_json::to_writer(&mut json, materials)?;
        let digest = hasher.hash_one(&json[begin..]);
        json.extend_from_slice(br#","pod":"#);
        json.extend_from_slice(raw);
        json.push(b'}');
        Ok(Self { json, digest })
    }
}

/// Has the provider run a pod.
pub async fn create(provider: Arc<Provider>, body: Vec<u8>) -> Outcome {
    Outcome::Created(provider.create_pod(body, CHANGE_TIMEOUT).await)
}

/// Has the provider take a changed manifest.
pub async fn update(provider: Arc<Provider>, body: Vec<u8>) -> Outcome {
    Outcome::Updated(provider.update_pod(body, CHANGE_TIMEOUT).await)
}

/// Has the provider stop a pod.
pub async fn stop(provider: Arc<Provider>, identity: Arc<PodIdentity>, grace: Duration) -> Outcome {
    Outcome::Stopped(provider.stop_pod(&identity, grace, grace + STOP_MARGIN).await)
}

/// Has the provider release a pod.
pub async fn remove(provider: Arc<Provider>, identity: Arc<PodIdentity>) -> Outcome {
    Outcome::Removed(provider.remove_pod(&identity, REMOVE_TIMEOUT).await)
}

/// Asks the provider for all that it has, telling it first what is believed.
pub async fn compare(provider: Arc<Provider>, believed: Vec<PodIdentity>) -> Result<Vec<PodReport>, ProviderError> {
    provider.sync(believed, LIST_TIMEOUT).await
}

/// Stops and releases a pod that the API server does not know, as long as this host holds the node.
pub async fn sweep(
    provider: Arc<Provider>,
    owner: NodeHandle,
    identity: PodIdentity,
    grace: Duration,
) -> Result<(), ProviderError> {
    use outrigger_plugin::ErrorCode::{Cancelled, NotFound};
    match provider.stop_pod(&identity, grace, grace + STOP_MARGIN).await {
        Ok(_) => {}
        Err(error) if error.code == NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // A stop can take long.
    if !owner.may_act() {
        return Err(ProviderError::new(Cancelled, "this host no longer holds the node"));
    }
    provider.remove_pod(&identity, REMOVE_TIMEOUT).await
}

/// Sends a status patch.
pub async fn write_status(client: Client, identity: Arc<PodIdentity>, body: Vec<u8>) -> Result<Reply, ApiError> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/status",
        identity.namespace, identity.name
    );
    raw::send(&client, raw::patch(&path, Patch::Strategic, body)?, WRITE_TIMEOUT).await
}

/// Reads a Node.
pub async fn read_node(client: Client, name: Arc<str>) -> Result<Reply, ApiError> {
    raw::send(&client, raw::get(&format!("/api/v1/nodes/{name}"))?, WRITE_TIMEOUT).await
}

/// Sends the final DELETE, for this UID only; with a version for that of the object only.
pub async fn delete(client: Client, identity: Arc<PodIdentity>, version: Option<u64>) -> Result<Reply, ApiError> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", identity.namespace, identity.name);
    let mut options = serde_json::json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
        "preconditions": { "uid": identity.uid },
    });
    if let Some(version) = version {
        options["preconditions"]["resourceVersion"] = version.to_string().into();
    }
    raw::send(
        &client,
        raw::delete(&path, options.to_string().into_bytes())?,
        WRITE_TIMEOUT,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_plugin::Timestamp;

    #[tokio::test]
    async fn a_panic_ends_an_action_like_any_other_failure() {
        let fine = contained(async { 1 }, |_| 2).await;
        assert_eq!(fine, 1);
        for kind in [CallKind::Create, CallKind::Update, CallKind::Remove] {
            let outcome = contained(async { panic!("of {kind:?}") }, |fault| Outcome::panicked(kind, fault)).await;
            let error = match (kind, outcome) {
                (CallKind::Create, Outcome::Created(Err(error))) => error,
                (CallKind::Update, Outcome::Updated(Err(error))) => error,
                (CallKind::Remove, Outcome::Removed(Err(error))) => error,
                _ => panic!("another kind of outcome"),
            };
            assert!(error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_request_is_what_the_sdk_reads() {
        let text = |text: &str| text.to_owned();
        let identity = PodIdentity {
            cluster: text("c"),
            node: text("n"),
            namespace: text("ns"),
            name: text("p\"q"),
            uid: text("u"),
        };
        let past = Past {
            restart_counts: BTreeMap::from([(text("a"), 3)]),
            ended: BTreeMap::from([(text("b"), Termination::new(0, "Completed", Timestamp(7)))]),
        };
        let raw = br#"{"spec":{"x":1}}"#;
        let hasher = RandomState::new();
        let mut materials = Materials {
            hostname: text("h"),
            ..Materials::default()
        };
        let body = RequestBody::of(&identity, raw, &past, &materials, &hasher).unwrap();
        let request: outrigger_plugin::PodRequest = serde_json::from_slice(&body.json).unwrap();
        assert_eq!(request.materials, materials);
        let same = RequestBody::of(&identity, raw, &Past::default(), &materials, &hasher).unwrap();
        assert_eq!(same.digest, body.digest);
        materials.domain = text("d");
        let other = RequestBody::of(&identity, raw, &past, &materials, &hasher).unwrap();
        assert_ne!(other.digest, body.digest);
        assert_eq!(request.identity, identity);
        assert_eq!(request.pod.get(), r#"{"spec":{"x":1}}"#);
        assert_eq!(
            (request.restart_counts, request.ended),
            (past.restart_counts, past.ended)
        );
    }
}
