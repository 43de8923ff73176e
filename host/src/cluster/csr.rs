//! Certificates from the cluster: a CertificateSigningRequest, its approval by whoever may, and what was issued.
//!
//! The key is made here and never leaves the process before its certificate is there. What the signers of the kubelet's
//! certificates accept is laid down in the Kubernetes documentation (certificate signing requests, signers).

use super::{
    ApiError, Clients, Watch,
    raw::{self, DEFAULT_TIMEOUT},
    watch::{Event, Target},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use serde::Deserialize;
use serde_json::json;
use std::{net::IpAddr, time::Duration};

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// As long as a kubelet waits for an approval; then it asks anew, with another key.
const APPROVAL: Duration = Duration::from_secs(15 * 60);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// `kubernetes.io/kubelet-serving`, `kubernetes.io/kube-apiserver-client-kubelet`.
    pub signer: &'static str,
    /// What the key will be used for, in the API's words.
    pub usages: &'static [&'static str],
    /// The node: the subject is `system:node:NODE` in the group `system:nodes`.
    pub node: String,
    /// Names that the certificate is to be valid for.
    pub names: Vec<String>,
    /// Addresses that it is to be valid for.
    pub addresses: Vec<IpAddr>,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// Leaf first.
    pub certificate: String,
    /// PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be made here.
    #[error("unable to make a certificate request")]
    Make(#[from] rcgen::Error),
    /// The API server did not take it.
    #[error("unable to request a certificate from {signer}")]
    Request {
        /// Whom it was for.
        signer: &'static str,
        /// Why.
        #[source]
        source: ApiError,
    },
    /// Somebody denied it, or the signer refused it.
    #[error("certificate request {name} was {verdict}: {message}")]
    Refused {
        /// Its name.
        name: String,
        /// `denied` or `not signed`.
        verdict: &'static str,
        /// What they say.
        message: String,
    },
    /// Nobody approved it.
    #[error(
        "certificate request {name} was not approved within {APPROVAL:?}; approve the next one with `kubectl certificate approve`"
    )]
    Unapproved {
        /// Its name.
        name: String,
    },
    /// Somebody deleted it.
    #[error("certificate request {name} was deleted")]
    Deleted {
        /// Its name.
        name: String,
    },
}

impl Error {
    /// A short name of the class, by which repeated failures are recognised as one state.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Make(_) => "make",
            Self::Request { source, .. } => source.class(),
            Self::Refused { .. } => "refused",
            Self::Unapproved { .. } => "unapproved",
            Self::Deleted { .. } => "deleted",
        }
    }
}

/// Requests a certificate and waits for it, up to a quarter of an hour. Dropping the future leaves the request to the
/// cluster, which removes it after a while.
pub async fn issue(clients: &Clients, order: &Order) -> Result<Issued, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request = params(order)?.serialize_request(&key)?.pem()?;
    let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
    let name = format!("outrigger-{}", unique.to_lowercase());
    let body = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": name },
        "spec": { "request": STANDARD.encode(request), "signerName": order.signer, "usages": order.usages },
    });
    let post = async {
        raw::send(
            &clients.leases,
            raw::post(PATH, body.to_string().into_bytes())?,
            DEFAULT_TIMEOUT,
        )
        .await
    };
    post.await.map_err(|source| Error::Request {
        signer: order.signer,
        source,
    })?;
    tracing::info!(
        node = order.node,
        request = name,
        signer = order.signer,
        "certificate requested"
    );
    let target = Target::new(format!("certificate request {name}"), PATH).fields(format!("metadata.name={name}"));
    let mut watch = Watch::new(clients.watch.clone(), target);
    let signed = tokio::time::timeout(APPROVAL, async {
        let mut seen = false;
        loop {
            match watch.next().await {
                Event::Restarted => seen = false,
                Event::Apply(object) => {
                    seen = true;
                    if let Some(verdict) = verdict(&name, &object) {
                        return verdict;
                    }
                }
                Event::Delete(_) => return Err(Error::Deleted { name: name.clone() }),
                // It went while there was no watch to tell, or with a store that was restored.
                Event::Synced if !seen => return Err(Error::Deleted { name: name.clone() }),
                Event::Listed { .. } | Event::Synced => {}
            }
        }
    });
    let certificate = signed.await.unwrap_or(Err(Error::Unapproved { name: name.clone() }))?;
    Ok(Issued {
        certificate,
        key: key.serialize_pem(),
    })
}

fn params(order: &Order) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "system:nodes");
    subject.push(DnType::CommonName, format!("system:node:{}", order.node));
    params.distinguished_name = subject;
    for name in &order.names {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
    }
    params
        .subject_alt_names
        .extend(order.addresses.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

/// What became of a request, when something did.
fn verdict(name: &str, object: &[u8]) -> Option<Result<String, Error>> {
    #[derive(Deserialize)]
    struct Request {
        #[serde(default)]
        status: Status,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        certificate: String,
        conditions: Vec<Condition>,
    }
    #[derive(Deserialize)]
    struct Condition {
        r#type: String,
        #[serde(default)]
        message: String,
    }
    let status = serde_json::from_slice::<Request>(object).ok()?.status;
    let refused = status.conditions.into_iter().find_map(|condition| {
        let verdict = match condition.r#type.as_str() {
            "Denied" => "denied",
            "Failed" => "not signed",
            _ => return None,
        };
        Some(Error::Refused {
            name: name.to_owned(),
            verdict,
            message: condition.message,
        })
    });
    if let Some(refused) = refused {
        return Some(Err(refused));
    }
    let pem = STANDARD.decode(status.certificate).ok().filter(|pem| !pem.is_empty())?;
    String::from_utf8(pem).ok().map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

    #[test]
    fn a_request_names_the_node_and_its_addresses() {
        let order = Order {
            signer: "kubernetes.io/kubelet-serving",
            usages: &["digital signature", "server auth"],
            node: "vk-0".into(),
            names: vec!["vk-0.example".into()],
            addresses: vec!["10.0.0.7".parse().unwrap()],
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = params(&order).unwrap().serialize_request(&key).unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(request.der()).unwrap();
        assert_eq!(
            parsed.certification_request_info.subject.to_string(),
            "O=system:nodes, CN=system:node:vk-0"
        );
        let der: &[u8] = request.der();
        assert!(der.windows(12).any(|window| window == b"vk-0.example"));
        assert!(der.windows(4).any(|window| window == [10, 0, 0, 7]));
    }

    #[test]
    fn a_verdict_is_read() {
        let read = |status: serde_json::Value| verdict("csr", json!({ "status": status }).to_string().as_bytes());
        assert!(read(json!({})).is_none());
        assert!(read(json!({ "conditions": [{ "type": "Approved" }] })).is_none());
        let pem = read(json!({ "certificate": STANDARD.encode("pem"), "conditions": [{ "type": "Approved" }] }));
        assert_eq!(pem.unwrap().unwrap(), "pem");
        let error = read(json!({ "conditions": [{ "type": "Denied", "message": "who are you" }] }));
        assert_eq!(
            error.unwrap().unwrap_err().to_string(),
            "certificate request csr was denied: who are you"
        );
    }
}
