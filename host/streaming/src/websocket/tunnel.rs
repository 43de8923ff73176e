//! A stream of bytes in the binary messages of a WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{MAX_MESSAGE, PIECE};

/// The bytes of all binary messages, one after the other, as one stream in each direction; where messages begin and end means
/// nothing. Kubernetes carries SPDY this way (`SPDY/3.1+portforward.k8s.io`, KEP-4006).
///
/// A close frame with code 1000 is the end of the file; a text message is an error. Shutting it down sends a close frame: there
/// are no halves.
#[derive(Debug)]
pub struct Tunnel<Io> {
    socket: WebSocketStream<Io>,
    piece: Bytes,
    /// The peer's close frame has come, or ours has gone.
    ended: bool,
    /// Pongs may wait in the socket's buffer, and fill it.
    ponged: bool,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Tunnel<Io> {
    /// Takes a socket whose handshake is done.
    pub async fn new(io: Io, role: Role) -> Self {
        Tunnel {
            socket: WebSocketStream::from_raw_socket(io, role, Some(super::config(MAX_MESSAGE))).await,
            piece: Bytes::new(),
            ended: false,
            ponged: false,
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(data))) => self.piece = data,
                Some(Ok(Message::Close(frame))) => {
                    self.ended = true;
                    let code = frame.as_ref().map_or(CloseCode::Status, |f| f.code);
                    if !matches!(code, CloseCode::Normal | CloseCode::Away | CloseCode::Status) {
                        let text = format!("the peer closed the tunnel with code {}", u16::from(code));
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
                    }
                }
                Some(Ok(Message::Text(_))) => {
                    let text = "a text message came through a tunnel, which carries bytes";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(Message::Ping(_))) => self.ponged = true,
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(to_io(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the socket takes a message.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Pin::new(&mut self.socket);
        let room = if self.ponged {
            socket.poll_flush(cx)
        } else {
            socket.poll_ready(cx)
        };
        ready!(room).map_err(to_io)?;
        self.ponged = false;
        Poll::Ready(Ok(()))
    }
}

fn to_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(tungstenite::error::ProtocolError::SendAfterClosing) => {
            io::Error::new(io::ErrorKind::BrokenPipe, "the tunnel is closed")
        }
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            io::Error::new(io::ErrorKind::UnexpectedEof, error)
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_piece(cx))?;
        let amount = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece[..amount]);
        this.piece.advance(amount);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(this.poll_room(cx))?;
        let amount = buf.len().min(PIECE);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..amount]));
        Pin::new(&mut this.socket).start_send(message).map_err(to_io)?;
        Poll::Ready(Ok(amount))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx).map_err(to_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ended {
            ready!(this.poll_room(cx))?;
            this.ended = true;
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: Default::default(),
            };
            Pin::new(&mut this.socket)
                .start_send(Message::Close(Some(frame)))
                .map_err(to_io)?;
        }
        ready!(Pin::new(&mut this.socket).poll_flush(cx)).map_err(to_io)?;
        Pin::new(this.socket.get_mut()).poll_shutdown(cx)
    }
}
