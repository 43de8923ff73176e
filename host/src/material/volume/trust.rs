//! Trust anchors of several bundles as one file.

use base64::Engine as _;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{collections::BTreeSet, sync::Arc};

/// Characters on a line of PEM (RFC 7468).
const LINE: usize = 64;

/// Each certificate of the bundles once, as PEM without comments, in an order that says nothing. The kubelet shuffles
/// them, so nobody relies on one.
pub fn anchors(bundles: &[Arc<str>]) -> String {
    let mut anchors = BTreeSet::new();
    for bundle in bundles {
        // The API server takes only bundles that can be read.
        let read = CertificateDer::pem_slice_iter(bundle.as_bytes()).flatten();
        anchors.extend(read.map(|anchor| anchor.to_vec()));
    }
    anchors.iter().map(|anchor| pem(anchor)).collect()
}

fn pem(der: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = &*encoded;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
