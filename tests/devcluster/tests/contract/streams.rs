//! `exec`, `attach` and `portforward`, through the server to a node: what goes over is this project's own streaming protocols on
//! the node's side, and on the other both our client and every kubectl at hand.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_devcluster::{DevCluster, Kind, Running};
use outrigger_streaming::portforward::{self, Connect, Target};
use outrigger_streaming::remotecommand::{self, Offer, Outcome, Protocol, Session, Wanted};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::kubectl::{Kubectl, kubectls};
use crate::node::listen;
use crate::support::{Cluster, DEADLINE, PODS, client, node, pod, quiet, skip, start};

/// A node: what it was asked for, and whether it knows the newer WebSocket protocols.
struct Node {
    extended: bool,
    asked: Mutex<Vec<(String, HeaderMap)>>,
}

impl Node {
    async fn start(running: &Running, extended: bool) -> (Arc<Node>, u16) {
        let own = Arc::new(Node {
            extended,
            asked: Mutex::default(),
        });
        let (listener, acceptor) = listen(running).await;
        let port = listener.local_addr().unwrap().port();
        let shared = own.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, node) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service =
                        service_fn(move |request| std::future::ready(Ok::<_, hyper::Error>(node.answer(request))));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        (own, port)
    }

    fn answer(&self, mut request: Request<Incoming>) -> Response<String> {
        let asked = (request.uri().to_string(), request.headers().clone());
        self.asked.lock().unwrap().push(asked);
        let offer = Offer {
            extended: self.extended,
        };
        let query = request.uri().query().unwrap_or_default().to_owned();
        let upgraded = hyper::upgrade::on(&mut request);
        let (method, headers) = (request.method(), request.headers());
        match request.uri().path() {
            path if path.contains("/missing") => plain(404, "pod does not exist\n"),
            path if path.contains("/odd") => plain(200, "what?"),
            path if path.starts_with("/portForward/") => match portforward::negotiate(method, headers, offer) {
                Err(refusal) => refusal.into(),
                Ok(agreed) => {
                    let ports = portforward::ports_from_query(&query).unwrap_or_default();
                    tokio::spawn(async move {
                        let io = TokioIo::new(upgraded.await.unwrap());
                        let _ = portforward::serve(io, agreed.protocol, ports, Arc::new(Loopback), Default::default())
                            .await;
                    });
                    agreed.response.map(|()| String::new())
                }
            },
            path => {
                let wanted = match Wanted::from_query(&query) {
                    Ok(wanted) => wanted,
                    Err(refusal) => return refusal.into(),
                };
                let attach = path.starts_with("/attach/");
                match remotecommand::negotiate(method, headers, offer) {
                    Err(refusal) => refusal.into(),
                    Ok(agreed) => {
                        tokio::spawn(async move {
                            let io = TokioIo::new(upgraded.await.unwrap());
                            let session = remotecommand::serve(io, agreed.protocol, wanted, Default::default()).await;
                            match session {
                                Ok(session) if attach => echo(session).await,
                                Ok(session) => execute(&query, session).await,
                                Err(_) => {}
                            }
                        });
                        agreed.response.map(|()| String::new())
                    }
                }
            }
        }
    }

    fn last(&self) -> (String, HeaderMap) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

fn plain(code: u16, text: &str) -> Response<String> {
    Response::builder()
        .status(code)
        .header("x-from", "node")
        .body(text.to_owned())
        .unwrap()
}

struct Loopback;

impl Connect for Loopback {
    type Io = TcpStream;

    async fn connect(&self, port: u16) -> Result<Target<TcpStream>, String> {
        let io = TcpStream::connect(("127.0.0.1", port)).await;
        Ok(Target {
            io: io.map_err(|e| format!("error forwarding port {port}: {e}"))?,
            outcome: std::future::ready(Ok(())).boxed(),
        })
    }
}

/// The command as a process of this machine.
async fn execute(query: &str, mut session: Session) {
    let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
    let command: Vec<String> = pairs
        .filter(|(name, _)| name == "command")
        .map(|(_, word)| word)
        .collect();
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut to, mut out, mut err) = (
        child.stdin.take().unwrap(),
        child.stdout.take().unwrap(),
        child.stderr.take().unwrap(),
    );
    if let Some(mut stdin) = session.stdin.take() {
        tokio::spawn(async move { copy(&mut stdin, &mut to).await });
    }
    let (stdout, stderr) = (session.stdout.take(), session.stderr.take());
    let out = async {
        match stdout {
            Some(mut to) => copy(&mut out, &mut to).await,
            None => copy(&mut out, &mut sink()).await,
        }
    };
    let err = async {
        match stderr {
            Some(mut to) => copy(&mut err, &mut to).await,
            None => copy(&mut err, &mut sink()).await,
        }
    };
    tokio::select! {
        () = session.end.gone() => {}
        _ = async { tokio::join!(out, err) } => {
            let code = child.wait().await.unwrap().code().unwrap_or(137);
            let _ = session.end.finish(Outcome::Exit(code)).await;
        }
    }
}

async fn echo(mut session: Session) {
    if let (Some(mut stdin), Some(mut stdout)) = (session.stdin.take(), session.stdout.take()) {
        let _ = copy(&mut stdin, &mut stdout).await;
    }
    let _ = session.end.finish(Outcome::Success).await;
}

/// A node with some pods on it.
async fn populate(running: &Running, port: u16, declared: bool) {
    let mut own = node("n1");
    own["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    if declared {
        own["status"]["declaredFeatures"] = json!(["ExtendWebSocketsToKubelet"]);
    }
    running.create(Kind::Nodes, "", own).unwrap();
    for name in ["p", "missing", "odd"] {
        running.create(Kind::Pods, "default", pod(name, "n1")).unwrap();
    }
    // kubectl looks whether it runs.
    let status = json!({"status": {"phase": "Running"}});
    let request = Request::patch(format!("{PODS}/p/status"))
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(status.to_string().into_bytes().into())
        .unwrap();
    let answer = client(running).await.send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Asks for an upgrade with our own client.
async fn ask(cluster: &Cluster, method: Method, path: &str, headers: &HeaderMap) -> Response<kube::client::Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Vec::new().into())
        .unwrap();
    *request.headers_mut() = headers.clone();
    timeout(DEADLINE, cluster.client.send(request)).await.unwrap().unwrap()
}

async fn text(response: Response<kube::client::Body>) -> String {
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_session_goes_through_with_the_query_in_the_kubelet_s_words() {
    let cluster = start().await;
    let (node, port) = Node::start(&cluster.running, true).await;
    populate(&cluster.running, port, true).await;
    for protocol in [
        Protocol::SpdyV4,
        Protocol::SpdyV1,
        Protocol::WebSocketV5,
        Protocol::WebSocketV4Base64,
    ] {
        let ask_for = remotecommand::ask(&[protocol]);
        let path = format!(
            "{PODS}/p/exec?command=sh&stdin=true&stdout=&stderr=1&tty=false&command=-c&command=cat%3B+exit+7&container=c"
        );
        let mut response = ask(&cluster, Method::GET, &path, &ask_for.headers).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(ask_for.answered(&response).unwrap(), protocol);
        let (uri, headers) = node.last();
        assert_eq!(
            uri,
            "/exec/default/p/c?command=sh&command=-c&command=cat%3B+exit+7&error=1&input=1&output=1"
        );
        assert_eq!(
            headers.get(header::AUTHORIZATION),
            None,
            "the client's token is nothing for the node"
        );
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        let wanted = Wanted {
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
        };
        let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let mut session = remotecommand::connect(io, protocol, wanted).await.unwrap();
        if protocol == Protocol::WebSocketV4Base64 {
            // Without a half-close, cat ends with the client only.
            session.stdin.as_mut().unwrap().write_all(b"there").await.unwrap();
            let mut back = [0; 5];
            session.stdout.as_mut().unwrap().read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"there");
            session.end.close().await.unwrap();
            continue;
        }
        let mut stdin = session.stdin.take().unwrap();
        let sent = vec![7; 1 << 20];
        let write = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let mut stdout = session.stdout.take().unwrap();
        let ((), read) = tokio::join!(write, stdout.read_to_end(&mut back));
        read.unwrap();
        assert!(back == sent, "{protocol:?}");
        let outcome = timeout(DEADLINE, session.end.outcome()).await.unwrap().unwrap();
        match outcome {
            Outcome::Exit(7) => assert!(protocol.has_status()),
            Outcome::Failed { message } => assert!(message.ends_with(": 7") && !protocol.has_status()),
            other => panic!("{other:?}"),
        }
        session.end.close().await.unwrap();
    }
}

#[tokio::test]
async fn ports_go_through() {
    let cluster = start().await;
    let (node, port) = Node::start(&cluster.running, true).await;
    populate(&cluster.running, port, true).await;
    let target = echo_server().await;
    for protocol in [portforward::Protocol::Spdy, portforward::Protocol::Tunnel] {
        let ask_for = portforward::ask(&[protocol]);
        let path = format!("{PODS}/p/portforward?ports={target}&ports=1,2");
        let mut response = ask(&cluster, Method::POST, &path, &ask_for.headers).await;
        if protocol == portforward::Protocol::Tunnel {
            assert_eq!(response.status(), 405, "the node's word for a WebSocket by POST");
            response = ask(&cluster, Method::GET, &path, &ask_for.headers).await;
        }
        assert_eq!(node.last().0, format!("/portForward/default/p?port={target}%2C1%2C2"));
        let protocol = ask_for.answered(&response).unwrap();
        let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let client = portforward::connect(io, protocol).await.unwrap();
        let mut forwarding = client.open(target).await.unwrap();
        forwarding.data.write_all(b"over and out").await.unwrap();
        forwarding.data.shutdown().await.unwrap();
        let mut back = String::new();
        timeout(DEADLINE, forwarding.data.read_to_string(&mut back))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(back, "over and out");
        client.close().await.unwrap();
    }
}

async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test]
async fn refusals_are_those_of_the_real_server_or_the_node_s_own() {
    let cluster = start().await;
    let (node, port) = Node::start(&cluster.running, false).await;
    populate(&cluster.running, port, false).await;
    cluster
        .running
        .create(Kind::Pods, "default", pod("unscheduled", ""))
        .unwrap();
    cluster
        .running
        .create(Kind::Pods, "default", pod("stray", "nowhere"))
        .unwrap();
    let mut dead = crate::support::node("dead");
    dead["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 1}});
    cluster.running.create(Kind::Nodes, "", dead).unwrap();
    cluster
        .running
        .create(Kind::Pods, "default", pod("bereft", "dead"))
        .unwrap();
    let headers = remotecommand::ask(&[Protocol::SpdyV4]).headers;
    for (rest, code, message) in [
        ("none/exec?stdout=1", 404, "pods \"none\" not found"),
        ("p/exec?stdout=1&container=x", 400, "container x is not valid for pod p"),
        (
            "unscheduled/attach?stdout=1",
            400,
            "pod unscheduled does not have a host assigned",
        ),
        (
            "unscheduled/portforward",
            400,
            "pod unscheduled does not have a host assigned",
        ),
        ("stray/exec?stdout=1", 404, "nodes \"nowhere\" not found"),
        (
            "p/portforward?ports=x",
            400,
            "cannot convert to []int32: parsing \"x\": invalid syntax",
        ),
        ("odd/exec?stdout=1", 500, "invalid upgrade response: status code 200"),
    ] {
        let response = ask(&cluster, Method::POST, &format!("{PODS}/{rest}"), &headers).await;
        assert_eq!(response.status().as_u16(), code, "{rest}");
        let status: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(status["message"], message, "{rest}");
    }
    let response = ask(
        &cluster,
        Method::POST,
        &format!("{PODS}/bereft/exec?stdout=1"),
        &headers,
    )
    .await;
    assert_eq!(response.status(), 500);
    assert!(
        text(response)
            .await
            .contains("error dialing backend: dial tcp 127.0.0.1:1: ")
    );
    let response = ask(
        &cluster,
        Method::POST,
        &format!("{PODS}/p/exec?stdout=1"),
        &HeaderMap::new(),
    )
    .await;
    assert_eq!(response.status(), 400);
    assert!(text(response).await.contains("Upgrade request required"));
    assert_eq!(
        ask(&cluster, Method::PUT, &format!("{PODS}/p/exec?stdout=1"), &headers)
            .await
            .status(),
        405
    );
    // The node's own words, as they are.
    let response = ask(
        &cluster,
        Method::POST,
        &format!("{PODS}/missing/exec?stdout=1"),
        &headers,
    )
    .await;
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["x-from"].to_str().unwrap()
        ),
        (404, "node")
    );
    assert_eq!(text(response).await, "pod does not exist\n");
    let newer = remotecommand::ask(&[Protocol::WebSocketV5]).headers;
    let response = ask(&cluster, Method::GET, &format!("{PODS}/p/exec?stdout=1"), &newer).await;
    assert_eq!(response.status(), 403, "it is not declared, and not known");
    assert_eq!(node.last().0, "/exec/default/p/c?output=1");
}

#[tokio::test]
async fn either_end_ends_both() {
    let cluster = start().await;
    let (listener, acceptor) = listen(&cluster.running).await;
    let port = listener.local_addr().unwrap().port();
    populate(&cluster.running, port, true).await;
    let headers = remotecommand::ask(&[Protocol::SpdyV4]).headers;
    for node_first in [true, false] {
        let answering = async {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(socket).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nfirst";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            stream
        };
        let path = format!("{PODS}/p/exec?stdout=1");
        let (mut at_node, mut response) = tokio::join!(answering, ask(&cluster, Method::POST, &path, &headers));
        let mut at_client = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        let mut got = [0; 5];
        at_client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"first", "what came with the answer");
        at_client.write_all(b"hello").await.unwrap();
        at_client.flush().await.unwrap();
        at_node.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        if node_first {
            at_node.write_all(b"last.").await.unwrap();
            at_node.shutdown().await.unwrap();
            at_client.read_exact(&mut got).await.unwrap();
            assert_eq!(
                timeout(DEADLINE, at_client.read(&mut got)).await.unwrap().unwrap_or(0),
                0
            );
        } else {
            drop(at_client);
        }
        assert_eq!(timeout(DEADLINE, at_node.read(&mut got)).await.unwrap().unwrap_or(0), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kubectl_here_can_exec_attach_and_forward() {
    // The oldest knows nothing but SPDY, and v4 at most.
    let found = kubectls(27);
    if found.is_empty() {
        return skip(
            "every_kubectl_here_can_exec_attach_and_forward",
            "there is no kubectl in PATH; install one",
        );
    }
    for program in found {
        // Once what newer servers pass through, once what they translate: kubectl has to fall back by itself.
        for extended in [true, false] {
            eprintln!(
                "with {}, {}",
                program.display(),
                if extended { "WebSocket" } else { "SPDY" }
            );
            let running = DevCluster::builder().controllers(quiet()).start().await.unwrap();
            let (node, port) = Node::start(&running, extended).await;
            populate(&running, port, extended).await;
            let kubectl = Kubectl {
                program: program.clone(),
                running: &running,
                home: tempfile::tempdir().unwrap(),
            };
            story(&kubectl).await;
            let upgraded =
                |(_, headers): &(String, HeaderMap)| headers[header::UPGRADE].to_str().unwrap().to_lowercase();
            let spoken: Vec<String> = node.asked.lock().unwrap().iter().map(upgraded).collect();
            // Since 1.30 kubectl asks for a WebSocket first.
            let minor: Option<u32> = program.extension().and_then(|e| e.to_str()?.parse().ok());
            let wanted = if extended && minor.is_some_and(|m| m >= 30) {
                "websocket"
            } else {
                "spdy/3.1"
            };
            assert!(spoken.iter().any(|s| s == wanted), "{spoken:?}");
            running.shutdown().await;
        }
    }
}

async fn story(kubectl: &Kubectl<'_>) {
    for code in [0, 1, 137, 255] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let output = kubectl.output(&["exec", "p", "--", "sh", "-c", &script], "").await;
        let shown = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(code), "{shown:?}");
        assert_eq!(shown.0, "out\n");
        let complaint = if code == 0 {
            String::new()
        } else {
            format!("command terminated with exit code {code}\n")
        };
        assert_eq!(shown.1, format!("err\n{complaint}"));
    }
    let text = "line\n".repeat(200_000);
    let output = kubectl
        .output(&["exec", "-i", "p", "-c", "c", "--", "cat"], &text)
        .await;
    assert!(
        output.status.success() && output.stdout == text.as_bytes(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = kubectl.output(&["attach", "-i", "p"], "echoed\n").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "echoed\n");
    let output = kubectl.output(&["exec", "missing", "--", "true"], "").await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("pod does not exist"),
        "{error}"
    );

    let target = echo_server().await;
    let mut forwarder = kubectl
        .command(&["port-forward", "p", &format!(":{target}")])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(forwarder.stdout.take().unwrap()).lines();
    let Some(first) = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap() else {
        let output = forwarder.wait_with_output().await.unwrap();
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    };
    let local = first
        .strip_prefix("Forwarding from 127.0.0.1:")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let mut running = Vec::new();
    for number in 0..20 {
        let address = format!("127.0.0.1:{local}");
        running.push(tokio::spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let sent = vec![number; 50_000];
            let (mut read, mut write) = socket.split();
            let mut back = Vec::new();
            let write = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let ((), read) = tokio::join!(write, read.read_to_end(&mut back));
            read.unwrap();
            assert!(back == sent);
        }));
    }
    for one in running {
        timeout(DEADLINE, one).await.unwrap().unwrap();
    }
    forwarder.kill().await.unwrap();
    let _ = timeout(Duration::from_secs(5), forwarder.wait()).await;
}
