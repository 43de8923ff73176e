//! The external back end: a simulation behind a Unix socket, for any number of hosts at once.
//!
//! Whatever changes a pod is told to all connections, but to the one that asked for it, which has it as its answer.

use crate::{
    engine::{Change, Engine, pod::Pod},
    journal::{self, Journal, Kept},
    protocol::{Ask, Count, Counts, Line, Reply, Request, line},
    simulation::{Act, Observer, Simulation},
};
use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{mpsc, oneshot},
};

/// Lines that a connection may leave unread. One that lets more come is closed: it reads the whole state when it
/// comes again, which is cheaper than all that it has missed.
const UNREAD: usize = 65_536;

/// After a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The server's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process serves the socket.
    #[error("unable to listen on {0}: another backend does; stop it or choose another path")]
    InUse(PathBuf),
    /// The socket can't be made.
    #[error("unable to listen on {path}: give a path in a directory that can be written")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The state file.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// A server that listens.
pub struct Server {
    listener: UnixListener,
    failed: oneshot::Receiver<journal::Error>,
    simulation: Arc<Simulation<Hub>>,
}

impl Server {
    /// Listens on a socket, with what the state file holds. Needs a tokio runtime.
    pub async fn open(socket: &Path, state: Option<&Path>) -> Result<Self, Error> {
        let listener = listen(socket).await?;
        let (journal, kept) = match state.map(Journal::open).transpose()? {
            Some((journal, kept)) => (Some(journal), kept),
            None => (None, Kept::default()),
        };
        let mut engine = Engine::default();
        for pod in kept.pods {
            engine.restore(pod);
        }
        let (fail, failed) = oneshot::channel();
        let hub = Hub(Mutex::new(State {
            connections: HashMap::new(),
            counts: kept.counts,
            journal,
            failed: Some(fail),
        }));
        Ok(Self {
            listener,
            failed,
            simulation: Simulation::start(engine, hub),
        })
    }

    /// Serves until it fails, or the future is dropped.
    pub async fn run(mut self) -> Error {
        let mut number = 0;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Ok(error) = &mut self.failed => return error.into(),
            };
            match accepted {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, number, self.simulation.clone()))),
                // No descriptor left, here or in the system: those who are connected go on, the others try again.
                Err(error) => {
                    tracing::warn!(%error, "unable to accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
            number += 1;
        }
    }
}

/// A socket that a killed process has left is taken over; one that is served is not.
async fn listen(socket: &Path) -> Result<UnixListener, Error> {
    let fault = |source| Error::Listen {
        path: socket.to_owned(),
        source,
    };
    let listener = match UnixListener::bind(socket) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let left = fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket());
            match UnixStream::connect(socket).await {
                Err(refused) if left && refused.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) => return Err(Error::InUse(socket.to_owned())),
                // Somebody's file, or a process too busy to answer: neither is ours to remove.
                Err(_) => return Err(fault(error)),
            }
            fs::remove_file(socket).map_err(fault)?;
            UnixListener::bind(socket)
        }
        bound => bound,
    }
    .map_err(fault)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
}

/// Who is connected, and what was asked.
pub struct Hub(Mutex<State>);

struct State {
    connections: HashMap<u64, mpsc::Sender<Arc<[u8]>>>,
    counts: HashMap<String, Count>,
    journal: Option<Journal>,
    failed: Option<oneshot::Sender<journal::Error>>,
}

impl Observer for Hub {
    fn changed(&self, change: &Change) {
        if let Change::Gone { identity, .. } = change {
            self.state().count(&identity.uid, None, |count| count.vanished += 1);
        }
        self.tell_others(None, &Line::Push(change.clone()));
    }

    fn acted(&self, act: Act, uid: &str, pod: Option<&Pod>) {
        self.state().count(uid, pod, |count| match act {
            Act::Create => count.creates += 1,
            Act::Repeat => count.repeated += 1,
            Act::Update => count.updates += 1,
            Act::Stop => count.stops += 1,
            Act::Remove => count.removes += 1,
            Act::Readdress => {}
        });
    }
}

impl State {
    /// Counts, and writes down what is true now.
    fn count(&mut self, uid: &str, pod: Option<&Pod>, add: impl FnOnce(&mut Count)) {
        let count = match self.counts.get_mut(uid) {
            Some(count) => count,
            None => self.counts.entry(uid.to_owned()).or_default(),
        };
        add(count);
        let count = *count;
        let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.append(uid, count, pod)) else {
            return;
        };
        // What could not be written down is not answered: the next process would not know of it.
        self.connections.clear();
        if let Some(failed) = self.failed.take() {
            // Without a receiver the process is ending already.
            let _ = failed.send(error);
        }
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, number: u64) -> mpsc::Receiver<Arc<[u8]>> {
        let (sender, receiver) = mpsc::channel(UNREAD);
        self.state().connections.insert(number, sender);
        receiver
    }

    fn disconnect(&self, number: u64) {
        self.state().connections.remove(&number);
    }

    fn tell(&self, number: u64, message: &Line) {
        let Ok(line) = line(message) else { return };
        let mut state = self.state();
        let refused = state
            .connections
            .get(&number)
            .is_some_and(|connection| connection.try_send(line.into()).is_err());
        if refused {
            state.connections.remove(&number);
        }
    }

    fn tell_others(&self, number: Option<u64>, message: &Line) {
        let mut state = self.state();
        if state.connections.keys().all(|other| Some(*other) == number) {
            return;
        }
        let Ok(line) = line(message) else { return };
        let line: Arc<[u8]> = line.into();
        state
            .connections
            .retain(|other, connection| Some(*other) == number || connection.try_send(line.clone()).is_ok());
    }

    /// An answer: to the one that asked, and what it changed to the others.
    fn answer(&self, number: u64, id: u64, changes: Changes, outcome: outrigger_plugin::Result<Reply>) {
        let change = match (&outcome, changes) {
            (Ok(Reply::Report(report)), Changes::Report) => Some(Change::Report(report.clone())),
            (Ok(Reply::Updated(updated)), Changes::Report) => Some(Change::Report(updated.report.clone())),
            (Ok(Reply::Done), Changes::Removes(identity)) => Some(Change::Gone {
                identity,
                silently: true,
            }),
            _ => None,
        };
        if let Some(change) = change {
            self.tell_others(Some(number), &Line::Push(change));
        }
        let outcome = outcome.map_err(Into::into);
        self.tell(number, &Line::Reply { id, outcome });
    }
}

/// Of a request that can't be read.
#[derive(serde::Deserialize)]
struct Numbered {
    id: u64,
}

/// What a request changes.
enum Changes {
    Nothing,
    Report,
    Removes(outrigger_plugin::PodIdentity),
}

async fn serve(stream: UnixStream, number: u64, simulation: Arc<Simulation<Hub>>) {
    let (reader, writer) = stream.into_split();
    let outgoing = simulation.observer().connect(number);
    let mut lines = BufReader::new(reader).lines();
    let read = async {
        while let Ok(Some(text)) = lines.next_line().await {
            match serde_json::from_str(&text) {
                Ok(ask) => handle(&simulation, number, ask),
                Err(error) => {
                    let error = outrigger_plugin::ProviderError::invalid(format!("unable to read request: {error}"));
                    // Its number may be readable all the same, and whoever asked waits for it.
                    let id = serde_json::from_str(&text).map_or(0, |Numbered { id }| id);
                    simulation.observer().answer(number, id, Changes::Nothing, Err(error));
                }
            }
        }
    };
    let write = write(writer, outgoing);
    tokio::pin!(write);
    let read_all = tokio::select! {
        () = read => true,
        _ = &mut write => false,
    };
    simulation.observer().disconnect(number);
    if read_all {
        // Who says no more still has the answers that are there.
        let _ = write.await;
    }
}

fn handle(simulation: &Arc<Simulation<Hub>>, number: u64, Ask { id, request }: Ask) {
    let hub = simulation.observer();
    let changes = match &request {
        Request::Counts => {
            return hub.answer(number, id, Changes::Nothing, Ok(Reply::Counts(counts(simulation))));
        }
        Request::Create { .. } | Request::Update { .. } | Request::Stop { .. } => Changes::Report,
        Request::Remove { identity } => Changes::Removes(identity.clone()),
        _ => Changes::Nothing,
    };
    let answering = Arc::downgrade(simulation);
    let answer = move |outcome| {
        if let Some(simulation) = answering.upgrade() {
            simulation.observer().answer(number, id, changes, outcome);
        }
    };
    simulation.handle(request, Box::new(answer));
}

fn counts(simulation: &Simulation<Hub>) -> Counts {
    simulation.look(|engine| Counts {
        pods: simulation
            .observer()
            .state()
            .counts
            .iter()
            .map(|(uid, count)| (uid.clone(), *count))
            .collect(),
        present: engine
            .pods()
            .map(|pod| (pod.identity.uid.clone(), pod.identity.clone()))
            .collect(),
    })
}

/// Ends when the connection is lost, or was given up for not reading.
async fn write(writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Arc<[u8]>>) -> io::Result<()> {
    let mut writer = BufWriter::new(writer);
    while let Some(line) = outgoing.recv().await {
        writer.write_all(&line).await?;
        if outgoing.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}
