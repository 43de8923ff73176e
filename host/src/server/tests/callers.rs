//! Who is let in, and what they are shown.

use super::fake::Log;
use super::*;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::KeyPair;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use rustls::sign::SingleCertAndKey;

const ROUTES: [&str; 5] = ["/healthz", "/pods", "/containerLogs/default/web/app", "/nothing", "/"];

async fn everywhere(address: SocketAddr, caller: Option<&Identity>) -> Vec<(u16, String)> {
    let mut replies = Vec::new();
    for path in ROUTES {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let reply = ask(address, caller, &request).await;
        replies.push((reply.status, reply.body));
    }
    replies
}

fn refused() -> Vec<(u16, String)> {
    ROUTES.map(|_| (401, "Unauthorized".to_owned())).into()
}

#[tokio::test]
async fn only_clients_of_the_authority_are_let_in() {
    let server = start(Fake::new(Log::Text(""))).await;
    assert_eq!(server.get("/healthz").await.status, 200);

    assert_eq!(everywhere(server.address, None).await, refused(), "no certificate");
    let foreign = Authority::new("cluster").client("kube-apiserver-kubelet-client");
    assert_eq!(
        everywhere(server.address, Some(&foreign)).await,
        refused(),
        "another authority of the same name"
    );
    let expired = server.authority.sign("kube-apiserver-kubelet-client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    });
    assert_eq!(everywhere(server.address, Some(&expired)).await, refused(), "expired");
    let early = server.authority.sign("kube-apiserver-kubelet-client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(4000, 1, 1);
    });
    assert_eq!(
        everywhere(server.address, Some(&early)).await,
        refused(),
        "not valid yet"
    );
    let serving = server.authority.sign("kube-apiserver-kubelet-client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(
        everywhere(server.address, Some(&serving)).await,
        refused(),
        "a server's certificate"
    );
    server.stop().await;
}

#[tokio::test]
async fn without_an_authority_nobody_is() {
    let (server, address) = build(&KubeletConfig::default(), Fake::new(Log::Text("")))
        .await
        .unwrap();
    let task = tokio::spawn(server.run(CancellationToken::new()));
    let caller = Authority::new("cluster").client("kube-apiserver-kubelet-client");
    assert_eq!(everywhere(address, Some(&caller)).await, refused());
    assert_eq!(everywhere(address, None).await, refused());
    task.abort();
}

#[tokio::test]
async fn a_stolen_certificate_without_its_key_ends_the_handshake() {
    let server = start(Fake::new(Log::Text(""))).await;
    let stolen = server.authority.client("kube-apiserver-kubelet-client");
    let own_key = PrivateKeyDer::try_from(KeyPair::generate().unwrap().serialize_der()).unwrap();
    let signer = ring::sign::any_supported_type(&own_key).unwrap();
    let mut config = pki::client_config(None);
    let shown = CertifiedKey::new(stolen.chain, signer);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::IpAddress(server.address.ip().into());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // A TLS 1.3 client may write before it learns of its refusal.
    let outcome = async {
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    assert!(outcome.await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_self_signed_certificate_names_the_node() {
    let server = start(Fake::new(Log::Text(""))).await;
    let stream = server.connect().await;
    let (_, tls) = stream.get_ref();
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (_, shown) = x509_parser::parse_x509_certificate(&tls.peer_certificates().unwrap()[0]).unwrap();
    let subject = shown.subject().to_string();
    assert!(subject.contains("CN=system:node:vk-0"), "{subject}");
    assert!(shown.validity().is_valid());
    let names = format!(
        "{:?}",
        shown.subject_alternative_name().unwrap().unwrap().value.general_names
    );
    assert!(
        names.contains("DNSName(\"vk-0\")") && names.contains("IPAddress"),
        "{names}"
    );
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_configured_certificate_is_shown() {
    let files = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    let own = rcgen::generate_simple_self_signed(vec!["vk-0.example".to_owned()]).unwrap();
    std::fs::write(&cert_file, own.cert.pem()).unwrap();
    std::fs::write(&key_file, own.signing_key.serialize_pem()).unwrap();
    let config = KubeletConfig {
        serving_cert: ServingCert::Files {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        },
        ..KubeletConfig::default()
    };
    let (server, address) = build(&config, Fake::new(Log::Text(""))).await.unwrap();
    let task = tokio::spawn(server.run(CancellationToken::new()));
    let stream = connect(address, None).await;
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *own.cert.der());
    task.abort();

    let refusal = |error: Error| error.to_string();
    std::fs::write(&key_file, "-----BEGIN PRIVATE KEY-----\nhunter2\n").unwrap();
    let error = refusal(build(&config, Fake::new(Log::Text(""))).await.err().unwrap());
    assert!(
        error.contains("kubelet.keyFile") && error.contains("tls.key") && !error.contains("hunter2"),
        "{error}"
    );
    std::fs::remove_file(&cert_file).unwrap();
    let error = refusal(build(&config, Fake::new(Log::Text(""))).await.err().unwrap());
    assert!(
        error.contains("kubelet.certFile") && error.contains("tls.crt"),
        "{error}"
    );
}

/// A server whose files are followed.
async fn follow(config: &KubeletConfig, api: &Api) -> (SocketAddr, CancellationToken) {
    let (access, keeper) = Access::build(config, &api.clients).unwrap();
    let settings = settings(config);
    let config = Config {
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        node: "vk-0".to_owned(),
        addresses: Vec::new(),
        access: Arc::new(access),
        settings,
    };
    let (server, address) = Server::build(config, Arc::new(Fake::new(Log::Text("")))).await.unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(shutdown.clone()));
    tokio::spawn(keeper.run(shutdown.clone()));
    (address, shutdown)
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn authorities_that_change_count_without_a_restart_and_broken_ones_do_not() {
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.crt");
    let (old, new) = (Authority::new("cluster"), Authority::new("cluster"));
    std::fs::write(&ca, old.pem()).unwrap();
    let config = KubeletConfig {
        client_ca_file: Some(ca.clone()),
        ..KubeletConfig::default()
    };
    let api = Api::permissive().await;
    let (address, shutdown) = follow(&config, &api).await;
    let (of_old, of_new) = (old.client("a"), new.client("a"));
    let status = async |caller: &Identity| {
        ask(
            address,
            Some(caller),
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await
        .status
    };
    assert_eq!((status(&of_old).await, status(&of_new).await), (200, 401));

    let both = files.path().join("both");
    std::fs::write(&both, old.pem() + &new.pem()).unwrap();
    std::fs::rename(&both, &ca).unwrap();
    eventually("the new authority does not count", async || {
        status(&of_new).await == 200
    })
    .await;
    assert_eq!(status(&of_old).await, 200);

    // What can't be used changes nothing, which shows once the next one has been taken.
    std::fs::write(&ca, "garbage").unwrap();
    assert_eq!((status(&of_old).await, status(&of_new).await), (200, 200));
    std::fs::write(&ca, new.pem()).unwrap();
    eventually("the old authority still counts", async || status(&of_old).await == 401).await;
    assert_eq!(status(&of_new).await, 200);
    shutdown.cancel();
}

#[tokio::test]
async fn a_serving_certificate_that_changes_is_shown_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (files.path().join("tls.crt"), files.path().join("tls.key"));
    let write = || {
        let own = rcgen::generate_simple_self_signed(vec!["vk-0.example".to_owned()]).unwrap();
        // In the order that is wrong for a moment.
        std::fs::write(&cert_file, own.cert.pem()).unwrap();
        std::fs::write(&key_file, own.signing_key.serialize_pem()).unwrap();
        own.cert.der().clone()
    };
    let first = write();
    let config = KubeletConfig {
        serving_cert: ServingCert::Files {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        },
        ..KubeletConfig::default()
    };
    let (address, shutdown) = follow(&config, &Api::permissive().await).await;
    let shown = async || connect(address, None).await.get_ref().1.peer_certificates().unwrap()[0].clone();
    let connection = connect(address, None).await;
    assert_eq!(shown().await, first);
    let second = write();
    eventually("the new certificate is not shown", async || shown().await == second).await;
    // Connections go on.
    let mut connection = connection;
    connection
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_reply(&mut connection).await.status, 401);
    shutdown.cancel();
}

#[tokio::test]
async fn tokens_and_rights_are_asked_for_by_every_request() {
    let api = Api::answering(|asked| {
        let spec = &asked.body["spec"];
        let user = serde_json::json!({ "username": spec["token"] });
        let allowed = spec["user"] == "metrics" && spec["resourceAttributes"]["subresource"] == "metrics";
        asked.reviewed(serde_json::json!({ "authenticated": spec["token"] != "bad", "user": user, "allowed": allowed }))
    })
    .await;
    let (address, shutdown) = follow(&KubeletConfig::default(), &api).await;
    for (token, path, status, body) in [
        ("metrics", "/metrics/probes", 200, ""),
        (
            "metrics",
            "/pods",
            403,
            "Forbidden (user=metrics, verb=get, resource=nodes, subresource(s)=[pods proxy])\n",
        ),
        (
            "other",
            "/nothing",
            403,
            "Forbidden (user=other, verb=get, resource=nodes, subresource(s)=[proxy])\n",
        ),
        ("bad", "/metrics/probes", 401, "Unauthorized"),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        let reply = ask(address, None, &request).await;
        assert_eq!(reply.status, status, "{token} {path}");
        assert!(body.is_empty() || reply.body == body, "{token} {path}: {}", reply.body);
    }
    shutdown.cancel();
}

#[tokio::test]
async fn an_authority_file_that_names_none_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let ca = files.path().join("ca.crt");
    std::fs::write(&ca, "no certificate here\n").unwrap();
    let config = KubeletConfig {
        client_ca_file: Some(ca),
        ..KubeletConfig::default()
    };
    let error = access(&config).await.unwrap_err().to_string();
    assert!(
        error.contains("kubelet.clientCAFile") && error.contains("no certificate in it"),
        "{error}"
    );
}
