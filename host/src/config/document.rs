//! A configuration file that was read: its values, and the places of all its fields.

use super::Position;
use super::SectionPositions;
use super::agree;
use super::fault::Collector;
use super::file::File;
use super::origin::Origin;
use super::shape::ROOT;
use super::source;
use super::tree;
use super::tree::Node;
use super::tree::Value;
use super::tree::field_path;
use super::walk;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// The places of one field.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Of its name; of the value itself for an item of a list.
    key: Position,
    value: Position,
}

/// The values of a file, and where they stand.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) file: File,
    /// The file as the operator named it.
    name: String,
    /// What relative paths in the file start from: its directory.
    directory: PathBuf,
    places: BTreeMap<String, Place>,
    /// By the index of a provider, the places in its section.
    sections: BTreeMap<usize, SectionPositions>,
}

impl Document {
    /// Reads the file at `path`. Values with faults are left out of [`Document::file`]; `None` if nothing was usable.
    pub(super) fn read(path: &Path, faults: &mut Collector) -> Option<Self> {
        let text = source::text(path, faults)?;
        let root = tree::parse(&text, faults);
        let Some(root) = root.filter(|root| root.value != Value::Null) else {
            if faults.is_empty() {
                faults.push(
                    None,
                    "",
                    "the file is empty, expected apiVersion, kind, providers and nodes",
                );
            }
            return None;
        };
        if faults.is_empty() {
            agree::check(&root, &text, faults);
        }
        let plain = walk::fitting(&root, &ROOT, "", faults)?;
        let file = match serde_yaml::from_value(plain) {
            Ok(file) => file,
            Err(error) => {
                faults.push(None, "", format!("unable to read the values: {error}"));
                return None;
            }
        };
        let name = faults.source().to_owned();
        let mut document = Self {
            file,
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
            places: BTreeMap::new(),
            sections: sections(&root, &name),
            name,
        };
        document.index(&root, "");
        Some(document)
    }

    /// Whether the field at `path` was written, be it with a fault.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// Place of the value at `path`, or of what is around it.
    pub(super) fn value_at(&self, path: &str) -> Option<Position> {
        self.nearest(path).map(|place| place.value)
    }

    /// Where the value at `path` comes from, if it was written here.
    pub(super) fn origin(&self, path: &str) -> Option<Origin> {
        let place = self.places.get(path)?;
        Some(Origin::File {
            file: self.name.clone(),
            line: place.key.line,
        })
    }

    /// A path of the file, from the file's directory.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        absolute(&self.directory.join(path))
    }

    /// The places in the section of the provider with this index; where it has none, the place of the provider, so
    /// that what its plugin misses there has a line.
    pub(super) fn take_section(&mut self, provider: usize) -> SectionPositions {
        self.sections.remove(&provider).unwrap_or_else(|| {
            let at = self
                .value_at(&format!("providers[{provider}]"))
                .map(|at| (String::new(), at));
            let path = format!("providers[{provider}].config");
            SectionPositions {
                file: self.name.clone(),
                path,
                at: at.into_iter().collect(),
            }
        })
    }

    fn nearest(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    fn index(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path = field_path(path, &entry.key);
                    self.places.insert(
                        path.clone(),
                        Place {
                            key: entry.at,
                            value: entry.node.at,
                        },
                    );
                    self.index(&entry.node, &path);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.insert(
                        path.clone(),
                        Place {
                            key: item.at,
                            value: item.at,
                        },
                    );
                    self.index(item, &path);
                }
            }
            _ => {}
        }
    }
}

/// `path` from the root of the file system; as it is where the working directory is gone.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn sections(root: &Node, file: &str) -> BTreeMap<usize, SectionPositions> {
    let mut sections = BTreeMap::new();
    let Some(Value::List(providers)) = field(root, "providers").map(|(_, node)| &node.value) else {
        return sections;
    };
    for (index, provider) in providers.iter().enumerate() {
        if let Some((at, node)) = field(provider, "config") {
            let path = format!("providers[{index}].config");
            let mut positions = SectionPositions {
                file: file.to_owned(),
                path,
                at: BTreeMap::new(),
            };
            pointers(node, String::new(), at, &mut positions.at);
            sections.insert(index, positions);
        }
    }
    sections
}

fn field<'a>(node: &'a Node, key: &str) -> Option<(Position, &'a Node)> {
    let Value::Map(entries) = &node.value else { return None };
    entries
        .iter()
        .find(|entry| entry.key == key)
        .map(|entry| (entry.at, &entry.node))
}

fn pointers(node: &Node, pointer: String, at: Position, found: &mut BTreeMap<String, Position>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let token = entry.key.replace('~', "~0").replace('/', "~1");
                pointers(&entry.node, format!("{pointer}/{token}"), entry.at, found);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, format!("{pointer}/{index}"), item.at, found);
            }
        }
        _ => {}
    }
    found.insert(pointer, at);
}
