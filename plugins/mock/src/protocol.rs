//! What the provider asks of a back end. In memory these are values; over the socket of the external one, each is a
//! line of JSON:
//!
//! ```text
//! > {"id":7,"op":"get","identity":{...}}
//! < {"reply":{"id":7,"outcome":{"Ok":{"report":{...}}}}}
//! < {"push":{"report":{...}}}
//! > {"op":"counts"}
//! < {"reply":{"id":0,"outcome":{"Ok":{"counts":{...}}}}}
//! ```
//!
//! Replies come in the order of the requests, but for `stop`, which is answered when the containers have ended. What
//! is read later from the socket is the newer state: the reader stamps reports as they arrive.

use crate::{
    behaviour::Behaviour,
    engine::{
        Change,
        report::{Door, LogSource},
        spec::PodSpec,
    },
};
use outrigger_plugin::{ContainerUsage, ErrorCode, Image, PodIdentity, PodReport, ProviderError, UpdateOutcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A request on its way to the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// The reply has the same.
    #[serde(default)]
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What is asked of a back end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Request {
    /// Run a pod. Answered by a report.
    Create {
        /// The pod.
        pod: Box<PodSpec>,
    },
    /// Change a pod. Answered by [`Reply::Updated`].
    Update {
        /// The pod as it shall be.
        pod: Box<PodSpec>,
    },
    /// Stop a pod. Answered by a report when its containers have ended.
    Stop {
        /// Which pod.
        identity: PodIdentity,
        /// Milliseconds until its containers are killed.
        grace: u64,
    },
    /// Forget a pod. Answered by [`Reply::Done`], also when there is none.
    Remove {
        /// Which pod.
        identity: PodIdentity,
    },
    /// A pod's state. Answered by a report.
    Get {
        /// Which pod.
        identity: PodIdentity,
    },
    /// All pods. Answered by [`Reply::Pods`].
    List,
    /// Where a container's log comes from. Answered by [`Reply::Log`].
    Log {
        /// Which pod.
        identity: PodIdentity,
        /// Which container.
        container: String,
        /// The run before the newest.
        previous: bool,
    },
    /// What the containers of a node use. Answered by [`Reply::Usage`].
    Usage {
        /// Which node.
        node: String,
    },
    /// The ways into a pod. Answered by [`Reply::Doors`].
    Doors {
        /// Which pod.
        identity: PodIdentity,
    },
    /// The images of a node's pods. Answered by [`Reply::Images`].
    Images {
        /// Which node.
        node: String,
    },
    /// Whether it is there. Answered by [`Reply::Done`].
    Ping,
    /// What was asked so far. Answered by [`Reply::Counts`], by the external back end only.
    Counts,
}

impl Request {
    /// Which pod it is about.
    pub fn identity(&self) -> Option<&PodIdentity> {
        match self {
            Self::Create { pod } | Self::Update { pod } => Some(&pod.identity),
            Self::Stop { identity, .. }
            | Self::Remove { identity }
            | Self::Get { identity }
            | Self::Doors { identity }
            | Self::Log { identity, .. } => Some(identity),
            Self::List | Self::Usage { .. } | Self::Images { .. } | Self::Ping | Self::Counts => None,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// A pod's state.
    Report(PodReport),
    /// A changed pod.
    Updated(UpdateOutcome),
    /// All pods.
    Pods(PodList),
    /// Where a log comes from.
    Log(LogSource),
    /// What containers use.
    Usage(Vec<ContainerUsage>),
    /// The ways into a pod.
    Doors(Vec<Door>),
    /// Images.
    Images(Vec<Image>),
    /// What was asked so far.
    Counts(Counts),
}

/// All pods of a back end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodList {
    /// Their states.
    pub reports: Vec<PodReport>,
    /// How those behave whose calls fare in a way of their own, by UID.
    pub behaviours: BTreeMap<String, Behaviour>,
}

/// What was asked of the external back end, by UID, since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// By UID, those that are gone as well.
    pub pods: BTreeMap<String, Count>,
    /// Those that are there, by UID.
    pub present: BTreeMap<String, PodIdentity>,
}

/// What was asked for one UID, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    /// Creates that made a pod.
    pub creates: u64,
    /// Creates that met one.
    pub repeated: u64,
    /// Updates of a pod that was there.
    pub updates: u64,
    /// Stops of a pod that was there.
    pub stops: u64,
    /// Removes of a pod that was there.
    pub removes: u64,
    /// How often the back end lost it; each allows for one more create.
    pub vanished: u64,
}

/// A line from the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// An answer.
    Reply {
        /// To which request.
        id: u64,
        /// What it is.
        outcome: Result<Reply, Failure>,
    },
    /// Something has happened to a pod.
    Push(Change),
}

/// A [`ProviderError`] on the socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    code: u32,
    retry_after_ms: u64,
    message: String,
    detail: String,
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let (code, retry_after_ms) = error.code.to_wire();
        Self {
            code,
            retry_after_ms,
            message: error.message,
            detail: error.detail,
        }
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        Self {
            code: ErrorCode::from_wire(failure.code, failure.retry_after_ms),
            message: failure.message,
            detail: failure.detail,
        }
    }
}

/// A value as a line.
pub fn line(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_flat_lines() {
        let ask: Ask = serde_json::from_str(r#"{"op":"counts"}"#).unwrap();
        assert_eq!(ask.id, 0);
        assert!(matches!(ask.request, Request::Counts));
        let ping = Ask {
            id: 3,
            request: Request::Ping,
        };
        assert_eq!(line(&ping).unwrap(), b"{\"id\":3,\"op\":\"ping\"}\n");
    }

    #[test]
    fn errors_keep_their_class() {
        let error = ProviderError::retry_after(std::time::Duration::from_millis(1500), "busy");
        let failure: Failure = serde_json::from_slice(&line(&Failure::from(error.clone())).unwrap()).unwrap();
        assert_eq!(ProviderError::from(failure), error);
    }
}
