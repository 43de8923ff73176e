//! A wall clock of a host's own, which can be wrong and be set.

use super::artifacts;
use super::host::Environment;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The clock. See `clock.c`.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that is right at first, with its files in `directory`; `None` without a C compiler.
    pub fn new(directory: &Path) -> Option<Self> {
        let library = directory.join("skew.so");
        let source = artifacts::repository().join("tests/suite/harness/clock.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .status()
            .ok()?;
        assert!(compiled.success(), "unable to compile {}", source.display());
        let file = directory.join("clock");
        std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        Some(Self { library, file })
    }

    /// What makes it the clock of a host.
    pub fn environment(&self) -> Environment {
        vec![("LD_PRELOAD", self.library.clone()), ("SUITE_CLOCK", self.file.clone())]
    }

    /// Sets it to so much after the right time.
    pub fn ahead(&self, by: Duration) {
        self.set(i64::try_from(by.as_secs()).unwrap());
    }

    /// Sets it to so much before the right time.
    pub fn behind(&self, by: Duration) {
        self.set(-i64::try_from(by.as_secs()).unwrap());
    }

    fn set(&self, seconds: i64) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }
}
