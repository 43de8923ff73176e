//! What a Node says of the machine below it.

use http::Uri;
use sha2::Digest;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// The Kubernetes version whose kubelet this host behaves like.
const KUBERNETES_VERSION: &str = "v1.37.0";

/// What the kubelet reads from the machine, read once for all nodes of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The id that the kernel drew when it booted.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// The distribution's name for people.
    pub os_image: String,
    /// Capacity that a node has unless its provider or its configuration says otherwise.
    pub capacity: BTreeMap<String, String>,
}

impl Facts {
    /// Reads what can be read; the rest stays empty, as it does with a kubelet.
    pub fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut capacity = BTreeMap::from([("pods".to_owned(), "110".to_owned())]);
        if let Ok(cpus) = std::thread::available_parallelism() {
            capacity.insert("cpu".to_owned(), cpus.to_string());
        }
        if let Some(kibibytes) = memory_total(&text("/proc/meminfo")) {
            capacity.insert("memory".to_owned(), format!("{kibibytes}Ki"));
        }
        if let Ok(disk) = rustix::fs::statvfs("/") {
            let kibibytes = disk.f_blocks.saturating_mul(disk.f_frsize) / 1024;
            capacity.insert("ephemeral-storage".to_owned(), format!("{kibibytes}Ki"));
        }
        Self {
            boot_id: text("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            kernel_version: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            os_image: pretty_name(&text("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
            capacity,
        }
    }
}

/// The `kubeletVersion` of our nodes: the Kubernetes version that we behave like, and ours.
pub fn kubelet_version() -> String {
    format!("{KUBERNETES_VERSION}-outrigger-{}", env!("CARGO_PKG_VERSION"))
}

/// A machine id and a system UUID for a virtual node. They follow the node and not the machine below it, which carries
/// many nodes, and may be another one tomorrow.
pub fn machine_ids(provider_id: &str) -> (String, String) {
    let hex = |purpose: &str| {
        let digest = Sha256::digest(format!("outrigger {purpose} {provider_id}"));
        digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let uuid = hex("system uuid");
    // RFC 9562 version 8 and its variant, in the bits that hold them.
    let uuid = format!(
        "{}-{}-8{}-8{}-{}",
        &uuid[..8],
        &uuid[8..12],
        &uuid[13..16],
        &uuid[17..20],
        &uuid[20..]
    );
    (hex("machine id"), uuid)
}

/// The local address that routes to `server`. A datagram socket is connected, which sends nothing.
///
/// # Errors
/// When the server's name does not resolve or nothing routes there.
pub async fn local_address(server: &Uri) -> io::Result<IpAddr> {
    let host = server
        .host()
        .map(|host| host.trim_start_matches('[').trim_end_matches(']'))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the API server's address has no host"))?;
    let port = server.port_u16().unwrap_or(443);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the API server's name has no address");
    for remote in tokio::net::lookup_host((host, port)).await? {
        match route_to(remote).await {
            Ok(local) => return Ok(local),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn route_to(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(remote).await?;
    Ok(socket.local_addr()?.ip())
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

/// The address to go by after one was found, and whether it is another one than before. A way that is taken once, as while a link
/// is down, is not taken for a change.
pub(super) fn moved(known: Option<IpAddr>, seen: &mut Option<IpAddr>, found: IpAddr) -> (IpAddr, bool) {
    match known {
        Some(known) if known != found && *seen != Some(found) => {
            *seen = Some(found);
            (known, false)
        }
        _ => {
            *seen = None;
            (found, known.is_some_and(|known| known != found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_capacity() {
        let facts = Facts::read();
        assert!(!facts.kernel_version.is_empty());
        assert!(facts.boot_id.len() >= 32, "{}", facts.boot_id);
        for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
            assert!(facts.capacity.contains_key(resource), "{resource}");
        }
    }

    #[test]
    fn files_of_the_system_are_read_as_they_are_written() {
        assert_eq!(
            memory_total("MemTotal:       16303428 kB\nMemFree: 1 kB\n"),
            Some(16_303_428)
        );
        assert_eq!(memory_total("nothing"), None);
        let os = "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n";
        assert_eq!(pretty_name(os).as_deref(), Some("Ubuntu 24.04.1 LTS"));
        assert_eq!(pretty_name(""), None);
    }

    #[test]
    fn ids_follow_the_node() {
        let (machine, uuid) = machine_ids("outrigger://mock/vk-0");
        assert_eq!(machine.len(), 32);
        assert_eq!(uuid.len(), 36);
        assert_eq!((machine.clone(), uuid.clone()), machine_ids("outrigger://mock/vk-0"));
        let (other_machine, other_uuid) = machine_ids("outrigger://mock/vk-1");
        assert!(machine != other_machine && uuid != other_uuid);
    }

    #[tokio::test]
    async fn the_way_to_a_local_server_is_local() {
        let server = Uri::from_static("https://127.0.0.1:6443");
        assert_eq!(local_address(&server).await.unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn an_address_has_changed_when_it_was_found_twice() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let mut seen = None;
        assert_eq!(moved(None, &mut seen, one), (one, false));
        assert_eq!(moved(Some(one), &mut seen, other), (one, false));
        assert_eq!(moved(Some(one), &mut seen, one), (one, false));
        assert_eq!(
            moved(Some(one), &mut seen, other),
            (one, false),
            "it was another in between"
        );
        assert_eq!(moved(Some(one), &mut seen, other), (other, true));
        assert_eq!(moved(Some(other), &mut seen, other), (other, false));
    }
}
