//! Chance that can be repeated: every number is a function of the seed and of what it is for, never of the order in
//! which things happened.

/// Mixes a number into one that looks random (the finaliser of SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for the seed and the texts, the same on every machine and in every build (FNV-1a, then mixed).
pub fn hash<'a>(seed: u64, parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    for part in parts {
        // The separator is no byte of UTF-8, so that "a", "bc" differs from "ab", "c".
        for byte in part.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(state)
}

/// The number as a fraction: at least 0, less than 1.
pub fn fraction(number: u64) -> f64 {
    // 53 bits are what an f64 holds exactly.
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 hexadecimal digits, as identifiers and digests of containers have them.
pub fn hex64(number: u64) -> String {
    let words = [1, 2, 3, 4].map(|step: u64| mix(number ^ step));
    format!("{:016x}{:016x}{:016x}{:016x}", words[0], words[1], words[2], words[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        // Tests of users with a seed rely on these.
        assert_eq!(hash(0, ["default/web", "create"]), hash(0, ["default/web", "create"]));
        assert_ne!(hash(0, ["a", "bc"]), hash(0, ["ab", "c"]));
        assert_ne!(hash(0, ["a"]), hash(1, ["a"]));
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn fractions_are_spread_evenly() {
        let below = (0..10_000).filter(|n| fraction(mix(*n)) < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below} of 10000 below a quarter");
    }

    #[test]
    fn identifiers_have_64_digits() {
        assert_eq!(hex64(7).len(), 64);
        assert!(hex64(7).bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
