//! What the external back end did, in a file, so that it can be killed and started again.
//!
//! A line is appended for each thing done, before it is answered: the pod as it is after it, or none, and the counts
//! of its UID. What happens by time alone is not written, since it happens again from the pod's last state; but for what
//! frees an address that another pod may have by now: a pod's vanishing, and a change of its addresses. Lines are not
//! synced to the disk: they survive the process, not the machine.

use crate::{engine::pod::Pod, protocol::Count};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

/// A journal's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read or written.
    #[error("unable to {what} state file {path}: give a path in a directory that can be written")]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is none of ours.
    #[error("unable to read state file {path}, line {line}: move it away to begin anew")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Record {
    uid: String,
    count: Count,
    pod: Option<Pod>,
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// What a journal holds.
#[derive(Default)]
pub struct Kept {
    /// The pods that are there.
    pub pods: Vec<Pod>,
    /// What was asked, by UID.
    pub counts: HashMap<String, Count>,
}

impl Journal {
    /// Opens or makes the file, and reads what it holds. What is outdated is dropped from it.
    pub fn open(path: &Path) -> Result<(Self, Kept), Error> {
        let fault = |what| {
            move |source| Error::File {
                what,
                path: path.to_owned(),
                source,
            }
        };
        let kept = match File::open(path) {
            Ok(file) => read(path, file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(fault("read")(error)),
        };
        let fresh = path.with_added_extension("new");
        write_all(&fresh, &kept).map_err(fault("write"))?;
        fs::rename(&fresh, path).map_err(fault("replace"))?;
        let file = OpenOptions::new().append(true).open(path).map_err(fault("open"))?;
        let path = path.to_owned();
        Ok((Self { path, file }, kept))
    }

    /// Appends what is true now of a UID.
    pub fn append(&mut self, uid: &str, count: Count, pod: Option<&Pod>) -> Result<(), Error> {
        let written = encode(uid, count, pod).and_then(|line| self.file.write_all(&line));
        written.map_err(|source| Error::File {
            what: "append to",
            path: self.path.clone(),
            source,
        })
    }
}

fn encode(uid: &str, count: Count, pod: Option<&Pod>) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        uid: &'a str,
        count: Count,
        pod: Option<&'a Pod>,
    }
    Ok(crate::protocol::line(&Borrowed { uid, count, pod })?)
}

fn read(path: &Path, file: File) -> Result<Kept, Error> {
    let mut reader = BufReader::new(file);
    let mut pods = HashMap::new();
    let mut counts = HashMap::new();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let length = reader.read_until(b'\n', &mut text).map_err(|source| Error::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        // A line without its end was being written when the process was killed; nobody got an answer to it.
        if length == 0 || !text.ends_with(b"\n") {
            break;
        }
        let record: Record = serde_json::from_slice(&text).map_err(|source| Error::Line {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        counts.insert(record.uid.clone(), record.count);
        match record.pod {
            Some(pod) => pods.insert(record.uid, pod),
            None => pods.remove(&record.uid),
        };
    }
    Ok(Kept {
        pods: pods.into_values().collect(),
        counts,
    })
}

fn write_all(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let pods: HashMap<&str, &Pod> = kept.pods.iter().map(|pod| (&*pod.identity.uid, pod)).collect();
    for (uid, count) in &kept.counts {
        file.write_all(&encode(uid, *count, pods.get(&**uid).copied())?)?;
    }
    file.into_inner()?.sync_all()
}
