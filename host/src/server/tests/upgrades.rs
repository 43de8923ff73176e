//! A client that asks for an upgrade.

use super::*;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use outrigger_streaming::remotecommand;
use outrigger_streaming::remotecommand::ClientSession;
use outrigger_streaming::remotecommand::Outcome;
use outrigger_streaming::remotecommand::Protocol;
use outrigger_streaming::remotecommand::Wanted;

/// What a session is asked for.
pub const OUTPUT: Wanted = Wanted {
    stdin: false,
    stdout: true,
    stderr: true,
    tty: false,
};
pub const INPUT: Wanted = Wanted { stdin: true, ..OUTPUT };
pub const TERMINAL: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: false,
    tty: true,
};

/// The answer to a request with these headers, and the connection, of which nothing more was read.
pub async fn ask_upgrade(
    server: &Running,
    method: &str,
    path: &str,
    headers: &HeaderMap,
) -> (Response<()>, TlsStream<TcpStream>) {
    let mut stream = server.connect().await;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n").into_bytes();
    for (name, value) in headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap();
        answer.push(byte.unwrap());
    }
    (parse(&String::from_utf8(answer).unwrap()), stream)
}

fn parse(head: &str) -> Response<()> {
    let mut lines = head.trim_end().split("\r\n");
    let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().unwrap();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        response
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    response
}

/// The words of a command as a query.
pub fn words(command: &str) -> String {
    let words = command.split(' ').map(|word| format!("&command={word}"));
    words.collect()
}

/// Begins a session with the app of the fake pod.
pub async fn session(server: &Running, path: &str, protocol: Protocol, wanted: Wanted) -> ClientSession {
    let flag = |name: &str, wanted: bool| if wanted { format!("&{name}=1") } else { String::new() };
    let Wanted {
        stdin,
        stdout,
        stderr,
        tty,
    } = wanted;
    let flags = [("input", stdin), ("output", stdout), ("error", stderr), ("tty", tty)];
    let query: String = flags.map(|(name, wanted)| flag(name, wanted)).concat();
    let asked = remotecommand::ask(&[protocol]);
    let method = if protocol.is_spdy() { "POST" } else { "GET" };
    let (response, stream) = ask_upgrade(server, method, &format!("{path}{query}"), &asked.headers).await;
    assert_eq!(asked.answered(&response).unwrap(), protocol);
    let begun = tokio::time::timeout(PATIENCE, remotecommand::connect(stream, protocol, wanted));
    begun.await.unwrap().unwrap()
}

/// Begins a command.
pub async fn exec(server: &Running, protocol: Protocol, wanted: Wanted, command: &str) -> ClientSession {
    let path = format!("/exec/default/web/app?{}", words(command));
    session(server, &path, protocol, wanted).await
}

/// Reads a session to its end: stdout, stderr, outcome.
pub async fn finish(mut session: ClientSession) -> (Vec<u8>, Vec<u8>, Outcome) {
    let read = async |stream: Option<remotecommand::Input>| {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).await.unwrap();
        }
        bytes
    };
    let (stdout, stderr) = (session.stdout.take(), session.stderr.take());
    let all = async {
        let (stdout, stderr, outcome) = tokio::join!(read(stdout), read(stderr), session.end.outcome());
        let outcome = outcome.unwrap();
        session.end.close().await.unwrap();
        (stdout, stderr, outcome)
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap()
}
