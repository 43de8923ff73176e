//! The requests that an agent makes about its Node object.

use crate::cluster::ApiError;
use crate::cluster::Client;
use crate::cluster::raw;
use crate::cluster::raw::Patch;
use http::Request;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// Collection of all Nodes.
pub const PATH: &str = "/api/v1/nodes";
const TIMEOUT: Duration = Duration::from_secs(10);

/// One Node in the API server.
pub(super) struct NodeApi {
    client: Client,
    path: String,
}

impl NodeApi {
    pub(super) fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            path: format!("{PATH}/{name}"),
        }
    }

    /// Creates the Node with its first status.
    pub(super) async fn create(&self, object: &Value) -> Result<Value, ApiError> {
        self.send(raw::post(PATH, bytes(object))?).await
    }

    /// A merge patch of metadata and spec; with a resource version in it, of that version only.
    pub(super) async fn patch(&self, patch: &Value) -> Result<Value, ApiError> {
        self.send(raw::patch(&self.path, Patch::Merge, bytes(patch))?).await
    }

    /// A strategic merge patch of the status; with a UID in it, of that Node only.
    pub(super) async fn patch_status(&self, patch: &Value) -> Result<Value, ApiError> {
        let path = format!("{}/status", self.path);
        self.send(raw::patch(&path, Patch::Strategic, bytes(patch))?).await
    }

    /// No new pods, as `kubectl cordon` does it.
    pub(super) async fn cordon(&self) -> Result<(), ApiError> {
        self.patch(&json!({ "spec": { "unschedulable": true } }))
            .await
            .map(drop)
    }

    /// Deletes the Node with that UID; that it is gone already is fine.
    pub(super) async fn delete(&self, uid: &str) -> Result<(), ApiError> {
        let options = json!({ "preconditions": { "uid": uid } });
        match self.send(raw::delete(&self.path, bytes(&options))?).await {
            Ok(_) | Err(ApiError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Value, ApiError> {
        raw::send(&self.client, request, TIMEOUT).await?.decode()
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
