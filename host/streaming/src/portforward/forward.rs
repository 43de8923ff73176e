//! One connection: bytes from the client to the pod and back, each direction ending by itself.

use std::future::pending;
use std::io;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::{Connect, Limits};

/// A quiet connection costs this much in each direction.
const SMALLEST: usize = 2 << 10;
/// A busy one this much: more is no faster.
const LARGEST: usize = 32 << 10;

/// How the pod's side ended, and what is left to do.
pub(super) enum Verdict {
    /// All its bytes were handed on, and the end. What the client still sends is handed on by the future, which ends with that.
    Done(BoxFuture<'static, ()>),
    /// It failed; the text is for the user.
    Failed(String),
    /// The client gave this connection up.
    ClientGone,
}

/// How the client's direction ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// With its last byte; or the pod takes no more, which is the pod's right.
    Over,
    /// The client is gone, or has reset the connection.
    ClientGone,
}

/// How the pod's direction ended.
enum Download {
    /// With its last byte, or with a fault after the last that could be read; the client has all of them.
    Over(Option<io::Error>),
    /// The client takes no more.
    ClientGone,
}

enum Fault {
    Read(io::Error),
    Write,
}

/// Copies to the end, or until nothing more has come once `over` is. `flush`: after each piece, for writers that may keep it.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    flush: bool,
    over: impl Future<Output = ()>,
) -> Result<(), Fault> {
    let mut buffer = vec![0; SMALLEST];
    tokio::pin!(over);
    loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read.map_err(Fault::Read)?,
            () = &mut over => return Ok(()),
        };
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await.map_err(|_| Fault::Write)?;
        if flush {
            to.flush().await.map_err(|_| Fault::Write)?;
        }
        if read == buffer.len() && read < LARGEST {
            buffer = vec![0; read * 4];
        }
    }
}

async fn upload(mut client: impl AsyncRead + Unpin, mut target: impl AsyncWrite + Unpin) -> Upload {
    let result = match pump(&mut client, &mut target, true, pending()).await {
        Ok(()) => {
            // The pod may have closed already.
            let _ = target.shutdown().await;
            return Upload::Over;
        }
        Err(fault) => fault,
    };
    // The other half of the connection to the pod stays: what it has answered is worth having.
    drop(target);
    match result {
        Fault::Read(_) => Upload::ClientGone,
        // Unread bytes would hold up the other connections of this client.
        Fault::Write => match tokio::io::copy(&mut client, &mut tokio::io::sink()).await {
            Ok(_) => Upload::Over,
            Err(_) => Upload::ClientGone,
        },
    }
}

/// Connects to the pod and copies until the pod's side has ended; shuts `to_client` down after its last byte.
pub(super) async fn forward<C: Connect>(
    port: u16,
    from_client: impl AsyncRead + Send + Unpin + 'static,
    mut to_client: impl AsyncWrite + Send + Unpin + 'static,
    connect: Arc<C>,
    limits: Limits,
) -> Verdict {
    let target = match connect.connect(port).await {
        Ok(target) => target,
        Err(text) => return Verdict::Failed(text),
    };
    let (mut from_target, to_target) = tokio::io::split(target.io);
    // Dropped in the opposite order: the call is cancelled before its stream ends, which would pass for the client's end.
    let mut uploading = upload(from_client, to_target).boxed();
    let mut uploaded = None;
    let (failed, failure) = oneshot::channel();
    let mut failed = Some(failed);
    let over = async move {
        match failure.await {
            Ok(()) => sleep(limits.grace).await,
            Err(_) => pending().await,
        }
    };
    let download = async move {
        // Streams to the client go out by themselves.
        let fault = match pump(&mut from_target, &mut to_client, false, over).await {
            Ok(()) => None,
            Err(Fault::Write) => return Download::ClientGone,
            Err(Fault::Read(error)) => Some(error),
        };
        // After a fault as well: what was read before it is worth having.
        match to_client.shutdown().await {
            Ok(()) => Download::Over(fault),
            Err(_) => Download::ClientGone,
        }
    };
    tokio::pin!(download);
    let mut outcome = target.outcome;
    let mut told = None;
    let downloaded = loop {
        tokio::select! {
            // A client that leaves after it has got everything has not given up.
            biased;
            downloaded = &mut download => break downloaded,
            result = &mut uploading, if uploaded.is_none() => {
                uploaded = Some(result);
                if result == Upload::ClientGone {
                    return Verdict::ClientGone;
                }
            }
            // What has failed may never end its stream.
            result = &mut outcome, if told.is_none() => {
                if let (Err(_), Some(failed)) = (&result, failed.take()) {
                    // The download is there to hear it.
                    let _ = failed.send(());
                }
                told = Some(result);
            }
        }
    };
    let Download::Over(fault) = downloaded else {
        return Verdict::ClientGone;
    };
    let told = if let Some(told) = told {
        Ok(told)
    } else {
        let told = timeout(limits.grace, &mut outcome);
        tokio::pin!(told);
        loop {
            tokio::select! {
                biased;
                told = &mut told => break told,
                result = &mut uploading, if uploaded.is_none() => uploaded = Some(result),
            }
        }
    };
    match (told, fault) {
        (Ok(Err(text)), _) => Verdict::Failed(text),
        // A socket that is closed with bytes unread ends in a reset, however well all went: the outcome knows better.
        (Err(_), Some(error)) => Verdict::Failed(format!("error forwarding port {port}: {error}")),
        // No outcome yet: the far side waits for the client's end, as it should.
        (Ok(Ok(())), _) | (Err(_), None) if uploaded.is_some() => Verdict::Done(futures::future::ready(()).boxed()),
        (Ok(Ok(())), _) | (Err(_), None) => Verdict::Done(
            async move {
                uploading.await;
                // Not before: to drop it may be to give up what takes the rest.
                drop(outcome);
            }
            .boxed(),
        ),
    }
}
