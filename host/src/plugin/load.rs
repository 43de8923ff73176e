//! Makes code of a verified file, once per process and for good: an image is never unloaded, since its threads, its
//! thread-locals and the functions that others hold of it have no end that anybody could know.
//!
//! By default the library is opened from a sealed copy in memory, so that neither overwriting nor deleting the file can
//! hurt a running host. glibc remembers libraries by the name that they were opened with, and the name is the copy's
//! descriptor: it stays open for the life of the process, or a later copy with the same number would silently be the
//! earlier library again.

use super::elf;
use super::image::Image;
use super::layout;
use super::layout::Side;
use super::verify::PluginFile;
use crate::config::PluginLoad;
use crate::config::Sha256Digest;
use libloading::os::unix::Library;
use libloading::os::unix::RTLD_LOCAL;
use libloading::os::unix::RTLD_NOW;
use outrigger_wire::AbiHeaderRef;
use outrigger_wire::LibHeader;
use outrigger_wire::PluginRef;
use outrigger_wire::ROOT_MODULE_LOADER_NAME_WITH_NUL;
use outrigger_wire::StableAbiTrait;
use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use std::collections::HashMap;
use std::error::Error as _;
use std::fs::File;
use std::io;
use std::io::Write;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// `RTLD_NODELETE` of `dlfcn.h`, the same number on every Linux; libloading does not name it.
const RTLD_NODELETE: i32 = 0x1000;

/// Why a file did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No sealed copy.
    #[error(
        "no copy in memory could be made: {0}; if the sysctl vm.memfd_noexec forbids it, set `plugins.load: path` in the config"
    )]
    Memory(io::Error),
    /// The dynamic loader refused.
    #[error("{0}; install what it needs, or use a build for this machine")]
    Open(String),
    /// The vendor linked the standard library dynamically.
    #[error(
        "{0}; the plugin was built with -Cprefer-dynamic, which a plugin can't be: build it without that flag in RUSTFLAGS"
    )]
    PreferDynamic(String),
    /// It is a library of another kind.
    #[error("it exports no plugin header; a plugin names its provider with export_provider!")]
    NoHeader,
    /// Its header is not one of ours.
    #[error("its header can't be read: {0}; build the plugin with a current SDK")]
    Header(String),
    /// It was built for another ABI.
    #[error("it was built for ABI {found}, this host has {ours}; use a plugin built for ABI {major}.x", major = ours.0)]
    Version {
        /// Of the plugin.
        found: Abi,
        /// Of the host.
        ours: Abi,
    },
    /// Its tables differ.
    #[error("its ABI does not match this host's: {0}; build the plugin with an SDK of this host's ABI major")]
    Layout(String),
    /// Its constructor failed.
    #[error("its constructor failed: {0}; report it to the plugin's author")]
    Constructor(String),
    /// It does not say who it is.
    #[error("it does not describe itself: {0}; report it to the plugin's author")]
    Description(String),
    /// The same path was loaded with other contents.
    #[error("an earlier version of this file is loaded already; restart the host to use the new one")]
    Replaced,
    /// The child that tried it out said so.
    #[error("{0}")]
    Reported(String),
}

/// An ABI version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi(pub u32, pub u32);

impl Abi {
    /// This host's.
    pub const OURS: Self = Self(outrigger_wire::ABI_MAJOR, outrigger_wire::ABI_MINOR);
}

impl std::fmt::Display for Abi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What decides whether an image is there already.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    /// A copy in memory is known by its contents.
    Contents(Sha256Digest),
    /// The dynamic loader knows a path, whatever it holds by now.
    Path(PathBuf),
}

/// All images of the process.
static IMAGES: Mutex<Option<HashMap<Key, &'static Image>>> = Mutex::new(None);

/// Whether there is an image of a file's contents already.
pub fn is_loaded(file: &PluginFile, how: PluginLoad) -> bool {
    let images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let image = images.as_ref().and_then(|images| images.get(&key(file, how)));
    image.is_some_and(|image| image.sha256 == file.sha256)
}

fn key(file: &PluginFile, how: PluginLoad) -> Key {
    match how {
        PluginLoad::Memory => Key::Contents(file.sha256),
        PluginLoad::Path => Key::Path(file.path.canonicalize().unwrap_or_else(|_| file.path.clone())),
    }
}

/// The image of a file; loads it if no image has its contents yet. Blocks for about a millisecond.
pub fn load(file: &PluginFile, how: PluginLoad) -> Result<&'static Image, Fault> {
    // Held while loading, so that two providers of one plugin share its image.
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let images = images.get_or_insert_default();
    let key = key(file, how);
    if let Some(image) = images.get(&key) {
        return if image.sha256 == file.sha256 {
            Ok(image)
        } else {
            Err(Fault::Replaced)
        };
    }
    let begun = Instant::now();
    let header = match &key {
        Key::Contents(_) => {
            let memory = sealed_copy(file).map_err(Fault::Memory)?;
            let header = open(Path::new(&format!("/proc/self/fd/{}", memory.as_raw_fd())));
            mem::forget(memory);
            header?
        }
        Key::Path(path) => open(path)?,
    };
    let (root, abi) = root(header)?;
    let image = Image::new(file, root, abi, begun)?;
    let image: &'static Image = Box::leak(Box::new(image));
    images.insert(key, image);
    Ok(image)
}

fn sealed_copy(file: &PluginFile) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(memory_name(file), MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    // Symbols and debug information are never mapped: they become a hole instead of resident memory. Tools that need them
    // need the file's path as well, and get both by `load: path`.
    let end = usize::try_from(elf::loaded_extent(&file.bytes)).unwrap_or(usize::MAX);
    memory.write_all(&file.bytes[..end.min(file.bytes.len())])?;
    memory.set_len(file.size)?;
    let memory = OwnedFd::from(memory);
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    Ok(memory)
}

/// What `/proc/<pid>/maps` shows: the plugin's name and the first eight digits of its hash.
fn memory_name(file: &PluginFile) -> String {
    let name = super::find::plugin_of(&file.path).unwrap_or_else(|| "plugin".to_owned());
    let name: String = name.chars().take(64).collect();
    let hash: String = file.sha256.to_string().chars().take(8).collect();
    format!("outrigger-{name}-{hash}")
}

/// Opens a library and finds the header that every plugin exports.
#[allow(unsafe_code)]
fn open(path: &Path) -> Result<&'static LibHeader, Fault> {
    // SAFETY: opening runs the library's initialisers. The file is one that the operator named, its hash was compared
    // with what the config asks for, and a child process has opened the same bytes before without harm.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
        .map_err(|error| open_fault(&error, path))?;
    // SAFETY: a symbol of this name is an abi_stable library header by abi_stable's contract; `upgrade` below checks its
    // magic number and version before anything else of it is read.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
    let header = header.map(|symbol| *symbol).map_err(|_| Fault::NoHeader)?;
    mem::forget(library);
    header
        .upgrade()
        .map_err(|error| Fault::Header(first_line(&error.to_string())))
}

fn open_fault(error: &libloading::Error, path: &Path) -> Fault {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let text = text.replace(&format!("{}: ", path.display()), "");
    fault_of(text)
}

fn fault_of(text: String) -> Fault {
    if text.contains("libstd-") {
        Fault::PreferDynamic(text)
    } else {
        Fault::Open(text)
    }
}

/// Checks version and layout of the root table, then lets the plugin make it.
#[allow(unsafe_code)]
fn root(header: &'static LibHeader) -> Result<(PluginRef, Abi), Fault> {
    let version = header
        .version_strings()
        .parsed()
        .map_err(|error| Fault::Header(error.to_string()))?;
    let abi = Abi(version.major, version.minor);
    if abi.0 != Abi::OURS.0 {
        return Err(Fault::Version {
            found: abi,
            ours: Abi::OURS,
        });
    }
    let layout = header
        .layout()
        .ok_or_else(|| Fault::Header("it carries no type layout".to_owned()))?;
    let host = Side {
        minor: Abi::OURS.1,
        layout: <PluginRef as StableAbiTrait>::LAYOUT,
    };
    let plugin = Side { minor: abi.1, layout };
    layout::check(host, plugin).map_err(Fault::Layout)?;
    // SAFETY: the layout was compared just now, in the direction that the minor versions give; fields that only one
    // side has are read through accessors that ask the table itself which fields it has.
    let root = unsafe { header.init_root_module_with_unchecked_layout::<PluginRef>() };
    let root = root.map_err(|error| Fault::Constructor(first_line(&error.to_string())))?;
    Ok((root, abi))
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamically_linked_standard_library_is_named() {
        let loader = "libstd-5404cdd23cb2cbb1.so: cannot open shared object file: No such file or directory";
        let fault = fault_of(loader.to_owned()).to_string();
        assert!(
            fault.contains("-Cprefer-dynamic") && fault.contains("RUSTFLAGS"),
            "{fault}"
        );
        let fault = fault_of("libacme.so.3: cannot open shared object file".to_owned()).to_string();
        assert!(
            fault.contains("libacme.so.3") && !fault.contains("RUSTFLAGS"),
            "{fault}"
        );
    }

    #[test]
    fn a_sealed_copy_can_not_change() {
        let file = PluginFile {
            path: PathBuf::from("/x/liboutrigger_a.so"),
            bytes: b"bytes".to_vec(),
            size: 5,
            sha256: Sha256Digest([0xab; 32]),
        };
        assert_eq!(memory_name(&file), "outrigger-a-abababab");
        let mut copy = File::from(sealed_copy(&file).unwrap());
        assert_eq!(copy.write(b"x").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(copy.set_len(0).is_err());
    }
}
