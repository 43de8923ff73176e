//! Port-forward: a TCP connection for each client, to a server that echoes. It stands for whatever listens in a pod.

use crate::provider::Mock;
use outrigger_plugin::{ByteStream, Call, PortForward, PortForwardRequest, ProviderError, Result};
use std::{io, net::Ipv4Addr};
use tokio::{
    io::{copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

impl PortForward for Mock {
    async fn port_forward(&self, _call: Call, request: PortForwardRequest, mut connection: ByteStream) -> Result<()> {
        let PortForwardRequest { identity, port } = request;
        let doors = self.doors(&identity).await?;
        let mut declaring = doors.iter().filter(|door| door.ports.contains(&port));
        let Some(inside) = declaring.find_map(|door| door.enter(&identity)) else {
            let reason = format!("no running container of pod {} declares it", identity.name);
            return Err(ProviderError::invalid(format!(
                "unable to connect to port {port}: connection refused: {reason}"
            )));
        };
        let mut target = self.connect().await.map_err(|source| {
            ProviderError::unavailable(format!("unable to connect to port {port}")).with_source(source)
        })?;
        // Either side may end its half while the other goes on.
        tokio::select! {
            copied = copy_bidirectional(&mut connection, &mut target) => Ok(copied.map(drop)?),
            () = self.until_over(&inside) => Err(ProviderError::unavailable("the container has ended")),
        }
    }
}

impl Mock {
    /// A connection to the echo server, which begins with the first.
    async fn connect(&self) -> io::Result<TcpStream> {
        let address = self.echo.get_or_try_init(|| async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            tokio::spawn(echo(listener));
            io::Result::Ok(address)
        });
        let stream = TcpStream::connect(address.await?).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Ends with the provider's runtime.
async fn echo(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => drop(tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                // An error is a client that has gone.
                let _ = copy(&mut reader, &mut writer).await;
            })),
            // Out of descriptors, say: the connection waits in the kernel's queue, this one task for the next.
            Err(error) => {
                tracing::warn!(%error, "unable to accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
