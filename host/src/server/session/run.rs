//! `/run`: a command without streams, for old tools. Its output is the answer.

use super::Refused;
use super::Target;
use super::either;
use super::failed;
use super::named;
use crate::server::answer::Answer;
use crate::server::answer::text;
use crate::server::answer::whole;
use crate::server::backend::Feature;
use crate::server::backend::Process;
use crate::server::backend::Reader;
use crate::server::query;
use crate::server::service::Service;
use http::StatusCode;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use std::sync::Mutex;
use std::sync::PoisonError;
use tokio::io::AsyncReadExt;

/// Output that is kept, as much as container runtimes do; the rest is thrown away and said to be.
const KEPT: usize = 16 << 20;
const CUT: &[u8] = b"\n[the rest of the output is left out]\n";

/// `/run/{namespace}/{pod}[/{uid}]/{container}?cmd=...`: the command is split at spaces, as the kubelet does. A caller that
/// leaves ends the command.
pub(in crate::server) async fn run(service: &Service, rest: &str, query: &str) -> Answer {
    either(try_run(service, rest, query).await)
}

async fn try_run(service: &Service, rest: &str, query: &str) -> Result<Answer, Refused> {
    let target = named(Target::of_container(rest))?;
    let command = query::all(query, "cmd").unwrap_or_default();
    let command: Vec<String> = command
        .first()
        .map(|words| words.split(' ').map(str::to_owned).collect())
        .unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        return Err(text(StatusCode::BAD_REQUEST, "you must specify a command as cmd\n").into());
    }
    let view = target.find_running(service).await?;
    service.backend.offers(Feature::Exec).map_err(failed)?;
    let request = ExecRequest {
        identity: view.identity,
        container: target.container,
        command,
        tty: false,
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let Process {
        stdout,
        stderr,
        outcome,
        ..
    } = service.backend.exec(&request).map_err(failed)?;
    let output = Mutex::default();
    let (ended, (), ()) = tokio::join!(outcome, collect(stdout, &output), collect(stderr, &output));
    let output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
    match ended.map_err(failed)? {
        ExitStatus { exit_code: 0 } => Ok(whole(StatusCode::OK, "application/json", output)),
        ExitStatus { exit_code } => {
            let mut body = format!("command terminated with non-zero exit code {exit_code}: ").into_bytes();
            body.extend(output);
            Err(text(StatusCode::INTERNAL_SERVER_ERROR, body).into())
        }
    }
}

/// Both outputs go into one, in the order in which they come.
async fn collect(from: Option<Reader>, output: &Mutex<Vec<u8>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 8 << 10];
    // What breaks off has ended; how the command did is told apart from it.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..read.min(room)]);
        if read > room && room > 0 {
            output.extend_from_slice(CUT);
        }
    }
}
