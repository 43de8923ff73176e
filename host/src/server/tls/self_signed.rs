//! Certificates that a node signs itself. A stock API server does not verify a kubelet's certificate.

use super::names::Names;
use crate::cluster::csr::Issued;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

/// Nobody trusts one for what it says, so it need not end soon.
const YEARS: i32 = 10;

pub(super) fn make(names: &Names) -> Result<Issued, rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = names.params()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // From yesterday, for clocks that are behind ours. Day 28 exists in every month of every year.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let yesterday = today.yesterday().unwrap_or(today);
    let (year, month, day) = (
        i32::from(yesterday.year()),
        yesterday.month() as u8,
        yesterday.day() as u8,
    );
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(year + YEARS, month, day.min(28));
    let certificate = params.self_signed(&key)?;
    Ok(Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
