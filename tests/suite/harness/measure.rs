//! What a host takes: memory and connections.

use super::host::Host;
use super::wait::eventually;
use std::collections::HashSet;
use std::time::Duration;

/// A number from the environment, by which a soak asks for more than the default.
pub fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// So often in a row memory is looked at without a change to be at rest: the allocator gives back what is free in steps, a second
/// or more apart.
const LOOKS: usize = 8;

/// A host's memory once it no longer changes, in KiB.
pub async fn memory(host: &Host, within: Duration) -> u64 {
    let read = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let (mut last, mut same) = (0, 0);
    eventually(within, "memory comes to rest", || {
        let now = read();
        same = if now.abs_diff(last) * 200 < now { same + 1 } else { 0 };
        last = now;
        let rests = same >= LOOKS;
        async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if rests { Ok(now) } else { Err(now) }
        }
    })
    .await
}

/// Connections of a host to the API server at that port.
pub fn connections(host: &Host, port: u16) -> usize {
    let process = format!("/proc/{}", host.pid());
    let sockets: HashSet<String> = std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string(format!("{process}/net/tcp")).unwrap();
    let established = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&remote) && fields[3] == "01" && sockets.contains(fields[9])
    };
    table.lines().skip(1).filter(established).count()
}
