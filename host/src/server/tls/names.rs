//! What a node's certificate says, and for how long.

use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::SanType;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use std::time::SystemTime;
use x509_parser::prelude::GeneralName;

/// By what a node's certificate is asked for: its name and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) node: String,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Names {
    pub(super) fn new(node: &str, addresses: &[IpAddr]) -> Self {
        Self {
            node: node.to_owned(),
            addresses: addresses.iter().copied().collect(),
        }
    }

    /// Subject and alternative names as the kubelet's: API servers may come to ask for this subject (KEP-4872).
    pub(super) fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, format!("system:node:{}", self.node));
        params.subject_alt_names = vec![SanType::DnsName(self.node.as_str().try_into()?)];
        params
            .subject_alt_names
            .extend(self.addresses.iter().copied().map(SanType::IpAddress));
        Ok(params)
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certified {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Certified {
    /// Reads a certificate; `None` for what is none.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let mut said = Self {
            names: BTreeSet::new(),
            addresses: BTreeSet::new(),
            from: time(certificate.validity().not_before.timestamp()),
            until: time(certificate.validity().not_after.timestamp()),
        };
        let alternatives = certificate.subject_alternative_name().ok()?;
        for name in alternatives.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => drop(said.names.insert((*name).to_owned())),
                GeneralName::IPAddress(bytes) => said.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Some(said)
    }

    /// Whether it is for these names, and for no others.
    pub(super) fn is_for(&self, names: &Names) -> bool {
        self.addresses == names.addresses && self.names.iter().eq([&names.node])
    }

    /// When it should be replaced: at 70 to 90 % of its lifetime, at random, as the kubelet does, so that the nodes of a
    /// cluster do not all ask at once.
    pub(super) fn renewal(&self) -> SystemTime {
        let lifetime = self.until.duration_since(self.from).unwrap_or_default();
        self.from + lifetime.mul_f64(0.7 + 0.2 * fastrand::f64())
    }
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;

    #[test]
    fn a_certificate_is_for_its_names_alone() {
        let addresses = ["10.0.0.5", "fd00::1"].map(|address| address.parse().unwrap());
        let names = Names::new("vk-0", &addresses);
        let mut params = names.params().unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 11);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certified = Certified::read(certificate.der()).unwrap();
        assert!(certified.is_for(&names));
        assert!(!certified.is_for(&Names::new("vk-1", &addresses)));
        assert!(!certified.is_for(&Names::new("vk-0", &addresses[..1])));
        assert!(!certified.is_for(&Names::new("vk-0", &["10.0.0.6".parse().unwrap(), addresses[1]])));
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(certified.until.duration_since(certified.from).unwrap(), day * 100);
        for _ in 0..1_000 {
            let age = certified.renewal().duration_since(certified.from).unwrap();
            assert!(age >= day * 70 && age <= day * 90, "{age:?}");
        }
    }
}
