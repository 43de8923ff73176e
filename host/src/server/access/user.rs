//! Who asks.

use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;

/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who are not.
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// A caller as authentication knows it: what a `SubjectAccessReview` is asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(in crate::server) struct User {
    /// The user name: a certificate's common name, or what a `TokenReview` says.
    #[serde(rename(deserialize = "username", serialize = "user"))]
    pub name: String,
    /// Empty where the cluster gives users none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups, `system:authenticated` among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else is known, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whoever showed nothing, where that is allowed.
    pub(super) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// The same user in the group of those who are known.
    pub(super) fn authenticated(mut self) -> Self {
        let known = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
        if !self.groups.iter().any(known) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// About how many bytes it takes in memory.
    pub(super) fn size(&self) -> usize {
        let texts = |list: &[String]| list.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let extra = self.extra.iter().map(|(key, values)| key.len() + texts(values));
        size_of::<Self>() + self.name.len() + self.uid.len() + texts(&self.groups) + extra.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_from_one_review_and_written_to_the_other() {
        let info = r#"{"username":"a","uid":"u","groups":["g"],"extra":{"k":["v","w"]}}"#;
        let user: User = serde_json::from_str(info).unwrap();
        let spec = serde_json::to_string(&user.authenticated()).unwrap();
        assert_eq!(
            spec,
            r#"{"user":"a","uid":"u","groups":["g","system:authenticated"],"extra":{"k":["v","w"]}}"#
        );
        let user: User = serde_json::from_str(r#"{"username":"a"}"#).unwrap();
        assert_eq!(serde_json::to_string(&user).unwrap(), r#"{"user":"a"}"#);
    }

    #[test]
    fn the_group_of_the_known_is_added_once_and_never_to_the_unknown() {
        let user = User::default().authenticated().authenticated();
        assert_eq!(user.groups, ["system:authenticated"]);
        assert_eq!(User::anonymous().authenticated().groups, ["system:unauthenticated"]);
    }
}
