//! The objects that materials are made of, with just what matters of them.

use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap};

/// A ConfigMap's content.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapData {
    /// `data`.
    pub data: BTreeMap<String, String>,
    /// `binaryData`, decoded. Volumes see it, environment variables don't.
    #[serde(deserialize_with = "base64_map")]
    pub binary_data: BTreeMap<String, Vec<u8>>,
    /// It can't change until it is deleted: no watch is needed.
    pub immutable: bool,
}

/// A Secret's content.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretData {
    /// `type`, for example `kubernetes.io/dockerconfigjson`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `data`, decoded.
    #[serde(deserialize_with = "base64_map")]
    pub data: BTreeMap<String, Vec<u8>>,
    /// It can't change until it is deleted: no watch is needed.
    pub immutable: bool,
}

/// A key and the certificate that a PodCertificateRequest answered for it, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PodCertificate {
    /// The private key, PKCS #8.
    pub key: String,
    /// The certificate chain, leaf first.
    pub chain: String,
}

/// A Service, as far as environment variables tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.name`.
    pub name: String,
    /// `spec.clusterIP`; empty or `None` for a headless one.
    pub cluster_ip: String,
    /// `spec.ports`, in order.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServicePort {
    /// Its name; empty for none.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`; empty means `TCP`.
    pub protocol: String,
}

/// The environment variables that tell the pods of one namespace of Services, sorted by name: made once for each state
/// of the Services, then shared by all pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceLinks {
    pub(super) vars: Vec<(Box<str>, Box<str>)>,
}

macro_rules! hide {
    ($($name:ident: $field:ident),*) => {$(
        /// Shows how much there is, never what.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field(stringify!($field), &self.$field.len()).finish_non_exhaustive()
            }
        }
    )*};
}
hide!(ConfigMapData: data, SecretData: data, PodCertificate: chain);

impl ConfigMapData {
    /// Reads a `v1.ConfigMap`.
    ///
    /// # Errors
    /// When the bytes are none. The message never holds content.
    pub fn read(raw: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(raw)
    }
}

impl SecretData {
    /// Reads a `v1.Secret`.
    ///
    /// # Errors
    /// When the bytes are none. The message names a place, never content.
    pub fn read(raw: &[u8]) -> Result<Self, serde_json::Error> {
        // The text of a serde error can quote a value; its place can't.
        serde_json::from_slice(raw).map_err(|error| {
            serde::de::Error::custom(format!("no secret, at line {} column {}", error.line(), error.column()))
        })
    }
}

impl Service {
    /// Reads a `v1.Service`.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(raw: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            metadata: Metadata<'a>,
            #[serde(borrow)]
            spec: Spec<'a>,
        }
        #[derive(Deserialize)]
        struct Metadata<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Spec<'a> {
            #[serde(borrow, rename = "clusterIP")]
            cluster_ip: Cow<'a, str>,
            ports: Vec<ServicePort>,
        }
        let Object { metadata, spec } = serde_json::from_slice(raw)?;
        Ok(Self {
            name: metadata.name.into_owned(),
            cluster_ip: spec.cluster_ip.into_owned(),
            ports: spec.ports,
        })
    }
}

fn base64_map<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    use base64::Engine as _;
    let encoded: Option<BTreeMap<String, Option<Cow<'de, str>>>> = Deserialize::deserialize(deserializer)?;
    let decode = |(key, text): (String, Option<Cow<'de, str>>)| {
        let text = text.unwrap_or_default();
        match base64::engine::general_purpose::STANDARD.decode(text.as_bytes()) {
            Ok(bytes) => Ok((key, bytes)),
            Err(_) => Err(serde::de::Error::custom(format!("the value of {key:?} is no base64"))),
        }
    };
    encoded.unwrap_or_default().into_iter().map(decode).collect()
}
