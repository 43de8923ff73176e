//! Callers who show a bearer token: the API server knows whose it is.

use super::super::Error;
use super::User;
use super::bearer::Token;
use super::reviews::Kind;
use super::reviews::Reviews;
use super::reviews::Unanswered;
use moka::future::Cache;
use rustls::crypto::CryptoProvider;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

/// What all answers that are remembered may take.
const CACHE_BYTES: u64 = 16 << 20;
/// About what an entry takes beside its user.
const ENTRY_BYTES: usize = 256;

/// Whose a token is; `None` for nobody's.
type Holder = Option<Arc<User>>;

/// Asks for tokens by TokenReview and remembers the answers for a while, good and bad ones, as the kubelet does.
/// Questions about one token at the same time are one question.
pub(super) struct Tokens {
    cache: Cache<[u8; 32], Holder>,
    /// Tokens themselves are not kept, only what they hash to with this.
    salt: [u8; 32],
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
}

impl Tokens {
    /// Remembers answers for `lifetime`.
    ///
    /// # Errors
    /// Where the system has no random numbers.
    pub(super) fn new(lifetime: Duration, crypto: &CryptoProvider) -> Result<Self, Error> {
        let mut salt = [0; 32];
        let filled = crypto.secure_random.fill(&mut salt);
        filled.map_err(|_| Error::Certificate(rustls::Error::FailedToGetRandomBytes))?;
        let size = |_: &[u8; 32], holder: &Holder| {
            let user = holder.as_ref().map_or(0, |user| user.size());
            u32::try_from(ENTRY_BYTES + user).unwrap_or(u32::MAX)
        };
        Ok(Self {
            cache: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(size)
                .time_to_live(lifetime)
                .build(),
            salt,
        })
    }

    /// Whose `token` this is; `None` if it is nobody's, or not any more.
    pub(super) async fn holder(&self, reviews: &Reviews, token: &Token) -> Result<Holder, Unanswered> {
        let key = Sha256::new()
            .chain_update(self.salt)
            .chain_update(token.as_str())
            .finalize();
        // A failure is not remembered, but whoever waited for it has it as well.
        let answer = self.cache.try_get_with(key.into(), review(reviews, token)).await;
        answer.map_err(|unanswered| *unanswered)
    }
}

async fn review(reviews: &Reviews, token: &Token) -> Result<Holder, Unanswered> {
    let spec = Spec { token: token.as_str() };
    let status: Status = reviews.ask(Kind::Token, &spec, Some(token)).await?;
    // Somebody without a name would be nobody in particular.
    let known = status.authenticated && !status.user.name.is_empty();
    Ok(known.then(|| Arc::new(status.user.authenticated())))
}
