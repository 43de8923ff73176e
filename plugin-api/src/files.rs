//! A volume's files in a directory, replaced all at once.
//!
//! For providers whose backend runs containers beside a file system. A container that reads several files of a volume
//! while they change sees either all the old ones or all the new ones:
//!
//! ```text
//! volume/..1763985600.123456789/app.conf    the files
//! volume/..data -> ..1763985600.123456789   moved to the new directory by one rename
//! volume/app.conf -> ..data/app.conf        what containers open
//! ```
//!
//! This is the layout of the kubelet's volumes, which programs that watch their configuration know: they wait for
//! `..data` to change. Mount the directory itself, not a path below it, or a container keeps the files it began with.

use crate::{File, ProviderError, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    io::Write,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink},
    path::{Component, Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
const DIRECTORY_MODE: u32 = 0o755;
/// A directory of a group: what is made in it is the group's too.
const SET_GROUP: u32 = 0o2000;
const PERMISSIONS: u32 = 0o7777;

/// Brings the directory `volume` to exactly these files; it is made if it is not there. Returns whether anything had to
/// change. `addresses` are the pod's, for files that are late.
///
/// It blocks, so call it within `tokio::task::spawn_blocking`, and for one volume once at a time. After a crash at any
/// point, the next call puts everything right; until then containers have the old files.
///
/// # Errors
/// [`Invalid`](crate::ErrorCode::Invalid) for a path that would leave the volume, or a late file without an address;
/// [`Internal`](crate::ErrorCode::Internal) where the file system refuses, for example to give a file to its user or
/// group, which only root may. The files are then the old ones.
pub fn write(volume: &Path, files: &[File], addresses: &[IpAddr]) -> Result<bool> {
    let wanted = read_wanted(files, addresses)?;
    make_directory(volume, None)?;
    let current = fs::read_link(volume.join(DATA)).ok();
    let fresh = current
        .as_ref()
        .is_some_and(|current| is_same(&volume.join(current), &wanted));
    let directory = match current {
        Some(current) if fresh => current,
        _ => {
            let new = PathBuf::from(new_name());
            let made = fill(&volume.join(&new), &wanted).and_then(|()| switch(volume, &new));
            if let Err(error) = made {
                // What was written so far is of no use, and may hold secrets.
                let _ = fs::remove_dir_all(volume.join(&new));
                return Err(error);
            }
            new
        }
    };
    show(volume, &wanted)?;
    clear(volume, &directory, &wanted)?;
    Ok(!fresh)
}

/// A file as it has to be.
struct Wanted<'f> {
    bytes: Vec<u8>,
    file: &'f File,
}

type AllWanted<'f> = BTreeMap<PathBuf, Wanted<'f>>;

fn read_wanted<'f>(files: &'f [File], addresses: &[IpAddr]) -> Result<AllWanted<'f>> {
    let mut wanted = BTreeMap::new();
    for file in files {
        let path = PathBuf::from(&file.path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || file.path.is_empty() || file.path.starts_with("..") {
            return Err(ProviderError::invalid(format!(
                "path {:?} is none of a volume",
                file.path
            )));
        }
        let bytes = file.content.bytes(addresses).ok_or_else(|| {
            ProviderError::invalid(format!(
                "file {:?} needs the pod's address, which is not known",
                file.path
            ))
        })?;
        wanted.insert(path, Wanted { bytes, file });
    }
    Ok(wanted)
}

/// Whether a directory has just these files, down to modes and owners.
fn is_same(directory: &Path, wanted: &AllWanted<'_>) -> bool {
    let mut found = BTreeSet::new();
    if list(directory, Path::new(""), &mut found).is_err() || !found.iter().eq(wanted.keys()) {
        return false;
    }
    wanted.iter().all(|(path, wanted)| {
        let path = directory.join(path);
        let same_owner = |meta: &fs::Metadata| {
            wanted.file.user.is_none_or(|user| meta.uid() == user)
                && wanted.file.group.is_none_or(|group| meta.gid() == group)
        };
        fs::metadata(&path).is_ok_and(|meta| {
            meta.len() == wanted.bytes.len() as u64
                && meta.mode() & PERMISSIONS == wanted.file.mode
                && same_owner(&meta)
        }) && fs::read(&path).is_ok_and(|bytes| bytes == wanted.bytes)
    })
}

fn list(directory: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(directory, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// Never one that was there before: the writer is alone, and a clock that stands still is moved on by a counter.
fn new_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "..{}.{:09}.{}.{count}",
        now.as_secs(),
        now.subsec_nanos(),
        std::process::id()
    )
}

fn fill(directory: &Path, wanted: &AllWanted<'_>) -> Result<()> {
    let group = wanted.values().find_map(|wanted| wanted.file.group);
    make_directory(directory, group)?;
    for (path, wanted) in wanted {
        let mut above: Vec<_> = path
            .ancestors()
            .skip(1)
            .filter(|path| path.parent().is_some())
            .collect();
        above.reverse();
        for path in above {
            make_directory(&directory.join(path), group)?;
        }
        write_file(&directory.join(path), wanted)
            .map_err(|error| failed(format!("unable to write file {}", path.display()), error))?;
    }
    Ok(())
}

fn write_file(path: &Path, wanted: &Wanted<'_>) -> io::Result<()> {
    // Nobody else may read it before it is as it should be.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&wanted.bytes)?;
    let File { user, group, mode, .. } = *wanted.file;
    if user.is_some() || group.is_some() {
        fchown(&file, user, group)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode & PERMISSIONS))
}

fn make_directory(path: &Path, group: Option<u32>) -> Result<()> {
    let make = || {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut mode = DIRECTORY_MODE;
        if group.is_some() {
            chown(path, None, group)?;
            mode |= SET_GROUP;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().map_err(|error| failed("unable to make a directory of a volume", error))
}

/// Makes `new` the directory that containers see.
fn switch(volume: &Path, new: &Path) -> Result<()> {
    let link = volume.join(NEW_DATA);
    let switch = || {
        // Left by a crash.
        if let Err(error) = fs::remove_file(&link)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        symlink(new, &link)?;
        fs::rename(&link, volume.join(DATA))
    };
    switch().map_err(|error| failed("unable to switch a volume to its new files", error))
}

/// The names in the volume's directory itself.
fn visible<'w>(wanted: &'w AllWanted<'_>) -> BTreeSet<&'w Path> {
    let first = |path: &'w PathBuf| path.components().next().map(|name| Path::new(name.as_os_str()));
    wanted.keys().filter_map(first).collect()
}

fn show(volume: &Path, wanted: &AllWanted<'_>) -> Result<()> {
    for name in visible(wanted) {
        let link = volume.join(name);
        if let Err(error) = symlink(Path::new(DATA).join(name), &link)
            && !(error.kind() == io::ErrorKind::AlreadyExists && link.is_symlink())
        {
            let name = name.display();
            return Err(failed(format!("unable to show file {name} in its volume"), error));
        }
    }
    Ok(())
}

/// Removes what is left of earlier files.
fn clear(volume: &Path, directory: &Path, wanted: &AllWanted<'_>) -> Result<()> {
    let kept: BTreeSet<OsString> = visible(wanted)
        .into_iter()
        .chain([directory, Path::new(DATA)])
        .map(|name| name.as_os_str().to_owned())
        .collect();
    let clear = || {
        for entry in fs::read_dir(volume)? {
            let entry = entry?;
            if kept.contains(&entry.file_name()) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                fs::remove_file(entry.path())?;
            } else if kind.is_dir() && entry.file_name().as_encoded_bytes().starts_with(b"..") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    clear().map_err(|error| failed("unable to remove old files of a volume", error))
}

fn failed(message: impl Into<String>, error: io::Error) -> ProviderError {
    ProviderError::internal(message).with_source(error)
}

#[cfg(test)]
mod tests;
