//! `/exec` and `/attach`: a client's streams and a process's, joined.

use super::Io;
use super::Owner;
use super::Refused;
use super::Target;
use super::can_upgrade;
use super::either;
use super::failed;
use super::named;
use super::offer;
use super::pump::Ended;
use super::pump::discard;
use super::pump::pump;
use super::refused;
use super::upgrade;
use crate::server::answer::Answer;
use crate::server::answer::text;
use crate::server::backend::Feature;
use crate::server::backend::Process;
use crate::server::backend::Reader;
use crate::server::backend::Resize;
use crate::server::backend::Writer;
use crate::server::connection::Line;
use crate::server::query;
use crate::server::service::Service;
use http::Request;
use http::StatusCode;
use hyper::body::Incoming;
use outrigger_plugin::AttachRequest;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::ProviderError;
use outrigger_streaming::remotecommand;
use outrigger_streaming::remotecommand::Input;
use outrigger_streaming::remotecommand::Limits;
use outrigger_streaming::remotecommand::Outcome;
use outrigger_streaming::remotecommand::Output;
use outrigger_streaming::remotecommand::Protocol;
use outrigger_streaming::remotecommand::Session;
use outrigger_streaming::remotecommand::Sizes;
use outrigger_streaming::remotecommand::Wanted;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a command whose client has closed the connection to end its input may go on with it.
const AFTER_CLOSE: Duration = Duration::from_secs(600);
/// How long such an end may stand behind input of which the command takes nothing.
const BEFORE_CLOSE: Duration = Duration::from_secs(30);
/// What the client is told when the host ends before its process.
const SHUTTING_DOWN: &str = "the node's host is shutting down";

/// `/exec/{namespace}/{pod}[/{uid}]/{container}?command=...`
pub(in crate::server) async fn exec(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Answer {
    either(try_exec(service, rest, request, line).await)
}

/// `/attach/{namespace}/{pod}[/{uid}]/{container}`
pub(in crate::server) async fn attach(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Answer {
    either(try_attach(service, rest, request, line).await)
}

async fn try_exec(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Result<Answer, Refused> {
    let target = named(Target::of_container(rest))?;
    let query = request.uri().query().unwrap_or_default();
    let wanted = Wanted::from_query(query).map_err(refused)?;
    let command = query::all(query, "command").unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        return Err(text(StatusCode::BAD_REQUEST, "you must specify a command\n").into());
    }
    let view = target.find_running(service).await?;
    service.backend.offers(Feature::Exec).map_err(failed)?;
    can_upgrade(&request)?;
    let asked = ExecRequest {
        identity: view.identity,
        container: target.container,
        command,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let start = move |owner: &Owner| owner.service.backend.exec(&asked);
    let kind = Kind {
        name: "exec",
        goes_on: true,
        failed: "error executing command in container",
        outcome: |status: ExitStatus| match status.exit_code {
            0 => Outcome::Success,
            code => Outcome::Exit(code.into()),
        },
    };
    begin(service, request, line, wanted, kind, start)
}

async fn try_attach(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Result<Answer, Refused> {
    let target = named(Target::of_container(rest))?;
    let wanted = Wanted::from_query(request.uri().query().unwrap_or_default()).map_err(refused)?;
    let view = target.find_running(service).await?;
    service.backend.offers(Feature::Attach).map_err(failed)?;
    can_upgrade(&request)?;
    let asked = AttachRequest {
        identity: view.identity,
        container: target.container,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let start = move |owner: &Owner| owner.service.backend.attach(&asked);
    let kind = Kind {
        name: "attach",
        goes_on: false,
        failed: "error attaching to container",
        outcome: |()| Outcome::Success,
    };
    begin(service, request, line, wanted, kind, start)
}

/// What tells the two apart.
struct Kind<T> {
    name: &'static str,
    /// Whether there is something to end that has its input.
    goes_on: bool,
    /// Before the provider's own words.
    failed: &'static str,
    outcome: fn(T) -> Outcome,
}

fn begin<T: Send + 'static>(
    service: &Arc<Service>,
    request: Request<Incoming>,
    line: &Arc<Line>,
    wanted: Wanted,
    kind: Kind<T>,
    start: impl FnOnce(&Owner) -> Result<Process<T>, ProviderError> + Send + 'static,
) -> Result<Answer, Refused> {
    let agreed = remotecommand::negotiate(request.method(), request.headers(), offer(service)).map_err(refused)?;
    let protocol = agreed.protocol;
    let owner = Owner {
        service: Arc::clone(service),
        line: Arc::clone(line),
    };
    let of = (&**service, &**line, kind.name);
    Ok(upgrade(request, agreed.response, of, move |io| {
        serve(io, protocol, wanted, kind, owner, start)
    }))
}

async fn serve<T: Send + 'static>(
    io: Io,
    protocol: Protocol,
    wanted: Wanted,
    kind: Kind<T>,
    owner: Owner,
    start: impl FnOnce(&Owner) -> Result<Process<T>, ProviderError> + Send,
) {
    let node = owner.service.node();
    let session = match remotecommand::serve(io, protocol, wanted, Limits::default()).await {
        Ok(session) => session,
        Err(error) => {
            let error = crate::server::report(&error);
            return tracing::debug!(node, kind = kind.name, error, "a session did not begin");
        }
    };
    let untold = |error: ProviderError| {
        tracing::debug!(node, kind = kind.name, %error, "a session failed at the provider");
        Outcome::Failed {
            message: format!("{}: {}", kind.failed, error.message),
        }
    };
    let outcome = kind.outcome;
    // A client of such a protocol has no other way to end the input: `tar xf -` and its like need all of it. On a terminal
    // sits somebody, who has left.
    let closes = kind.goes_on && wanted.stdin && !wanted.tty && !protocol.has_half_close();
    let ended = match start(&owner) {
        Ok(process) => join(session, process, &owner.line, closes).await,
        Err(error) => Some((Err(error), session.end)),
    };
    let Some((result, end)) = ended else {
        return tracing::debug!(node, kind = kind.name, "a client left its session");
    };
    let outcome = result.map_or_else(untold, outcome);
    if let Err(error) = end.finish(outcome).await {
        let error = crate::server::report(&error);
        tracing::debug!(
            node,
            kind = kind.name,
            error,
            "a client left before it knew how its session ended"
        );
    }
}

/// Joins them until the process has ended and the client has all of its output, which is the result. `None`: the client
/// has gone; the process was given up at once, but for a client that `closes` to end the input: then it was given that, and the
/// time to make something of it.
async fn join<T>(
    session: Session,
    process: Process<T>,
    line: &Line,
    closes: bool,
) -> Option<(outrigger_plugin::Result<T>, remotecommand::End)> {
    let Session {
        stdin,
        stdout,
        stderr,
        resize,
        mut end,
    } = session;
    let output = async {
        tokio::join!(
            hand_out(process.stdout, stdout, closes),
            hand_out(process.stderr, stderr, closes)
        );
    };
    let work = async {
        // Neither alone: what was written is still on its way when the process has ended, and a stream may end early.
        let (outcome, ()) = tokio::join!(process.outcome, output);
        outcome
    };
    let taken = AtomicU64::new(0);
    let input = async {
        tokio::join!(
            hand_in(stdin, process.stdin, &taken),
            tell_sizes(resize, process.resize)
        );
        // What the client may still say is no reason to wait, nor to end.
        pending::<Infallible>().await
    };
    let cut = async {
        line.socket.closed().await;
        // Perhaps in order, which is seen when what was sent before is read.
        let mut before = None;
        while closes && before != Some(taken.load(Ordering::Relaxed)) {
            before = Some(taken.load(Ordering::Relaxed));
            tokio::time::sleep(BEFORE_CLOSE).await;
        }
    };
    // Dropped in the opposite order: the call is cancelled before its input ends, which would pass for the client's.
    tokio::pin!(input, work);
    let result = tokio::select! {
        // A client that leaves when it has everything has not given up.
        biased;
        outcome = &mut work => outcome,
        never = &mut input => match never {},
        () = end.gone() => {
            if closes && end.left_in_order() {
                let rest = async {
                    tokio::select! {
                        _ = work => {}
                        never = input => match never {},
                    }
                };
                tokio::select! {
                    _ = tokio::time::timeout(AFTER_CLOSE, rest) => {}
                    () = line.ending() => {}
                }
            }
            return None;
        }
        () = cut => return None,
        () = line.ending() => Err(ProviderError::unavailable(SHUTTING_DOWN)),
    };
    Some((result, end))
}

/// From the process to the client. When the client wants no more, the process's next write fails, as with a closed pipe; one
/// that still has input to read goes on and is heard by nobody.
async fn hand_out(from: Option<Reader>, to: Option<Output>, reads_on: bool) {
    let (Some(mut from), Some(mut to)) = (from, to) else {
        return;
    };
    match pump(&mut from, &mut to, |_| {}).await {
        Ended::Reading(error) => tracing::debug!(%error, "output of a process broke off"),
        Ended::Writing if reads_on => discard(&mut from).await,
        Ended::Writing | Ended::Whole => {}
    }
    drop(from);
    // Its failure means that the client has gone, which is seen elsewhere.
    let _ = to.shutdown().await;
}

/// From the client to the process, with its end; `taken` counts. Of a process that reads no more, the rest is thrown away.
async fn hand_in(from: Option<Input>, to: Option<Writer>, taken: &AtomicU64) {
    let Some(mut from) = from else { return };
    let Some(mut to) = to else { return discard(from).await };
    let count = |bytes| {
        taken.fetch_add(bytes, Ordering::Relaxed);
    };
    match pump(&mut from, &mut to, count).await {
        Ended::Whole => {
            // A process that has closed its input needs no end of it.
            let _ = to.shutdown().await;
        }
        Ended::Writing => {
            drop(to);
            discard(from).await;
        }
        // Not an end of the input: the connection broke, and with it goes the process.
        Ended::Reading(_) => pending().await,
    }
}

async fn tell_sizes(sizes: Option<Sizes>, mut terminal: Option<Box<dyn Resize>>) {
    let Some(mut sizes) = sizes else { return };
    while let Some((columns, rows)) = sizes.next().await {
        // From a terminal that does not know; a kubelet passes no such size on.
        if columns == 0 || rows == 0 {
            continue;
        }
        if let Some(told) = &mut terminal
            && told.resize(columns, rows).await.is_err()
        {
            terminal = None;
        }
    }
}
