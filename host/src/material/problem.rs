//! Why a part of a pod's materials can't be made.

use super::{Kind, Notice, ObjectRef};

/// One reason, wherever it is met.
#[derive(Debug)]
pub struct Problem {
    /// The kubelet's words.
    pub message: String,
    pub cause: Cause,
    /// What it is about, and whether the manifest calls it optional.
    pub object: Option<(ObjectRef, bool)>,
}

/// What kind of reason it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An object is not known yet.
    Unknown,
    /// An object does not exist.
    Missing,
    /// An object can't be read.
    Unreadable,
    /// An object lacks a key.
    NoKey,
    /// The manifest asks for what there can't be.
    Manifest,
}

impl Problem {
    /// A fault of the manifest, or of a value.
    pub fn manifest(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: Cause::Manifest,
            object: None,
        }
    }

    /// A fault of an object.
    pub fn object(kind: Kind, name: &str, optional: bool, cause: Cause, message: impl Into<String>) -> Self {
        let name = name.to_owned();
        Self {
            message: message.into(),
            cause,
            object: Some((ObjectRef { kind, name }, optional)),
        }
    }

    /// The event that virtual-kubelet sends for it: it has one for each way in which a ConfigMap or Secret of an
    /// environment can be at fault.
    pub fn peer(&self) -> Option<Notice> {
        let (object, optional) = self.object.as_ref()?;
        let reason = peer_reason(object.kind, *optional, self.cause)?;
        Some(Notice::warning(reason, &*self.message))
    }
}

/// See [`Problem::peer`].
pub fn peer_reason(kind: Kind, optional: bool, cause: Cause) -> Option<&'static str> {
    Some(match (kind, optional, cause) {
        (Kind::ConfigMap, false, Cause::Missing) => "MandatoryConfigMapNotFound",
        (Kind::ConfigMap, true, Cause::Missing) => "OptionalConfigMapNotFound",
        (Kind::ConfigMap, false, Cause::NoKey) => "MandatoryConfigMapKeyNotFound",
        (Kind::ConfigMap, true, Cause::NoKey) => "OptionalConfigMapKeyNotFound",
        (Kind::ConfigMap, false, Cause::Unreadable) => "FailedToReadMandatoryConfigMap",
        (Kind::ConfigMap, true, Cause::Unreadable) => "FailedToReadOptionalConfigMap",
        (Kind::Secret, false, Cause::Missing) => "MandatorySecretNotFound",
        (Kind::Secret, true, Cause::Missing) => "OptionalSecretNotFound",
        (Kind::Secret, false, Cause::NoKey) => "MandatorySecretKeyNotFound",
        (Kind::Secret, true, Cause::NoKey) => "OptionalSecretKeyNotFound",
        (Kind::Secret, false, Cause::Unreadable) => "FailedToReadMandatorySecret",
        (Kind::Secret, true, Cause::Unreadable) => "FailedToReadOptionalSecret",
        _ => return None,
    })
}
