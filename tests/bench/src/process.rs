//! What the system knows of a process: CPU time and memory.

use crate::error::Error;
use crate::error::Result;
use std::path::PathBuf;
use std::time::Duration;

/// The kernel's unit towards programs (`USER_HZ`), the same on all architectures that Rust's Linux targets have.
const TICK: Duration = Duration::from_millis(10);

/// A process that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident: u64,
    /// The most that ever was (`VmHWM`).
    pub peak: u64,
}

/// Processes that do one thing together.
#[derive(Clone, Debug)]
pub struct Processes(pub Vec<Process>);

impl Processes {
    /// The CPU time of all of them.
    pub fn cpu(&self) -> Result<Duration> {
        self.0.iter().map(|process| process.cpu()).sum()
    }

    /// The memory of all of them: what they share counts in each, and their peaks need not have been at the same time.
    pub fn memory(&self) -> Result<Memory> {
        self.0.iter().try_fold(Memory::default(), |sum, process| {
            let Memory { resident, peak } = process.memory()?;
            Ok(Memory {
                resident: sum.resident + resident,
                peak: sum.peak + peak,
            })
        })
    }
}

impl From<Process> for Processes {
    fn from(process: Process) -> Self {
        Self(vec![process])
    }
}

impl Process {
    /// User and system time of all its threads so far, those that ended included. The kernel counts in ticks of 10 ms.
    pub fn cpu(self) -> Result<Duration> {
        let text = self.read("stat")?;
        // The second field is the program's name in parentheses, which may hold anything.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(TICK * u32::try_from(user + system).unwrap_or(u32::MAX)),
            _ => Err(self.malformed("stat")),
        }
    }

    /// Its memory.
    pub fn memory(self) -> Result<Memory> {
        let text = self.read("status")?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes * 1024)
        };
        match (field("VmRSS:"), field("VmHWM:")) {
            (Some(resident), Some(peak)) => Ok(Memory { resident, peak }),
            _ => Err(self.malformed("status")),
        }
    }

    /// How often its threads went to sleep by themselves: how often it woke up.
    pub fn wakeups(self) -> Result<u64> {
        let tasks = self.file("task");
        let entries = std::fs::read_dir(&tasks).map_err(|source| Error::File {
            verb: "list",
            path: tasks,
            source,
        })?;
        // A thread that ends meanwhile is not counted.
        let switches = entries.flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("status")).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        });
        Ok(switches.sum())
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    fn read(self, name: &str) -> Result<String> {
        let path = self.file(name);
        std::fs::read_to_string(&path).map_err(|source| Error::File {
            verb: "read",
            path,
            source,
        })
    }

    fn malformed(self, name: &str) -> Error {
        Error::Malformed {
            what: self.file(name).display().to_string(),
            reason: "fields are missing: has the process ended?".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_figures_are_read() {
        let own = Process(std::process::id());
        let memory = own.memory().unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        let before = own.cpu().unwrap();
        let mut burnt = 0_u64;
        while own.cpu().unwrap() < before + Duration::from_millis(20) {
            burnt = std::hint::black_box(burnt + 1);
        }
        assert!(burnt > 0);
        own.wakeups().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        // Above the largest pid that Linux gives.
        assert!(Process(1 << 23).cpu().is_err());
        assert!(Process(1 << 23).memory().is_err());
    }
}
