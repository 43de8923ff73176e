//! Files that the configuration names, looked into: what is wrong with one is found with its place in the configuration.

use super::source;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use std::path::Path;

/// What a file should hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// PEM, one certificate at least.
    Certificates,
    /// The same, of authorities that others are to be trusted by.
    Authorities,
    /// PEM, a private key.
    Key,
    /// UTF-8.
    Text,
}

impl Holds {
    /// Looks whether it does.
    ///
    /// # Errors
    /// Why not, without a word of the content, which may be a key.
    pub fn check(self, path: &Path) -> Result<(), String> {
        let bytes = std::fs::read(path).map_err(|error| source::plainly(&error))?;
        match self {
            Self::Certificates => certificates(&bytes).map(drop),
            Self::Authorities => {
                let mut roots = RootCertStore::empty();
                for (number, certificate) in certificates(&bytes)?.into_iter().enumerate() {
                    let added = roots.add(certificate);
                    added.map_err(|_| format!("certificate {} in it is none that can be trusted", number + 1))?;
                }
                Ok(())
            }
            Self::Key => match PrivateKeyDer::from_pem_slice(&bytes) {
                Ok(_) => Ok(()),
                Err(pem::Error::NoItemsFound) => Err("no private key in it, expected PEM".to_owned()),
                Err(_) => Err("it is no PEM file".to_owned()),
            },
            Self::Text => match std::str::from_utf8(&bytes) {
                Ok(_) => Ok(()),
                Err(_) => Err("it is not UTF-8 text".to_owned()),
            },
        }
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found.map_err(|_| "it is no PEM file")? {
        none if none.is_empty() => Err("no certificate in it, expected PEM".to_owned()),
        some => Ok(some),
    }
}

/// Looks whether a key is that of a certificate. What can't be read is said of each file by itself.
///
/// # Errors
/// Why it is not.
pub(super) fn check_pair(certificate: &Path, key: &Path) -> Result<(), String> {
    let (Ok(chain), Ok(key)) = (std::fs::read(certificate), PrivateKeyDer::from_pem_file(key)) else {
        return Ok(());
    };
    let Ok(chain) = certificates(&chain) else {
        return Ok(());
    };
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err("it is the key of another certificate".to_owned()),
        Err(error) => Err(format!("it can't be used with the certificate: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_holds_what_it_should_or_it_is_said_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let issued = rcgen::generate_simple_self_signed(vec!["vk".to_owned()]).unwrap();
        let certificate = file("cert.pem", issued.cert.pem().as_bytes());
        let key = file("key.pem", issued.signing_key.serialize_pem().as_bytes());
        let (broken, binary) = (
            file("broken.pem", b"-----BEGIN CERTIFICATE-----\nhunter2"),
            file("der", &[0x30, 0x82, 0xff]),
        );
        let other = rcgen::generate_simple_self_signed(vec!["vk".to_owned()]).unwrap();
        let other = file("other.pem", other.signing_key.serialize_pem().as_bytes());
        assert_eq!(check_pair(&certificate, &key), Ok(()));
        let wrong = check_pair(&certificate, &other).unwrap_err();
        assert_eq!(wrong, "it is the key of another certificate");
        let nonsense = file(
            "nonsense.pem",
            b"-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
        );
        let wrong = Holds::Authorities.check(&nonsense).unwrap_err();
        assert_eq!(wrong, "certificate 1 in it is none that can be trusted");
        assert_eq!(Holds::Authorities.check(&certificate), Ok(()));
        assert_eq!(Holds::Certificates.check(&certificate), Ok(()));
        assert_eq!(Holds::Key.check(&key), Ok(()));
        assert_eq!(Holds::Text.check(&key), Ok(()));
        for (holds, path, expected) in [
            (Holds::Certificates, &key, "no certificate in it, expected PEM"),
            (Holds::Key, &certificate, "no private key in it, expected PEM"),
            (Holds::Certificates, &broken, "it is no PEM file"),
            (Holds::Certificates, &binary, "no certificate in it, expected PEM"),
            (Holds::Text, &binary, "it is not UTF-8 text"),
            (Holds::Text, &directory.path().to_owned(), "it is a directory"),
            (Holds::Key, &directory.path().join("none"), "no such file"),
        ] {
            assert_eq!(
                holds.check(path),
                Err(expected.to_owned()),
                "{holds:?} {}",
                path.display()
            );
        }
    }
}
