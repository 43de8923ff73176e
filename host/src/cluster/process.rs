//! What `/proc` tells of processes, for telling a process that is gone from one that lives.

use std::io;
use std::path::Path;

/// When a process started, in clock ticks since boot: together with its pid it names a process for the life of a
/// kernel. `None` when there is no such process, or only its remains that its parent has not collected yet.
pub(super) fn start_time(pid: u32) -> io::Result<Option<u64>> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            let stat = Stat::parse(&stat).ok_or_else(|| unexpected("/proc/PID/stat"))?;
            Ok((!stat.ended).then_some(stat.start_time))
        }
        // ESRCH: it ended between open and read.
        Err(error) if error.raw_os_error() == Some(3) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(pid) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is such a process: `/proc` may be mounted so that it hides those of other users.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    start_time: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the command in parentheses, and may itself hold spaces and parentheses.
        let after_command = &stat[stat.rfind(')')? + 1..];
        let fields: Vec<&str> = after_command.split_ascii_whitespace().take(20).collect();
        let threads: u64 = fields.get(17)?.parse().ok()?;
        Some(Self {
            // A first thread may end while others run on.
            ended: matches!(fields.first()?, &"Z" | &"X") && threads <= 1,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The id that this kernel drew when it booted.
pub(super) fn boot_id() -> io::Result<String> {
    read_line("/proc/sys/kernel/random/boot_id")
}

/// The machine's name.
pub(super) fn hostname() -> io::Result<String> {
    read_line("/proc/sys/kernel/hostname")
}

/// The inode of our pid namespace: pids of two containers on one kernel have nothing to do with each other.
pub(super) fn pid_namespace() -> io::Result<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid")?;
    link.to_str()
        .and_then(|text| text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok())
        .ok_or_else(|| unexpected("/proc/self/ns/pid"))
}

fn read_line(path: &str) -> io::Result<String> {
    let text = std::fs::read_to_string(Path::new(path))?;
    match text.trim() {
        "" => Err(unexpected(path)),
        line => Ok(line.to_owned()),
    }
}

fn unexpected(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected content of {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(state: &str, threads: u32) -> String {
        format!(
            "17 (a) b (c)) {state} 1 17 17 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 {threads} 0 4711 1000 20 18446744073709551615"
        )
    }

    #[test]
    fn a_command_with_parentheses_and_spaces_is_skipped() {
        assert_eq!(
            Stat::parse(&stat("S", 4)),
            Some(Stat {
                ended: false,
                start_time: 4711
            })
        );
    }

    #[test]
    fn remains_have_ended_unless_a_thread_runs_on() {
        assert!(Stat::parse(&stat("Z", 1)).unwrap().ended);
        assert!(!Stat::parse(&stat("Z", 3)).unwrap().ended);
    }

    #[test]
    fn cut_off_text_says_nothing() {
        assert_eq!(Stat::parse("17 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_has_started_and_an_absent_one_has_not() {
        assert!(start_time(std::process::id()).unwrap().is_some());
        // Above the largest pid_max a kernel allows.
        assert_eq!(start_time(4_194_305).unwrap(), None);
    }
}
