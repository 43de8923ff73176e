//! Pods in a process of its own, `outrigger-mock-backend`, that outlives the host.
//!
//! One task owns the connection and makes it anew when it is lost. While it is away calls are answered `unavailable`
//! at once; what happened meanwhile is pushed to the host after the reconnect.

use super::Followers;
use crate::{
    engine::Change,
    protocol::{Ask, Line, Reply, Request, line},
    provider::surprise,
};
use outrigger_plugin::{Host, PodIdentity, PodReport, ProviderError, Result};
use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Calls that wait to be sent.
const QUEUED: usize = 1_024;
/// The resynchronisation after a reconnect; calls are numbered from 1.
const RESYNC: u64 = 0;

/// Asks the connection's task. The task ends with it.
pub struct Client {
    calls: mpsc::Sender<Call>,
}

struct Call {
    request: Request,
    answer: oneshot::Sender<Result<Reply>>,
}

impl Client {
    /// Starts the task and returns after its first attempt to connect.
    pub async fn connect(socket: PathBuf, host: Host, followers: Arc<Followers>) -> Self {
        let (calls, queue) = mpsc::channel(QUEUED);
        let (tried, first_attempt) = oneshot::channel();
        let known = Known {
            pods: HashMap::new(),
            host,
            followers,
        };
        tokio::spawn(keep_connected(socket, queue, known, tried));
        // An error means that the runtime is ending.
        let _ = first_attempt.await;
        Self { calls }
    }

    /// Asks the process.
    pub async fn ask(&self, request: Request) -> Result<Reply> {
        let (answer, answered) = oneshot::channel();
        let ended = || ProviderError::unavailable("the connection to the mock backend has ended");
        self.calls.send(Call { request, answer }).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

/// The pods that the host knows through this connection, and how to tell it of changes.
struct Known {
    pods: HashMap<String, PodIdentity>,
    host: Host,
    followers: Arc<Followers>,
}

async fn keep_connected(
    socket: PathBuf,
    mut queue: mpsc::Receiver<Call>,
    mut known: Known,
    tried: oneshot::Sender<()>,
) {
    let mut tried = Some(tried);
    let mut pause = FIRST_PAUSE;
    let mut was_connected = false;
    let mut reported_away = false;
    loop {
        let attempt = UnixStream::connect(&socket).await;
        if let Some(tried) = tried.take() {
            let _ = tried.send(());
        }
        let reason = match attempt {
            Ok(stream) => {
                tracing::info!(socket = %socket.display(), "connected to mock backend");
                (pause, reported_away) = (FIRST_PAUSE, false);
                let ended = Connection::new(stream, &mut known).run(&mut queue, was_connected).await;
                was_connected = true;
                match ended {
                    Ended::Client => return,
                    Ended::Connection(reason) => reason,
                }
            }
            Err(error) => error.to_string(),
        };
        let reason = away(&socket, &reason);
        if !reported_away {
            tracing::warn!(pods = known.pods.len(), "{}", reason.message);
            reported_away = true;
        }
        if !refuse_for(&mut queue, pause, &reason).await {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn away(socket: &Path, reason: &str) -> ProviderError {
    ProviderError::unavailable(format!("the mock backend at {} is away: {reason}", socket.display()))
}

/// Answers calls with the reason for a while; false when nobody will call any more.
async fn refuse_for(queue: &mut mpsc::Receiver<Call>, pause: Duration, reason: &ProviderError) -> bool {
    let end = Instant::now() + pause;
    loop {
        tokio::select! {
            () = sleep_until(end) => return true,
            call = queue.recv() => match call {
                Some(call) => drop(call.answer.send(Err(reason.clone()))),
                None => return false,
            },
        }
    }
}

enum Ended {
    /// Nobody will call any more.
    Client,
    /// The connection was lost.
    Connection(String),
}

struct Connection<'a> {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: BufWriter<OwnedWriteHalf>,
    known: &'a mut Known,
    pending: HashMap<u64, Pending>,
    next_id: u64,
}

struct Pending {
    answer: oneshot::Sender<Result<Reply>>,
    /// The pod that is gone once this is done.
    removes: Option<String>,
}

impl<'a> Connection<'a> {
    fn new(stream: UnixStream, known: &'a mut Known) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            lines: BufReader::new(reader).lines(),
            writer: BufWriter::new(writer),
            known,
            pending: HashMap::new(),
            next_id: RESYNC + 1,
        }
    }

    /// Serves calls until the connection is lost. Those under way are then answered `unavailable`: whether they took
    /// effect is not known.
    async fn run(mut self, queue: &mut mpsc::Receiver<Call>, resync: bool) -> Ended {
        let ended = match self.serve(queue, resync).await {
            Ok(ended) => ended,
            Err(error) => Ended::Connection(error.to_string()),
        };
        for (_, pending) in self.pending.drain() {
            let lost = ProviderError::unavailable("the connection to the mock backend was lost during the call");
            // The caller may have gone.
            let _ = pending.answer.send(Err(lost));
        }
        ended
    }

    async fn serve(&mut self, queue: &mut mpsc::Receiver<Call>, resync: bool) -> io::Result<Ended> {
        if resync {
            let list = Ask {
                id: RESYNC,
                request: Request::List,
            };
            self.writer.write_all(&line(&list)?).await?;
            self.writer.flush().await?;
        }
        loop {
            tokio::select! {
                received = self.lines.next_line() => match received? {
                    Some(text) => self.receive(serde_json::from_str(&text)?),
                    None => return Ok(Ended::Connection("it closed the connection".into())),
                },
                call = queue.recv() => match call {
                    Some(call) => self.send(call).await?,
                    None => return Ok(Ended::Client),
                },
            }
            if queue.is_empty() {
                self.writer.flush().await?;
            }
        }
    }

    async fn send(&mut self, call: Call) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let removes = match &call.request {
            Request::Remove { identity } => Some(identity.uid.clone()),
            _ => None,
        };
        let ask = Ask {
            id,
            request: call.request,
        };
        let pending = Pending {
            answer: call.answer,
            removes,
        };
        self.pending.insert(id, pending);
        self.writer.write_all(&line(&ask)?).await
    }

    fn receive(&mut self, line: Line) {
        match line {
            Line::Push(change) => self.known.push(change),
            Line::Reply { id: RESYNC, outcome } => match outcome.map_err(ProviderError::from) {
                Ok(Reply::Pods(list)) => self.known.resync(list.reports),
                Ok(other) => not_resynced(&surprise(&other)),
                Err(error) => not_resynced(&error),
            },
            Line::Reply { id, outcome } => {
                let Some(pending) = self.pending.remove(&id) else {
                    return;
                };
                let outcome = outcome.map(|reply| self.known.learn(reply)).map_err(Into::into);
                if let (Some(uid), Ok(_)) = (pending.removes, &outcome) {
                    self.known.pods.remove(&uid);
                }
                // The caller may have gone.
                let _ = pending.answer.send(outcome);
            }
        }
    }
}

/// What happened meanwhile is then learned when the host asks.
fn not_resynced(error: &ProviderError) {
    tracing::warn!(%error, "unable to read the pods of the mock backend after the reconnect");
}

impl Known {
    /// Something has happened to a pod.
    fn push(&mut self, change: Change) {
        let uid = change.identity().uid.clone();
        match change {
            Change::Report(report) => {
                let report = self.stamp(report);
                self.host.pod_status(&report);
            }
            Change::Gone { identity, silently } => {
                self.pods.remove(&uid);
                if !silently {
                    self.host.pod_gone(identity);
                }
            }
        }
        self.followers.tell(&uid);
    }

    /// After a reconnect: tells the host how things stand now.
    fn resync(&mut self, reports: Vec<PodReport>) {
        let there: HashSet<String> = reports.iter().map(|report| report.identity.uid.clone()).collect();
        let lost: Vec<String> = self.pods.keys().filter(|uid| !there.contains(*uid)).cloned().collect();
        for uid in lost {
            if let Some(identity) = self.pods.remove(&uid) {
                self.host.pod_gone(identity);
                self.followers.tell(&uid);
            }
        }
        for report in reports {
            self.push(Change::Report(report));
        }
    }

    fn learn(&mut self, reply: Reply) -> Reply {
        match reply {
            Reply::Report(report) => Reply::Report(self.stamp(report)),
            Reply::Updated(mut outcome) => {
                outcome.report = self.stamp(outcome.report);
                Reply::Updated(outcome)
            }
            Reply::Pods(mut list) => {
                list.reports = list.reports.into_iter().map(|report| self.stamp(report)).collect();
                Reply::Pods(list)
            }
            other => other,
        }
    }

    /// The process counts for itself: what arrives later is newer.
    fn stamp(&mut self, report: PodReport) -> PodReport {
        let identity = &report.identity;
        if !self.pods.contains_key(&identity.uid) {
            self.pods.insert(identity.uid.clone(), identity.clone());
        }
        report.renewed()
    }
}
