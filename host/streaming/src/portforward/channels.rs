//! Two WebSocket channels for each port: 2*i* for its bytes, 2*i* + 1 for its errors. Both begin with the port, two bytes, little
//! endian, from the server.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::forward::{Verdict, forward};
use super::{Connect, Error, Limits, Protocol};
use crate::text::cut;
use crate::websocket::{self, Codec, MAX_MESSAGE, Role, Settings, Timing, Use};

pub(super) fn settings(role: Role, protocol: Protocol, ports: usize, limits: Limits) -> Settings {
    let own = match role {
        Role::Server => [Use::Both, Use::Write],
        Role::Client => [Use::Both, Use::Read],
    };
    Settings {
        role,
        codec: match protocol {
            Protocol::WebSocketBase64 => Codec::Base64,
            _ => Codec::Raw { half_close: false },
        },
        channels: own.repeat(ports),
        message: MAX_MESSAGE,
        receive: limits.receive,
        send: limits.send,
        timing: Timing {
            idle: limits.idle,
            patience: limits.patience,
            cap: limits.cap,
        },
    }
}

pub(super) async fn serve<Io, C>(
    io: Io,
    protocol: Protocol,
    ports: Vec<u16>,
    connect: Arc<C>,
    limits: Limits,
) -> Result<(), Error>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    C: Connect,
{
    let settings = settings(Role::Server, protocol, ports.len(), limits);
    let mut control = websocket::open(io, settings).await.map_err(Arc::new)?;
    let mut running = JoinSet::new();
    for (data, port) in (0u8..).step_by(2).zip(ports) {
        let errors = data + 1;
        control.send(data, &port.to_le_bytes());
        control.send(errors, &port.to_le_bytes());
        let (reader, writer) = (control.reader(data), control.writer(data));
        let forwarded = forward(port, reader, writer, connect.clone(), limits);
        running.spawn(async move {
            match forwarded.await {
                Verdict::Failed(text) => (errors, text),
                Verdict::ClientGone => (errors, String::new()),
                Verdict::Done(rest) => {
                    // The client can't say that it has sent all.
                    let _ = timeout(limits.grace, rest).await;
                    (errors, String::new())
                }
            }
        });
    }
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                None => break,
                // One message has to fit: what does not would end the other ports, too.
                Some(Ok((errors, text))) if !text.is_empty() => control.send(errors, cut(&text).as_bytes()),
                Some(_) => {}
            },
            () = control.gone() => {
                // What the client sent before it left goes on to the pod.
                let rest = async { while running.join_next().await.is_some() {} };
                let _ = timeout(limits.grace, rest).await;
                break;
            }
        }
    }
    running.shutdown().await;
    let ended = control.close().await;
    match ended.as_ref().map_err(|e| &**e) {
        Ok(()) | Err(websocket::Error::Lost(_)) => Ok(()),
        Err(_) => ended.map_err(Error::from),
    }
}
