//! Who is let in, asked of an API server made up.

use super::super::tests::api::Api;
use super::super::tests::api::Asked;
use super::super::tests::api::Reply;
use super::super::tests::log::Log;
use super::super::tests::pki::Authority;
use super::super::tests::pki::Identity;
use super::*;
use crate::config::Authentication;
use crate::config::Authorization;
use http::Method;
use http::Request;
use http::StatusCode;
use rcgen::DnType;
use serde_json::Value;
use serde_json::json;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::Semaphore;

const NODE: &str = "vk-0";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

impl Access {
    /// Both questions, as a node asks them.
    async fn admit(&self, node: &str, chain: &[CertificateDer<'static>], head: &Parts) -> Result<User, Denial> {
        let user = self.authenticate(node, chain, &head.headers).await?;
        self.authorize(node, &user, head).await?;
        Ok(user)
    }
}

/// Rules, an authority that they know, and the API server behind them.
struct Door {
    access: Access,
    authority: Authority,
    api: Api,
}

impl Door {
    async fn new(api: Api, change: impl FnOnce(&mut KubeletConfig)) -> Self {
        let authority = Authority::new("cluster");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority.pem()).unwrap();
        let mut config = KubeletConfig {
            client_ca_file: Some(file.path().to_owned()),
            ..KubeletConfig::default()
        };
        change(&mut config);
        let (access, _) = Access::build(&config, &api.clients).unwrap();
        Self { access, authority, api }
    }

    /// With tries that follow each other at once.
    fn impatient(mut self) -> Self {
        let patience = Patience {
            pause: Duration::from_millis(1),
            ..Patience::default()
        };
        self.access.reviews = Arc::new(Reviews::new(self.api.clients.reviews.clone(), patience));
        self
    }

    async fn admit(&self, caller: Option<&Identity>, head: &Parts) -> Result<User, Denial> {
        let chain = caller.map(|caller| caller.chain.as_slice()).unwrap_or_default();
        self.access.admit(NODE, chain, head).await
    }

    /// Somebody with a certificate of the authority.
    async fn get(&self, path: &str) -> Result<User, Denial> {
        self.admit(Some(&self.authority.client("somebody")), &get(path)).await
    }

    /// The attributes of the access reviews that were asked for.
    fn attributes(&self) -> Vec<String> {
        let asked = self.api.asked().into_iter().filter(|asked| !asked.is_token_review());
        asked.map(|asked| attributes(&asked.body)).collect()
    }

    fn token_reviews(&self) -> usize {
        self.api.asked().iter().filter(|asked| asked.is_token_review()).count()
    }
}

fn attributes(review: &Value) -> String {
    let asked = &review["spec"]["resourceAttributes"];
    let word = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}/{} of {}",
        word("verb"),
        word("resource"),
        word("subresource"),
        word("name")
    )
}

fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn get(path: &str) -> Parts {
    request(Method::GET, path, &[])
}

fn with_token(token: &str) -> Parts {
    request(
        Method::GET,
        "/metrics",
        &[("authorization", &format!("Bearer {token}"))],
    )
}

/// Knows the token `good`, and lets everybody do what `allowed` says.
async fn api(allowed: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Api {
    Api::answering(move |asked| review(asked, &allowed)).await
}

fn review(asked: &Asked, allowed: impl Fn(&Value) -> bool) -> Reply {
    if asked.is_token_review() {
        let user = json!({ "username": "prometheus", "uid": "17", "groups": ["scrapers"], "extra": { "a": ["b"] } });
        let known = asked.body["spec"]["token"] == "good";
        return asked.reviewed(json!({ "authenticated": known, "user": if known { user } else { json!({}) } }));
    }
    asked.reviewed(json!({ "allowed": allowed(&asked.body["spec"]) }))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_certificate_says_who_somebody_is_and_the_api_server_whether_they_may() {
    let door = Door::new(api(|_| true).await, |_| {}).await;
    let caller = door.authority.sign("alice", |params| {
        params.distinguished_name.push(DnType::OrganizationName, "ops");
    });
    let user = door.admit(Some(&caller), &get("/stats/summary")).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups.join(" ").as_str()),
        ("alice", "ops system:authenticated")
    );
    let asked = door.api.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/apis/authorization.k8s.io/v1/subjectaccessreviews");
    let review = &asked[0].body;
    assert_eq!(
        (&review["apiVersion"], &review["kind"]),
        (&json!("authorization.k8s.io/v1"), &json!("SubjectAccessReview"))
    );
    assert_eq!(
        review["spec"],
        json!({
            "user": "alice",
            "groups": ["ops", "system:authenticated"],
            "extra": user.extra,
            "resourceAttributes":
                { "verb": "get", "version": "v1", "resource": "nodes", "subresource": "stats", "name": "vk-0" },
        })
    );
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
}

#[tokio::test]
async fn a_token_says_it_as_well_in_the_header_or_a_subprotocol() {
    let door = Door::new(api(|_| true).await, |_| {}).await;
    // "good" in base64url.
    let protocol = "base64url.bearer.authorization.k8s.io.Z29vZA, v4.channel.k8s.io";
    let web_socket = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", protocol),
    ];
    for head in [with_token("good"), request(Method::GET, "/metrics", &web_socket)] {
        let user = door.admit(None, &head).await.unwrap();
        let expected = User {
            name: "prometheus".to_owned(),
            uid: "17".to_owned(),
            groups: vec!["scrapers".to_owned(), "system:authenticated".to_owned()],
            extra: [("a".to_owned(), vec!["b".to_owned()])].into(),
        };
        assert_eq!(user, expected);
    }
    let asked = door.api.asked();
    assert_eq!(asked[0].path, "/apis/authentication.k8s.io/v1/tokenreviews");
    assert_eq!(asked[0].body["spec"], json!({ "token": "good" }));
    assert_eq!(asked[1].body["spec"]["uid"], "17");
    assert_eq!(asked[1].body["spec"]["extra"], json!({ "a": ["b"] }));
    assert_eq!(asked.len(), 2, "both answers are remembered");
}

#[tokio::test]
async fn nobody_is_somebody_by_a_token_or_certificate_that_says_nothing() {
    let door = Door::new(api(|_| true).await, |_| {}).await;
    let foreign = Authority::new("cluster").client("alice");
    let long = with_token(&"x".repeat(65 << 10));
    for (caller, head) in [
        (None, get("/metrics")),
        (None, with_token("bad")),
        (None, long),
        (
            None,
            request(Method::GET, "/metrics", &[("authorization", "Basic Z29vZDpnb29k")]),
        ),
        (Some(&foreign), get("/metrics")),
        (Some(&foreign), with_token("bad")),
    ] {
        assert_eq!(
            door.admit(caller, &head).await,
            Err(Denial::Unauthenticated),
            "{head:?}"
        );
    }
    assert_eq!(Denial::Unauthenticated.answer().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(Denial::Unauthenticated.to_string(), "Unauthorized");
    assert_eq!(
        door.token_reviews(),
        1,
        "a long token is none, and nobody's is remembered as such"
    );

    let user = door.admit(Some(&foreign), &with_token("good")).await.unwrap();
    assert_eq!(user.name, "prometheus");
    let known = door.authority.client("alice");
    let user = door.admit(Some(&known), &with_token("bad")).await.unwrap();
    assert_eq!(user.name, "alice");
}

#[tokio::test]
async fn anonymous_is_who_shows_nothing_and_only_where_it_is_on() {
    let door = Door::new(api(|spec| spec["user"] == "system:anonymous").await, |config| {
        config.authentication.anonymous = true;
    })
    .await;
    let user = door.admit(None, &get("/healthz")).await.unwrap();
    assert_eq!(user, User::anonymous());
    assert_eq!(
        door.api.asked()[0].body["spec"]["groups"],
        json!(["system:unauthenticated"])
    );
    let foreign = Authority::new("cluster").client("alice");
    for (caller, head) in [(Some(&foreign), get("/healthz")), (None, with_token("bad"))] {
        assert_eq!(door.admit(caller, &head).await, Err(Denial::Unauthenticated));
    }
}

#[tokio::test]
async fn tokens_can_be_left_out() {
    let tokens = Authentication {
        tokens: false,
        ..Authentication::default()
    };
    let door = Door::new(api(|_| true).await, |config| config.authentication = tokens).await;
    assert_eq!(
        door.admit(None, &with_token("good")).await,
        Err(Denial::Unauthenticated)
    );
    assert_eq!(door.token_reviews(), 0);
}

#[tokio::test]
async fn without_verification_nobody_is_asked_anything() {
    let door = Door::new(api(|_| false).await, |config| config.verify_clients = false).await;
    let user = door.admit(None, &request(Method::POST, "/exec/a/b/c", &[])).await;
    assert_eq!(user, Ok(User::anonymous()));
    assert!(door.api.asked().is_empty());
}

#[tokio::test]
async fn subresources_are_asked_in_order_until_one_is_allowed() {
    let proxy = api(|spec| spec["resourceAttributes"]["subresource"] == "proxy").await;
    let door = Door::new(proxy, |_| {}).await;
    assert!(door.get("/pods").await.is_ok());
    assert_eq!(door.attributes(), ["get nodes/pods of vk-0", "get nodes/proxy of vk-0"]);

    let pods = api(|spec| spec["resourceAttributes"]["subresource"] == "pods").await;
    let door = Door::new(pods, |_| {}).await;
    assert!(door.get("/runningpods/").await.is_ok());
    assert_eq!(door.attributes(), ["get nodes/pods of vk-0"]);
    let denial = door.get("/healthz").await.unwrap_err();
    let text = "Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[healthz proxy])\n";
    assert_eq!(denial, Denial::Forbidden(text.to_owned()));
    assert_eq!(denial.answer().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn sessions_take_create_whatever_the_method_and_the_way_the_path_is_written() {
    let reader = || api(|spec| spec["resourceAttributes"]["verb"] == "get");
    let door = Door::new(reader().await, |_| {}).await;
    for path in [
        "/exec/a/b/c",
        "/attach/a/b/c",
        "/portForward/a/b",
        "/run/a/b/c",
        "/stats/../exec/a/b/c",
    ] {
        let text = "Forbidden (user=somebody, verb=create, resource=nodes, subresource(s)=[proxy])\n";
        assert_eq!(door.get(path).await, Err(Denial::Forbidden(text.to_owned())), "{path}");
    }
    assert!(door.get("/containerLogs/a/b/c").await.is_ok());
    assert!(door.get("/exec/../stats/summary").await.is_ok());

    let kubelets = Authorization {
        sessions_require_create: false,
        ..Authorization::default()
    };
    let door = Door::new(reader().await, |config| config.authorization = kubelets).await;
    assert!(door.get("/exec/a/b/c").await.is_ok());
}

#[tokio::test]
async fn an_answer_is_remembered_for_those_whom_it_is_about() {
    let door = Door::new(api(|_| true).await, |_| {}).await;
    let caller = |group: &'static str| {
        door.authority.sign("alice", move |params| {
            params.distinguished_name.push(DnType::OrganizationName, group);
        })
    };
    let alice = caller("a");
    for (path, method, node, caller, reviews) in [
        ("/stats/summary", Method::GET, NODE, &alice, 1),
        ("/stats/summary", Method::GET, NODE, &alice, 1),
        ("/stats/other", Method::GET, NODE, &alice, 1),
        ("/stats/summary", Method::POST, NODE, &alice, 2),
        ("/metrics", Method::GET, NODE, &alice, 3),
        ("/stats/summary", Method::GET, "vk-1", &alice, 4),
        // Another group, another certificate: other words in the review.
        ("/stats/summary", Method::GET, NODE, &caller("b"), 5),
        ("/stats/summary", Method::GET, NODE, &caller("a"), 6),
    ] {
        let head = request(method, path, &[]);
        door.access.admit(node, &caller.chain, &head).await.unwrap();
        assert_eq!(door.attributes().len(), reviews, "{path} {node}");
    }
    // Whoever acts for another node remembers the same.
    let other = Api::answering(|_| Reply::failure(500, "must not be asked")).await;
    let acting = door.access.acting_as(&other.clients);
    acting.admit(NODE, &alice.chain, &get("/stats/summary")).await.unwrap();
}

#[tokio::test]
async fn what_is_remembered_is_forgotten_in_time() {
    let short = Duration::from_millis(50);
    let door = Door::new(api(|spec| spec["user"] == "prometheus").await, |config| {
        config.authorization.cache_denied = short;
    })
    .await;
    assert!(door.admit(None, &with_token("good")).await.is_ok());
    until("a refusal is never asked about again", async || {
        assert!(door.get("/metrics").await.is_err());
        door.attributes().len() > 2
    })
    .await;
    let reviews = door.api.asked().len();
    assert!(door.admit(None, &with_token("good")).await.is_ok());
    assert_eq!(door.api.asked().len(), reviews, "an allowance and a token last longer");

    let door = Door::new(api(|_| true).await, |config| {
        config.authentication.cache = short;
        config.authorization.cache_allowed = short;
    })
    .await;
    until("a token and an allowance are never asked about again", async || {
        assert!(door.admit(None, &with_token("good")).await.is_ok());
        door.token_reviews() > 1 && door.attributes().len() > 1
    })
    .await;
}

#[tokio::test]
async fn questions_at_the_same_time_are_one_question() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let api = Api::start(move |asked| {
        let gate = Arc::clone(&opened);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            review(&asked, |_| true)
        })
    })
    .await;
    let door = Door::new(api, |_| {}).await;
    let head = with_token("good");
    let callers = futures::future::join_all((0..20).map(|_| door.admit(None, &head)));
    let opening = async {
        until("the token is reviewed", async || door.token_reviews() == 1).await;
        gate.add_permits(1);
        until("the access is reviewed", async || door.attributes().len() == 1).await;
        gate.add_permits(1);
    };
    let (admitted, ()) = futures::future::join(callers, opening).await;
    assert!(admitted.iter().all(Result::is_ok), "{admitted:?}");
    assert_eq!(door.api.asked().len(), 2);
}

#[tokio::test]
async fn strangers_do_not_hold_up_those_who_are_known() {
    let api = Api::start(|asked| {
        Box::pin(async move {
            match asked.is_token_review() {
                true => std::future::pending().await,
                false => review(&asked, |_| true),
            }
        })
    })
    .await;
    let door = Door::new(api, |_| {}).await;
    let heads: Vec<_> = (0..200)
        .map(|number| with_token(&format!("garbage-{number}")))
        .collect();
    let mut strangers = futures::future::join_all(heads.iter().map(|head| door.admit(None, head)));
    let known = async {
        until("as many are asked about as there are places", async || {
            door.token_reviews() == 64
        })
        .await;
        door.get("/metrics").await
    };
    tokio::select! {
        known = known => assert!(known.is_ok()),
        _ = &mut strangers => panic!("nobody answered"),
    }
    assert_eq!(door.token_reviews(), 64);
}

#[tokio::test]
async fn one_who_leaves_does_not_take_the_answer_of_others_along() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let api = Api::start(move |asked| {
        let gate = Arc::clone(&opened);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            review(&asked, |_| true)
        })
    })
    .await;
    let door = Door::new(api, |_| {}).await;
    let caller = door.authority.client("alice");
    let head = get("/metrics");
    let mut first = Box::pin(door.admit(Some(&caller), &head));
    let mut second = Box::pin(door.admit(Some(&caller), &head));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(first);
    gate.add_permits(2);
    assert!(tokio::time::timeout(PATIENCE, second).await.unwrap().is_ok());
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let api = Api::answering(move |asked| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::failure(503, "starting"),
        1 => Reply::failure(429, "busy"),
        _ => review(asked, |_| true),
    })
    .await;
    let door = Door::new(api, |_| {}).await.impatient();
    assert!(door.get("/metrics").await.is_ok());
    assert_eq!(tries.load(Ordering::SeqCst), 3);

    let away = Door::new(Api::answering(|_| Reply::failure(503, "away")).await, |_| {})
        .await
        .impatient();
    let denial = away.get("/metrics").await.unwrap_err();
    let text = "Authorization error (user=somebody, verb=get, resource=nodes, subresource=metrics)\n";
    assert_eq!(denial, Denial::Undecided(text.to_owned()));
    assert_eq!(denial.answer().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(away.api.asked().len(), 5);
    assert!(away.get("/metrics").await.is_err());
    assert_eq!(away.api.asked().len(), 10, "a failure is not remembered");

    let forbidden = Door::new(Api::answering(|_| Reply::failure(403, "no")).await, |_| {})
        .await
        .impatient();
    assert!(matches!(forbidden.get("/metrics").await, Err(Denial::Undecided(_))));
    let by_token = forbidden.admit(None, &with_token("good")).await;
    assert_eq!(
        by_token,
        Err(Denial::Undecided(
            "Authentication error: unable to review the token\n".to_owned()
        ))
    );
    assert_eq!(forbidden.api.asked().len(), 2, "what can't help is not tried again");
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_is_a_no() {
    let api = Api::answering(|asked| asked.reviewed(json!({ "allowed": true, "denied": true }))).await;
    let door = Door::new(api, |_| {}).await;
    assert!(matches!(door.get("/metrics").await, Err(Denial::Forbidden(_))));
}

#[tokio::test]
async fn trouble_is_logged_once_with_what_to_do_and_no_token_is() {
    let log = Log::default();
    let _guard = log.start();
    let works = Arc::new(AtomicUsize::new(0));
    let working = Arc::clone(&works);
    let api = Api::answering(move |asked| {
        if working.load(Ordering::SeqCst) == 1 {
            return review(asked, |_| true);
        }
        let token = asked.body["spec"]["token"].as_str().unwrap_or_default();
        Reply::failure(403, &format!("cannot create resource for {token}"))
    })
    .await;
    let door = Door::new(api, |_| {}).await.impatient();
    for _ in 0..3 {
        assert!(door.admit(None, &with_token("good")).await.is_err());
        assert!(door.get("/metrics").await.is_err());
    }
    let warnings = log.lines("WARN");
    let about = |kind: &str| {
        warnings
            .iter()
            .filter(|line| line.contains(&format!("kind={kind}")))
            .count()
    };
    assert_eq!(
        (about("TokenReview"), about("SubjectAccessReview")),
        (1, 1),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().all(|line| line.contains("configs/rbac.yaml")),
        "{warnings:?}"
    );
    assert!(
        warnings[0].contains("cannot create resource for (not shown)"),
        "{warnings:?}"
    );

    works.store(1, Ordering::SeqCst);
    for _ in 0..2 {
        assert!(door.admit(None, &with_token("good")).await.is_ok());
    }
    assert_eq!(log.lines("says again").len(), 2);
    assert_eq!(
        door.admit(None, &with_token("hunter2")).await,
        Err(Denial::Unauthenticated)
    );
    assert!(log.lines("good").is_empty() && log.lines("hunter2").is_empty());
}

#[tokio::test]
async fn open_ports_are_shouted_about() {
    let log = Log::default();
    let _guard = log.start();
    let _door = Door::new(Api::permissive().await, |config| config.verify_clients = false).await;
    let shouted = log.lines("OPEN TO EVERYBODY");
    assert!(
        shouted[0].contains("WARN") && shouted[0].contains("--no-verify-clients"),
        "{shouted:?}"
    );
}
