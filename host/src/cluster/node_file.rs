//! The file of a node's certificate, and who is told when it has changed.

use crate::files::Reload;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};
use tokio::sync::Notify;

/// A file that one task reads anew when it has changed, whoever changed it.
pub struct NodeFile {
    path: PathBuf,
    seen: Mutex<Option<Stamp>>,
    changed: Notify,
}

/// Tells one state of a file from the next without reading it: of a thousand that are kept in one directory a change of each
/// leads to a look at all.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl NodeFile {
    pub fn new(path: PathBuf) -> Self {
        let seen = Mutex::new(Stamp::of(&path).ok());
        Self {
            path,
            seen,
            changed: Notify::new(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until it has changed since the last such wait ended.
    ///
    /// Cancel safe: a change that nobody waited for ends the next wait at once.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Reload for NodeFile {
    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn reload(&self) {
        // One that has gone changes nothing: what was taken from it is still good.
        let Ok(now) = Stamp::of(&self.path) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref() != Some(&now) {
            *seen = Some(now);
            self.changed.notify_one();
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn changes_are_told_once_and_a_file_that_goes_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.pem");
        let file = NodeFile::new(path.clone());
        let told = || file.changed().now_or_never().is_some();
        file.reload();
        assert!(!told());
        fs::write(&path, "one").unwrap();
        file.reload();
        file.reload();
        assert!(told());
        assert!(!told());
        fs::remove_file(&path).unwrap();
        file.reload();
        assert!(!told());
        fs::write(&path, "another").unwrap();
        file.reload();
        assert!(told());
    }
}
