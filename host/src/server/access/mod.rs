//! Who may use the kubelet port.
//!
//! As the kubelet does, every request is asked two things before anything else of it is looked at:
//!
//! - *Who are you?* A client certificate that `kubelet.clientCAFile` vouches for ([`x509`]), a bearer token that the API
//!   server knows ([`tokens`]), or nobody, which is refused with a 401 unless `kubelet.authentication.anonymous` is on.
//!   TLS asks for a certificate and requires none ([`handshake`]).
//! - *May you?* The API server's authorization decides, about a subresource of this node ([`attributes`],
//!   [`authorizer`]): 403 if not.
//!
//! Both kinds of review are made with the host's own account, or the node's where it has one ([`reviews`]); answers are
//! remembered for a while, and shared by all nodes of the host. Where one has no answer the caller gets a 500: nobody is let in on a guess, and nobody is told to
//! have no rights who may have them.
//!
//! `kubelet.verifyClients: false` replaces all of it by a yes.

mod attributes;
mod authorizer;
mod bearer;
mod denial;
mod handshake;
mod path;
mod reviews;
#[cfg(test)]
mod tests;
mod tokens;
mod user;
mod x509;

pub(super) use denial::Denial;
pub(super) use path::clean;
pub(super) use user::User;

use super::Error;
use super::tls;
use super::tls::shown::Files;
use super::tls::store::Store;
use crate::cluster::Clients;
use crate::config::KubeletConfig;
use crate::config::ServingCert;
use crate::files::Keeper;
use crate::files::Reload;
use attributes::Attributes;
use authorizer::Authorizer;
use authorizer::Lifetimes;
use authorizer::Verdict;
use bearer::BadToken;
use bearer::Token;
use handshake::Ask;
use http::HeaderMap;
use http::request::Parts;
use reviews::Patience;
use reviews::Reviews;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use std::fmt;
use std::sync::Arc;
use tokens::Tokens;
use x509::Authorities;

/// Who may call and what callers are shown. Nodes share it, or copies of it that [act](Self::acting_as) for themselves.
pub struct Access {
    rules: Arc<Rules>,
    /// As whom reviews are made, and certificates requested.
    clients: Clients,
    reviews: Arc<Reviews>,
}

/// What all nodes of a host share.
struct Rules {
    gate: Gate,
    crypto: Arc<CryptoProvider>,
    source: tls::Source,
}

enum Gate {
    /// Everybody may do everything.
    Open,
    Guarded(Box<Guard>),
}

struct Guard {
    authorities: Option<Arc<Authorities>>,
    tokens: Option<Tokens>,
    anonymous: bool,
    authorizer: Authorizer,
    sessions_require_create: bool,
}

impl Access {
    /// Reads the files that `config` names. Reviews are made, and certificates requested, with `clients`.
    ///
    /// The keeper is to be run: it takes up what changes in those files.
    ///
    /// # Errors
    /// Files that can't be read or used, see [`Error`].
    pub fn build(config: &KubeletConfig, clients: &Clients) -> Result<(Self, Keeper), Error> {
        let crypto = Arc::new(ring::default_provider());
        let mut files: Vec<Arc<dyn Reload>> = Vec::new();
        let source = match &config.serving_cert {
            ServingCert::Files { cert_file, key_file } => {
                let read = Files::load(cert_file.clone(), key_file.clone(), crypto.clone())?;
                let read = Arc::new(read);
                files.push(read.clone());
                tls::Source::Files(read)
            }
            own => tls::Source::Own {
                store: config.cert_directory.as_deref().map(Store::open).transpose()?,
                requested: *own == ServingCert::Requested,
            },
        };
        let gate = if config.verify_clients {
            let guard = Guard::build(config, &crypto)?;
            files.extend(
                guard
                    .authorities
                    .clone()
                    .map(|authorities| authorities as Arc<dyn Reload>),
            );
            Gate::Guarded(Box::new(guard))
        } else {
            tracing::warn!(
                "THE KUBELET PORTS ARE OPEN TO EVERYBODY: whoever reaches one may read the logs of every pod and run commands in \
                 it, because kubelet.verifyClients is false (or --no-verify-clients is given); take that out unless this is a test"
            );
            Gate::Open
        };
        let rules = Arc::new(Rules { gate, crypto, source });
        Ok((Self::following(rules, clients), Keeper::new(files)))
    }

    fn following(rules: Arc<Rules>, clients: &Clients) -> Self {
        Self {
            rules,
            clients: clients.clone(),
            reviews: Arc::new(Reviews::new(clients.reviews.clone(), Patience::default())),
        }
    }

    /// The same for a node with credentials of its own: same rules, same memory.
    pub fn acting_as(&self, clients: &Clients) -> Self {
        Self::following(Arc::clone(&self.rules), clients)
    }

    /// Finds out who sends a request with these `headers` to `node`, by a connection with this chain of certificates, leaf
    /// first.
    ///
    /// May wait for the API server, for half a minute at most with each question: about one or two tokens. Dropping it leaves
    /// nothing behind.
    ///
    /// # Errors
    /// The answer to give instead of what was asked for.
    pub(super) async fn authenticate(
        &self,
        node: &str,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
    ) -> Result<User, Denial> {
        match &self.rules.gate {
            Gate::Open => Ok(User::anonymous()),
            Gate::Guarded(guard) => guard.authenticate(&self.reviews, node, chain, headers).await,
        }
    }

    /// Finds out whether that `user` may make the request `head` of `node`.
    ///
    /// May wait as [`authenticate`](Self::authenticate) does, about one or two rights.
    ///
    /// # Errors
    /// The answer to give instead of what was asked for.
    pub(super) async fn authorize(&self, node: &str, user: &User, head: &Parts) -> Result<(), Denial> {
        match &self.rules.gate {
            Gate::Open => Ok(()),
            Gate::Guarded(guard) => guard.authorize(&self.reviews, node, user, head).await,
        }
    }

    /// What the TLS layer does with client certificates.
    pub(super) fn ask(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Ask { crypto: self.crypto() })
    }

    pub(super) fn crypto(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.rules.crypto)
    }

    pub(super) fn source(&self) -> &tls::Source {
        &self.rules.source
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = matches!(self.rules.gate, Gate::Open);
        f.debug_struct("Access").field("open", &open).finish_non_exhaustive()
    }
}

/// What a request showed to say who sends it.
enum Shown {
    /// Nothing that is looked at.
    Nothing,
    /// Something that names nobody.
    Useless,
}

impl Guard {
    fn build(config: &KubeletConfig, crypto: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let (who, may) = (&config.authentication, &config.authorization);
        let authorities = match &config.client_ca_file {
            Some(file) => Some(Arc::new(Authorities::load(file, crypto)?)),
            None => {
                tracing::warn!(
                    "the kubelet port knows no client certificates: kubectl logs and exec will not work until \
                     kubelet.clientCAFile names the authority of the API server's kubelet client certificate"
                );
                None
            }
        };
        let tokens = match who.tokens {
            true => Some(Tokens::new(who.cache, crypto)?),
            false => None,
        };
        let lifetimes = Lifetimes {
            allowed: may.cache_allowed,
            denied: may.cache_denied,
        };
        Ok(Self {
            authorities,
            tokens,
            anonymous: who.anonymous,
            authorizer: Authorizer::new(lifetimes),
            sessions_require_create: may.sessions_require_create,
        })
    }

    /// The first of certificate, header and subprotocol that names somebody. Who shows something that names nobody is
    /// not anonymous: they meant to be somebody.
    async fn authenticate(
        &self,
        reviews: &Reviews,
        node: &str,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
    ) -> Result<User, Denial> {
        let mut shown = Shown::Nothing;
        if let (Some(authorities), Some((leaf, intermediates))) = (&self.authorities, chain.split_first()) {
            match authorities.user(leaf, intermediates, UnixTime::now()) {
                Ok(user) => return Ok(user.authenticated()),
                Err(unknown) => {
                    tracing::debug!(node, %unknown, "a caller's certificate names nobody");
                    shown = Shown::Useless;
                }
            }
        }
        if let Some(tokens) = &self.tokens {
            for read in [bearer::of_header, bearer::of_web_socket] {
                match holder(tokens, reviews, read(headers)).await {
                    Ok(Some(user)) => return Ok(user),
                    Ok(None) => {}
                    Err(Nobody::Useless(why)) => {
                        tracing::debug!(node, why, "a caller's token names nobody");
                        shown = Shown::Useless;
                    }
                    Err(Nobody::Unanswered) => {
                        return Err(Denial::Undecided(
                            "Authentication error: unable to review the token\n".to_owned(),
                        ));
                    }
                }
            }
        }
        match shown {
            Shown::Nothing if self.anonymous => Ok(User::anonymous()),
            _ => Err(Denial::Unauthenticated),
        }
    }

    async fn authorize(&self, reviews: &Reviews, node: &str, user: &User, head: &Parts) -> Result<(), Denial> {
        let path = clean(head.uri.path());
        let attributes = Attributes::of(&head.method, &path, self.sessions_require_create);
        let Attributes { verb, subresources } = attributes;
        match self.authorizer.verdict(reviews, user, node, attributes).await {
            Verdict::Allowed => Ok(()),
            Verdict::Denied => {
                tracing::debug!(node, user = user.name, verb, ?subresources, "forbade a request");
                Err(Denial::Forbidden(format!(
                    "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
                    user.name,
                    subresources.join(" ")
                )))
            }
            Verdict::Unanswered(subresource) => Err(Denial::Undecided(format!(
                "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})\n",
                user.name
            ))),
        }
    }
}

/// Why a token names nobody.
enum Nobody {
    Useless(String),
    Unanswered,
}

async fn holder(
    tokens: &Tokens,
    reviews: &Reviews,
    token: Result<Option<Token>, BadToken>,
) -> Result<Option<User>, Nobody> {
    let Some(token) = token.map_err(|bad| Nobody::Useless(bad.to_string()))? else {
        return Ok(None);
    };
    match tokens.holder(reviews, &token).await {
        Ok(Some(user)) => Ok(Some(User::clone(&user))),
        Ok(None) => Err(Nobody::Useless("the API server does not know it".to_owned())),
        Err(_) => Err(Nobody::Unanswered),
    }
}
