//! A backend made up: one pod `default/web`, and a log that does what a test wants.

use super::processes;
use super::processes::Asked;
use super::*;
use bytes::Bytes;
use outrigger_plugin::AttachRequest;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::LogRequest;
use outrigger_plugin::PodIdentity;
use outrigger_plugin::PodReport;
use outrigger_plugin::PortForwardRequest;
use outrigger_plugin::ProviderError;
use outrigger_plugin::StatsSummary;
use prometheus_client::registry::Registry;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

pub const LOG: &str = "2026-11-23T06:00:00.1Z one\n2026-11-23T06:00:01Z two\n2026-11-23T06:00:02Z three\n";

/// What the log does.
#[derive(Clone)]
pub enum Log {
    /// It is this, and ends well.
    Text(&'static str),
    /// It is this, and ends badly.
    Broken(&'static str, ProviderError),
    /// It can't be opened.
    Closed(ProviderError),
    /// It never ends.
    Endless,
    /// It is this, and then nothing more comes, not even its end.
    Stuck(&'static str),
    /// It is this, and ends, but how is never said.
    Unfinished(&'static str),
    /// It is what the test sends, and ends with the sender.
    Grows(Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>),
}

#[derive(Clone)]
pub struct Fake {
    pub pods: Vec<Bytes>,
    pub log: Log,
    pub asked: Arc<Mutex<Vec<LogRequest>>>,
    /// Bytes that were taken from the logs.
    pub read: Arc<AtomicU64>,
    /// Logs that are open.
    pub open: Arc<AtomicU64>,
    /// Sessions of all kinds that are open.
    pub sessions: Arc<AtomicU64>,
    /// What was asked to run.
    pub commands: Arc<Mutex<Vec<Command>>>,
    /// What the provider can't do.
    pub lacks: Vec<Feature>,
    /// What every session is refused with.
    pub refusal: Option<ProviderError>,
    pub reports: Result<Vec<PodReport>, ProviderError>,
    pub stats: Result<StatsSummary, ProviderError>,
    pub alive: bool,
}

/// Its words, and which of stdin, stdout, stderr and a terminal it has.
pub type Command = (Vec<String>, [bool; 4]);

/// The identity of a pod of a node.
pub fn identity(node: &str, name: &str) -> PodIdentity {
    PodIdentity {
        cluster: "c".into(),
        node: node.into(),
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

impl Fake {
    pub fn new(log: Log) -> Self {
        let ran = serde_json::json!({ "terminated": { "containerID": "fake://0" } });
        let pod = serde_json::json!({
            "metadata": { "namespace": "default", "name": "web", "uid": "uid-web" },
            "spec": { "containers": [{ "name": "app" }, { "name": "slow" }], "initContainers": [{ "name": "init" }] },
            "status": {
                "containerStatuses": [
                    { "name": "app", "image": "app:1", "containerID": "fake://1", "state": { "running": {} }, "lastState": ran },
                    { "name": "slow", "state": { "waiting": { "reason": "ContainerCreating" } } },
                ],
                "initContainerStatuses": [{ "name": "init", "state": ran }],
                "startTime": "2026-11-23T05:00:00Z",
            },
        });
        Self {
            pods: vec![serde_json::to_vec(&pod).unwrap().into()],
            log,
            asked: Arc::default(),
            read: Arc::default(),
            open: Arc::default(),
            sessions: Arc::default(),
            commands: Arc::default(),
            lacks: Vec::new(),
            refusal: None,
            reports: Ok(Vec::new()),
            stats: Ok(StatsSummary::default()),
            alive: true,
        }
    }
}

impl Fake {
    fn take(&self, command: &[String], asked: Asked) -> Result<(), ProviderError> {
        let streams = [asked.stdin, asked.stdout, asked.stderr, asked.tty];
        self.commands.lock().unwrap().push((command.to_vec(), streams));
        self.refusal.clone().map_or(Ok(()), Err)
    }
}

impl Backend for Fake {
    fn is_alive(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(self.alive))
    }

    fn offers(&self, feature: Feature) -> Result<(), ProviderError> {
        match self.lacks.contains(&feature) {
            true => Err(ProviderError::unsupported("the fake can't do this")),
            false => Ok(()),
        }
    }

    fn exec(&self, request: &ExecRequest) -> Result<Process<ExitStatus>, ProviderError> {
        let ExecRequest {
            command,
            stdin,
            stdout,
            stderr,
            tty,
            ..
        } = request;
        let asked = Asked {
            stdin: *stdin,
            stdout: *stdout,
            stderr: *stderr,
            tty: *tty,
        };
        self.take(command, asked)?;
        Ok(processes::start(command, asked, &self.sessions, processes::exit_status))
    }

    fn attach(&self, request: &AttachRequest) -> Result<Process<()>, ProviderError> {
        let asked = Asked {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        };
        let command = ["cat".to_owned()];
        self.take(&command, asked)?;
        Ok(processes::start(&command, asked, &self.sessions, |_| ()))
    }

    fn port_forward(&self, request: &PortForwardRequest) -> Result<Forwarded, ProviderError> {
        self.refusal.clone().map_or(Ok(()), Err)?;
        Ok(processes::forward(request.port, &self.sessions))
    }

    fn reports(&self) -> BoxFuture<'_, Result<Vec<PodReport>, ProviderError>> {
        Box::pin(std::future::ready(self.reports.clone()))
    }

    fn stats(&self) -> BoxFuture<'_, Result<StatsSummary, ProviderError>> {
        Box::pin(std::future::ready(self.stats.clone()))
    }

    fn measure(&self, _registry: &mut Registry) {}

    fn pods(&self) -> BoxFuture<'_, Vec<Bytes>> {
        Box::pin(std::future::ready(self.pods.clone()))
    }

    fn find<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, Option<PodView>> {
        let found = ((namespace, name) == ("default", "web")).then(|| PodView {
            identity: identity("vk-0", name),
            raw: self.pods[0].clone(),
        });
        Box::pin(std::future::ready(found))
    }

    fn logs(&self, request: LogRequest) -> BoxFuture<'_, Result<LogStream, ProviderError>> {
        self.asked.lock().unwrap().push(request);
        Box::pin(async {
            if let Log::Closed(error) = &self.log {
                return Err(error.clone());
            }
            self.open.fetch_add(1, Ordering::SeqCst);
            let fake = self.clone();
            Ok(Box::new(Source { fake, at: 0 }) as LogStream)
        })
    }
}

struct Source {
    fake: Fake,
    at: usize,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.fake.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let text = match &self.fake.log {
            Log::Grows(lines) => {
                let mut lines = lines.try_lock().unwrap();
                return lines.poll_recv(cx).map(|text| {
                    buf.put_slice(text.unwrap_or_default().as_bytes());
                    Ok(())
                });
            }
            Log::Text(text) | Log::Broken(text, _) | Log::Unfinished(text) => text,
            Log::Stuck(text) if self.at == text.len() => return Poll::Pending,
            Log::Stuck(text) => text,
            Log::Closed(_) => "",
            Log::Endless => {
                // Much at once, as from a provider that is ahead.
                let piece = LOG.repeat(buf.remaining().div_ceil(LOG.len()));
                let piece = &piece.as_bytes()[..buf.remaining()];
                buf.put_slice(piece);
                self.fake.read.fetch_add(piece.len() as u64, Ordering::SeqCst);
                return Poll::Ready(Ok(()));
            }
        };
        let rest = &text.as_bytes()[self.at..];
        let piece = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(piece);
        self.at += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl LogSource for Source {
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), ProviderError>> {
        Box::pin(async move {
            match &self.fake.log {
                Log::Broken(_, error) => Err(error.clone()),
                Log::Unfinished(_) => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }
}
