//! The process as its kernel sees it, by the names that Prometheus' own clients use.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::param::clock_ticks_per_second;
use rustix::param::page_size;
use rustix::process::Resource;
use rustix::process::getrlimit;
use std::fs;

/// One look at `/proc/self`. What can't be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// CPU time in seconds, user and system.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<u64>,
    /// Start in seconds since 1970.
    pub start_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// How many may be open.
    pub max_files: Option<u64>,
}

impl Figures {
    /// Reads them; from memory of the kernel, so it does not block.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut figures = Self::of(&stat, &boot, clock_ticks_per_second() as f64, page_size() as u64);
        let files = fs::read_dir("/proc/self/fd").map(Iterator::count);
        // Less the one by which they are counted.
        figures.open_files = files.ok().map(|count| count.saturating_sub(1) as u64);
        figures.max_files = getrlimit(Resource::Nofile).current;
        figures
    }

    fn of(stat: &str, boot: &str, ticks: f64, page: u64) -> Self {
        // The program's name stands in brackets and may hold anything, brackets as well.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            return Self::default();
        };
        // proc_pid_stat(5) counts from 1, and the state, the first behind the name, is its third.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let boot = boot.and_then(|seconds| seconds.trim().parse::<f64>().ok());
        let seconds = |ticks_passed: u64| ticks_passed as f64 / ticks;
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| seconds(user + system)),
            threads: field(20),
            start_seconds: boot.zip(field(22)).map(|(boot, start)| boot + seconds(start)),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page),
            ..Self::default()
        }
    }

    /// Adds them to a registry.
    pub fn register(self, registry: &mut Registry) {
        if let Some(seconds) = self.cpu_seconds {
            let counter = ConstCounter::new(seconds);
            registry.register("process_cpu_seconds", "CPU time of the process in seconds", counter);
        }
        self.register_start(registry);
        let mut gauge = |name: &str, help: &str, value: Option<u64>| {
            if let Some(value) = value {
                // Memory beyond 2^63 bytes is none.
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                registry.register(name, help, ConstGauge::new(value));
            }
        };
        let (resident, r#virtual) = (self.resident_bytes, self.virtual_bytes);
        gauge("process_resident_memory_bytes", "Resident memory in bytes", resident);
        gauge("process_virtual_memory_bytes", "Virtual memory in bytes", r#virtual);
        gauge("process_threads", "Threads", self.threads);
        gauge("process_open_fds", "Open files", self.open_files);
        gauge("process_max_fds", "How many files may be open", self.max_files);
    }

    /// Adds the start alone.
    pub fn register_start(self, registry: &mut Registry) {
        if let Some(seconds) = self.start_seconds {
            let help = "Start of the process in seconds since 1970";
            registry.register("process_start_time_seconds", help, ConstGauge::new(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 5 0 0 0 250 50 0 0 20 0 7 0 1000 8192000 300 rest";
        let figures = Figures::of(stat, "cpu 1\nbtime 1700000000\n", 100.0, 4096);
        let expected = Figures {
            cpu_seconds: Some(3.0),
            threads: Some(7),
            start_seconds: Some(1_700_000_010.0),
            virtual_bytes: Some(8_192_000),
            resident_bytes: Some(300 * 4096),
            ..Figures::default()
        };
        assert_eq!(figures, expected);
        assert_eq!(Figures::of("", "", 100.0, 4096), Figures::default());
    }

    #[test]
    fn this_process_has_figures() {
        let figures = Figures::read();
        assert!(figures.resident_bytes.unwrap() > 0 && figures.open_files.unwrap() > 0);
        assert!(figures.start_seconds.unwrap() > 1_600_000_000.0 && figures.cpu_seconds.is_some());
    }
}
