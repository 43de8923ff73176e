//! The pod's own name, its domain and the names that it knows others by.
//!
//! Source: `GeneratePodHostNameAndDomain` and `GetNodenameForKernel` of the kubelet.

use super::resolver::Resolver;
use outrigger_plugin::{HostsEntry, Materials};

/// The longest host name, and the longest name that the kernel holds, which is one more.
const LONGEST_HOSTNAME: usize = 63;
const LONGEST_FQDN: usize = 64;
const LONGEST_SUBDOMAIN: usize = 253;

impl Resolver<'_, '_> {
    /// Fills in the pod's names.
    ///
    /// # Errors
    /// The kubelet's message for a name that can't be.
    pub fn names(&self, materials: &mut Materials) -> Result<(), String> {
        let spec = &self.pod.spec;
        if self.supports("hostAliases") {
            let entry = |alias: &super::view::HostAlias| HostsEntry {
                ip: alias.ip.clone(),
                names: alias.hostnames.clone(),
            };
            materials.hosts = spec.host_aliases.iter().map(entry).collect();
        }
        if spec.host_network {
            return Ok(());
        }
        if let Some(name) = &spec.hostname_override
            && self.supports("hostnameOverride")
        {
            if name.len() > LONGEST_SUBDOMAIN || !name.split('.').all(is_label) {
                return Err(format!("pod HostnameOverride {name:?} is not a valid DNS subdomain"));
            }
            materials.hostname = truncated(name);
            return Ok(());
        }
        let mut hostname = &*self.pod.metadata.name;
        if !spec.hostname.is_empty() && self.supports("hostname") {
            if !is_label(&spec.hostname) {
                return Err(format!("pod Hostname {:?} is not a valid DNS label", spec.hostname));
            }
            hostname = &spec.hostname;
        }
        materials.hostname = truncated(hostname);
        if !spec.subdomain.is_empty() && self.supports("subdomain") {
            let (subdomain, namespace) = (&spec.subdomain, &self.pod.metadata.namespace);
            if !is_label(subdomain) {
                return Err(format!("pod Subdomain {subdomain:?} is not a valid DNS label"));
            }
            materials.domain = format!("{subdomain}.{namespace}.svc.{}", self.context.cluster_domain);
        }
        materials.hostname_is_fqdn = spec.hostname_as_fqdn == Some(true) && self.supports("setHostnameAsFQDN");
        let fqdn = materials.kernel_hostname();
        if materials.hostname_is_fqdn && fqdn.len() > LONGEST_FQDN {
            return Err(format!(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long ({LONGEST_FQDN} \
                 characters is the max, {} characters requested)",
                fqdn.len()
            ));
        }
        Ok(())
    }
}

/// As much of a name as a host name can be.
fn truncated(name: &str) -> String {
    match name.get(..LONGEST_HOSTNAME) {
        Some(start) if name.len() > LONGEST_HOSTNAME => start.trim_end_matches(['-', '.']).to_owned(),
        _ => name.to_owned(),
    }
}

/// Whether this is a label of a DNS name (RFC 1123).
fn is_label(label: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    !label.is_empty()
        && label.len() <= LONGEST_HOSTNAME
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
