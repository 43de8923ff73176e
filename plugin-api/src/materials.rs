//! What the host resolved for a pod.

mod bytes;
mod names;
mod registry;
mod value;

pub use names::{Dns, HostsEntry};
pub use value::{FileKey, Part, Value};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// What the host resolved for a pod: environment, commands, files, pull credentials, names.
///
/// A provider uses this instead of the manifest's references, and never has to look at a ConfigMap, a Secret or `$(VAR)`.
/// What it declared as ignored is not in here.
///
/// # Late values
///
/// A few values are known only once the backend has given the pod an address: `status.podIP` in an environment variable,
/// and whatever expands such a variable. They travel as [`Value::Late`], already expanded as far as possible, and
/// [`finish`](Self::finish) completes them all. A backend that must have its environment before it gives an address
/// finds out by [`is_late`](Self::is_late), and refuses such a pod by an error that names the reason.
///
/// ```
/// # use outrigger_plugin::{files, Materials, Result};
/// # use std::{net::IpAddr, path::Path};
/// fn start(mut materials: Materials, address: IpAddr, volumes: &Path) -> Result<()> {
///     materials.finish(&[address]);
///     for (volume, list) in &materials.files {
///         files::write(&volumes.join(volume), list, &[address])?;
///     }
///     for (container, env) in &materials.env {
///         let command = materials.commands.get(container);
///         // ... start the container with `env` and `command`
/// #       let _ = (env, command);
///     }
///     Ok(())
/// }
/// # start(Materials::default(), [10, 0, 0, 1].into(), Path::new("/nowhere")).unwrap();
/// ```
///
/// # Changes
///
/// Materials of an [update](crate::Provider::update) replace the earlier ones. The files are for the containers that run
/// as well, all of a volume at once ([`files::write`](crate::files::write) does it so); environment and commands count
/// for containers that start from then on, pull credentials for images that are pulled from then on.
///
/// # Secrets
///
/// Whatever comes from a Secret is marked, also when another value has expanded it: use the backend's protected form for
/// it, and keep it out of logs. `Debug` shows no content.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Materials {
    /// Environment by container name: complete, with the variables of Services; each name once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Vec<EnvVar>>,
    /// `command` and `args` with `$(VAR)` expanded, by the name of each container that has any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub commands: BTreeMap<String, Command>,
    /// What each `subPathExpr` expands to, by container name and `mountPath`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sub_paths: BTreeMap<String, BTreeMap<String, Value>>,
    /// Files by volume name, sorted by path. A volume without a file (an optional object that is missing) is here too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Vec<File>>,
    /// Credentials for image registries, the more specific one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryCredential>,
    /// Name resolution.
    #[serde(skip_serializing_if = "Dns::is_default")]
    pub dns: Dns,
    /// The pod's host name, at most 63 bytes, without a domain; empty where the node's is to be used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The domain below which the pod is known in the cluster; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The kernel's host name is to be the fully qualified one (`setHostnameAsFQDN`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hostname_is_fqdn: bool,
    /// `hostAliases`: entries for `/etc/hosts` beside the pod's own, see [`Materials::hosts_file`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostsEntry>,
}

/// Shows how much there is, never what: materials hold secrets.
impl std::fmt::Debug for Materials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Materials")
            .field("env", &self.env.values().map(Vec::len).sum::<usize>())
            .field("commands", &self.commands.len())
            .field("files", &self.files.values().map(Vec::len).sum::<usize>())
            .field("registries", &self.registries.len())
            .finish_non_exhaustive()
    }
}

impl Materials {
    /// Whether the pod's addresses, or its files, are needed to complete some value.
    pub fn is_late(&self) -> bool {
        let commands = self.commands.values();
        self.env.values().flatten().any(|var| var.value.is_late())
            || commands
                .flat_map(|command| command.command.iter().chain(&command.args))
                .any(Value::is_late)
            || self.sub_paths.values().flat_map(BTreeMap::values).any(Value::is_late)
            || self
                .files
                .values()
                .flatten()
                .any(|file| matches!(&file.content, Content::Text(text) if text.is_late()))
    }

    /// Completes every late value with the pod's addresses, primary first. Without an address nothing changes. Values
    /// that wait for a file ([`FileKey`]) still do afterwards.
    pub fn finish(&mut self, addresses: &[IpAddr]) {
        for var in self.env.values_mut().flatten() {
            var.value.advance(addresses);
        }
        for command in self.commands.values_mut() {
            for value in command.command.iter_mut().chain(&mut command.args) {
                value.advance(addresses);
            }
        }
        for path in self.sub_paths.values_mut().flat_map(BTreeMap::values_mut) {
            path.advance(addresses);
        }
        for file in self.files.values_mut().flatten() {
            if let Content::Text(text) = &mut file.content {
                text.advance(addresses);
            }
        }
    }

    /// What the kernel's host name is to be: empty where the node's is to be used.
    pub fn kernel_hostname(&self) -> String {
        if self.hostname_is_fqdn && !self.domain.is_empty() {
            format!("{}.{}", self.hostname, self.domain)
        } else {
            self.hostname.clone()
        }
    }
}

/// An environment variable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// It comes from a Secret, or was expanded from one: never log it, and use the backend's protected form.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// What a container runs, as its manifest says and its environment expands it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Command {
    /// Replaces the image's entry point; empty keeps it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Value>,
    /// Replaces the image's arguments; empty keeps them unless there is a command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// Some of it was expanded from a Secret: never log it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// A file of a volume.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Path inside the volume, relative, without `..`.
    pub path: String,
    /// Permission bits, for example `0o644`: final, with what the pod's `fsGroup` adds.
    pub mode: u32,
    /// The user that must own it: of a token, where all containers run as the same one. Otherwise it belongs to root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// The group that must own it: the pod's `fsGroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// What it holds.
    pub content: Content,
    /// It comes from a Secret or is a token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// Text, perhaps late.
    Text(Value),
    /// Bytes that are no UTF-8 text.
    Bytes(#[serde(with = "bytes")] Vec<u8>),
}

impl Content {
    /// The bytes, given the pod's addresses. `None` when the text is late and there is no address yet.
    pub fn bytes(&self, addresses: &[IpAddr]) -> Option<Vec<u8>> {
        match self {
            Self::Text(value) => value.finish(addresses).map(String::into_bytes),
            Self::Bytes(bytes) => Some(bytes.clone()),
        }
    }
}

/// A credential for an image registry; [`Materials::credentials`] finds those of an image.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryCredential {
    /// What images it is for: a host, perhaps with a port, a path prefix, and `*` within labels of the host.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

#[cfg(test)]
mod tests;
