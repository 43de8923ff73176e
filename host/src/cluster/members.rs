//! Whose an object is, where several share one watch: read from its bytes, and no further than to it.
//!
//! A watch of all pods of a cluster carries strangers. They are told from the members' own before anything of them is
//! copied or kept; what they cost is one look over the first part of their bytes.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use std::{borrow::Cow, collections::HashMap};

/// One of those who share a watch: its place in the list that they were given in.
pub type Member = usize;

/// The field that names a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `metadata.name`: the object is the member.
    Name,
    /// `spec.nodeName`: the object is on the member.
    Node,
}

/// Those who share a watch.
#[derive(Debug)]
pub struct Members {
    owner: Owner,
    names: HashMap<Box<str>, Member>,
}

impl Members {
    /// Members by name, in this order.
    pub fn new<'a>(owner: Owner, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().enumerate();
        Self {
            owner,
            names: names.map(|(index, name)| (name.into(), index)).collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Whose an object is: nobody's, most of the time.
    pub fn of(&self, object: &[u8]) -> Option<Member> {
        self.names.get(&*head(object, self.owner).owner).copied()
    }

    /// The same for an object of a stream, from which one may want to go on.
    pub(super) fn sort(&self, object: &[u8]) -> Sorted {
        let head = head(object, self.owner);
        match self.names.get(&*head.owner) {
            Some(member) => Sorted::Ours(*member),
            None => Sorted::Strange(Some(head.version.into_owned()).filter(|version| !version.is_empty())),
        }
    }
}

/// Whose an object of a stream is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sorted {
    /// A member's.
    Ours(Member),
    /// A stranger's: all that is of interest is its resource version.
    Strange(Option<String>),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head<'a> {
    version: Cow<'a, str>,
    owner: Cow<'a, str>,
}

/// Reads a head; what is missing stays empty.
fn head(object: &[u8], owner: Owner) -> Head<'_> {
    let mut head = Head::default();
    let reader = Reader {
        head: &mut head,
        owner,
        at: At::Object,
    };
    // It ends early, so its outcome says nothing.
    let _ = reader.deserialize(&mut serde_json::Deserializer::from_slice(object));
    head
}

/// A string, copied only where it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Object,
    Metadata,
    Spec,
}

/// Fills in a [`Head`] and fails as soon as it is full.
struct Reader<'h, 'a> {
    head: &'h mut Head<'a>,
    owner: Owner,
    at: At,
}

impl<'a> Visitor<'a> for Reader<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of the API")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { head, owner, at } = self;
        while let Some(Text(name)) = map.next_key()? {
            let inner = match (at, &*name) {
                (At::Object, "metadata") => Some(At::Metadata),
                (At::Object, "spec") if owner == Owner::Node => Some(At::Spec),
                (At::Metadata, "resourceVersion") => {
                    head.version = map.next_value::<Text<'a>>()?.0;
                    None
                }
                (At::Metadata, "name") if owner == Owner::Name => {
                    head.owner = map.next_value::<Text<'a>>()?.0;
                    None
                }
                (At::Spec, "nodeName") => {
                    head.owner = map.next_value::<Text<'a>>()?.0;
                    None
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            if let Some(at) = inner {
                map.next_value_seed(Reader { head, owner, at })?;
            }
            if !head.version.is_empty() && !head.owner.is_empty() {
                return Err(A::Error::custom("the rest is of no interest"));
            }
        }
        Ok(())
    }
}

impl<'a> DeserializeSeed<'a> for Reader<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] =
        br#"{"metadata":{"name":"vk-1","labels":{"nodeName":"vk-1","resourceVersion":"0"},"resourceVersion":"7"},
        "spec":{"containers":[{"nodeName":"vk-1"}],"nodeName":"vk-0","broken"#;

    #[test]
    fn pods_are_their_nodes_and_nodes_their_own() {
        let names = ["vk-0", "vk-1"];
        assert_eq!(Members::new(Owner::Node, names).of(POD), Some(0));
        assert_eq!(Members::new(Owner::Name, names).of(POD), Some(1));
        assert_eq!(Members::new(Owner::Node, ["vk-1"]).of(POD), None);
        assert_eq!(Members::new(Owner::Node, names).count(), 2);
    }

    #[test]
    fn of_a_stranger_only_the_version_is_told() {
        let members = Members::new(Owner::Node, ["vk-0"]);
        assert_eq!(members.sort(POD), Sorted::Ours(0));
        let strange = br#"{"metadata":{"resourceVersion":"9"},"spec":{"nodeName":"worker"}}"#;
        assert_eq!(members.sort(strange), Sorted::Strange(Some("9".to_owned())));
        let unbound = br#"{"metadata":{"resourceVersion":"9"},"spec":{"containers":[]}}"#;
        assert_eq!(members.sort(unbound), Sorted::Strange(Some("9".to_owned())));
        // The fields may come in any order, and names with escapes.
        let turned = br#"{"spec":{"nodeName":"vk\u002d0"},"metadata":{"resourceVersion":"9"}}"#;
        assert_eq!(members.sort(turned), Sorted::Ours(0));
        for object in [&b"{}"[..], b"", b"[]", br#"{"spec":"vk-0"}"#] {
            assert_eq!(members.sort(object), Sorted::Strange(None));
        }
    }
}
