//! A server that runs commands as local processes, and a client for it. Plain HTTP, no terminal, nobody asked who they are: an
//! example, not a service.
//!
//! ```text
//! cargo run --example exec_server -- serve 127.0.0.1:7070
//! echo hello | cargo run --example exec_server -- run 127.0.0.1:7070 tr a-z A-Z
//! ```
//!
//! With `--spdy` before the command, the client speaks SPDY instead of WebSocket.

use std::convert::Infallible;
use std::error::Error;
use std::process::{ExitCode, Stdio};

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_streaming::remotecommand::{
    self, Input, Limits, Offer, Outcome, Output, Protocol, Refusal, Session, Wanted,
};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(begin());
    // A read of our own stdin can't be cancelled, and nobody needs it any more.
    runtime.shutdown_background();
    result
}

async fn begin() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve(address).await,
        ["run", address, "--spdy", ref command @ ..] => run(address, &[Protocol::SpdyV4], command).await,
        ["run", address, ref command @ ..] => {
            run(address, &[Protocol::WebSocketV5, Protocol::WebSocketV4], command).await
        }
        _ => Err("usage: exec_server serve ADDRESS | run ADDRESS [--spdy] COMMAND [ARGUMENT...]".into()),
    }
}

async fn serve(address: &str) -> Result<ExitCode> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service_fn(answer))
                .with_upgrades();
            if let Err(error) = connection.await {
                eprintln!("unable to serve a connection: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<String>, Infallible> {
    Ok(upgrade(request).unwrap_or_else(Response::from))
}

/// Chooses the protocol, and leaves the rest to a task that gets the connection after the answer.
fn upgrade(mut request: Request<Incoming>) -> std::result::Result<Response<String>, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let wanted = Wanted::from_query(query)?;
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "command");
    let command: Vec<String> = pairs.map(|(_, value)| value.into_owned()).collect();
    let agreed = remotecommand::negotiate(request.method(), request.headers(), Offer { extended: true })?;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let served = async {
            let io = TokioIo::new(upgraded.await?);
            let session = remotecommand::serve(io, agreed.protocol, wanted, Limits::default()).await?;
            execute(&command, session).await
        };
        if let Err(error) = served.await {
            eprintln!("unable to serve {command:?}: {error}");
        }
    });
    Ok(agreed.response.map(|()| String::new()))
}

async fn execute(command: &[String], session: Session) -> Result<()> {
    let Session {
        stdin,
        stdout,
        stderr,
        mut end,
        ..
    } = session;
    let mut child = match start(command) {
        Ok(child) => child,
        Err(error) => {
            let message = format!("error executing command in container: {error}");
            return Ok(end.finish(Outcome::Failed { message }).await?);
        }
    };
    let (mut to, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // Ends with the client's stdin, and is dropped when the process is done.
    let typing = async {
        if let (Some(mut from), Some(to)) = (stdin, &mut to) {
            // A process may stop reading.
            let _ = tokio::io::copy(&mut from, to).await;
        }
        to.take();
        std::future::pending::<()>().await;
    };
    let running = async {
        tokio::try_join!(hand_on(out, stdout), hand_on(err, stderr))?;
        child.wait().await
    };
    let status = tokio::select! {
        () = typing => return Ok(()),
        // Dropping the child kills it.
        () = end.gone() => return Ok(()),
        status = running => status?,
    };
    Ok(end.finish(Outcome::Exit(status.code().unwrap_or(255))).await?)
}

fn start(command: &[String]) -> std::io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Output that nobody asked for is read all the same: the process would wait.
async fn hand_on(from: Option<impl AsyncRead + Unpin>, to: Option<Output>) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    match to {
        Some(mut to) => tokio::io::copy(&mut from, &mut to).await?,
        None => tokio::io::copy(&mut from, &mut tokio::io::sink()).await?,
    };
    Ok(())
}

async fn run(address: &str, protocols: &[Protocol], command: &[&str]) -> Result<ExitCode> {
    let mut query = form_urlencoded::Serializer::new(String::from("input=1&output=1&error=1"));
    query.extend_pairs(command.iter().map(|word| ("command", word)));
    let ask = remotecommand::ask(protocols);
    let mut request = Request::get(format!("/exec?{}", query.finish())).body(String::new())?;
    *request.headers_mut() = ask.headers.clone();
    request.headers_mut().insert(header::HOST, address.parse()?);

    let tcp = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the server refused: {}", response.status()).into());
    }
    let protocol = ask.answered(&response)?;
    let io = TokioIo::new(hyper::upgrade::on(&mut response).await?);
    let wanted = Wanted {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let mut session = remotecommand::connect(io, protocol, wanted).await?;
    let stdin = session.stdin.take();
    let typing = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await;
            let _ = stdin.shutdown().await;
        }
    });
    let show = async |from: Option<Input>, mut to: Box<dyn tokio::io::AsyncWrite + Unpin>| {
        let mut from = from.ok_or(std::io::ErrorKind::NotConnected)?;
        tokio::io::copy(&mut from, &mut to).await?;
        to.flush().await
    };
    tokio::try_join!(
        show(session.stdout.take(), Box::new(tokio::io::stdout())),
        show(session.stderr.take(), Box::new(tokio::io::stderr())),
    )?;
    let outcome = session.end.outcome().await?;
    session.end.close().await?;
    typing.abort();
    match outcome {
        Outcome::Success => Ok(ExitCode::SUCCESS),
        Outcome::Exit(code) => Ok(ExitCode::from(u8::try_from(code)?)),
        Outcome::Failed { message } => Err(message.into()),
    }
}
