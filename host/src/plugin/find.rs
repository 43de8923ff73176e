//! Finds plugin files: a plugin named `my-cloud` is the file `liboutrigger_my_cloud.so`.

use super::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

const PREFIX: &str = "liboutrigger_";
const SUFFIX: &str = ".so";

/// A file that looks like a plugin by its name; whether it is one shows when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The plugin's name, with underscores as in the file's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The name of a plugin's file.
pub fn file_name(plugin: &str) -> String {
    format!("{PREFIX}{}{SUFFIX}", plugin.replace('-', "_"))
}

/// The file of a plugin: the first directory that has it decides. A file that is there is the answer even when it can't
/// be used: a search that fell through to another directory would run something else than what was installed.
pub fn find(plugin: &str, directories: &[PathBuf]) -> Result<PathBuf, Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if plugin.is_empty() || !plugin.chars().all(legal) {
        return Err(Error::Name {
            name: plugin.to_owned(),
        });
    }
    let file = file_name(plugin);
    for directory in directories {
        let path = directory.join(&file);
        match fs::symlink_metadata(&path) {
            Ok(_) => return Ok(path),
            Err(cause) if is_absent(&cause) => {}
            Err(cause) => {
                return Err(Error::Directory {
                    path: directory.clone(),
                    cause,
                });
            }
        }
    }
    Err(Error::NotFound {
        name: plugin.to_owned(),
        file,
        searched: listed(directories),
        advice: advice(directories),
    })
}

/// All plugins that a search would find, sorted by name: where two directories have one, the first counts. Directories
/// that don't exist are skipped, as in a search.
pub fn candidates(directories: &[PathBuf]) -> Result<Vec<Candidate>, Error> {
    let mut found: Vec<Candidate> = Vec::new();
    for directory in directories {
        let fault = |cause| Error::Directory {
            path: directory.clone(),
            cause,
        };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(cause) if is_absent(&cause) => continue,
            Err(cause) => return Err(fault(cause)),
        };
        for entry in entries {
            let path = entry.map_err(fault)?.path();
            if let Some(name) = plugin_of(&path)
                && !found.iter().any(|candidate| candidate.name == name)
            {
                found.push(Candidate { name, path });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The plugin's name in a file's name.
pub fn plugin_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn listed(directories: &[PathBuf]) -> String {
    match directories {
        [] => "any directory (none is configured)".to_owned(),
        some => some
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn advice(directories: &[PathBuf]) -> String {
    let known = candidates(directories).unwrap_or_default();
    if known.is_empty() {
        return "put the file there, or name its directory with --plugin-dir".to_owned();
    }
    let names: Vec<_> = known.into_iter().map(|candidate| candidate.name).collect();
    format!(
        "plugins there: {}; put the file beside them, or name its directory with --plugin-dir",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(directory.path().join(file), b"").unwrap();
        }
        directory
    }

    fn paths(directories: &[&tempfile::TempDir]) -> Vec<PathBuf> {
        directories
            .iter()
            .map(|directory| directory.path().to_owned())
            .collect()
    }

    #[test]
    fn the_first_directory_decides_even_with_a_dangling_link() {
        let first = directory(&[]);
        let second = directory(&["liboutrigger_my_cloud.so"]);
        symlink("/nowhere/at/all.so", first.path().join("liboutrigger_my_cloud.so")).unwrap();
        assert_eq!(
            find("my-cloud", &paths(&[&first, &second])).unwrap(),
            first.path().join("liboutrigger_my_cloud.so")
        );
    }

    #[test]
    fn what_is_missing_is_said_with_what_is_there() {
        let first = directory(&["liboutrigger_mock.so", "other.so", "liboutrigger_.so"]);
        let error = find("mocc", &paths(&[&first])).unwrap_err().to_string();
        assert!(error.contains("no liboutrigger_mocc.so in /"), "{error}");
        assert!(error.contains("plugins there: mock; "), "{error}");
        let error = find("mock", &[]).unwrap_err().to_string();
        assert!(error.contains("none is configured"), "{error}");
    }

    #[test]
    fn a_name_can_not_leave_the_directory() {
        for name in ["", "../mock", "a/b", "a.b", "a b"] {
            assert!(matches!(find(name, &[]), Err(Error::Name { .. })), "{name}");
        }
    }

    #[test]
    fn candidates_are_sorted_and_the_first_directory_wins() {
        let first = directory(&["liboutrigger_b.so", "liboutrigger_a.so"]);
        let second = directory(&["liboutrigger_a.so", "liboutrigger_c.so"]);
        let mut all = paths(&[&first, &second]);
        all.push(PathBuf::from("/no/such/directory"));
        let found = candidates(&all).unwrap();
        let names: Vec<_> = found.iter().map(|candidate| candidate.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(found[0].path.starts_with(first.path()));
    }
}
