//! A server that forwards to ports of its own machine, and a client that listens for it. Plain HTTP, nobody asked who they
//! are: an example, not a service.
//!
//! ```text
//! cargo run --example port_forward -- serve 127.0.0.1:7071
//! cargo run --example port_forward -- forward 127.0.0.1:7071 8080 80
//! ```
//!
//! The client then takes connections on 127.0.0.1:8080, and the server makes them to its port 80. With `--tunnel` at the end,
//! SPDY goes through a WebSocket.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use futures::FutureExt;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_streaming::portforward::{self, Client, Connect, Limits, Offer, Protocol, Refusal, Target};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address] => serve(address).await,
        ["forward", address, local, remote] => forward(address, local.parse()?, remote.parse()?, Protocol::Spdy).await,
        ["forward", address, local, remote, "--tunnel"] => {
            forward(address, local.parse()?, remote.parse()?, Protocol::Tunnel).await
        }
        _ => Err("usage: port_forward serve ADDRESS | forward ADDRESS LOCAL REMOTE [--tunnel]".into()),
    }
}

/// Connects to this machine.
struct Loopback;

impl Connect for Loopback {
    type Io = TcpStream;

    async fn connect(&self, port: u16) -> std::result::Result<Target<TcpStream>, String> {
        let connected = TcpStream::connect(("127.0.0.1", port)).await;
        let io = connected.map_err(|error| format!("error forwarding port {port}: {error}"))?;
        Ok(Target {
            io,
            outcome: futures::future::ready(Ok(())).boxed(),
        })
    }
}

async fn serve(address: &str) -> Result<()> {
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

fn upgrade(mut request: Request<Incoming>) -> std::result::Result<Response<String>, Refusal> {
    let agreed = portforward::negotiate(request.method(), request.headers(), Offer { extended: true })?;
    let protocol = agreed.protocol;
    let ports = match protocol.needs_ports() {
        true => portforward::ports_from_query(request.uri().query().unwrap_or_default())?,
        false => Vec::new(),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let served: Result<()> = async {
            let io = TokioIo::new(upgraded.await?);
            Ok(portforward::serve(io, protocol, ports, Arc::new(Loopback), Limits::default()).await?)
        }
        .await;
        if let Err(error) = served {
            eprintln!("unable to serve a port-forward: {error}");
        }
    });
    Ok(agreed.response.map(|()| String::new()))
}

async fn forward(address: &str, local: u16, remote: u16, protocol: Protocol) -> Result<()> {
    let ask = portforward::ask(&[protocol]);
    let mut request = Request::get("/portForward").body(String::new())?;
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
    let client = Arc::new(portforward::connect(io, protocol).await?);

    let listener = TcpListener::bind(("127.0.0.1", local)).await?;
    println!("forwarding {} to port {remote}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let client = client.clone();
        tokio::spawn(async move {
            if let Err(error) = carry(tcp, &client, remote).await {
                eprintln!("unable to forward a connection: {error}");
            }
        });
    }
}

async fn carry(mut tcp: TcpStream, client: &Client, remote: u16) -> Result<()> {
    let mut forwarding = client.open(remote).await?;
    let copied = tokio::io::copy_bidirectional(&mut tcp, &mut forwarding.data).await;
    if let Some(complaint) = forwarding.error.wait().await? {
        return Err(complaint.into());
    }
    copied?;
    Ok(())
}
