//! Where nodes keep certificates that they made or were given, with their keys.

use super::super::Error;
use crate::cluster::csr::Issued;
use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

/// What signed a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The node itself.
    SelfSigned,
    /// The cluster.
    Requested,
}

/// A directory that nobody else may read.
#[derive(Debug, Clone)]
pub(in crate::server) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Makes the directory if there is none.
    pub(in crate::server) fn open(directory: &Path) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| Error::CertDirectory {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    fn file(&self, node: &str, origin: Origin) -> PathBuf {
        let what = match origin {
            Origin::SelfSigned => "self-signed",
            Origin::Requested => "serving",
        };
        self.directory.join(format!("{node}-{what}.pem"))
    }

    /// What was kept for a node; `None` if there is nothing, or nothing that can be read.
    pub(super) fn read(&self, node: &str, origin: Origin) -> Option<Issued> {
        const KEY: &str = "-----BEGIN PRIVATE KEY-----";
        let file = self.file(node, origin);
        let text = fs::read_to_string(&file)
            .inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(node, file = %file.display(), %error, "unable to read a kept certificate, going on without it");
                }
            })
            .ok()?;
        let at = text.find(KEY)?;
        let (certificate, key) = text.split_at(at);
        Some(Issued {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Keeps a node's certificate: after a crash there is this one or the one before.
    pub(super) fn write(&self, node: &str, origin: Origin, issued: &Issued) -> Result<(), Error> {
        let file = self.file(node, origin);
        let new = file.with_extension("new");
        let write = || -> io::Result<()> {
            let mut out = OpenOptions::new();
            let mut out = out.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            // The mode above is for a new file.
            out.set_permissions(Permissions::from_mode(0o600))?;
            out.write_all(issued.certificate.as_bytes())?;
            out.write_all(issued.key.as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, &file)?;
            fs::File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| Error::CertDirectory { path: file, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tls::names::Names;
    use crate::server::tls::self_signed;

    #[test]
    fn what_is_kept_is_found_again_and_is_nobody_elses_to_read() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/pki");
        let store = Store::open(&directory).unwrap();
        let pair = self_signed::make(&Names::new("vk-0", &[])).unwrap();
        assert!(store.read("vk-0", Origin::Requested).is_none());
        // What a crash left behind does not matter.
        fs::write(directory.join("vk-0-serving.new"), "-----BEGIN PRIVATE KEY-----\nhalf").unwrap();
        fs::set_permissions(directory.join("vk-0-serving.new"), Permissions::from_mode(0o644)).unwrap();
        store.write("vk-0", Origin::Requested, &pair).unwrap();
        let kept = Store::open(&directory)
            .unwrap()
            .read("vk-0", Origin::Requested)
            .unwrap();
        assert_eq!((&kept.certificate, &kept.key), (&pair.certificate, &pair.key));
        assert!(store.read("vk-0", Origin::SelfSigned).is_none());
        assert!(store.read("vk-1", Origin::Requested).is_none());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("vk-0-serving.pem")), 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Store::open(&file.path().join("pki")).unwrap_err().to_string();
        assert!(
            error.contains("pki") && error.contains("kubelet.certDirectory"),
            "{error}"
        );
    }
}
