//! How pods resolve names, as the config says.

use crate::{config::KubeletConfig, material, pod::Naming};

/// Reads what the config names.
///
/// # Errors
/// When `kubelet.resolvConf` can't be read any more; the config has looked whether it can.
pub fn read(config: &KubeletConfig) -> Result<Naming, std::io::Error> {
    let text = config.resolv_conf.as_ref().map(std::fs::read_to_string).transpose()?;
    Ok(Naming {
        cluster_dns: config.cluster_dns.clone(),
        cluster_domain: config.cluster_domain.clone(),
        node_dns: text.as_deref().map(material::read_resolv_conf),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configs_servers_and_the_nodes_file_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 9.9.9.9\n").unwrap();
        let mut config = KubeletConfig {
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            resolv_conf: Some(path.clone()),
            ..KubeletConfig::default()
        };
        let naming = read(&config).unwrap();
        assert_eq!(naming.cluster_dns, config.cluster_dns);
        assert_eq!(naming.cluster_domain, "cluster.local");
        assert_eq!(naming.node_dns.unwrap().nameservers, ["9.9.9.9"]);
        std::fs::remove_file(path).unwrap();
        assert!(read(&config).is_err());
        config.resolv_conf = None;
        assert_eq!(read(&config).unwrap().node_dns, None);
    }
}
