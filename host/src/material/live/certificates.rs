//! Certificates of pods (PodCertificateRequest, KEP-4317): the host makes a key and asks the signer that the pod names.
//!
//! As with a kubelet, the key never leaves the host but for the pod's volume, the request holds nothing but the public
//! key, and what a signer has denied or failed to issue is not asked for again. A new key and certificate are asked for
//! when the signer has said to; the old ones are held out until the new ones are there, or theirs is over.

use super::{
    Found, ThingId,
    board::{Board, News},
    keys::{self, Key},
    reach::{Failures, Reach},
};
use crate::{
    cluster::{
        ApiError, Backoff, Place, Watch, raw,
        watch::{Event, Target},
    },
    material::{PodCertificate, PodCertificateSpec},
    suspend,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use outrigger_plugin::PodIdentity;
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub const GROUP: &str = "/apis/certificates.k8s.io";
pub const REQUESTS: &str = "podcertificaterequests";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a request where there is no room for one more watch.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
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
        let answer = tokio::time::timeout(ANSWER, self.answer(&path, &name)).await;
        let (chain, renew_at, good_until) = answer.unwrap_or(Err(Error::Unanswered(name)))?;
        Ok(Issued {
            certificate: PodCertificate { key: pem, chain },
            renew_at,
            good_until,
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

    /// Waits for what becomes of the request.
    async fn answer(&self, path: &str, name: &str) -> Result<(String, Timestamp, Timestamp), Error> {
        let trunks = &self.reach.trunks;
        loop {
            // A signer may never answer, so this has a place of its own: on the connection for requests a hundred that wait
            // would leave no room for a request. Where places are few they are for what changes.
            let place = match trunks.place().await {
                Ok(place) => place.filter(|_| trunks.shares()),
                Err(error) if error.is_retryable() => None,
                Err(error) => return Err(error.into()),
            };
            let answer = match place {
                Some(place) => self.watch(&place, path, name).await?,
                None => self.look(path, name).await?,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            trunks.requests.pause(LOOK_AGAIN, LOOK_AGAIN).await;
        }
    }

    /// Reads the request; `None` while it is open.
    async fn look(&self, path: &str, name: &str) -> Result<Option<(String, Timestamp, Timestamp)>, Error> {
        let request = raw::get(&format!("{path}/{name}"))?;
        match raw::send(&self.reach.trunks.requests, request, TIMEOUT).await {
            Ok(reply) => read(&reply.body, name),
            Err(ApiError::NotFound(_)) => Err(Error::Deleted(name.to_owned())),
            Err(error) if error.is_retryable() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches the request; `None` when there is less room than there was.
    async fn watch(
        &self,
        place: &Place,
        path: &str,
        name: &str,
    ) -> Result<Option<(String, Timestamp, Timestamp)>, Error> {
        // The Node authorizer lets a node watch only what names it.
        let target = Target::new(format!("{REQUESTS} {name}"), path)
            .fields(format!("metadata.name={name},spec.nodeName={}", self.pod.node))
            .quiet();
        let mut watch = Watch::new(place.client().clone(), target);
        let mut seen = false;
        loop {
            match watch.try_next().await {
                Ok(Event::Restarted) => seen = false,
                Ok(Event::Apply(raw)) => {
                    seen = true;
                    if let Some(answer) = read(&raw, name)? {
                        return Ok(Some(answer));
                    }
                }
                Ok(Event::Delete(_)) => return Err(Error::Deleted(name.to_owned())),
                Ok(Event::Synced) if !seen => return Err(Error::Deleted(name.to_owned())),
                Ok(_) => {}
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
            if place.is_crowded() {
                return Ok(None);
            }
        }
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

/// The chain and its times; `None` while the request is open.
fn read(raw: &[u8], name: &str) -> Result<Option<(String, Timestamp, Timestamp)>, Error> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        status: Status,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Status {
        conditions: Vec<Condition>,
        certificate_chain: String,
        begin_refresh_at: Option<Timestamp>,
        not_after: Option<Timestamp>,
    }
    #[derive(Deserialize)]
    struct Condition {
        r#type: String,
        status: String,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
    }
    let Object { status } = serde_json::from_slice(raw).map_err(ApiError::Malformed)?;
    for condition in status.conditions.iter().filter(|condition| condition.status == "True") {
        let verdict = match condition.r#type.as_str() {
            "Denied" => "denied",
            "Failed" => "not issued",
            _ => continue,
        };
        return Err(Error::Refused {
            name: name.to_owned(),
            verdict,
            message: format!("{}: {}", condition.reason, condition.message),
        });
    }
    let (Some(renew_at), Some(good_until)) = (status.begin_refresh_at, status.not_after) else {
        return Ok(None);
    };
    if status.certificate_chain.is_empty() {
        return Ok(None);
    }
    Ok(Some((status.certificate_chain, renew_at, good_until)))
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

    fn answer(status: serde_json::Value) -> Result<Option<(String, Timestamp, Timestamp)>, Error> {
        read(json!({ "status": status }).to_string().as_bytes(), "req-1")
    }

    #[test]
    fn a_request_is_open_until_it_has_its_chain() {
        assert!(answer(json!({})).unwrap().is_none());
        let (chain, renew_at, good_until) = answer(json!({
            "conditions": [{ "type": "Issued", "status": "True" }],
            "certificateChain": "chain",
            "beginRefreshAt": "2030-01-01T00:00:00Z", "notAfter": "2030-01-02T00:00:00Z",
        }))
        .unwrap()
        .unwrap();
        assert_eq!(chain, "chain");
        assert!(renew_at < good_until);
    }

    #[test]
    fn a_refusal_is_final_and_says_why() {
        let denied =
            json!([{ "type": "Denied", "status": "True", "reason": "UnsupportedKeyType", "message": "ED25519" }]);
        let error = answer(json!({ "conditions": denied })).err().unwrap();
        assert!(error.is_final());
        assert_eq!(
            error.to_string(),
            "pod certificate request req-1 was denied: UnsupportedKeyType: ED25519"
        );
        let failed = json!([{ "type": "Failed", "status": "True" }]);
        assert!(answer(json!({ "conditions": failed })).is_err());
    }

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
