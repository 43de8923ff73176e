//! Files that change while they are in use.
//!
//! Directories are watched rather than files: a file that is replaced by another, or reached by a link that is turned
//! (as in volumes of ConfigMaps and Secrets), is no longer what a watch of itself would see.

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Files that belong together are rarely written in one instant.
const SETTLE: Duration = Duration::from_millis(200);
/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Something that was made from files.
pub trait Reload: Send + Sync {
    /// The files.
    fn files(&self) -> Vec<PathBuf>;
    /// Takes what is in them now, if that is something else and can be used. What can't be used is logged and changes
    /// nothing.
    fn reload(&self);
}

/// Keeps things in step with the files that they were made from.
pub struct Keeper {
    subjects: Vec<Arc<dyn Reload>>,
}

impl Keeper {
    pub fn new(subjects: Vec<Arc<dyn Reload>>) -> Self {
        Self { subjects }
    }

    /// Runs until shutdown. On a system that can't tell of changes, which is logged, it only waits for that.
    pub async fn run(self, shutdown: CancellationToken) {
        let files: Vec<PathBuf> = self.subjects.iter().flat_map(|subject| subject.files()).collect();
        if !files.is_empty()
            && let Some(watch) = Watch::new(files)
        {
            shutdown.run_until_cancelled(watch.keep(&self.subjects)).await;
        }
        shutdown.cancelled().await;
    }
}

struct Watch {
    files: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    changes: mpsc::Receiver<()>,
    /// Directories that can't be watched, which is said once.
    blind: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(files: Vec<PathBuf>) -> Option<Self> {
        // One note is enough, whatever has changed.
        let (changed, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may hide a change.
            if event.as_ref().map_or(true, |event| is_change(&event.kind)) {
                let _ = changed.try_send(());
            }
        });
        match watcher {
            Ok(watcher) => Some(Self {
                files,
                watcher,
                changes,
                blind: BTreeSet::new(),
            }),
            Err(error) => {
                tracing::warn!(%error, "unable to watch files: certificates and authorities that change need a restart");
                None
            }
        }
    }

    async fn keep(mut self, subjects: &[Arc<dyn Reload>]) {
        loop {
            // Links may lead elsewhere by now. And what changed before there was a watch is seen after it.
            self.watch();
            for subject in subjects {
                subject.reload();
            }
            if self.changes.recv().await.is_none() {
                return;
            }
            tokio::time::sleep(SETTLE).await;
            // What was noted meanwhile is read now.
            let _ = self.changes.try_recv();
        }
    }

    fn watch(&mut self) {
        let directories: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| directories(file)).collect();
        for directory in directories {
            // A directory of the same name may be another one now.
            let watched = self.watcher.watch(&directory, RecursiveMode::NonRecursive);
            if let Err(error) = watched
                && self.blind.insert(directory.clone())
            {
                tracing::warn!(
                    directory = %directory.display(), %error,
                    "unable to watch a directory: certificates and authorities that change there need a restart"
                );
            }
        }
    }
}

/// Looking at a file is an event, too, and must not lead to another look.
pub fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

/// Every directory in which something can change what `file` is: its own, and that of each link on the way to it.
pub fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut way = file.to_owned();
    for _ in 0..LINKS {
        let mut beginnings: Vec<&Path> = way.ancestors().collect();
        beginnings.reverse();
        let link = beginnings
            .into_iter()
            .find_map(|path| Some((path, std::fs::read_link(path).ok()?)));
        let Some((link, target)) = link else { break };
        found.insert(parent(link));
        let rest = way.strip_prefix(link).unwrap_or(Path::new(""));
        way = parent(link).join(target).join(rest).components().collect();
    }
    found.insert(parent(&way));
    found
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        None => PathBuf::from("/"),
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::Mutex;
    use std::time::Instant;

    fn names(file: &Path, root: &Path) -> Vec<String> {
        let directories = directories(file).into_iter();
        let below = directories.filter_map(|directory| Some(directory.strip_prefix(root).ok()?.display().to_string()));
        below.collect()
    }

    #[test]
    fn every_link_on_the_way_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        // As the kubelet makes the volume of a Secret, in a directory that is a link itself.
        std::fs::create_dir_all(at("real/..2026_1")).unwrap();
        std::fs::write(at("real/..2026_1/tls.crt"), "1").unwrap();
        symlink("..2026_1", at("real/..data")).unwrap();
        symlink("..data/tls.crt", at("real/tls.crt")).unwrap();
        symlink(at("real"), at("volume")).unwrap();
        assert_eq!(names(&at("volume/tls.crt"), &root), ["", "real", "real/..2026_1"]);
        assert_eq!(names(&at("real/..2026_1/tls.crt"), &root), ["real/..2026_1"]);
        assert_eq!(names(&at("real/missing"), &root), ["real"]);
        symlink("loop", at("loop")).unwrap();
        assert_eq!(names(&at("loop"), &root), [""]);
    }

    struct Recorder {
        file: PathBuf,
        looks: Mutex<Vec<String>>,
    }

    impl Reload for Recorder {
        fn files(&self) -> Vec<PathBuf> {
            vec![self.file.clone()]
        }

        fn reload(&self) {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            self.looks.lock().unwrap().push(text);
        }
    }

    impl Recorder {
        async fn sees(&self, text: &str) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.looks.lock().unwrap().last().is_none_or(|last| last != text) {
                assert!(Instant::now() < deadline, "{text:?} was not seen");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn changes_are_seen_however_they_are_made_and_looking_is_none() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for (directory, text) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(at(directory)).unwrap();
            std::fs::write(at(directory).join("ca.crt"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/ca.crt", at("ca.crt")).unwrap();
        let recorder = Arc::new(Recorder {
            file: at("ca.crt"),
            looks: Mutex::default(),
        });
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(Keeper::new(vec![recorder.clone()]).run(shutdown.clone()));
        recorder.sees("one").await;
        symlink("..2", at("..next")).unwrap();
        std::fs::rename(at("..next"), at("..data")).unwrap();
        recorder.sees("two").await;
        // The directory that the link leads to now is watched, too.
        std::fs::write(at("..2/ca.crt"), "three").unwrap();
        recorder.sees("three").await;
        std::fs::remove_file(at("ca.crt")).unwrap();
        recorder.sees("").await;
        std::fs::write(at("ca.crt"), "four").unwrap();
        recorder.sees("four").await;
        shutdown.cancel();
        running.await.unwrap();
        let looks = recorder.looks.lock().unwrap().len();
        assert!(looks < 20, "{looks} looks: a look must not lead to another");
    }
}
