//! What callers may: the API server is asked by SubjectAccessReview.

use super::User;
use super::attributes::Attributes;
use super::reviews::Kind;
use super::reviews::Reviews;
use super::reviews::Unanswered;
use moka::Expiry;
use moka::future::Cache;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use std::time::Duration;
use std::time::Instant;

/// Answers that are remembered: some for each node of the largest host. An entry takes about 200 bytes.
const CACHE_ENTRIES: u64 = 50_000;

/// Asks the API server and remembers its answers. Questions that are alike at the same time are one question.
pub(super) struct Authorizer {
    cache: Cache<[u8; 32], bool>,
}

/// How long answers are remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// That somebody may.
    pub allowed: Duration,
    /// That somebody may not.
    pub denied: Duration,
}

impl Expiry<[u8; 32], bool> for Lifetimes {
    fn expire_after_create(&self, _: &[u8; 32], allowed: &bool, _: Instant) -> Option<Duration> {
        Some(if *allowed { self.allowed } else { self.denied })
    }
}

/// Who may not do what, or what could not be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// There was no answer about this subresource.
    Unanswered(&'static str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(flatten)]
    user: &'a User,
    resource_attributes: Resource<'a>,
}

/// The core group and no namespace are left out, as empty.
#[derive(Serialize)]
struct Resource<'a> {
    verb: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    name: &'a str,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    allowed: bool,
    denied: bool,
}

impl Authorizer {
    pub(super) fn new(lifetimes: Lifetimes) -> Self {
        let cache = Cache::builder().max_capacity(CACHE_ENTRIES);
        Self {
            cache: cache.expire_after(lifetimes).build(),
        }
    }

    /// Whether `user` may do that to `node`: whether it may for any of the subresources, which are asked in their order.
    pub(super) async fn verdict(&self, reviews: &Reviews, user: &User, node: &str, attributes: Attributes) -> Verdict {
        for subresource in attributes.subresources {
            let spec = Spec {
                user,
                resource_attributes: Resource {
                    verb: attributes.verb,
                    version: "v1",
                    resource: "nodes",
                    subresource,
                    name: node,
                },
            };
            match self.may(reviews, &spec).await {
                Ok(true) => return Verdict::Allowed,
                Ok(false) => {}
                Err(Unanswered) => return Verdict::Unanswered(subresource),
            }
        }
        Verdict::Denied
    }

    async fn may(&self, reviews: &Reviews, spec: &Spec<'_>) -> Result<bool, Unanswered> {
        // All that the answer may depend on: user, uid, groups, extra, verb, subresource and node.
        let key = serde_json::to_vec(spec).map_err(|_| Unanswered)?;
        let answer = self
            .cache
            .try_get_with(Sha256::digest(&key).into(), review(reviews, spec));
        answer.await.map_err(|unanswered| *unanswered)
    }
}

async fn review(reviews: &Reviews, spec: &Spec<'_>) -> Result<bool, Unanswered> {
    let status: Status = reviews.ask(Kind::Access, spec, None).await?;
    Ok(status.allowed && !status.denied)
}
