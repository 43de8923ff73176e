//! Folders for local processes: one for each container, from its first command until its pod is removed, or gone.
//!
//! Other instances may have theirs beside them. So none is looked for: what is known is what was made here, and of pods
//! that an earlier process of the host had, only [`Scratch::remove`] takes the folders.

use crate::config::Config;
use outrigger_plugin::{PodIdentity, ProviderError, Result};
use std::{
    collections::HashSet,
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Where the folders are: `<base>/<uid of the pod>/<container>`. The same after a restart of the host.
pub struct Scratch {
    base: PathBuf,
    /// The pods that were given one, by UID.
    pods: Mutex<HashSet<String>>,
}

impl Scratch {
    /// Below the configured folder, or one of this user's in the system's for temporary files.
    pub fn new(config: &Config) -> Self {
        let own = || std::env::temp_dir().join(format!("outrigger-mock-{}", rustix::process::geteuid().as_raw()));
        Self {
            base: config.scratch.clone().unwrap_or_else(own),
            pods: Mutex::default(),
        }
    }

    /// A container's folder; makes it.
    pub async fn folder(&self, pod: &PodIdentity, container: &str) -> Result<PathBuf> {
        let (base, folder) = (self.base.clone(), self.of_pod(&pod.uid)?.join(part(container)?));
        self.pods().insert(pod.uid.clone());
        let made = blocking(move || {
            private(&base)?;
            make(&folder)?;
            Ok(folder)
        });
        made.await.map_err(|source| {
            ProviderError::unavailable("unable to make a scratch folder for the container").with_source(source)
        })
    }

    /// Removes the folders of a pod, if it has any.
    pub async fn remove(&self, uid: &str) -> Result<()> {
        let pod = self.of_pod(uid)?;
        let removed = blocking(move || match std::fs::remove_dir_all(pod) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        removed.await.map_err(|source| {
            ProviderError::unavailable("unable to remove the pod's scratch folders").with_source(source)
        })?;
        self.pods().remove(uid);
        Ok(())
    }

    /// The pods that have folders made here.
    pub fn uids(&self) -> HashSet<String> {
        self.pods().clone()
    }

    fn pods(&self) -> MutexGuard<'_, HashSet<String>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_pod(&self, uid: &str) -> Result<PathBuf> {
        Ok(self.base.join(part(uid)?))
    }
}

/// A name that stays where it is put.
fn part(name: &str) -> Result<&str> {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(harmless) {
        return Ok(name);
    }
    Err(ProviderError::invalid(format!(
        "{name:?} can not be the name of a folder"
    )))
}

fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the base. Others can write beside it: one that they have made, or can look into, is refused.
fn private(base: &Path) -> io::Result<()> {
    make(base)?;
    let found = std::fs::symlink_metadata(base)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
        let fault = format!("{} is not a directory of this user alone (mode 0700)", base.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, fault));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_leave_its_place() {
        for name in ["", ".", "..", "a/b", "../etc", "a\0b", "ü"] {
            assert!(part(name).is_err(), "{name:?}");
        }
        assert_eq!(part("0b9c-11_x").unwrap(), "0b9c-11_x");
    }

    #[test]
    fn a_base_that_others_could_look_into_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        std::fs::DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(private(&open).unwrap_err().to_string().contains("mode 0700"));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path(), &link).unwrap();
        assert!(private(&link).is_err());
        private(&directory.path().join("new/base")).unwrap();
    }
}
