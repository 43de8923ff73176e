//! Credentials for image registries, from `imagePullSecrets`. Admission has already added those of the service account.
//!
//! Source: the kubelet's `getPullSecretsForPod` and `credentialprovider`. A secret that is missing or can't be read fails
//! nothing by itself: the image may be public.

use super::{
    Notice, SecretData,
    problem::{Cause, Problem},
    resolver::Resolver,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use outrigger_plugin::RegistryCredential;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What pull secrets give.
#[derive(Default)]
pub struct Registries {
    /// The more specific one first, then in the order of the secrets.
    pub credentials: Vec<RegistryCredential>,
    /// The event to send if an image can't be pulled.
    pub if_pull_fails: Option<Notice>,
}

impl Resolver<'_, '_> {
    /// Reads the pull secrets.
    ///
    /// # Errors
    /// Only while one of them is not known yet.
    pub fn registries(&mut self) -> Result<Registries, Problem> {
        let pod = self.pod;
        let mut registries = Registries::default();
        let (mut missing, mut unknown) = (Vec::new(), None);
        if !self.supports("imagePullSecrets") {
            return Ok(registries);
        }
        for reference in pod
            .spec
            .image_pull_secrets
            .iter()
            .filter(|named| !named.name.is_empty())
        {
            let name = &*reference.name;
            match self.secret(name, false) {
                Ok(secret) => match secret.as_deref().map(credentials) {
                    Some(Some(credentials)) => registries.credentials.extend(credentials),
                    _ => self.notice(Notice::warning(
                        "FailedToRetrieveImagePullSecret",
                        format!(
                            "Unable to read image pull secret {name}: it is no valid registry configuration; \
                             attempting to pull the image may not succeed."
                        ),
                    )),
                },
                Err(problem) if problem.cause == Cause::Unknown => unknown = Some(problem),
                Err(_) => missing.push(name),
            }
        }
        if let Some(problem) = unknown {
            return Err(problem);
        }
        registries
            .credentials
            .sort_by(|one, other| other.registry.cmp(&one.registry));
        if !missing.is_empty() {
            registries.if_pull_fails = Some(Notice::warning(
                "FailedToRetrieveImagePullSecret",
                format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    missing.join(", ")
                ),
            ));
        }
        Ok(registries)
    }
}

/// The content of a Docker configuration file, as far as it matters.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigJson {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// The credentials in a secret; `None` if they can't be read. A secret of another type has none.
fn credentials(secret: &SecretData) -> Option<Vec<RegistryCredential>> {
    let content = |key: &str| secret.data.get(key).filter(|bytes| !bytes.is_empty());
    let entries = match &*secret.kind {
        "kubernetes.io/dockerconfigjson" => match content(".dockerconfigjson") {
            Some(bytes) => serde_json::from_slice::<ConfigJson>(bytes).ok()?.auths,
            None => BTreeMap::new(),
        },
        "kubernetes.io/dockercfg" => match content(".dockercfg") {
            Some(bytes) => serde_json::from_slice(bytes).ok()?,
            None => BTreeMap::new(),
        },
        _ => BTreeMap::new(),
    };
    let credential = |(registry, entry): (String, Entry)| {
        let (username, password) = match &*entry.auth {
            "" => (entry.username, entry.password),
            auth => decode(auth)?,
        };
        Some(RegistryCredential {
            registry: place(&registry),
            username,
            password,
        })
    };
    entries.into_iter().map(credential).collect()
}

/// `auth`: user name and password in base64, with a colon between.
fn decode(auth: &str) -> Option<(String, String)> {
    let text: String = auth.chars().filter(|char| !matches!(char, '\r' | '\n')).collect();
    let bytes = match text.trim_end().ends_with('=') {
        true => STANDARD.decode(text),
        false => STANDARD_NO_PAD.decode(text),
    };
    let text = String::from_utf8(bytes.ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// Host and path of a registry as images name them: Docker's files write some as URLs of their API.
fn place(registry: &str) -> String {
    let rest = registry
        .strip_prefix("https://")
        .or_else(|| registry.strip_prefix("http://"))
        .unwrap_or(registry);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.starts_with("/v1/") || path.starts_with("/v2/") {
        &path[3..]
    } else {
        path
    };
    match path {
        "/" => host.to_owned(),
        path => format!("{host}{path}"),
    }
}
