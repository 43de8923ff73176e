//! Callers who show a client certificate.
//!
//! As `CommonNameUserConversion` of k8s.io/apiserver: the common name is the user, organizations are its groups.

use super::super::Error;
use super::super::tls::pem;
use super::User;
use crate::files::Reload;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::Digest;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use x509_parser::der_parser::Oid;
use x509_parser::der_parser::oid;
use x509_parser::prelude::X509Name;

/// The attribute of a subject that holds a user's UID (`X509UID` of k8s.io/apiserver).
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
/// The extra key under which audit logs look for what somebody was known by.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The authorities of `kubelet.clientCAFile`, as they are in the file now.
#[derive(Debug)]
pub(super) struct Authorities {
    file: PathBuf,
    crypto: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a certificate says nothing about its holder.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("its certificate does not count: {0}")]
    Certificate(rustls::Error),
    #[error("its certificate can't be read")]
    Unreadable,
    #[error("its certificate has no common name, which would be the user's")]
    Nameless,
    #[error("its certificate has more than one UID, or one that is no text")]
    Uid,
}

impl Authorities {
    /// Reads the file.
    pub(super) fn load(file: &Path, crypto: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let certificates = read(file)?;
        Ok(Self {
            file: file.to_owned(),
            crypto: Arc::clone(crypto),
            current: ArcSwap::from_pointee(trust(file, certificates, crypto)?),
        })
    }

    /// Who the holder of this chain is, leaf first, if the certificate is valid at `now` and meant for clients.
    pub(super) fn user(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<User, Unknown> {
        let verifier = Arc::clone(&self.current.load().verifier);
        verifier
            .verify_client_cert(leaf, intermediates, now)
            .map_err(Unknown::Certificate)?;
        user(leaf)
    }
}

impl Reload for Authorities {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn reload(&self) {
        let renewed = read(&self.file).and_then(|certificates| match certificates {
            same if same == self.current.load().certificates => Ok(None),
            new => trust(&self.file, new, &self.crypto).map(Some),
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(loaded)) => {
                self.current.store(Arc::new(loaded));
                tracing::info!(file = %self.file.display(), "the authorities of client certificates have changed");
            }
            Err(error) => tracing::warn!(%error, "unable to use changed authorities, keeping the old ones"),
        }
    }
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    pem::certificates("kubelet.clientCAFile", file)
}

fn trust(
    file: &Path,
    certificates: Vec<CertificateDer<'static>>,
    crypto: &Arc<CryptoProvider>,
) -> Result<Loaded, Error> {
    let unusable = |reason: String| Error::Authorities {
        path: file.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto)).build();
    let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
    Ok(Loaded { certificates, verifier })
}

fn user(leaf: &CertificateDer<'_>) -> Result<User, Unknown> {
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|_| Unknown::Unreadable)?;
    let subject = certificate.subject();
    // Where there are several the last counts, as in Go.
    let name = subject.iter_common_name().last();
    let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(Unknown::Nameless);
    }
    let groups = subject.iter_organization();
    let mut id = "X509SHA256=".to_owned();
    for byte in Sha256::digest(leaf) {
        // Into a String, which can't fail.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(User {
        name: name.to_owned(),
        uid: uid(subject)?,
        groups: groups
            .filter_map(|group| group.as_str().ok())
            .map(str::to_owned)
            .collect(),
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![id])]),
    })
}

fn uid(subject: &X509Name<'_>) -> Result<String, Unknown> {
    let mut uids = subject.iter_by_oid(&UID);
    match (uids.next(), uids.next()) {
        (None, _) => Ok(String::new()),
        (Some(uid), None) => uid.as_str().map(str::to_owned).map_err(|_| Unknown::Uid),
        (Some(_), Some(_)) => Err(Unknown::Uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::CertificateParams;
    use rcgen::DistinguishedName;
    use rcgen::DnType;
    use rcgen::KeyPair;

    fn subject(fill: impl FnOnce(&mut DistinguishedName)) -> Result<User, Unknown> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        fill(&mut params.distinguished_name);
        let key = KeyPair::generate().unwrap();
        user(params.self_signed(&key).unwrap().der())
    }

    fn uid_type() -> DnType {
        DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2])
    }

    #[test]
    fn names_and_groups_are_read() {
        let user = subject(|name| {
            name.push(DnType::OrganizationName, "system:masters");
            name.push(DnType::CommonName, "kube-apiserver");
            name.push(uid_type(), "1234");
        })
        .unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("kube-apiserver", "1234"));
        assert_eq!(user.groups, ["system:masters"]);
        let id = &user.extra[CREDENTIAL_ID][0];
        assert_eq!((id.starts_with("X509SHA256="), id.len()), (true, 11 + 64));
    }

    #[test]
    fn a_certificate_without_a_name_is_nobodys() {
        assert!(matches!(subject(|_| {}), Err(Unknown::Nameless)));
        let empty = subject(|name| name.push(DnType::CommonName, ""));
        assert!(matches!(empty, Err(Unknown::Nameless)));
    }
}
