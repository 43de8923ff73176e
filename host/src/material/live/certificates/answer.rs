//! What becomes of a request: its signer may take minutes, and nobody is to wait on a connection that others need.

use super::{Certifier, Error, Issuer, REQUESTS, TIMEOUT};
use crate::{
    cluster::{
        ApiError, Place, Watch, raw,
        watch::{Event, Target},
    },
    material::Found,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Between two looks at a request where there is no room for one more watch.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a signer gave.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub chain: String,
    /// When to ask for the next one, and how long this one is good.
    pub renew_at: Timestamp,
    pub good_until: Timestamp,
}

/// A request that waits for its answer.
pub struct Awaited<'a> {
    certifier: &'a Certifier,
    /// The collection.
    path: &'a str,
    name: &'a str,
    /// Nobody waits for it.
    quietly: bool,
    /// The host may not see it, and the pod was told.
    denied: bool,
    look_again: Duration,
}

impl<'a> Awaited<'a> {
    /// The one of that name in the collection `path`.
    pub fn new(certifier: &'a Certifier, path: &'a str, name: &'a str, quietly: bool) -> Self {
        Self {
            certifier,
            path,
            name,
            quietly,
            denied: false,
            look_again: LOOK_AGAIN,
        }
    }

    /// Waits for the answer. A host that may not see it goes on with the same request: one more could be seen no better.
    ///
    /// # Errors
    /// The signer's refusal, or that there is no such request any more.
    pub async fn answer(mut self) -> Result<Answer, Error> {
        let trunks = &self.certifier.reach.trunks;
        loop {
            // A signer may never answer, so this has a place of its own: on the connection for requests a hundred that wait
            // would leave no room for a request. Where places are few they are for what changes.
            let place = match trunks.place().await {
                Ok(place) => place.filter(|_| trunks.shares()),
                Err(error) if error.is_retryable() => None,
                Err(error) => return Err(error.into()),
            };
            let answer = match place {
                Some(place) => self.watch(&place).await?,
                None => self.look().await?,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
            trunks.requests.pause(self.look_again, self.look_again).await;
        }
    }

    /// The Node authorizer lets a node list and watch only what names it.
    fn fields(&self) -> String {
        format!("metadata.name={},spec.nodeName={}", self.name, self.certifier.pod.node)
    }

    /// Reads the request; `None` while it is open. It is listed, as a watch begins: that takes no right of its own.
    async fn look(&mut self) -> Result<Option<Answer>, Error> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
        }
        let request = raw::get(&raw::with_query(self.path, &[("fieldSelector", &self.fields())]))?;
        let client = &self.certifier.reach.trunks.requests;
        let found = raw::send(client, request, TIMEOUT).await.and_then(|reply| {
            let list: List<'_> = reply.decode()?;
            let first = list.items.unwrap_or_default().into_iter().next();
            Ok(first.map(|object| object.get().to_owned()))
        });
        match found {
            Ok(Some(object)) => {
                self.seen();
                read(object.as_bytes(), self.name)
            }
            Ok(None) => Err(Error::Deleted(self.name.to_owned())),
            Err(error) => self.failed(error).map(|()| None),
        }
    }

    /// Watches the request; `None` when there is less room than there was.
    async fn watch(&mut self, place: &Place) -> Result<Option<Answer>, Error> {
        let target = Target::new(format!("{REQUESTS} {}", self.name), self.path)
            .fields(self.fields())
            .quiet();
        let mut watch = Watch::new(place.client().clone(), target);
        let mut listed = false;
        loop {
            match watch.try_next().await {
                Ok(Event::Restarted) => listed = false,
                Ok(Event::Apply(raw)) => {
                    listed = true;
                    if let Some(answer) = read(&raw, self.name)? {
                        return Ok(Some(answer));
                    }
                }
                Ok(Event::Delete(_)) => return Err(Error::Deleted(self.name.to_owned())),
                Ok(Event::Synced) if !listed => return Err(Error::Deleted(self.name.to_owned())),
                Ok(_) => {}
                Err(error) => self.failed(error)?,
            }
            if !watch.in_trouble() {
                self.seen();
            }
            if place.is_crowded() {
                return Ok(None);
            }
        }
    }

    /// What may pass is waited for; that an administrator has to allow it is told.
    fn failed(&mut self, error: ApiError) -> Result<(), Error> {
        match error {
            ApiError::Forbidden(_) => {
                self.certifier.reach.report(REQUESTS, &error);
                if !std::mem::replace(&mut self.denied, true) && !self.quietly {
                    self.certifier.tell(Found::Unavailable(error.to_string()));
                }
                Ok(())
            }
            error if error.is_retryable() => Ok(()),
            error => Err(error.into()),
        }
    }

    /// The host may see it: what the pod waits for is the signer.
    fn seen(&mut self) {
        if std::mem::take(&mut self.denied) && !self.quietly {
            self.certifier.tell(Found::Missing);
        }
    }
}

/// The answer in it; `None` while the request is open.
fn read(raw: &[u8], name: &str) -> Result<Option<Answer>, Error> {
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
    Ok(Some(Answer {
        chain: status.certificate_chain,
        renew_at,
        good_until,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster,
        config::ClusterConfig,
        material::{
            PodCertificateSpec,
            live::{Reach, ThingId, board::Board, board::News},
        },
    };
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use outrigger_plugin::PodIdentity;
    use serde_json::{Value, json};
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };
    use tokio::net::TcpListener;
    use tokio_util::task::AbortOnDropHandle;

    fn answer(status: Value) -> Result<Option<Answer>, Error> {
        read(json!({ "status": status }).to_string().as_bytes(), "req-1")
    }

    #[test]
    fn a_request_is_open_until_it_has_its_chain() {
        assert!(answer(json!({})).unwrap().is_none());
        let answer = answer(issued()).unwrap().unwrap();
        assert_eq!(answer.chain, "chain");
        assert!(answer.renew_at < answer.good_until);
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

    const PATH: &str = "/apis/certificates.k8s.io/v1/namespaces/ns/podcertificaterequests";

    /// An API server that speaks only HTTP/1.1 and gives these answers in this order; all that it was asked is kept.
    struct Server {
        kubeconfig: tempfile::NamedTempFile,
        asked: Arc<Mutex<Vec<String>>>,
        _task: AbortOnDropHandle<()>,
    }

    impl Server {
        async fn start(answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let cluster = json!({ "server": format!("http://{}", listener.local_addr().unwrap()) });
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{ "name": "c", "cluster": cluster }],
                "users": [{ "name": "c", "user": {} }],
                "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
            });
            let kubeconfig = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&kubeconfig, config.to_string()).unwrap();
            let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let log = asked.clone();
            let task = tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (answers, asked) = (answers.clone(), log.clone());
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = match request.uri().path() {
                            // To find out what it speaks.
                            "/version" => (200, json!({})),
                            _ => {
                                asked
                                    .lock()
                                    .unwrap()
                                    .push(format!("{} {}", request.method(), request.uri()));
                                answers
                                    .lock()
                                    .unwrap()
                                    .pop_front()
                                    .unwrap_or((410, json!({ "message": "nobody thought of this" })))
                            }
                        };
                        let body = Full::new(Bytes::from(answer.1.to_string()));
                        std::future::ready(Response::builder().status(answer.0).body(body))
                    });
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
                }
            });
            Self {
                kubeconfig,
                asked,
                _task: AbortOnDropHandle::new(task),
            }
        }

        async fn certifier(&self) -> Certifier {
            let config = ClusterConfig {
                kubeconfig: vec![self.kubeconfig.path().to_owned()],
                ..ClusterConfig::default()
            };
            let text = |text: &str| text.to_owned();
            Certifier {
                reach: Arc::new(Reach::new(&cluster::connect(&config).await.unwrap())),
                board: Arc::new(Board::default()),
                id: ThingId(1),
                pod: Arc::new(PodIdentity {
                    cluster: text("c"),
                    node: text("vk-0"),
                    namespace: text("ns"),
                    name: text("p"),
                    uid: text("u-1"),
                }),
                node: "n-1".into(),
                spec: Arc::new(PodCertificateSpec {
                    volume: text("v"),
                    source: 0,
                    signer: text("example.com/signer"),
                    key_type: text("ECDSAP256"),
                    service_account: text("default"),
                    max_expiration_seconds: None,
                    user_annotations: Default::default(),
                }),
            }
        }
    }

    fn list(statuses: &[Value]) -> (u16, Value) {
        let items: Vec<_> = statuses.iter().map(|status| json!({ "status": status })).collect();
        (200, json!({ "metadata": { "resourceVersion": "7" }, "items": items }))
    }

    fn issued() -> Value {
        json!({
            "conditions": [{ "type": "Issued", "status": "True" }],
            "certificateChain": "chain",
            "beginRefreshAt": "2030-01-01T00:00:00Z", "notAfter": "2030-01-02T00:00:00Z",
        })
    }

    fn awaited(certifier: &Certifier) -> Awaited<'_> {
        let mut awaited = Awaited::new(certifier, PATH, "req-1", false);
        awaited.look_again = Duration::from_millis(1);
        awaited
    }

    #[tokio::test]
    async fn where_it_can_not_be_watched_it_is_listed_again_and_again() {
        let server = Server::start([list(&[json!({})]), (503, json!({})), list(&[issued()])]).await;
        let certifier = server.certifier().await;
        assert_eq!(awaited(&certifier).answer().await.unwrap().chain, "chain");
        let fields = "fieldSelector=metadata.name%3Dreq-1%2Cspec.nodeName%3Dvk-0";
        assert_eq!(*server.asked.lock().unwrap(), vec![format!("GET {PATH}?{fields}"); 3]);
        assert!(certifier.board.take().is_empty(), "nothing is new for who waits");
    }

    #[tokio::test]
    async fn a_denial_is_told_and_the_same_request_waited_for() {
        let denied = || (403, json!({ "message": "you may not list" }));
        let server = Server::start([denied(), denied()]).await;
        let certifier = server.certifier().await;
        let mut awaited = awaited(&certifier);
        assert_eq!(awaited.look().await.unwrap(), None);
        let told = certifier.board.take().remove(&ThingId(1));
        let Some(News::Certificate(Found::Unavailable(why))) = told else {
            panic!("{told:?}")
        };
        assert!(
            why.contains("you may not list") && why.contains("configs/rbac.yaml"),
            "{why}"
        );
        assert_eq!(awaited.look().await.unwrap(), None);
        assert!(certifier.board.take().is_empty(), "it is told once");

        let server = Server::start([denied(), list(&[json!({})])]).await;
        let certifier = server.certifier().await;
        let mut awaited = self::awaited(&certifier);
        for _ in 0..2 {
            assert_eq!(awaited.look().await.unwrap(), None);
        }
        let told = certifier.board.take().remove(&ThingId(1));
        assert!(matches!(told, Some(News::Certificate(Found::Missing))), "{told:?}");
    }

    #[tokio::test]
    async fn one_that_is_gone_is_not_waited_for() {
        let server = Server::start([list(&[])]).await;
        let certifier = server.certifier().await;
        let gone = awaited(&certifier).answer().await.unwrap_err();
        assert_eq!(gone.to_string(), "pod certificate request req-1 was deleted");
    }
}
