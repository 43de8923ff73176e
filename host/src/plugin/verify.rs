//! Reads a plugin file once and says what is wrong with it before the dynamic loader can stumble over it.

use super::elf;
use crate::config::AllowedPlugin;
use crate::config::Sha256Digest;
use sha2::Digest;
use sha2::Sha256;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// The largest file that is taken for a plugin; debug builds reach some tens of MiB.
const MAX_SIZE: u64 = 1 << 30;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// What matters of a plugin file.
pub struct PluginFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its beginning, with all that is ever mapped. What follows, symbols and debug information, is ten times as much.
    pub bytes: Vec<u8>,
    /// How many bytes it has.
    pub size: u64,
    /// Hash of all of them.
    pub sha256: Sha256Digest,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("the file does not exist; correct the path or install the plugin")]
    Missing,
    /// It may not be read.
    #[error("{0}; make the file readable for the host's user")]
    Unreadable(io::Error),
    /// It is no file.
    #[error("it is {0}, not a file; name the plugin's .so file")]
    NotAFile(&'static str),
    /// Nothing is in it.
    #[error("the file is empty; install the plugin again")]
    Empty,
    /// Too much is in it.
    #[error("the file has {0} bytes, more than a plugin may have ({MAX_SIZE}); name the plugin's .so file")]
    Huge(u64),
    /// Its format is wrong.
    #[error(transparent)]
    Format(#[from] elf::Fault),
    /// Its hash is not the one that the provider names.
    #[error("its sha256 is {found}, but the config asks for {expected}; install the right file or correct `sha256`")]
    Hash {
        /// From the config.
        expected: Sha256Digest,
        /// Of the file.
        found: Sha256Digest,
    },
    /// The allow-list does not have it.
    #[error("plugin {name:?} with sha256 {found} is not in `plugins.allow`; add it there if you trust the file")]
    NotAllowed {
        /// The plugin's name.
        name: String,
        /// Of the file.
        found: Sha256Digest,
    },
}

/// Reads a file and checks that it can be a plugin for this machine.
pub fn read(path: &Path) -> Result<PluginFile, Fault> {
    let file = open(path)?;
    let plugin = take_in(path, file.take(MAX_SIZE)).map_err(Fault::Unreadable)?;
    elf::check(&plugin.bytes, plugin.size)?;
    Ok(plugin)
}

/// Reads a file once, from its beginning to its end.
fn take_in(path: &Path, mut file: impl Read) -> io::Result<PluginFile> {
    let (mut bytes, mut size, mut hash) = (Vec::new(), 0, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => &piece[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += read.len() as u64;
        hash.update(read);
        if elf::wanted(&bytes).is_none_or(|end| end > bytes.len() as u64) {
            bytes.extend_from_slice(read);
        }
    }
    Ok(PluginFile {
        path: path.to_owned(),
        bytes,
        size,
        sha256: Sha256Digest(hash.finalize().into()),
    })
}

fn open(path: &Path) -> Result<File, Fault> {
    let cause = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::Missing,
        _ => Fault::Unreadable(error),
    };
    // Opening a FIFO would wait for a writer without this flag.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(flags).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(cause)?;
    let metadata = file.metadata().map_err(cause)?;
    if metadata.is_dir() {
        return Err(Fault::NotAFile("a directory"));
    }
    if !metadata.is_file() {
        return Err(Fault::NotAFile("a special file"));
    }
    if metadata.len() == 0 {
        return Err(Fault::Empty);
    }
    if metadata.len() > MAX_SIZE {
        return Err(Fault::Huge(metadata.len()));
    }
    Ok(file)
}

impl PluginFile {
    /// Compares the hash with what the provider's `sha256` and the allow-list ask for.
    pub fn admit(
        &self,
        plugin: &str,
        expected: Option<Sha256Digest>,
        allow: Option<&[AllowedPlugin]>,
    ) -> Result<(), Fault> {
        if let Some(expected) = expected
            && expected != self.sha256
        {
            return Err(Fault::Hash {
                expected,
                found: self.sha256,
            });
        }
        let same = |name: &str| name.replace('-', "_") == plugin.replace('-', "_");
        match allow {
            Some(allow)
                if !allow
                    .iter()
                    .any(|entry| same(&entry.name) && entry.sha256 == self.sha256) =>
            {
                Err(Fault::NotAllowed {
                    name: plugin.to_owned(),
                    found: self.sha256,
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of ELF, with the header of one segment.
    const HEADER: [u8; 120] = {
        let mut bytes = [0; 120];
        (bytes[0], bytes[1], bytes[2], bytes[3]) = (0x7f, b'E', b'L', b'F');
        (bytes[32], bytes[54], bytes[56]) = (64, 56, 1);
        let end = 100_000_u64.to_le_bytes();
        (bytes[96], bytes[97], bytes[98]) = (end[0], end[1], end[2]);
        bytes
    };

    fn file(bytes: &[u8]) -> PluginFile {
        PluginFile {
            path: PathBuf::from("x.so"),
            bytes: bytes.to_vec(),
            size: bytes.len() as u64,
            sha256: Sha256Digest(Sha256::digest(bytes).into()),
        }
    }

    #[test]
    fn files_that_are_none_are_named() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(read(directory.path()), Err(Fault::NotAFile("a directory"))));
        assert!(matches!(read(&directory.path().join("gone.so")), Err(Fault::Missing)));
        let empty = directory.path().join("empty.so");
        std::fs::write(&empty, b"").unwrap();
        assert!(matches!(read(&empty), Err(Fault::Empty)));
        assert!(matches!(read(&empty.join("below.so")), Err(Fault::Missing)));
        assert!(matches!(
            read(Path::new("/dev/null")),
            Err(Fault::NotAFile("a special file"))
        ));
    }

    #[test]
    fn all_is_hashed_and_what_is_mapped_is_kept() {
        let mut bytes = vec![7; 10 * PIECE];
        bytes[..HEADER.len()].copy_from_slice(&HEADER);
        let plugin = take_in(Path::new("x.so"), bytes.as_slice()).unwrap();
        assert_eq!(plugin.size, bytes.len() as u64);
        assert_eq!(plugin.sha256, Sha256Digest(Sha256::digest(&bytes).into()));
        // One segment, which ends at 100,000.
        assert!(plugin.bytes.len() >= 100_000 && plugin.bytes.len() < 100_000 + PIECE);
        assert_eq!(plugin.bytes, bytes[..plugin.bytes.len()]);
    }

    #[test]
    fn hash_and_allow_list_decide() {
        let plugin = file(b"one");
        let other = file(b"two").sha256;
        let entry = |name: &str, sha256| AllowedPlugin {
            name: name.to_owned(),
            sha256,
        };
        assert!(plugin.admit("my-p", Some(plugin.sha256), None).is_ok());
        assert!(
            plugin
                .admit("my-p", None, Some(&[entry("my_p", plugin.sha256)]))
                .is_ok()
        );
        assert!(matches!(plugin.admit("p", Some(other), None), Err(Fault::Hash { .. })));
        for list in [vec![], vec![entry("p", other)], vec![entry("q", plugin.sha256)]] {
            assert!(matches!(
                plugin.admit("p", Some(plugin.sha256), Some(&list)),
                Err(Fault::NotAllowed { .. })
            ));
        }
    }
}
