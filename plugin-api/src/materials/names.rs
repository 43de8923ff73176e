//! What a pod's containers find in `/etc/resolv.conf` and `/etc/hosts`.

use super::Materials;
use serde::{Deserialize, Serialize};
use std::{fmt::Write, net::IpAddr};

/// Name resolution. The default is whatever the backend gives its containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// The backend's own settings come first, and these are added.
    pub inherit: bool,
    /// Addresses of name servers, at most three.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Search domains, at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Options as they stand in the file: `ndots:5`, `edns0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            inherit: true,
            nameservers: Vec::new(),
            searches: Vec::new(),
            options: Vec::new(),
        }
    }
}

impl Dns {
    /// Whether everything is left to the backend.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The lines of `/etc/resolv.conf` for it.
    pub fn resolv_conf(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text = format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.nameservers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", self.options.join(" "));
        }
        text
    }
}

/// Names of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsEntry {
    /// The address.
    pub ip: String,
    /// Its names.
    pub names: Vec<String>,
}

impl Materials {
    /// The `/etc/hosts` that the kubelet makes for a pod with an own network: the loopback names, the pod's own names,
    /// then its aliases.
    pub fn hosts_file(&self, addresses: &[IpAddr]) -> String {
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        for address in addresses {
            let Self { hostname, domain, .. } = self;
            let _ = match &**domain {
                "" => writeln!(text, "{address}\t{hostname}"),
                domain => writeln!(text, "{address}\t{hostname}.{domain}\t{hostname}"),
            };
        }
        text + &self.hosts_aliases()
    }

    /// The lines of `/etc/hosts` for the pod's aliases, to be added to the node's file for a pod in the host's network.
    pub fn hosts_aliases(&self) -> String {
        let mut text = String::new();
        if !self.hosts.is_empty() {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        for entry in &self.hosts {
            let _ = writeln!(text, "{}\t{}", entry.ip, entry.names.join("\t"));
        }
        text
    }
}
