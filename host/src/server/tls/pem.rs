//! PEM files of operators. What is wrong with one is said without a word of its content, which may be a key.

use super::super::Error;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// The certificates of a PEM file, at least one.
pub(in crate::server) fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = || -> Result<Vec<_>, pem::Error> { CertificateDer::pem_file_iter(path)?.collect() };
    let found = read().map_err(|error| unreadable(what, path, "certificate", error))?;
    match found.is_empty() {
        true => Err(unreadable(what, path, "certificate", pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

/// The first key of a PEM file.
pub(super) fn key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(what, path, "key", error))
}

fn unreadable(what: &'static str, path: &Path, item: &str, error: pem::Error) -> Error {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("no {item} in it"),
        // The parser's own texts may quote the file.
        _ => "it is no PEM file".to_owned(),
    };
    Error::Pem {
        what,
        path: path.to_owned(),
        reason,
    }
}
