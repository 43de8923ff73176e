//! Two programs that speak SPDY with each other, or with any peer that Kubernetes' library has:
//!
//! ```text
//! cargo run -p outrigger-streaming --example spdy -- serve 127.0.0.1:7070
//! cargo run -p outrigger-streaming --example spdy -- call 127.0.0.1:7070 < some-file
//! ```
//!
//! The first sends back what it gets on each stream, and says on another how much that was, as a command would its exit
//! code. The second sends its stdin and prints what comes back. Without arguments both run in one process.

use outrigger_streaming::spdy::{Config, Connection, Error, Headers, Status, Stream, client, server};
use std::error::Error as StdError;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy, stderr, stdin, stdout};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn StdError + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            tokio::spawn(listen(listener));
            call(TcpStream::connect(address).await?, &b"there and back again\n"[..]).await
        }
        ["serve", address] => {
            let listener = TcpListener::bind(address).await?;
            println!("listening on {}", listener.local_addr()?);
            listen(listener).await
        }
        ["call", address] => call(TcpStream::connect(address).await?, stdin()).await,
        _ => Err("usage: spdy [serve ADDRESS | call ADDRESS]".into()),
    }
}

async fn listen(listener: TcpListener) -> Result<()> {
    loop {
        let (socket, peer) = listener.accept().await?;
        // Between the two there would be the HTTP request with `Upgrade: SPDY/3.1`, and its answer.
        let connection = server(socket, Config::default());
        tokio::spawn(async move {
            if let Err(error) = serve(connection).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// A session: the client opens two streams, and when the work on them is done, the session ends.
async fn serve(mut connection: Connection) -> Result<()> {
    let mut data = accept(&mut connection, "data").await?;
    let mut status = accept(&mut connection, "status").await?;
    let (mut from, mut to) = tokio::io::split(&mut data);
    let count = copy(&mut from, &mut to).await?;
    data.shutdown().await?;
    status.write_all(format!("{count} bytes\n").as_bytes()).await?;
    status.shutdown().await?;
    // All that was written gets there, however slowly the client reads.
    connection
        .finish(Duration::from_secs(60), Duration::from_secs(15 * 60))
        .await?;
    Ok(())
}

/// The next stream, if it is of the kind that is wanted.
async fn accept(connection: &mut Connection, kind: &str) -> Result<Stream> {
    let incoming = connection.accept().await.ok_or(Error::Gone)?;
    if incoming.headers.get("streamtype") != Some(kind) {
        incoming.reject(Status::RefusedStream);
        return Err(format!("it wants something else than {kind}").into());
    }
    Ok(incoming.accept(Headers::new()))
}

async fn call(socket: TcpStream, mut input: impl AsyncRead + Unpin) -> Result<()> {
    let connection = client(socket, Config::default());
    let kind = |kind: &str| Headers::new().with("streamtype", kind);
    let mut data = connection.open(kind("data"), false).await?;
    // Opened with its end: nothing is sent on it.
    let mut status = connection.open(kind("status"), true).await?;
    let (mut from, mut to) = tokio::io::split(&mut data);
    let send = async {
        copy(&mut input, &mut to).await?;
        to.shutdown().await
    };
    let mut output = stdout();
    tokio::try_join!(send, copy(&mut from, &mut output))?;
    output.flush().await?;
    let mut said = String::new();
    status.read_to_string(&mut said).await?;
    stderr().write_all(said.as_bytes()).await?;
    connection.close().await?;
    Ok(())
}
