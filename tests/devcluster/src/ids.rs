//! Identifiers. A development server: random, but not from a source fit for secrets, except [`secret`].

use std::fmt::Write;

/// A version 4 UUID.
pub fn uid() -> String {
    let bits = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// 256 bits from the operating system, in hex.
pub fn secret() -> Result<String, rustls::Error> {
    let mut bytes = [0u8; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    let mut out = String::with_capacity(64);
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn uids_are_version_4() {
        let uid = super::uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(&uid[14..15], "4");
        assert!("89ab".contains(&uid[19..20]));
        assert_ne!(uid, super::uid());
        assert_eq!(super::secret().unwrap().len(), 64);
    }
}
