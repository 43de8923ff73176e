//! What the figures were taken on.

use std::path::Path;
use std::process::Command;

/// Processor, cores, memory and kernel in a line.
pub fn describe() -> String {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::trim));
        line.map(str::to_owned)
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory =
        field("/proc/meminfo", "MemTotal").and_then(|size| size.strip_suffix("kB")?.trim().parse::<u64>().ok());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = memory.unwrap_or(0) as f64 / f64::from(1 << 20);
    format!("{processor}, {cores} cores, {memory:.0} GiB, Linux {}", kernel.trim())
}

/// The commit that is checked out where this program was built, and whether the sources differ from it, at the time of the run: build
/// first. Nothing without git.
pub fn sources() -> Option<String> {
    let mut git = Command::new("git");
    git.args([
        "-C",
        env!("CARGO_MANIFEST_DIR"),
        "describe",
        "--always",
        "--dirty",
        "--exclude=*",
    ]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What a program says of its version, when it is asked in this way.
pub fn version_of(program: &Path, how: &str) -> String {
    let output = Command::new(program).arg(how).output();
    let text = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}
