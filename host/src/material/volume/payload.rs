//! The files of one volume, by path.

use super::DEFAULT_MODE;
use crate::material::{problem::Problem, view};
use outrigger_plugin::{Content, File, Value};
use std::collections::BTreeMap;

/// The longest path and the longest name in it that Linux takes.
const LONGEST_PATH: usize = 4096;
const LONGEST_NAME: usize = 255;
/// What `fsGroup` lets the group do in a volume that containers only read.
const GROUP_READS: u32 = 0o440;

/// What a file is beside its bytes.
#[derive(Clone, Copy)]
pub struct Attributes {
    pub mode: u32,
    pub user: Option<u32>,
    pub secret: bool,
}

impl Attributes {
    pub fn new(mode: Option<u32>, user: Option<u32>) -> Self {
        Self {
            mode: mode.unwrap_or(DEFAULT_MODE),
            user,
            secret: false,
        }
    }

    /// Those of a file that may have its own.
    pub fn with(self, mode: Option<u32>, user: Option<u32>) -> Self {
        Self {
            mode: mode.unwrap_or(self.mode),
            user: user.or(self.user),
            ..self
        }
    }
}

/// Files by path as the manifest writes it. A later one takes the place of an earlier one.
#[derive(Default)]
pub struct Payload {
    files: BTreeMap<String, (Vec<u8>, Attributes)>,
}

impl Payload {
    /// The files of an object with keys: all of them, or those that the manifest lists.
    ///
    /// # Errors
    /// The listed key that is not there, unless that is allowed.
    pub fn of_keys<'s, 'd>(
        source: &'s view::KeysVolume<'_>,
        all: impl Iterator<Item = (&'d str, &'d [u8])>,
        get: impl Fn(&str) -> Option<&'d [u8]>,
        defaults: Attributes,
    ) -> Result<Self, &'s str> {
        let mut payload = Self::default();
        if source.items.is_empty() {
            for (key, bytes) in all {
                payload.add(key, bytes.to_vec(), defaults);
            }
        }
        for item in &source.items {
            match get(&item.key) {
                Some(bytes) => payload.add(&item.path, bytes.to_vec(), defaults.with(item.mode, item.user)),
                None if source.optional => {}
                None => return Err(&item.key),
            }
        }
        Ok(payload)
    }

    pub fn add(&mut self, path: &str, bytes: Vec<u8>, attributes: Attributes) {
        self.files.insert(path.to_owned(), (bytes, attributes));
    }

    pub fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// The files as the provider is given them.
    ///
    /// # Errors
    /// A path that can't be.
    pub fn finish(self, group: Option<u32>) -> Result<Vec<File>, Problem> {
        let mut files = BTreeMap::new();
        for (path, file) in self.files {
            files.insert(clean(&path).map_err(Problem::manifest)?, file);
        }
        let inside = |path: &str| {
            let above = path.match_indices('/').map(|(at, _)| &path[..at]);
            above
                .into_iter()
                .find(|above| files.contains_key(*above))
                .map(str::to_owned)
        };
        for path in files.keys() {
            if let Some(file) = inside(path) {
                return Err(Problem::manifest(format!(
                    "invalid path: {path} is below {file}, which is a file"
                )));
            }
        }
        let file = |(path, (bytes, attributes)): (String, (Vec<u8>, Attributes))| File {
            path,
            mode: attributes.mode | group.map_or(0, |_| GROUP_READS),
            user: attributes.user,
            group,
            content: match String::from_utf8(bytes) {
                Ok(text) => Content::Text(Value::Now(text)),
                Err(error) => Content::Bytes(error.into_bytes()),
            },
            secret: attributes.secret,
        };
        Ok(files.into_iter().map(file).collect())
    }
}

/// A path without needless parts.
fn clean(path: &str) -> Result<String, String> {
    if path.starts_with('/') {
        return Err(format!("invalid path: must be relative path: {path}"));
    }
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "invalid path: must be less than or equal to {LONGEST_PATH} characters"
        ));
    }
    if path.split('/').any(|name| name == "..") {
        return Err(format!("invalid path: must not contain '..': {path}"));
    }
    if path.split('/').any(|name| name.len() > LONGEST_NAME) {
        return Err(format!(
            "invalid path: filenames must be less than or equal to {LONGEST_NAME} characters"
        ));
    }
    // Such names are those of the atomic writer itself.
    if path.starts_with("..") {
        return Err(format!("invalid path: must not start with '..': {path}"));
    }
    let names: Vec<_> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.is_empty() {
        return Err(format!("invalid path: must not be empty: {path:?}"));
    }
    Ok(names.join("/"))
}
