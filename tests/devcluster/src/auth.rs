//! Who is asking. There is no RBAC: whoever is known may do everything, which the banner and the README say.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::ids;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// E.g. `system:serviceaccount:ns:name`.
    pub name: String,
    /// UID of a service account.
    pub uid: String,
    /// Groups, with `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// The holder of the kubeconfig.
    pub fn admin() -> User {
        User::of("kubernetes-admin", &["system:masters"])
    }

    /// A user with the group of all authenticated users added.
    pub fn of(name: &str, groups: &[&str]) -> User {
        let groups = groups
            .iter()
            .copied()
            .chain(["system:authenticated"])
            .map(str::to_owned)
            .collect();
        User {
            name: name.to_owned(),
            uid: String::new(),
            groups,
        }
    }

    /// As `TokenReview` and `SelfSubjectReview` show it.
    pub fn info(&self) -> Value {
        let mut info = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        info
    }
}

#[derive(Debug, Clone)]
struct Issued {
    user: User,
    audiences: Vec<String>,
    expires: Timestamp,
}

/// The audience of tokens that name none.
pub const DEFAULT_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// What a new token is for.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// Namespace of the service account.
    pub namespace: &'a str,
    /// Its name.
    pub account: &'a str,
    /// Its UID.
    pub account_uid: &'a str,
    /// Who may accept the token.
    pub audiences: Vec<String>,
    /// Lifetime in seconds.
    pub seconds: i64,
    /// The object (a pod) whose end ends the token, as `spec.boundObjectRef`.
    pub bound: &'a Value,
}

/// The tokens that are accepted: the administrator's, and those issued to service accounts. They look like the real ones
/// (three parts, readable claims) but are known by comparison, not by their signature.
#[derive(Debug)]
pub struct Tokens {
    admin: String,
    issued: RwLock<HashMap<String, Issued>>,
}

impl Tokens {
    /// With a new administrator's token.
    pub fn new() -> Result<Tokens, rustls::Error> {
        Ok(Tokens {
            admin: ids::secret()?,
            issued: RwLock::default(),
        })
    }

    /// The administrator's token.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Whose token this is, and for which audiences.
    pub fn user(&self, token: &str) -> Option<(User, Vec<String>)> {
        if token == self.admin {
            return Some((User::admin(), vec![DEFAULT_AUDIENCE.to_owned()]));
        }
        let issued = self.issued.read();
        let found = issued.get(token).filter(|i| i.expires > Timestamp::now())?;
        Some((found.user.clone(), found.audiences.clone()))
    }

    /// Issues a token; returns it with its end.
    pub fn issue(&self, request: TokenRequest<'_>) -> Result<(String, Timestamp), rustls::Error> {
        let now = Timestamp::now();
        let expires = Timestamp::from_second(now.as_second().saturating_add(request.seconds)).unwrap_or(Timestamp::MAX);
        let audiences = match request.audiences.is_empty() {
            true => vec![DEFAULT_AUDIENCE.to_owned()],
            false => request.audiences,
        };
        let subject = format!("system:serviceaccount:{}:{}", request.namespace, request.account);
        let mut kubernetes = json!({"namespace": request.namespace,
            "serviceaccount": {"name": request.account, "uid": request.account_uid}});
        if request.bound["kind"] == "Pod" {
            kubernetes["pod"] = json!({"name": request.bound["name"], "uid": request.bound["uid"]});
        }
        let claims = json!({"iss": DEFAULT_AUDIENCE, "sub": subject, "aud": audiences, "iat": now.as_second(), "nbf": now.as_second(),
            "exp": expires.as_second(), "jti": ids::uid(), "kubernetes.io": kubernetes});
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({"alg": "devcluster", "typ": "JWT"});
        let token = format!(
            "{}.{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes()),
            encode(ids::secret()?.as_bytes())
        );
        let everyone = format!("system:serviceaccounts:{}", request.namespace);
        let mut user = User::of(&subject, &["system:serviceaccounts", &everyone]);
        user.uid = request.account_uid.to_owned();
        let mut issued = self.issued.write();
        issued.retain(|_, i| i.expires > now);
        issued.insert(
            token.clone(),
            Issued {
                user,
                audiences,
                expires,
            },
        );
        Ok((token, expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_until_they_expire() {
        let tokens = Tokens::new().unwrap();
        assert_eq!(tokens.user(tokens.admin()).unwrap().0, User::admin());
        assert!(tokens.user("forged").is_none());
        let request = |seconds| TokenRequest {
            namespace: "ns",
            account: "a",
            account_uid: "u",
            audiences: vec!["x".into()],
            seconds,
            bound: &Value::Null,
        };
        let (token, _) = tokens.issue(request(60)).unwrap();
        let (user, audiences) = tokens.user(&token).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:a");
        assert!(user.groups.contains(&"system:serviceaccounts:ns".to_owned()));
        assert_eq!(audiences, ["x"]);
        assert_eq!(token.split('.').count(), 3);
        let (expired, _) = tokens.issue(request(-1)).unwrap();
        assert!(tokens.user(&expired).is_none());
    }
}
