//! Files that the configuration names, looked into: what is wrong with one is found with its place in the configuration.

use super::source;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use std::path::Path;

/// What a file should hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// PEM, one certificate at least.
    Certificates,
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
            Self::Certificates => {
                let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
                match found.map_err(|_| "it is no PEM file")?.is_empty() {
                    true => Err("no certificate in it, expected PEM".to_owned()),
                    false => Ok(()),
                }
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
