use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::spdy::Headers;
use crate::testing::{dribbling, pattern};
use crate::websocket;

const SOON: Duration = Duration::from_secs(20);
const STREAMS: [Protocol; 2] = [Protocol::Spdy, Protocol::Tunnel];
const CHANNELS: [Protocol; 2] = [Protocol::WebSocket, Protocol::WebSocketBase64];

/// A pod whose ports are the test's: it gets the far side of each connection.
struct Pod {
    connections: mpsc::UnboundedSender<Connection>,
}

struct Connection {
    port: u16,
    io: DuplexStream,
    outcome: oneshot::Sender<Result<(), String>>,
}

impl Connect for Pod {
    type Io = DuplexStream;

    async fn connect(&self, port: u16) -> Result<Target<DuplexStream>, String> {
        if port == 1 {
            return Err("error forwarding port 1 to pod p, uid u: connection refused".to_owned());
        }
        if port == 2 {
            std::future::pending::<()>().await;
        }
        let (near, far) = duplex(4 << 10);
        let (sender, receiver) = oneshot::channel();
        let connection = Connection {
            port,
            io: far,
            outcome: sender,
        };
        self.connections.send(connection).map_err(|_| "the test is over")?;
        let outcome = receiver.map(|outcome| outcome.unwrap_or(Ok(()))).boxed();
        Ok(Target { io: near, outcome })
    }
}

fn pod() -> (Arc<Pod>, mpsc::UnboundedReceiver<Connection>) {
    let (connections, receiver) = mpsc::unbounded_channel();
    (Arc::new(Pod { connections }), receiver)
}

struct Served {
    client: Client,
    pod: mpsc::UnboundedReceiver<Connection>,
    serving: JoinHandle<Result<(), Error>>,
}

async fn served(protocol: Protocol, limits: Limits) -> Served {
    let (a, b) = duplex(4 << 10);
    let (connect_to, pod) = pod();
    let serving = tokio::spawn(serve(a, protocol, Vec::new(), connect_to, limits));
    let client = connect(b, protocol).await.unwrap();
    Served { client, pod, serving }
}

async fn echo(mut io: DuplexStream) {
    let (mut read, mut write) = tokio::io::split(&mut io);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

#[tokio::test]
async fn a_connection_there_and_back() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let forwarding = served.client.open(80).await.unwrap();
        let connection = served.pod.recv().await.unwrap();
        assert_eq!(connection.port, 80);
        let echoing = tokio::spawn(echo(connection.io));
        let sent = pattern(1 << 20);
        let (mut read, mut write) = tokio::io::split(forwarding.data);
        let write = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let ((), read) = tokio::join!(write, read.read_to_end(&mut got));
        read.unwrap();
        assert!(got == sent, "{protocol:?}");
        assert_eq!(forwarding.error.wait().await.unwrap(), None);
        echoing.await.unwrap();
        served.client.close().await.unwrap();
        timeout(SOON, served.serving).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_half_ends_by_itself() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let mut forwarding = served.client.open(80).await.unwrap();
        let mut pod = served.pod.recv().await.unwrap();
        // The client first.
        forwarding.data.write_all(b"question").await.unwrap();
        forwarding.data.shutdown().await.unwrap();
        let mut text = String::new();
        pod.io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        pod.io.write_all(b"answer").await.unwrap();
        drop(pod);
        text.clear();
        forwarding.data.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        assert_eq!(forwarding.error.wait().await.unwrap(), None);
        // The pod first: the error stream ends although the client goes on, and what it sends arrives.
        let mut forwarding = served.client.open(80).await.unwrap();
        let mut pod = served.pod.recv().await.unwrap();
        pod.io.write_all(b"goodbye").await.unwrap();
        pod.io.shutdown().await.unwrap();
        text.clear();
        forwarding.data.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "goodbye");
        assert_eq!(timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap(), None);
        let sent = pattern(100_000);
        let mut got = vec![0; sent.len()];
        let (write, read) = tokio::join!(forwarding.data.write_all(&sent), pod.io.read_exact(&mut got));
        write.unwrap();
        read.unwrap();
        assert!(got == sent);
        assert!(!pod.outcome.is_closed(), "the pod's side is not given up before");
        forwarding.data.shutdown().await.unwrap();
        assert_eq!(pod.io.read(&mut got).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_refusal_is_told_and_the_others_go_on() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let mut good = served.client.open(80).await.unwrap();
        let _pod = served.pod.recv().await.unwrap();
        let mut bad = served.client.open(1).await.unwrap();
        let text = timeout(SOON, bad.error.wait()).await.unwrap().unwrap();
        assert_eq!(
            text.as_deref(),
            Some("error forwarding port 1 to pod p, uid u: connection refused")
        );
        let reset = bad.data.read(&mut [0]).await.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
        good.data.write_all(b"x").await.unwrap();
    }
}

/// As the kubelet does: the text, then resets.
#[tokio::test]
async fn a_server_that_resets_its_streams_is_understood() {
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(async move {
        let mut server = spdy::server(a, spdy::Config::default());
        let mut error = server.accept().await.unwrap().accept(Headers::new());
        let data = server.accept().await.unwrap().accept(Headers::new());
        error.write_all(b"refused").await.unwrap();
        error.flush().await.unwrap();
        data.reset(spdy::Status::Cancel);
        error.reset(spdy::Status::Cancel);
        server.finish(SOON, SOON).await
    });
    let client = connect(b, Protocol::Spdy).await.unwrap();
    let forwarding = client.open(80).await.unwrap();
    assert_eq!(forwarding.error.wait().await.unwrap().as_deref(), Some("refused"));
    client.close().await.unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failure_on_the_way_is_told_after_the_bytes() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let mut forwarding = served.client.open(80).await.unwrap();
        let mut pod = served.pod.recv().await.unwrap();
        pod.io.write_all(b"half of").await.unwrap();
        pod.outcome
            .send(Err("error forwarding port 80 to pod p, uid u: it burns".to_owned()))
            .unwrap();
        drop(pod.io);
        let mut text = String::new();
        forwarding.data.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "half of");
        let complaint = timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap();
        assert_eq!(
            complaint.as_deref(),
            Some("error forwarding port 80 to pod p, uid u: it burns")
        );
    }
}

#[tokio::test]
async fn a_failure_is_told_although_the_pods_side_stays_open() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let mut forwarding = served.client.open(80).await.unwrap();
        let mut pod = served.pod.recv().await.unwrap();
        pod.outcome.send(Err("it burns".to_owned())).unwrap();
        pod.io.write_all(b"half of").await.unwrap();
        let mut text = String::new();
        let all = forwarding.data.read_to_string(&mut text);
        timeout(SOON, all).await.expect("the client waits for ever").unwrap();
        assert_eq!(text, "half of");
        let complaint = timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap();
        assert_eq!(complaint.as_deref(), Some("it burns"));
    }
}

#[tokio::test]
async fn a_pod_that_reads_no_more_has_its_answer_delivered() {
    let mut served = served(Protocol::Spdy, Limits::default()).await;
    let forwarding = served.client.open(80).await.unwrap();
    let pod = served.pod.recv().await.unwrap();
    let (read, mut write) = tokio::io::split(pod.io);
    let (mut down, mut up) = tokio::io::split(forwarding.data);
    // A duplex has no half that only stops reading: the pod leaves while the client sends.
    write.write_all(b"too large").await.unwrap();
    drop((read, write));
    let flood = tokio::spawn(async move {
        up.write_all(&vec![0; 4 << 20]).await.unwrap();
        up.shutdown().await.unwrap();
    });
    let mut text = String::new();
    down.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "too large");
    timeout(SOON, flood).await.unwrap().unwrap();
    assert_eq!(timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_hundred_connections_at_a_time() {
    for protocol in STREAMS {
        let served = served(protocol, Limits::default()).await;
        let mut pod = served.pod;
        let echoing = tokio::spawn(async move {
            while let Some(connection) = pod.recv().await {
                tokio::spawn(echo(connection.io));
            }
        });
        let client = Arc::new(served.client);
        let mut running = Vec::new();
        for number in 0..100u16 {
            let client = client.clone();
            running.push(tokio::spawn(async move {
                let forwarding = client.open(1000 + number).await.unwrap();
                let sent = pattern(20_000 + usize::from(number));
                let (mut read, mut write) = tokio::io::split(forwarding.data);
                let mut got = Vec::new();
                let write = async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let ((), read) = tokio::join!(write, read.read_to_end(&mut got));
                read.unwrap();
                assert!(got == sent);
                assert_eq!(forwarding.error.wait().await.unwrap(), None);
            }));
        }
        for one in running {
            timeout(SOON, one).await.unwrap().unwrap();
        }
        Arc::into_inner(client).unwrap().close().await.unwrap();
        timeout(SOON, served.serving).await.unwrap().unwrap().unwrap();
        echoing.abort();
    }
}

#[tokio::test]
async fn more_than_the_limit_are_refused_until_one_ends() {
    let limits = Limits {
        pairs: 3,
        ..Limits::default()
    };
    let mut served = served(Protocol::Spdy, limits).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push((served.client.open(80).await.unwrap(), served.pod.recv().await.unwrap()));
    }
    assert!(served.client.open(80).await.is_err());
    let (mut forwarding, pod) = open.pop().unwrap();
    drop(pod);
    forwarding.data.shutdown().await.unwrap();
    assert_eq!(forwarding.error.wait().await.unwrap(), None);
    let again = async {
        loop {
            match served.client.open(80).await {
                Ok(forwarding) => break forwarding,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(SOON, again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_everything_with_it() {
    for protocol in STREAMS {
        let mut served = served(protocol, Limits::default()).await;
        let mut talking = served.client.open(80).await.unwrap();
        let mut pod = served.pod.recv().await.unwrap();
        // One that never connects, one half of a pair, and one that is silent.
        let _connecting = served.client.open(2).await.unwrap();
        let _silent = served.client.open(80).await.unwrap();
        let mut silent = served.pod.recv().await.unwrap();
        talking.data.write_all(b"last words").await.unwrap();
        talking.data.flush().await.unwrap();
        drop(served.client);
        timeout(SOON, served.serving).await.unwrap().unwrap().unwrap();
        let mut text = String::new();
        pod.io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last words");
        assert_eq!(silent.io.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_the_client_resets_frees_the_pod() {
    let mut served = served(Protocol::Spdy, Limits::default()).await;
    let forwarding = served.client.open(80).await.unwrap();
    let mut pod = served.pod.recv().await.unwrap();
    forwarding.data.reset(spdy::Status::Cancel);
    assert_eq!(timeout(SOON, pod.io.read(&mut [0])).await.unwrap().unwrap(), 0);
    // kubectl waits for this after it has reset the data.
    assert_eq!(timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap(), None);
}

/// A connection below the client, for streams that no client would open.
async fn bare(
    limits: Limits,
) -> (
    spdy::Connection,
    mpsc::UnboundedReceiver<Connection>,
    JoinHandle<Result<(), Error>>,
) {
    let (a, b) = duplex(4 << 10);
    let (connect_to, pod) = pod();
    let serving = tokio::spawn(serve(a, Protocol::Spdy, Vec::new(), connect_to, limits));
    (spdy::client(b, spdy::Config::default()), pod, serving)
}

fn headers(kind: &str, port: &str, request: Option<&str>) -> Headers {
    let headers = Headers::new().with("streamType", kind).with("port", port);
    match request {
        Some(request) => headers.with("requestID", request),
        None => headers,
    }
}

#[tokio::test]
async fn faulty_streams_are_refused_one_by_one() {
    let (client, mut pod, _serving) = bare(Limits::default()).await;
    for (kind, port) in [
        ("data", "0"),
        ("data", "65536"),
        ("data", "x"),
        ("data", ""),
        ("data", "+1"),
        ("stdin", "80"),
        ("", "80"),
    ] {
        let refused = client.open(headers(kind, port, Some("r")), false).await;
        assert!(
            matches!(refused, Err(spdy::Error::Reset(_))),
            "{kind} {port}: {refused:?}"
        );
    }
    let no_port = Headers::new().with("streamType", "data");
    assert!(client.open(no_port, false).await.is_err());
    // Data first, then the error stream: any order will do. A second of a kind is reset.
    let _data = client.open(headers("data", "80", Some("1")), false).await.unwrap();
    let mut double = client.open(headers("data", "81", Some("1")), false).await.unwrap();
    assert_eq!(
        double.read(&mut [0]).await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    let _error = client.open(headers("error", "80", Some("1")), false).await.unwrap();
    assert_eq!(pod.recv().await.unwrap().port, 80);
}

#[tokio::test]
async fn clients_without_request_ids_are_served() {
    let (client, mut pod, _serving) = bare(Limits::default()).await;
    let mut streams = Vec::new();
    for port in ["80", "81"] {
        for kind in ["error", "data"] {
            streams.push(client.open(headers(kind, port, None), false).await.unwrap());
        }
    }
    let ports = [pod.recv().await.unwrap().port, pod.recv().await.unwrap().port];
    assert!(ports == [80, 81] || ports == [81, 80]);
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_has_30_s() {
    let (client, _pod, _serving) = bare(Limits::default()).await;
    let start = Instant::now();
    let mut error = client.open(headers("error", "80", Some("a")), true).await.unwrap();
    let mut data = client.open(headers("data", "80", Some("b")), false).await.unwrap();
    let mut text = String::new();
    error.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "request a: timed out waiting for the data stream");
    assert!(data.read(&mut [0]).await.is_err());
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_secs(31),
        "{waited:?}"
    );
}

/// The client is more patient, so that it isn't the one that leaves.
#[tokio::test(start_paused = true)]
async fn four_hours_of_silence_end_it() {
    let patient = || spdy::Config {
        idle: Duration::from_secs(100 * 3600),
        ..spdy::Config::default()
    };
    for protocol in STREAMS {
        let (a, b) = duplex(4 << 10);
        let (connect_to, mut pod) = pod();
        let serving = tokio::spawn(serve(a, protocol, Vec::new(), connect_to, Limits::default()));
        let start = Instant::now();
        let client = match protocol {
            Protocol::Tunnel => spdy::client(Tunnel::new(b, Role::Client).await, patient()),
            _ => spdy::client(b, patient()),
        };
        let _error = client.open(headers("error", "80", Some("1")), true).await.unwrap();
        let _data = client.open(headers("data", "80", Some("1")), false).await.unwrap();
        let mut pod = pod.recv().await.unwrap();
        let error = serving.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Spdy(spdy::Error::Idle(_))), "{error}");
        let lived = start.elapsed();
        assert!(
            lived >= Duration::from_secs(4 * 3600) && lived < Duration::from_secs(4 * 3600 + 120),
            "{lived:?}"
        );
        assert_eq!(pod.io.read(&mut [0]).await.unwrap(), 0, "the pod is free");
    }
}

struct Channels {
    client: websocket::Control,
    serving: JoinHandle<Result<(), Error>>,
    pod: mpsc::UnboundedReceiver<Connection>,
}

async fn channels_of(protocol: Protocol, ports: &[u16]) -> Channels {
    let (a, b) = duplex(4 << 10);
    let (connect_to, pod) = pod();
    let limits = Limits::default();
    let serving = tokio::spawn(serve(a, protocol, ports.to_vec(), connect_to, limits));
    let settings = channels::settings(Role::Client, protocol, ports.len(), limits);
    let client = websocket::open(b, settings).await.unwrap();
    Channels { client, serving, pod }
}

async fn port_of(reader: &mut websocket::Reader) -> u16 {
    let mut port = [0; 2];
    reader.read_exact(&mut port).await.unwrap();
    u16::from_le_bytes(port)
}

#[tokio::test]
async fn channels_carry_a_connection_for_each_port() {
    for protocol in CHANNELS {
        let mut all = channels_of(protocol, &[80, 443]).await;
        let mut ends = Vec::new();
        for (channel, port) in [(0, 80), (2, 443)] {
            let (mut data, mut error) = (all.client.reader(channel), all.client.reader(channel + 1));
            assert_eq!((port_of(&mut data).await, port_of(&mut error).await), (port, port));
            ends.push((port, data, error, all.client.writer(channel)));
        }
        for _ in 0..2 {
            let mut connection = all.pod.recv().await.unwrap();
            let (_, data, _, writer) = ends.iter_mut().find(|e| e.0 == connection.port).unwrap();
            let sent = pattern(50_000);
            let mut got = vec![0; sent.len()];
            let (write, read) = tokio::join!(writer.write_all(&sent), connection.io.read_exact(&mut got));
            write.unwrap();
            read.unwrap();
            assert!(got == sent);
            let (write, read) = tokio::join!(connection.io.write_all(&sent), data.read_exact(&mut got));
            write.unwrap();
            read.unwrap();
            assert!(got == sent);
        }
        // Both ends of the pod are gone: so is the connection, in order.
        let mut rest = Vec::new();
        for (_, data, error, _) in &mut ends {
            data.read_to_end(&mut rest).await.unwrap();
            error.read_to_end(&mut rest).await.unwrap();
        }
        assert!(rest.is_empty());
        all.client.close().await.unwrap();
        timeout(SOON, all.serving).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn channels_carry_errors() {
    for protocol in CHANNELS {
        let mut all = channels_of(protocol, &[1, 80]).await;
        let (mut refused, mut good) = (all.client.reader(1), all.client.reader(3));
        assert_eq!((port_of(&mut refused).await, port_of(&mut good).await), (1, 80));
        let mut text = [0; 59];
        refused.read_exact(&mut text).await.unwrap();
        assert_eq!(
            &text[..],
            &b"error forwarding port 1 to pod p, uid u: connection refused"[..]
        );
        let pod = all.pod.recv().await.unwrap();
        pod.outcome.send(Err("it burns".to_owned())).unwrap();
        drop(pod.io);
        let mut rest = String::new();
        good.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "it burns");
        all.client.close().await.unwrap();
        timeout(SOON, all.serving).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_long_error_of_one_channel_leaves_the_others() {
    for protocol in CHANNELS {
        let mut all = channels_of(protocol, &[80, 443]).await;
        let (mut error, mut data) = (all.client.reader(1), all.client.reader(2));
        assert_eq!((port_of(&mut error).await, port_of(&mut data).await), (80, 443));
        let mut pods = [all.pod.recv().await.unwrap(), all.pod.recv().await.unwrap()];
        pods.sort_by_key(|pod| pod.port);
        let [failing, good] = pods;
        failing.outcome.send(Err("x".repeat(200 << 10))).unwrap();
        drop(failing.io);
        let mut text = vec![0; crate::text::LONGEST];
        timeout(SOON, error.read_exact(&mut text)).await.unwrap().unwrap();
        assert!(text.iter().all(|byte| *byte == b'x'));
        let echoing = tokio::spawn(echo(good.io));
        all.client.writer(2).write_all(b"still here").await.unwrap();
        let mut text = [0; 10];
        timeout(SOON, data.read_exact(&mut text)).await.unwrap().unwrap();
        assert_eq!(&text, b"still here");
        all.client.close().await.unwrap();
        timeout(SOON, all.serving).await.unwrap().unwrap().unwrap();
        echoing.await.unwrap();
    }
}

#[tokio::test]
async fn channels_end_with_the_client() {
    let mut all = channels_of(Protocol::WebSocket, &[80, 2]).await;
    let mut pod = all.pod.recv().await.unwrap();
    all.client.writer(0).write_all(b"last words").await.unwrap();
    let client = all.client;
    let closing = tokio::spawn(async move { client.close().await });
    let mut text = String::new();
    pod.io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "last words");
    timeout(SOON, all.serving).await.unwrap().unwrap().unwrap();
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn more_ports_than_digits_are_an_error() {
    let (a, _b) = duplex(1 << 10);
    let ports = vec![80; 60];
    let error = serve(a, Protocol::WebSocketBase64, ports, pod().0, Limits::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::WebSocket(_)), "{error}");
}

/// A pod on real sockets, as a host has them.
struct Sockets(Mutex<Vec<u16>>);

impl Connect for Sockets {
    type Io = TcpStream;

    async fn connect(&self, port: u16) -> Result<Target<TcpStream>, String> {
        self.0.lock().unwrap().push(port);
        let io = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|e| e.to_string())?;
        let outcome: BoxFuture<'static, _> = futures::future::ready(Ok(())).boxed();
        Ok(Target { io, outcome })
    }
}

#[tokio::test]
async fn a_real_socket_that_stops_reading_has_its_answer_delivered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (a, b) = duplex(4 << 10);
    let serving = tokio::spawn(serve(
        a,
        Protocol::Spdy,
        Vec::new(),
        Arc::new(Sockets(Mutex::default())),
        Limits::default(),
    ));
    let client = connect(b, Protocol::Spdy).await.unwrap();
    let mut forwarding = client.open(port).await.unwrap();
    let (mut pod, _) = listener.accept().await.unwrap();
    forwarding.data.write_all(b"question").await.unwrap();
    let mut got = [0; 8];
    pod.read_exact(&mut got).await.unwrap();
    pod.write_all(b"answer").await.unwrap();
    pod.shutdown().await.unwrap();
    let mut text = String::new();
    forwarding.data.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
    assert_eq!(forwarding.error.wait().await.unwrap(), None);
    drop((pod, listener));
    // Nobody listens there any more.
    let refused = client.open(port).await.unwrap();
    assert!(refused.error.wait().await.unwrap().is_some());
    client.close().await.unwrap();
    serving.await.unwrap().unwrap();
}

/// A pod on socket pairs, as plugins have them, that answers and closes without having read: Linux has the host's end of such a
/// pair end in a reset. Then comes the outcome, if there is one.
struct Deaf(Option<Result<(), String>>);

impl Connect for Deaf {
    type Io = UnixStream;

    async fn connect(&self, _: u16) -> Result<Target<UnixStream>, String> {
        let (near, mut far) = UnixStream::pair().map_err(|e| e.to_string())?;
        let told = self.0.clone();
        let (mut sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            far.readable().await.unwrap();
            far.write_all(b"answer").await.unwrap();
            drop(far);
            match told {
                Some(outcome) => sender.send(outcome).unwrap(),
                None => sender.closed().await,
            }
        });
        let outcome = receiver.map(|outcome| outcome.unwrap_or(Ok(()))).boxed();
        Ok(Target { io: near, outcome })
    }
}

#[tokio::test]
async fn a_pods_side_that_ends_in_a_reset_has_its_answer_and_its_outcome_told() {
    let outcomes = [
        (Some(Err("it burns".to_owned())), Some("it burns")),
        (Some(Ok(())), None),
        (None, Some("error forwarding port 80: Connection reset by peer")),
    ];
    for protocol in STREAMS {
        for (outcome, complaint) in &outcomes {
            let limits = Limits {
                grace: if outcome.is_some() { SOON } else { Duration::ZERO },
                ..Limits::default()
            };
            let (a, b) = duplex(4 << 10);
            let serving = tokio::spawn(serve(a, protocol, Vec::new(), Arc::new(Deaf(outcome.clone())), limits));
            let client = connect(b, protocol).await.unwrap();
            let mut forwarding = client.open(80).await.unwrap();
            forwarding.data.write_all(b"question").await.unwrap();
            let mut text = String::new();
            forwarding.data.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "answer", "{protocol:?} {outcome:?}");
            let told = timeout(SOON, forwarding.error.wait()).await.unwrap().unwrap();
            match (told.as_deref(), complaint) {
                (Some(told), Some(complaint)) => assert!(told.starts_with(complaint), "{told}"),
                (told, complaint) => assert_eq!(told, *complaint),
            }
            forwarding.data.shutdown().await.ok();
            client.close().await.unwrap();
            timeout(SOON, serving).await.unwrap().unwrap().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn cuts_don_t_matter(
        room in 1usize..300,
        sizes in prop::collection::vec(1usize..40, 1..6),
        lengths in prop::collection::vec(0usize..3000, 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for protocol in STREAMS {
                let (a, b) = dribbling(room, &sizes);
                let (connect_to, mut pod) = pod();
                let serving = tokio::spawn(serve(a, protocol, Vec::new(), connect_to, Limits::default()));
                let echoing = tokio::spawn(async move {
                    while let Some(connection) = pod.recv().await {
                        tokio::spawn(echo(connection.io));
                    }
                });
                let client = connect(b, protocol).await.unwrap();
                let one = async |length: usize| {
                    let forwarding = client.open(80).await.unwrap();
                    let sent = pattern(length);
                    let (mut read, mut write) = tokio::io::split(forwarding.data);
                    let mut got = Vec::new();
                    let write = async {
                        write.write_all(&sent).await.unwrap();
                        write.shutdown().await.unwrap();
                    };
                    let ((), read) = tokio::join!(write, read.read_to_end(&mut got));
                    read.unwrap();
                    assert_eq!(got, sent);
                    assert_eq!(forwarding.error.wait().await.unwrap(), None);
                };
                futures::future::join_all(lengths.iter().map(|length| one(*length))).await;
                client.close().await.unwrap();
                serving.await.unwrap().unwrap();
                echoing.abort();
            }
        });
    }
}
