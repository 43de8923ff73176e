//! A local port whose connections go to one of a pod.

use crate::Error;
use crate::target::Target;
use std::net::Ipv4Addr;
use std::rc::Rc;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Says where it listens and goes on for ever.
pub async fn run(target: Target, pod: &str, port: u16) -> Result<i32, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("Forwarding from {} -> {port}", listener.local_addr()?);
    let target = Rc::new(target);
    let connections = LocalSet::new();
    connections
        .run_until(async {
            loop {
                let (connection, _) = listener.accept().await?;
                let (target, pod) = (Rc::clone(&target), pod.to_owned());
                tokio::task::spawn_local(async move {
                    if let Err(error) = carry(&target, &pod, port, connection).await {
                        eprintln!("interop-kube-rs: {error}");
                    }
                });
            }
        })
        .await
}

/// One connection, which is one forward of the library's, too: its protocol can't close one direction alone.
async fn carry(target: &Target, pod: &str, port: u16, mut connection: TcpStream) -> Result<(), Error> {
    let mut forward = target.forward(pod, port).await?;
    let mut remote = forward.take_stream(port).ok_or("the port has no stream")?;
    copy_bidirectional(&mut connection, &mut remote).await?;
    drop(remote);
    Ok(forward.join().await?)
}
