//! Certificates of pods (PodCertificateRequest, KEP-4317): the host makes a key and asks the signer that the pod names.
//!
//! As with a kubelet, the key never leaves the host but for the pod's volume, the request holds nothing but the public
//! key, and what a signer has denied or failed to issue is not asked for again. A new key and certificate are asked for
//! when the signer has said to; the old ones are held out until the new ones are there, or theirs is over.

mod answer;

use super::{
    Found, ThingId,
    board::{Board, News},
    keys::{self, Key},
    reach::{Failures, Reach},
};
use crate::{
    cluster::{ApiError, Backoff, raw},
    material::{PodCertificate, PodCertificateSpec},
    suspend,
};
use answer::Awaited;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use outrigger_plugin::PodIdentity;
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub const GROUP: &str = "/apis/certificates.k8s.io";
pub const REQUESTS: &str = "podcertificaterequests";
const TIMEOUT: Duration = Duration::from_secs(30);
/// The cluster removes a request that nobody has answered by then.
const ANSWER: Duration = Duration::from_secs(15 * 60);
/// Between two certificates: to a clock that is ahead each of them looks as if it were due at once.
const LEAST: Duration = Duration::from_secs(60);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// Keeps one certificate of a pod fresh.
pub struct Certifier {
    pub reach: Arc<Reach>,
    pub board: Arc<Board>,
    pub id: ThingId,
    pub pod: Arc<PodIdentity>,
    /// UID of the node.
    pub node: Arc<str>,
    pub spec: Arc<PodCertificateSpec>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error(transparent)]
    Key(#[from] keys::Error),
    #[error("the API server has no PodCertificateRequests")]
    NoApi,
    /// The signer's last word.
    #[error("pod certificate request {name} was {verdict}: {message}")]
    Refused {
        name: String,
        verdict: &'static str,
        message: String,
    },
    #[error("pod certificate request {0} was not answered within {ANSWER:?}")]
    Unanswered(String),
    #[error("pod certificate request {0} was deleted")]
    Deleted(String),
}

impl Error {
    fn is_final(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Refused { .. })
    }
}

/// A certificate as it was issued.
struct Issued {
    certificate: PodCertificate,
    /// When to ask for the next one, and how long this one is good.
    renew_at: Timestamp,
    good_until: Timestamp,
}

/// Gets certificates for a pod, and tells what there is: the cluster's signers, or a test.
trait Issuer: Send + Sync {
    /// A new certificate. Quietly, as long as an earlier one is good: nobody has to wait.
    fn issue(&self, quietly: bool) -> impl Future<Output = Result<Issued, Error>> + Send;
    fn tell(&self, found: Found<Arc<PodCertificate>>);
    fn pod(&self) -> &PodIdentity;
    /// Waits before the next try: for `delay`, or until the API server is back, but not less than `least`.
    fn pause(&self, least: Duration, delay: Duration) -> impl Future<Output = ()> + Send;
}

impl Certifier {
    /// Runs until it is dropped, or the signer has refused.
    pub async fn run(self) {
        keep(&self).await;
    }

    async fn ask(&self, quietly: bool) -> Result<Issued, Error> {
        let Key { pem, request } = Key::make(&self.spec.key_type).await?;
        let stub = STANDARD.encode(request);
        let (path, name) = {
            let _turn = self.reach.request().await;
            let version = self.reach.certificates_version(REQUESTS).await?.ok_or(Error::NoApi)?;
            let path = format!("{GROUP}/{version}/namespaces/{}/{REQUESTS}", self.pod.namespace);
            let name = self.request(&path, version, &stub).await?;
            (path, name)
        };
        if !quietly {
            // It may take as long as the signer likes: the pod says what it waits for.
            self.tell(Found::Missing);
        }
        let awaited = Awaited::new(self, &path, &name, quietly);
        let answer = tokio::time::timeout(ANSWER, awaited.answer()).await;
        let answer = answer.unwrap_or(Err(Error::Unanswered(name)))?;
        Ok(Issued {
            certificate: PodCertificate {
                key: pem,
                chain: answer.chain,
            },
            renew_at: answer.renew_at,
            good_until: answer.good_until,
        })
    }

    /// Creates the request; returns its name.
    async fn request(&self, path: &str, version: &str, stub: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Metadata {
            name: String,
            uid: String,
        }
        let (pod, spec) = (&*self.pod, &*self.spec);
        let client = &self.reach.trunks.requests;
        let account = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}",
            pod.namespace, spec.service_account
        );
        let account = raw::send(client, raw::get(&account)?, TIMEOUT).await?;
        let account: Object = account.decode()?;
        let body = json!({
            "apiVersion": format!("certificates.k8s.io/{version}"),
            "kind": "PodCertificateRequest",
            "metadata": {
                "generateName": "req-",
                "namespace": pod.namespace,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid }],
            },
            "spec": {
                "signerName": spec.signer,
                "podName": pod.name,
                "podUID": pod.uid,
                "serviceAccountName": spec.service_account,
                "serviceAccountUID": account.metadata.uid,
                "nodeName": pod.node,
                "nodeUID": &*self.node,
                "maxExpirationSeconds": spec.max_expiration_seconds,
                "stubPKCS10Request": stub,
                "unverifiedUserAnnotations": spec.user_annotations,
            },
        });
        let request = raw::post(path, body.to_string().into_bytes())?;
        let made = raw::send(client, request, TIMEOUT)
            .await
            .inspect_err(|error| self.reach.report(REQUESTS, error))?;
        let made: Object = made.decode()?;
        Ok(made.metadata.name)
    }
}

impl Issuer for Certifier {
    fn issue(&self, quietly: bool) -> impl Future<Output = Result<Issued, Error>> + Send {
        self.ask(quietly)
    }

    fn tell(&self, found: Found<Arc<PodCertificate>>) {
        self.board.tell(self.id, News::Certificate(found));
    }

    fn pod(&self) -> &PodIdentity {
        &self.pod
    }

    fn pause(&self, least: Duration, delay: Duration) -> impl Future<Output = ()> + Send {
        self.reach.trunks.requests.pause(least, delay)
    }
}

/// Keeps a certificate that is good as long as there can be one.
async fn keep(issuer: &impl Issuer) {
    let pod = issuer.pod();
    let mut backoff = Backoff::new(BACKOFF_BASE, BACKOFF_CAP);
    let mut failures = Failures::default();
    let mut good_until = None;
    loop {
        match Box::pin(issuer.issue(good_until.is_some())).await {
            Ok(issued) => {
                backoff.reset();
                failures.clear();
                good_until = Some(issued.good_until);
                issuer.tell(Found::Here(Arc::new(issued.certificate)));
                tokio::join!(sleep_until(issued.renew_at), tokio::time::sleep(LEAST));
            }
            Err(error) => {
                let good = good_until.filter(|end| *end > Timestamp::now());
                if error.is_final() {
                    tracing::warn!(pod = %pod.name, namespace = %pod.namespace, %error,
                        "unable to get a pod certificate");
                    if let Some(end) = good {
                        sleep_until(end).await;
                    }
                    return issuer.tell(Found::Unavailable(error.to_string()));
                }
                let (tells, least) = match &error {
                    Error::Api(error) => (failures.tells(error), error.retry_after().unwrap_or_default()),
                    _ => (true, Duration::ZERO),
                };
                if good.is_none() && tells {
                    issuer.tell(Found::Unavailable(error.to_string()));
                }
                issuer.pause(least, backoff.next_delay()).await;
            }
        }
    }
}

/// By the wall clock, as the times of certificates are; a little later, so that pods do not come together.
async fn sleep_until(at: Timestamp) {
    let left = at.duration_since(Timestamp::now());
    let left = Duration::try_from(left).unwrap_or_default();
    suspend::sleep(left.mul_f64(1.0 + 0.02 * fastrand::f64())).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::VecDeque, sync::Mutex};
    use tokio::time::Instant;

    /// What a signer answers, one after the other: when to renew and how long it is good, in seconds from now.
    struct Fake {
        answers: Mutex<VecDeque<Result<(i64, i64), Error>>>,
        /// When it was asked, and whether quietly.
        asked: Mutex<Vec<(Instant, bool)>>,
        told: Mutex<Vec<(Instant, String)>>,
        pod: PodIdentity,
    }

    impl Issuer for Fake {
        async fn issue(&self, quietly: bool) -> Result<Issued, Error> {
            let number = {
                let mut asked = self.asked.lock().unwrap();
                asked.push((Instant::now(), quietly));
                asked.len()
            };
            let answer = self.answers.lock().unwrap().pop_front();
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            let (renew, end) = answer?;
            let after = |seconds| Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            Ok(Issued {
                certificate: PodCertificate {
                    key: String::new(),
                    chain: number.to_string(),
                },
                renew_at: after(renew),
                good_until: after(end),
            })
        }

        fn tell(&self, found: Found<Arc<PodCertificate>>) {
            let text = match found {
                Found::Here(certificate) => format!("certificate {}", certificate.chain),
                Found::Unavailable(why) => format!("unavailable: {why}"),
                other => format!("{other:?}"),
            };
            self.told.lock().unwrap().push((Instant::now(), text));
        }

        fn pod(&self) -> &PodIdentity {
            &self.pod
        }

        async fn pause(&self, least: Duration, delay: Duration) {
            tokio::time::sleep(delay.max(least)).await;
        }
    }

    /// Keeps a certificate for an hour of the paused clock; the wall clock, by which certificates end, stands still
    /// meanwhile.
    async fn kept(answers: impl IntoIterator<Item = Result<(i64, i64), Error>>) -> Fake {
        let text = |text: &str| text.to_owned();
        let fake = Fake {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
            told: Mutex::default(),
            pod: PodIdentity {
                cluster: text("c"),
                node: text("n"),
                namespace: text("ns"),
                name: text("p"),
                uid: text("u-1"),
            },
        };
        // It ends by itself only when it is refused.
        let _ = tokio::time::timeout(Duration::from_secs(3600), keep(&fake)).await;
        fake
    }

    fn told(fake: &Fake) -> Vec<String> {
        fake.told.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_renewed_when_its_signer_says() {
        let fake = kept([Ok((100, 1000)), Ok((300, 1000))]).await;
        assert_eq!(told(&fake), ["certificate 1", "certificate 2"]);
        let asked = fake.asked.lock().unwrap().clone();
        assert_eq!(
            asked.iter().map(|(_, quietly)| *quietly).collect::<Vec<_>>(),
            [false, true, true]
        );
        for (pair, after) in asked.windows(2).zip([100, 300]) {
            let passed = (pair[1].0 - pair[0].0).as_secs_f64();
            // The wall clock goes on a little.
            assert!(
                passed > f64::from(after) - 30.0 && passed < f64::from(after) * 1.03,
                "{passed} s"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_certificate_stays_as_long_as_it_is_good_and_renewing_fails() {
        let deleted = || Err(Error::Deleted("req-2".to_owned()));
        let fake = kept([Ok((100, 1000)), deleted(), deleted(), deleted(), Ok((9000, 9999))]).await;
        assert_eq!(
            told(&fake),
            ["certificate 1", "certificate 5"],
            "nobody was told of what went wrong between"
        );
        assert_eq!(fake.asked.lock().unwrap().len(), 5);

        // One that is over when renewing fails is no more.
        let fake = kept([Ok((-10, -5)), deleted(), Ok((9000, 9999))]).await;
        let over = "unavailable: pod certificate request req-2 was deleted";
        assert_eq!(told(&fake), ["certificate 1", over, "certificate 3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_it_when_the_old_certificate_does() {
        let refused = || Error::Refused {
            name: "req-2".to_owned(),
            verdict: "denied",
            message: "no: never".to_owned(),
        };
        let fake = kept([Ok((100, 1000)), Err(refused()), Ok((9000, 9999))]).await;
        assert_eq!(
            told(&fake),
            ["certificate 1".to_owned(), format!("unavailable: {}", refused())]
        );
        let told = fake.told.lock().unwrap();
        let passed = (told[1].0 - told[0].0).as_secs_f64();
        assert!(passed > 1000.0, "it was good for 1000 s, and given up after {passed} s");
        assert_eq!(fake.asked.lock().unwrap().len(), 2, "a refusal is final");
    }
}
