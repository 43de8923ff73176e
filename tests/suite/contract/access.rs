//! Who may ask what of a kubelet port: every identity against every route, each decided by the cluster.
//!
//! A development cluster lets everybody do everything whom it knows, so there the table only tells those apart whom
//! nobody knows.

use crate::harness::ClusterKind;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::signed_certificate;
use crate::harness::skip;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;

/// Routes that take the same right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Pods,
    Health,
    Configz,
    Stats,
    Metrics,
    ContainerLogs,
    NodeLogs,
    Checkpoint,
    Sessions,
    Statusz,
    Flagz,
    Other,
}

use Column::*;

const EVERYTHING: &[Column] = &[
    Pods,
    Health,
    Configz,
    Stats,
    Metrics,
    ContainerLogs,
    NodeLogs,
    Checkpoint,
    Sessions,
    Statusz,
    Flagz,
    Other,
];

/// What `system:kubelet-api-admin` lets an API server do.
const API_SERVER: &[Column] = &[
    Pods,
    Health,
    Configz,
    Stats,
    Metrics,
    ContainerLogs,
    NodeLogs,
    Sessions,
    Flagz,
    Other,
];

/// What comes under `proxy`, for those who may read it.
const READ_PROXY: &[Column] = &[Pods, Health, Configz, ContainerLogs, Other];

/// POD stands for the test's pod, UID for its UID.
const ROUTES: &[(Column, &str, &str)] = &[
    (Pods, "GET", "/pods"),
    (Pods, "GET", "/runningpods/"),
    (Pods, "GET", "/allocatedPods"),
    (Health, "GET", "/healthz"),
    (Health, "GET", "/healthz/ping"),
    (Health, "GET", "/healthz/log"),
    (Health, "GET", "/healthz/syncloop"),
    (Health, "GET", "/healthz/nothing"),
    (Statusz, "GET", "/statusz"),
    (Flagz, "GET", "/flagz"),
    (Configz, "GET", "/configz"),
    (Stats, "GET", "/stats/summary"),
    (Stats, "GET", "/pods/../stats/summary"),
    (Metrics, "GET", "/metrics"),
    (Metrics, "GET", "/metrics/resource"),
    (Metrics, "GET", "/metrics/probes"),
    (Metrics, "GET", "/metrics/cadvisor"),
    (ContainerLogs, "GET", "/containerLogs/POD/app"),
    (ContainerLogs, "GET", "/stats/../containerLogs/POD/app"),
    (NodeLogs, "GET", "/logs/"),
    (Checkpoint, "POST", "/checkpoint/POD/app"),
    (Sessions, "GET", "/exec/POD/app?command=true&output=1"),
    (Sessions, "POST", "/exec/POD/app?command=true&output=1"),
    (Sessions, "GET", "/stats/%2e%2e/exec/POD/app?command=true&output=1"),
    (Sessions, "GET", "/attach/POD/app?output=1"),
    (Sessions, "POST", "/attach/POD/app?output=1"),
    (Sessions, "GET", "/portForward/POD?port=80"),
    (Sessions, "POST", "/portForward/POD"),
    (Sessions, "POST", "/run/POD/app?cmd=true"),
    (Sessions, "GET", "/exec/POD/UID/app?command=true&output=1"),
    (Sessions, "POST", "/exec/POD/UID/app?command=true&output=1"),
    (Sessions, "GET", "/attach/POD/UID/app?output=1"),
    (Sessions, "POST", "/attach/POD/UID/app?output=1"),
    (Sessions, "GET", "/portForward/POD/UID?port=80"),
    (Sessions, "POST", "/portForward/POD/UID"),
    (Sessions, "POST", "/run/POD/UID/app?cmd=true"),
    (Other, "GET", "/"),
    (Other, "GET", "/metricsx"),
    (Other, "GET", "/debug/pprof/"),
];

impl Column {
    /// The verb, and the subresources of which one is enough.
    fn right(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Pods => ("get", &["pods", "proxy"]),
            Health => ("get", &["healthz", "proxy"]),
            Configz => ("get", &["configz", "proxy"]),
            Stats => ("get", &["stats"]),
            Metrics => ("get", &["metrics"]),
            ContainerLogs | Other => ("get", &["proxy"]),
            NodeLogs => ("get", &["log"]),
            Checkpoint => ("create", &["checkpoint"]),
            Sessions => ("create", &["proxy"]),
            Statusz => ("get", &["statusz"]),
            Flagz => ("get", &["configz"]),
        }
    }
}

/// Whom the cluster knows, and what they may.
struct Known {
    name: &'static str,
    proof: Proof,
    may: &'static [Column],
}

enum Proof {
    /// What the API server itself shows.
    ApiServer,
    /// The token of a ServiceAccount with these rules, each of verbs, resources and the name of a node.
    Account(&'static [(&'static str, &'static str, &'static str)]),
    /// A client certificate of a group with these rules.
    Certificate(&'static [(&'static str, &'static str, &'static str)]),
}

const ANY: &str = "";

const KNOWN: &[Known] = &[
    Known {
        name: "api-server",
        proof: Proof::ApiServer,
        may: API_SERVER,
    },
    Known {
        name: "administrator",
        proof: Proof::Account(&[("*", "*", ANY)]),
        may: EVERYTHING,
    },
    Known {
        name: "proxy",
        proof: Proof::Account(&[("*", "nodes/proxy", ANY)]),
        may: &[Pods, Health, Configz, ContainerLogs, Sessions, Other],
    },
    Known {
        name: "get-proxy",
        proof: Proof::Account(&[("get", "nodes/proxy", ANY)]),
        may: READ_PROXY,
    },
    Known {
        name: "create-proxy",
        proof: Proof::Account(&[("create", "nodes/proxy", ANY)]),
        may: &[Sessions],
    },
    Known {
        name: "metrics",
        proof: Proof::Account(&[("get", "nodes/metrics", ANY)]),
        may: &[Metrics],
    },
    Known {
        name: "stats",
        proof: Proof::Account(&[("get", "nodes/stats", ANY)]),
        may: &[Stats],
    },
    Known {
        name: "log",
        proof: Proof::Account(&[("get", "nodes/log", ANY)]),
        may: &[NodeLogs],
    },
    Known {
        name: "pods",
        proof: Proof::Account(&[("get", "nodes/pods", ANY)]),
        may: &[Pods],
    },
    Known {
        name: "health",
        proof: Proof::Account(&[("get", "nodes/healthz", ANY), ("get", "nodes/configz", ANY)]),
        may: &[Health, Configz, Flagz],
    },
    Known {
        name: "checkpoint",
        proof: Proof::Account(&[("create", "nodes/checkpoint", ANY)]),
        may: &[Checkpoint],
    },
    Known {
        name: "nodes",
        proof: Proof::Account(&[("*", "nodes", ANY)]),
        may: &[],
    },
    Known {
        name: "this-node",
        proof: Proof::Account(&[("get", "nodes/proxy", "NODE")]),
        may: READ_PROXY,
    },
    Known {
        name: "another-node",
        proof: Proof::Account(&[("*", "*", "other")]),
        may: &[],
    },
    Known {
        name: "nothing",
        proof: Proof::Account(&[]),
        may: &[],
    },
    Known {
        name: "certified",
        proof: Proof::Certificate(&[("get", "nodes/metrics", ANY)]),
        may: &[Metrics],
    },
];

/// A caller of the table, made.
struct Somebody {
    name: &'static str,
    caller: Caller,
    user: String,
    groups: Vec<String>,
    may: &'static [Column],
}

/// A question of the table: what is asked, and the right that it takes.
struct Question {
    column: Column,
    method: &'static str,
    path: String,
}

/// All routes, for this pod.
fn questions(pod: &Pod) -> Vec<Question> {
    let metadata = &pod.metadata;
    let [namespace, name, uid] = [&metadata.namespace, &metadata.name, &metadata.uid].map(|text| text.clone().unwrap());
    let question = |(column, method, path): &(Column, &'static str, &str)| Question {
        column: *column,
        method,
        path: path.replace("POD", &format!("{namespace}/{name}")).replace("UID", &uid),
    };
    ROUTES.iter().map(question).collect()
}

/// Asks, and compares the answer with what is expected.
async fn is_answered(somebody: &Somebody, address: SocketAddr, question: &Question, expected: bool) {
    let Question { column, method, path } = question;
    let answer = somebody.caller.ask(address, method, path, &[]).await;
    let (verb, subresources) = column.right();
    let forbidden = format!(
        "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
        somebody.user,
        subresources.join(" ")
    );
    let what = format!("{} {method} {path}: {answer:?}", somebody.name);
    match expected {
        true => assert!(
            ![401, 403].contains(&answer.status) && !answer.body.contains("rror (user="),
            "{what}"
        ),
        false => assert_eq!((answer.status, answer.body), (403, forbidden), "{what}"),
    }
}

/// Everybody of the table whom this cluster can know.
async fn everybody(test: &Test) -> Vec<Somebody> {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let mut everybody = Vec::new();
    for known in KNOWN {
        let somebody = match known.proof {
            Proof::ApiServer => test.cluster.kubelet_client.as_ref().map(|(certificate, key)| {
                (
                    Caller::with_certificate(&read(certificate), &read(key)),
                    "kube-apiserver-kubelet-client".to_owned(),
                    vec!["system:authenticated".to_owned()],
                )
            }),
            Proof::Account(rules) => Some(account(test, known.name, rules).await),
            Proof::Certificate(rules) => certified(test, known.name, rules).await,
        };
        let Some((caller, user, groups)) = somebody else {
            continue;
        };
        everybody.push(Somebody {
            name: known.name,
            caller,
            user,
            groups,
            may: known.may,
        });
    }
    everybody
}

/// Where a node's kubelet port is.
async fn port_of(test: &Test, node: &str) -> SocketAddr {
    let node = test.node_ready(node).await;
    let endpoint = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap();
    SocketAddr::new(test.cluster.host_address, endpoint.port.try_into().unwrap())
}

#[tokio::test]
async fn everybody_may_what_the_cluster_says_and_nothing_else() {
    let test = Test::new("access").await;
    if test.cluster.kubelet_client.is_none() {
        return skip("access", "it is not known what the API server shows to kubelets");
    }
    let mut host = test.start(&test.mock(json!({})));
    let address = port_of(&test, &test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    let questions = questions(&test.running("web").await);
    let everybody = everybody(&test).await;
    for somebody in &everybody {
        for column in EVERYTHING {
            let expected = test.cluster.kind == ClusterKind::Dev || somebody.may.contains(column);
            the_cluster_agrees(&test, somebody, &test.node(), *column, expected).await;
        }
    }
    for somebody in &everybody {
        for question in &questions {
            let expected = test.cluster.kind == ClusterKind::Dev || somebody.may.contains(&question.column);
            is_answered(somebody, address, question, expected).await;
        }
    }

    let administrator = everybody
        .iter()
        .find(|somebody| somebody.name == "administrator")
        .unwrap();
    let token = URL_SAFE_NO_PAD.encode(administrator.caller.token());
    let path = format!("/exec/{}/web/app?command=true&output=1", test.id);
    let answer = Caller::default()
        .ask(address, "GET", &path, &text(&web_socket(&token)))
        .await;
    assert_eq!(answer.status, 101, "a token among the subprotocols counts: {answer:?}");

    for (name, caller, headers) in nobodies(&test).await {
        let headers = text(&headers);
        for Question { method, path, .. } in &questions {
            let answer = caller.ask(address, method, path, &headers).await;
            let unauthorized = (401, "Unauthorized".to_owned());
            assert_eq!((answer.status, answer.body), unauthorized, "{name} {method} {path}");
        }
    }
    assert!(host.is_running());
    let log = host.log();
    assert!(!log.contains("eyJ"), "a token is in the log");
}

/// Asks somebody's question, and returns the status.
async fn status(somebody: &Somebody, address: SocketAddr, path: &str) -> u16 {
    somebody.caller.ask(address, "GET", path, &[]).await.status
}

#[tokio::test]
async fn on_a_shared_port_a_right_to_one_node_is_none_to_another() {
    let test = Test::new("access_shared").await;
    if test.cluster.kubelet_client.is_none() {
        return skip("access_shared", "it is not known what the API server shows to kubelets");
    }
    // The second is the one that `this-node` has rights to, so that they can't come from the port's first.
    let [other, this] = [format!("{}-other", test.id), test.node()];
    let config = test.config().with(json!({ "kubelet": { "sharedListener": 0 } }));
    let config = config.mock("mock", json!({}));
    let config = config.node(&other, "mock", json!({})).node(&this, "mock", json!({}));
    let _host = test.start(&config);
    let address = port_of(&test, &this).await;
    assert_eq!(port_of(&test, &other).await, address);
    test.create(test.pod("here", json!({}))).await;
    test.create(test.pod("there", json!({ "spec": { "nodeName": other } })))
        .await;
    test.running("there").await;
    let questions = questions(&test.running("here").await);
    let everybody = everybody(&test).await;
    let dev = test.cluster.kind == ClusterKind::Dev;
    for node in [&this, &other] {
        for somebody in &everybody {
            let may = |column: &Column| {
                let elsewhere = somebody.name == "this-node" && *node == other;
                dev || somebody.may.contains(column) && !elsewhere
            };
            for column in EVERYTHING {
                the_cluster_agrees(&test, somebody, node, *column, may(column)).await;
            }
            for question in &questions {
                let below = Question {
                    path: format!("/nodes/{node}{}", question.path),
                    ..*question
                };
                is_answered(somebody, address, &below, may(&question.column)).await;
            }
        }
    }

    let by_name = |name: &str| everybody.iter().find(|somebody| somebody.name == name).unwrap();
    let log = |pod: &str| format!("/containerLogs/{}/{pod}/app?tailLines=1", test.id);
    let administrator = by_name("administrator");
    for (path, expected) in [
        // What names a pod is its node's, and the wrong node has no such pod.
        (log("here"), 200),
        (log("there"), 200),
        (format!("/nodes/{this}{}", log("here")), 200),
        (format!("/nodes/{other}{}", log("here")), 404),
        ("/nodes/nobody/pods".to_owned(), 404),
        (format!("/nodes/{this}/nodes/{other}/pods"), 404),
        ("/pods".to_owned(), 404),
    ] {
        assert_eq!(status(administrator, address, &path).await, expected, "{path}");
    }
    if !dev {
        let this_node = by_name("this-node");
        for (path, expected) in [
            (log("here"), 200),
            (log("there"), 403),
            (format!("/nodes/{this}/pods"), 200),
            (format!("/nodes/{this}/../{other}/pods"), 403),
            (format!("/nodes/{this}/%2e%2e/{other}/pods"), 403),
            (format!("/nodes/{this}/nodes/{other}/pods"), 404),
            // Whoever is first answers for those that there aren't.
            ("/nodes/nobody/pods".to_owned(), 403),
            ("/pods".to_owned(), 403),
        ] {
            assert_eq!(status(this_node, address, &path).await, expected, "{path}");
        }
    }
    for (name, caller, headers) in nobodies(&test).await {
        for path in [
            format!("/nodes/{this}/pods"),
            log("here"),
            "/nodes/nobody/pods".to_owned(),
        ] {
            let answer = caller.ask(address, "GET", &path, &text(&headers)).await;
            assert_eq!(answer.status, 401, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn whoever_turns_verification_off_is_told_what_that_means() {
    let test = Test::new("access_open").await;
    let open = json!({ "kubelet": { "verifyClients": false } });
    let host = test.start(&test.mock(json!({})).with(open));
    let address = port_of(&test, &test.node()).await;
    assert_eq!(Caller::default().ask(address, "GET", "/pods", &[]).await.status, 200);
    assert!(host.log().contains("OPEN TO EVERYBODY"));
}

/// What the cluster itself says about a right; RBAC takes a moment to know of new rules.
async fn the_cluster_agrees(test: &Test, somebody: &Somebody, node: &str, column: Column, expected: bool) {
    let (verb, subresources) = column.right();
    let reviews: Api<SubjectAccessReview> = Api::all(test.client.clone());
    eventually(SOON, &format!("{}: {column:?}: {expected}", somebody.name), || async {
        let mut allowed = false;
        for subresource in subresources {
            let review: SubjectAccessReview = object(json!({ "metadata": {}, "spec": {
                "user": somebody.user,
                "groups": somebody.groups,
                "resourceAttributes": {
                    "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": node,
                },
            }}));
            let review = reviews.create(&PostParams::default(), &review).await;
            allowed |= review.map_err(|error| error.to_string())?.status.unwrap().allowed;
        }
        (allowed == expected)
            .then_some(())
            .ok_or_else(|| format!("the cluster says {allowed}"))
    })
    .await;
}

/// Makes a role of these rules, and binds it to somebody. Both go with the test's namespace.
async fn bind(test: &Test, name: &str, rules: &[(&str, &str, &str)], subject: Value) {
    if test.cluster.kind == ClusterKind::Dev || rules.is_empty() {
        return;
    }
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    let uid = namespaces.get(&test.id).await.unwrap().metadata.uid;
    let name = format!("{}-{name}", test.id);
    let metadata = json!({
        "name": name,
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": test.id, "uid": uid }],
    });
    let rules: Vec<Value> = rules
        .iter()
        .map(|(verbs, resources, node)| {
            let names: Vec<_> = Some(node.replace("NODE", &test.node()))
                .filter(|node| !node.is_empty())
                .into_iter()
                .collect();
            json!({ "apiGroups": [""], "verbs": [verbs], "resources": [resources], "resourceNames": names })
        })
        .collect();
    let role: ClusterRole = object(json!({ "metadata": metadata, "rules": rules }));
    let roles: Api<ClusterRole> = Api::all(test.client.clone());
    roles.create(&PostParams::default(), &role).await.unwrap();
    let binding: ClusterRoleBinding = object(json!({
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [subject],
    }));
    let bindings: Api<ClusterRoleBinding> = Api::all(test.client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// The token of a new ServiceAccount.
async fn token(test: &Test, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), &test.id);
    let account: ServiceAccount = object(json!({ "metadata": { "name": name } }));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request: TokenRequest = object(json!({ "metadata": {}, "spec": { "audiences": [] } }));
    let issued = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await;
    issued.unwrap().status.unwrap().token.unwrap()
}

async fn account(test: &Test, name: &str, rules: &[(&str, &str, &str)]) -> (Caller, String, Vec<String>) {
    let token = token(test, name).await;
    let account = json!({ "kind": "ServiceAccount", "name": name, "namespace": test.id });
    bind(test, name, rules, account).await;
    let reviews: Api<TokenReview> = Api::all(test.client.clone());
    let review: TokenReview = object(json!({ "metadata": {}, "spec": { "token": token } }));
    let known = reviews
        .create(&PostParams::default(), &review)
        .await
        .unwrap()
        .status
        .unwrap();
    let user = known.user.unwrap();
    (Caller::with_token(token), user.username.unwrap(), user.groups.unwrap())
}

/// Somebody whose certificate the cluster signed; `None` where there is no signer.
async fn certified(test: &Test, name: &str, rules: &[(&str, &str, &str)]) -> Option<(Caller, String, Vec<String>)> {
    if test.cluster.kind == ClusterKind::Dev {
        return None;
    }
    let (user, group) = (format!("{}-{name}", test.id), format!("{}-{name}s", test.id));
    let group_subject = json!({ "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": group });
    bind(test, name, rules, group_subject).await;
    let signer = "kubernetes.io/kube-apiserver-client";
    let (certificate, key) = signed_certificate(test, signer, "client auth", &user, &group).await;
    let caller = Caller::with_certificate(&certificate, &key);
    Some((caller, user, vec![group, "system:authenticated".to_owned()]))
}

type Headers = Vec<(&'static str, String)>;

fn text(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A WebSocket that hands over a token as browsers do, in base64url.
fn web_socket(token: &str) -> Headers {
    vec![
        ("connection", "Upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
        (
            "sec-websocket-protocol",
            format!("base64url.bearer.authorization.k8s.io.{token}, v4.channel.k8s.io"),
        ),
    ]
}

/// Those of whom nobody knows who they are.
async fn nobodies(test: &Test) -> Vec<(&'static str, Caller, Headers)> {
    let foreign = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    // The right name, by the wrong authority.
    let name = "kube-apiserver-kubelet-client";
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&foreign).unwrap();

    let gone = token(test, "gone").await;
    let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), &test.id);
    let mut nobodies = vec![
        ("anonymous", Caller::default(), vec![]),
        ("a token that is garbage", Caller::with_token("garbage"), vec![]),
        (
            "a certificate of another authority",
            Caller::with_certificate(&certificate.pem(), &foreign.serialize_pem()),
            vec![],
        ),
        (
            "a subprotocol that is garbage",
            Caller::default(),
            web_socket("Z2FyYmFnZQ"),
        ),
    ];
    // The development cluster's tokens outlive their accounts.
    if test.cluster.kind != ClusterKind::Dev {
        accounts.delete("gone", &DeleteParams::default()).await.unwrap();
        is_revoked(test, &gone).await;
        nobodies.push(("a token of an account that is gone", Caller::with_token(gone), vec![]));
    }
    nobodies
}

async fn is_revoked(test: &Test, token: &str) {
    let reviews: Api<TokenReview> = Api::all(test.client.clone());
    let review: TokenReview = object(json!({ "metadata": {}, "spec": { "token": token } }));
    eventually(SOON, "the token is revoked", || async {
        let answer = reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status.unwrap();
        match status.authenticated {
            Some(true) => Err("it still counts".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}
