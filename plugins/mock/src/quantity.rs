//! Kubernetes quantities, as far as resource use needs them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// An amount such as `250m`, `2`, `64Mi` or `1.5G`, in thousandths of its unit.
/// See <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    milli: u64,
}

impl Quantity {
    /// So many thousandths.
    pub const fn milli(milli: u64) -> Self {
        Self { milli }
    }

    /// So many units.
    pub const fn units(units: u64) -> Self {
        Self { milli: units * 1_000 }
    }

    /// Billionths: of a core, say.
    pub fn as_nano(self) -> u64 {
        self.milli.saturating_mul(1_000_000)
    }

    /// Whole units: bytes, say.
    pub fn as_units(self) -> u64 {
        self.milli / 1_000
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected a quantity such as 250m, 2 or 64Mi");
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let factor: f64 = match unit {
            "m" => 1.0,
            "" => 1e3,
            "k" => 1e6,
            "M" => 1e9,
            "G" => 1e12,
            "T" => 1e15,
            "P" => 1e18,
            "Ki" => 1e3 * 1024.0,
            "Mi" => 1e3 * f64::from(1 << 20),
            "Gi" => 1e3 * f64::from(1 << 30),
            "Ti" => 1e3 * f64::from(1 << 30) * 1024.0,
            "Pi" => 1e3 * f64::from(1 << 30) * f64::from(1 << 20),
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        Ok(Self {
            milli: (number * factor).round() as u64,
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli.is_multiple_of(1_000) {
            write!(f, "{}", self.milli / 1_000)
        } else {
            write!(f, "{}m", self.milli)
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 250m, 2 or 64Mi")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "pattern": r"^[0-9]*\.?[0-9]+(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
            "minimum": 0,
            "description": "a Kubernetes quantity such as 250m, 2 or 64Mi",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quantities() {
        let units = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(units("250m").as_nano(), 250_000_000);
        assert_eq!(units("1.5").as_nano(), 1_500_000_000);
        assert_eq!(units("64Mi").as_units(), 64 << 20);
        assert_eq!(units("1G").as_units(), 1_000_000_000);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in ["", "Mi", "-5", "5mm", "ten"] {
            assert!(
                text.parse::<Quantity>().unwrap_err().contains("expected a quantity"),
                "{text}"
            );
        }
    }
}
