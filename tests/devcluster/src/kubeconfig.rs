//! The files that a running server leaves in its directory. Secrets are readable by their owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Creates a directory that only its owner may enter; one that exists stays as it is.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file that only its owner may read, in one step for readers.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(fresh, path)
}

/// The text of a kubeconfig with one cluster and one user that has a token.
pub fn render(server: &str, ca: Option<&str>, token: &str) -> String {
    let ca = ca.map_or_else(String::new, |pem| {
        format!("    certificate-authority-data: {}\n", STANDARD.encode(pem))
    });
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: devcluster\nclusters:\n- name: devcluster\n  cluster:\n    server: {server}\n{ca}\
         contexts:\n- name: devcluster\n  context:\n    cluster: devcluster\n    user: admin\n    namespace: default\nusers:\n- name: admin\n  user:\n    token: {token}\n"
    )
}

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The directory.
    pub dir: PathBuf,
}

impl Files {
    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// The CA of the certificate that the server shows to kubelet ports: a host's `clientCAFile`.
    pub fn kubelet_client_ca(&self) -> PathBuf {
        self.dir.join("kubelet-client-ca.crt")
    }

    /// The certificate that the server shows to kubelet ports; tests use it to talk to a host as the server would.
    pub fn kubelet_client_certificate(&self) -> PathBuf {
        self.dir.join("kubelet-client.crt")
    }

    /// The key of that certificate.
    pub fn kubelet_client_key(&self) -> PathBuf {
        self.dir.join("kubelet-client.key")
    }

    /// The administrator's token alone, for curl.
    pub fn token(&self) -> PathBuf {
        self.dir.join("token")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_for_their_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("a/b");
        private_dir(&dir).unwrap();
        let path = Files { dir: dir.clone() }.kubeconfig();
        write_secret(&path, &render("https://127.0.0.1:1", Some("PEM"), "t")).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
        let parsed: serde_yaml::Value = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(parsed["clusters"][0]["cluster"]["certificate-authority-data"], "UEVN");
        assert_eq!(parsed["users"][0]["user"]["token"], "t");
    }
}
