//! Keys for certificates of pods, of all types that the API names, each with a request that proves who holds it.

use p521::{
    ecdsa::{DerSignature, SigningKey},
    elliptic_curve::Generate,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_RSA_SHA256, SignatureAlgorithm};
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use tokio::sync::Semaphore;
use x509_cert::{
    builder::Builder,
    der::{Encode, zeroize::Zeroizing},
    name::Name,
    request::RequestBuilder,
};

/// Large keys are made so many at a time: each takes a core for seconds, and the others wait for theirs.
static LARGE: Semaphore = Semaphore::const_new(2);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "key type {0:?} is not among those that this host makes: use ED25519, ECDSAP256, ECDSAP384, ECDSAP521, RSA3072 or \
         RSA4096"
    )]
    Unknown(String),
    #[error("unable to make a key of type {kind}: {reason}")]
    Make { kind: String, reason: String },
}

/// A new private key.
pub struct Key {
    /// PKCS #8.
    pub pem: String,
    /// A certificate request (PKCS #10, DER) with the public key, without a subject, signed with the key.
    pub request: Vec<u8>,
}

impl Key {
    /// Makes one. The large ones take seconds, on a thread of their own, and wait for their turn; one that is
    /// dropped is made all the same.
    ///
    /// # Errors
    /// The type is none of those of `v1.PodCertificateProjection`.
    pub async fn make(kind: &str) -> Result<Self, Error> {
        let made = match kind {
            "ED25519" => by_ring(&rcgen::PKCS_ED25519),
            "ECDSAP256" => by_ring(&rcgen::PKCS_ECDSA_P256_SHA256),
            "ECDSAP384" => by_ring(&rcgen::PKCS_ECDSA_P384_SHA384),
            "ECDSAP521" => p521(),
            "RSA3072" => aside(|| rsa(3072)).await,
            "RSA4096" => aside(|| rsa(4096)).await,
            other => return Err(Error::Unknown(other.to_owned())),
        };
        made.map_err(|error| Error::Make {
            kind: kind.to_owned(),
            reason: error.to_string(),
        })
    }
}

type Made = Result<Key, Box<dyn std::error::Error + Send + Sync>>;

async fn aside(make: impl FnOnce() -> Made + Send + 'static) -> Made {
    let turn = LARGE.acquire().await?;
    // Kept until it is made, also if nobody waits for it any more.
    let making = move || {
        let _turn = turn;
        make()
    };
    tokio::task::spawn_blocking(making).await?
}

fn by_ring(algorithm: &'static SignatureAlgorithm) -> Made {
    signed(&KeyPair::generate_for(algorithm)?)
}

fn rsa(bits: usize) -> Made {
    let key = rsa::PrivateKey::new(&mut getrandom::SysRng, bits)?;
    let der = key.to_pkcs8_der()?;
    signed(&KeyPair::from_pkcs8_der_and_sign_algo(
        &der.as_bytes().into(),
        &PKCS_RSA_SHA256,
    )?)
}

fn signed(key: &KeyPair) -> Made {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(Key {
        pem: key.serialize_pem(),
        request: params.serialize_request(key)?.der().to_vec(),
    })
}

fn p521() -> Made {
    let key = p521::SecretKey::try_generate()?;
    let pem: Zeroizing<String> = key.to_pkcs8_pem(LineEnding::LF)?;
    let request = RequestBuilder::new(Name::default())?.build::<_, DerSignature>(&SigningKey::from(&key))?;
    Ok(Key {
        pem: pem.to_string(),
        request: request.to_der()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::{pkcs8::DecodePrivateKey, traits::PublicKeyParts};
    use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

    #[tokio::test]
    async fn all_types_of_the_api_can_be_had() {
        // By the name of the API: the object identifiers of key and signature.
        let rows = [
            ("ED25519", "1.3.101.112", "1.3.101.112"),
            ("ECDSAP256", "1.2.840.10045.2.1", "1.2.840.10045.4.3.2"),
            ("ECDSAP384", "1.2.840.10045.2.1", "1.2.840.10045.4.3.3"),
            ("ECDSAP521", "1.2.840.10045.2.1", "1.2.840.10045.4.3.4"),
            ("RSA3072", "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.11"),
        ];
        for (kind, key, signature) in rows {
            let made = Key::make(kind).await.unwrap();
            assert!(made.pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{kind}");
            let (rest, request) = X509CertificationRequest::from_der(&made.request).unwrap();
            assert!(rest.is_empty(), "{kind}");
            let info = &request.certification_request_info;
            assert_eq!(info.subject_pki.algorithm.algorithm.to_id_string(), key, "{kind}");
            assert_eq!(
                request.signature_algorithm.algorithm.to_id_string(),
                signature,
                "{kind}"
            );
            assert_eq!(info.subject.iter().count(), 0, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_key_is_as_long_as_its_name_says_and_its_own() {
        let made = Key::make("RSA3072").await.unwrap();
        let key = rsa::PrivateKey::from_pkcs8_pem(&made.pem).unwrap();
        assert_eq!(key.n().bit_width(), 3072);
        let made = Key::make("ECDSAP521").await.unwrap();
        let key = p521::SecretKey::from_pkcs8_pem(&made.pem).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&made.request).unwrap();
        let public = &request.certification_request_info.subject_pki.subject_public_key.data;
        assert_eq!(key.public_key().to_sec1_bytes().as_ref(), &**public);
    }

    #[tokio::test]
    async fn a_type_that_is_none_is_named_with_those_that_are() {
        let error = Key::make("RSA1024").await.err().unwrap().to_string();
        assert!(error.contains("\"RSA1024\"") && error.contains("RSA4096"), "{error}");
    }
}
