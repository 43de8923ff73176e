//! Addresses of pods: unique among those that live.

use crate::dice;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses: `10.240.0.0/12`, `fd00:10::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// A pool uses no more addresses of a range than these: a bit is kept for each.
const MOST_ADDRESSES: u32 = 1 << 24;

impl Cidr {
    fn width(self) -> u8 {
        if self.base.is_ipv4() { 32 } else { 128 }
    }

    /// How many addresses a pool takes from it. The first and, of IPv4, the last are left out where they mean the
    /// network and everybody in it.
    fn usable(self) -> u32 {
        let bits = self.width() - self.prefix;
        let all = if bits >= 24 { MOST_ADDRESSES } else { 1 << bits };
        match (bits, self.base) {
            (0 | 1, _) => all,
            (_, IpAddr::V4(_)) => all - 2,
            (_, IpAddr::V6(_)) => all - 1,
        }
    }

    fn first(self) -> u32 {
        u32::from(self.width() - self.prefix > 1)
    }

    fn nth(self, index: u32) -> IpAddr {
        let offset = index + self.first();
        match self.base {
            IpAddr::V4(base) => Ipv4Addr::from(u32::from(base) + offset).into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base) + u128::from(offset)).into(),
        }
    }

    fn index_of(self, address: IpAddr) -> Option<u32> {
        let offset = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => u32::from(address).checked_sub(u32::from(base))?,
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                u32::try_from(u128::from(address).checked_sub(u128::from(base))?).ok()?
            }
            _ => return None,
        };
        offset.checked_sub(self.first()).filter(|index| *index < self.usable())
    }

    /// Whether it holds addresses of IPv4.
    pub fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }
}

impl Default for Cidr {
    fn default() -> Self {
        Self {
            base: Ipv4Addr::new(10, 240, 0, 0).into(),
            prefix: 12,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected a range of addresses such as 10.240.0.0/12 or fd00:10::/64");
        let (base, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let host_bits = match base {
            IpAddr::V4(base) if prefix <= 32 => u128::from(u32::from(base).checked_shl(prefix.into()).unwrap_or(0)),
            IpAddr::V6(base) if prefix <= 128 => u128::from(base).checked_shl(prefix.into()).unwrap_or(0),
            _ => return Err(wrong()),
        };
        if host_bits != 0 {
            return Err(format!("`{text}`: the address is not the first of a /{prefix}"));
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "AddressRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9a-fA-F.:]+/[0-9]+$",
            "description": "a range of addresses such as 10.240.0.0/12 or fd00:10::/64",
        })
    }
}

/// All pools that pods were given addresses of, by range.
#[derive(Debug, Default)]
pub struct Pools(Vec<Pool>);

impl Pools {
    /// Takes an address of each range; all or none. Which one depends on the hint first, and on what is taken second.
    pub fn take(&mut self, ranges: &[Cidr], hint: u64) -> Result<Vec<IpAddr>, Cidr> {
        let mut taken = Vec::with_capacity(ranges.len());
        for range in ranges {
            match self.pool(*range).take(hint) {
                Some(address) => taken.push(address),
                None => {
                    self.release(&taken);
                    return Err(*range);
                }
            }
        }
        Ok(taken)
    }

    /// Marks addresses as taken that pods have kept from an earlier process.
    pub fn claim(&mut self, ranges: &[Cidr], addresses: &[IpAddr]) {
        for range in ranges {
            let pool = self.pool(*range);
            for index in addresses.iter().filter_map(|address| range.index_of(*address)) {
                pool.set(index, true);
            }
        }
    }

    /// Gives addresses back.
    pub fn release(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            for pool in &mut self.0 {
                if let Some(index) = pool.range.index_of(*address) {
                    pool.set(index, false);
                }
            }
        }
    }

    fn pool(&mut self, range: Cidr) -> &mut Pool {
        let at = self.0.iter().position(|pool| pool.range == range).unwrap_or_else(|| {
            self.0.push(Pool::new(range));
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

/// A bit for each address of a range.
#[derive(Debug)]
struct Pool {
    range: Cidr,
    taken: Vec<u64>,
}

impl Pool {
    fn new(range: Cidr) -> Self {
        let words = range.usable().div_ceil(64);
        let mut pool = Self {
            range,
            taken: vec![0; words as usize],
        };
        // Bits past the end are taken for good.
        if let Some(last) = pool.taken.last_mut()
            && !range.usable().is_multiple_of(64)
        {
            *last = u64::MAX << (range.usable() % 64);
        }
        pool
    }

    fn set(&mut self, index: u32, taken: bool) {
        let bit = 1_u64 << (index % 64);
        if let Some(word) = self.taken.get_mut(index as usize / 64) {
            if taken { *word |= bit } else { *word &= !bit }
        }
    }

    /// The free address nearest after the one that the hint names.
    fn take(&mut self, hint: u64) -> Option<IpAddr> {
        let start = (dice::mix(hint) % u64::from(self.range.usable())) as u32;
        let (word, bit) = (start as usize / 64, start % 64);
        let before = (1_u64 << bit) - 1;
        let words = self.taken.len();
        let index = (0..=words).find_map(|step| {
            let at = (word + step) % words;
            // The first word is looked at twice: from the start on, and at the end what lies before it.
            let barred = match step {
                0 => before,
                _ if step == words => !before,
                _ => 0,
            };
            let free = !(self.taken[at] | barred);
            (free != 0).then(|| at as u32 * 64 + free.trailing_zeros())
        })?;
        self.set(index, true);
        Some(self.range.nth(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn every_address_is_given_once_then_none() {
        for (text, count) in [
            ("10.0.0.0/24", 254),
            ("10.0.0.4/31", 2),
            ("10.0.0.4/32", 1),
            ("10.0.0.0/30", 2),
            ("fd00::/120", 255),
        ] {
            let range = range(text);
            let mut pools = Pools::default();
            let mut seen = HashSet::new();
            for hint in 0..count {
                let address = pools.take(&[range], hint).unwrap()[0];
                assert!(seen.insert(address), "{address} was given twice");
                assert!(range.index_of(address).is_some(), "{address} is not of {text}");
            }
            assert_eq!(pools.take(&[range], 1), Err(range));
            let freed = *seen.iter().next().unwrap();
            pools.release(&[freed]);
            assert_eq!(pools.take(&[range], 99), Ok(vec![freed]));
        }
    }

    #[test]
    fn the_same_hint_gives_the_same_address() {
        let take = |hint| Pools::default().take(&[Cidr::default()], hint).unwrap();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn both_families_or_none() {
        let (four, six) = (range("10.0.0.0/24"), range("fd00::/128"));
        let mut pools = Pools::default();
        assert_eq!(pools.take(&[four, six], 1).unwrap().len(), 2);
        assert_eq!(pools.take(&[four, six], 2), Err(six));
        // What the failed attempt took was given back: all but one are still there.
        let left = (0..300).filter(|hint| pools.take(&[four], *hint).is_ok()).count();
        assert_eq!(left, 253);
    }

    #[test]
    fn a_claimed_address_is_not_given() {
        let only = range("10.0.0.4/32");
        let mut pools = Pools::default();
        pools.claim(&[only], &["10.0.0.4".parse().unwrap()]);
        assert_eq!(pools.take(&[only], 0), Err(only));
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129"] {
            assert!(text.parse::<Cidr>().unwrap_err().contains("expected a range"), "{text}");
        }
        assert!("10.0.0.1/8".parse::<Cidr>().unwrap_err().contains("not the first"));
        assert_eq!(range("0.0.0.0/0").to_string(), "0.0.0.0/0");
    }
}
