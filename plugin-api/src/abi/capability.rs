//! Tables of the capabilities, and the descriptors that come with their calls.

use super::entry::start;
use crate::{
    ByteStream, Provider, ProviderError, Resize, Result, Session,
    capability::{self as traits},
    request,
};
use outrigger_wire::{
    ABI_MINOR, CallHeader, CapabilityEntry, RSlice, StableAbiTrait, WithMetadata,
    capability::{self as wire, SessionFds},
};
use std::{
    marker::PhantomData,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream as StdStream,
    },
};
use tokio::net::UnixStream;

macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $table:ident { $($field:ident: $function:ident),* }, $ref:ident, $id:expr) => {
        $(#[$doc])*
        pub struct $name<P = ()>(PhantomData<P>);

        impl $name {
            /// Its id.
            pub const ID: &'static str = $id;

            /// Its table for a provider.
            pub fn entry<P: traits::$name>() -> CapabilityEntry {
                CapabilityEntry {
                    minor: ABI_MINOR,
                    layout: <wire::$ref as StableAbiTrait>::LAYOUT,
                    table: $name::<P>::TABLE.static_as_prefix().to_raw_ptr().cast(),
                }
            }
        }

        impl<P: traits::$name> $name<P> {
            const TABLE: &'static WithMetadata<wire::$table> =
                &WithMetadata::new(wire::$table { $($field: $function::<P>),* });
        }
    };
}

table!(/** Container logs. */ Logs, Logs { read: read_logs }, LogsRef, wire::LOGS);
table!(/** Commands. */ Exec, Exec { exec: exec }, ExecRef, wire::EXEC);
table!(/** Attaching. */ Attach, Attach { attach: attach }, AttachRef, wire::ATTACH);
table!(/** Connections. */ PortForward, PortForward { connect: connect }, PortForwardRef, wire::PORT_FORWARD);
table!(/** Resource use. */ Stats, Stats { summary: summary }, StatsRef, wire::STATS);
table!(/** Images. */ Images, Images { list: images }, ImagesRef, wire::IMAGES);

/// Descriptors that came with a call: ours, and closed if the call is refused or never runs.
struct Passed(Option<OwnedFd>);

impl Passed {
    #[allow(unsafe_code)]
    fn new(fd: i32) -> Self {
        // SAFETY: by the contract of the capability tables the host passes an open descriptor and has given it up.
        Self((fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn into_stream(self) -> Result<Option<UnixStream>> {
        let Some(fd) = self.0 else { return Ok(None) };
        let stream = StdStream::from(fd);
        stream.set_nonblocking(true)?;
        Ok(Some(UnixStream::from_std(stream)?))
    }
}

/// The descriptors of a session.
struct PassedSession {
    stdin: Passed,
    stdout: Passed,
    stderr: Passed,
    resize: Passed,
}

impl PassedSession {
    fn new(fds: SessionFds) -> Self {
        Self {
            stdin: Passed::new(fds.stdin),
            stdout: Passed::new(fds.stdout),
            stderr: Passed::new(fds.stderr),
            resize: Passed::new(fds.resize),
        }
    }

    fn into_session(self) -> Result<Session> {
        Ok(Session {
            stdin: self.stdin.into_stream()?.map(ByteStream::new),
            stdout: self.stdout.into_stream()?.map(ByteStream::new),
            stderr: self.stderr.into_stream()?.map(ByteStream::new),
            resize: self.resize.into_stream()?.map(Resize::new),
        })
    }
}

fn missing_stream() -> ProviderError {
    ProviderError::invalid("the host passed no stream")
}

fn stream_call<P, B, F>(
    instance: u64,
    header: CallHeader,
    body: RSlice<'_, u8>,
    fd: i32,
    work: impl FnOnce(std::sync::Arc<P>, crate::Call, B, ByteStream) -> F + Send + 'static,
) -> u32
where
    P: Provider,
    B: serde::de::DeserializeOwned + Send,
    F: Future<Output = Result<()>> + Send,
{
    let passed = Passed::new(fd);
    start::<P, B, _, _>(instance, header, body, move |provider, call, request| async move {
        let stream = passed.into_stream()?.ok_or_else(missing_stream)?;
        work(provider, call, request, ByteStream::new(stream)).await
    })
}

extern "C" fn read_logs<P: traits::Logs>(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fd: i32) -> u32 {
    stream_call::<P, request::LogRequest, _>(
        instance,
        header,
        body,
        fd,
        |provider, call, request, stream| async move { provider.read_logs(call, request, stream).await },
    )
}

extern "C" fn connect<P: traits::PortForward>(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fd: i32) -> u32 {
    stream_call::<P, request::PortForwardRequest, _>(
        instance,
        header,
        body,
        fd,
        |provider, call, request, stream| async move { provider.port_forward(call, request, stream).await },
    )
}

extern "C" fn exec<P: traits::Exec>(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fds: SessionFds) -> u32 {
    let passed = PassedSession::new(fds);
    start::<P, request::ExecRequest, _, _>(instance, header, body, move |provider, call, request| async move {
        provider.exec(call, request, passed.into_session()?).await
    })
}

extern "C" fn attach<P: traits::Attach>(
    instance: u64,
    header: CallHeader,
    body: RSlice<'_, u8>,
    fds: SessionFds,
) -> u32 {
    let passed = PassedSession::new(fds);
    start::<P, request::AttachRequest, _, _>(instance, header, body, move |provider, call, request| async move {
        provider.attach(call, request, passed.into_session()?).await
    })
}

extern "C" fn summary<P: traits::Stats>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::StatsRequest, _, _>(instance, header, body, |provider, call, request| async move {
        provider.stats(call, request).await
    })
}

extern "C" fn images<P: traits::Images>(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32 {
    start::<P, request::NodeKey, _, _>(instance, header, body, |provider, call, request| async move {
        provider
            .images(call, request.node)
            .await
            .map(|images| request::ImageList { images })
    })
}
