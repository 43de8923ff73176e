//! Values that are known now, or late.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A value that is known now, or late.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// Known.
    Now(String),
    /// Known later: the parts in order.
    Late(Vec<Part>),
}

/// A part of a late value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The pod's primary address.
    PodIp,
    /// All addresses of the pod, joined by commas.
    PodIps,
    /// The value of a key in a file that a container of the pod writes. Only providers that declare `env.fileKeyRef` as
    /// supported meet it.
    FileKey(FileKey),
}

/// A key in an env file of a volume (KEP-3721): read when the container that uses it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileKey {
    /// The volume, an emptyDir.
    pub volume: String,
    /// The file's path in it.
    pub path: String,
    /// The key.
    pub key: String,
    /// Without the key the variable is left out, instead of holding the container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// The variable whose `$(NAME)` stands here; empty where the whole value is this part. If the variable was left
    /// out, the text `$(NAME)` stands here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

impl Value {
    /// Whether the pod's addresses, or its files, are needed for it.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late(_))
    }

    /// The value, given the pod's addresses, primary first.
    ///
    /// Returns `None` when it is late and there is no address yet, or when it waits for a file.
    pub fn finish(&self, addresses: &[IpAddr]) -> Option<String> {
        let parts = match self {
            Self::Now(text) => return Some(text.clone()),
            Self::Late(parts) => parts,
        };
        parts.iter().map(|part| part.text(addresses)).collect()
    }

    /// The value, given the pod's addresses and the keys of its files. `key` gives `None` for a key that is missing.
    ///
    /// Returns `None` when there is no address yet, or when a key is missing: then the variable is left out if that is
    /// [`optional`](FileKey::optional), else its container can't start.
    pub fn finish_with(&self, addresses: &[IpAddr], mut key: impl FnMut(&FileKey) -> Option<String>) -> Option<String> {
        let parts = match self {
            Self::Now(text) => return Some(text.clone()),
            Self::Late(parts) => parts,
        };
        let mut finish = |part: &Part| match part {
            Part::FileKey(file) => key(file).or_else(|| file.written()),
            part => part.text(addresses),
        };
        parts.iter().map(&mut finish).collect()
    }

    /// Completes what the addresses complete; the rest stays late.
    pub fn advance(&mut self, addresses: &[IpAddr]) {
        let Self::Late(parts) = self else { return };
        for part in parts.iter_mut() {
            if let Some(text) = part.text(addresses) {
                *part = Part::Text(text);
            }
        }
        let known: Option<String> = parts.iter().map(|part| part.text(addresses)).collect();
        if let Some(text) = known {
            *self = Self::Now(text);
        }
    }
}

impl FileKey {
    /// What stands in another value for an optional variable that was left out.
    fn written(&self) -> Option<String> {
        let left_out = self.optional && !self.reference.is_empty();
        left_out.then(|| format!("$({})", self.reference))
    }
}

impl Part {
    fn text(&self, addresses: &[IpAddr]) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::PodIp => addresses.first().map(ToString::to_string),
            Self::PodIps if addresses.is_empty() => None,
            Self::PodIps => {
                let all: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                Some(all.join(","))
            }
            Self::FileKey(_) => None,
        }
    }
}
