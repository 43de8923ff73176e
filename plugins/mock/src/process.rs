//! Local processes for `exec: local-process`: with pipes or a terminal, and never left behind.

use outrigger_plugin::{ExitStatus, ProviderError, Result};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
    termios::Winsize,
};
use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::unix::pipe,
    sync::oneshot,
};

/// Nothing of the host's environment reaches a process: it may hold secrets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Held while descriptors are made and passed on: `pty_process` marks a terminal close-on-exec only after it has opened
/// it, and no other process of ours may inherit it meanwhile.
static SPAWNING: Mutex<()> = Mutex::new(());

/// A process to be.
pub struct Order {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it begins, and its home.
    pub folder: PathBuf,
    /// `HOSTNAME` of its environment.
    pub host_name: String,
    /// With a terminal.
    pub tty: bool,
    /// With an input. A terminal has one in any case.
    pub stdin: bool,
}

/// A process and its streams.
pub struct Process {
    /// It, and all that it starts.
    pub group: Group,
    /// Its input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its output; with a terminal, all of it.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its errors; `None` with a terminal.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its terminal.
    pub terminal: Option<Terminal>,
}

/// Starts a process.
pub async fn spawn(order: Order) -> Result<Process> {
    // To fork takes the longer the more memory the host has. If nobody waits any more, the result's drop kills it.
    let spawned = tokio::task::spawn_blocking(move || {
        let _alone = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        if order.tty {
            with_terminal(&order)
        } else {
            with_pipes(&order)
        }
    });
    let spawned = spawned.await.map_err(io::Error::other).flatten();
    spawned.map_err(|error| ProviderError::invalid(format!("unable to start the command: {error}")))
}

fn command(order: &Order) -> io::Result<Command> {
    let (program, arguments) = order.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&order.folder)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &order.folder)
        .env("HOSTNAME", &order.host_name);
    Ok(command)
}

fn with_pipes(order: &Order) -> io::Result<Process> {
    let mut command = command(order)?;
    let (output, to_output) = io::pipe()?;
    let (errors, to_errors) = io::pipe()?;
    command.process_group(0).stdout(to_output).stderr(to_errors);
    let stdin = if order.stdin {
        let (from_input, input) = io::pipe()?;
        command.stdin(from_input);
        Some(pipe::Sender::from_owned_fd(input.into())?)
    } else {
        command.stdin(Stdio::null());
        None
    };
    let group = Group::new(command.spawn()?, false)?;
    // With it go our copies of the process's ends, or there would be no end of its output.
    drop(command);
    Ok(Process {
        group,
        stdin: stdin.map(|stdin| Box::new(stdin) as _),
        stdout: Some(Box::new(pipe::Receiver::from_owned_fd(output.into())?)),
        stderr: Some(Box::new(pipe::Receiver::from_owned_fd(errors.into())?)),
        terminal: None,
    })
}

fn with_terminal(order: &Order) -> io::Result<Process> {
    let mut command = command(order)?;
    command.env("TERM", "xterm");
    let (ours, theirs) = pty_process::blocking::open().map_err(plain)?;
    let child = pty_process::blocking::Command::from(command).spawn(theirs);
    let group = Group::new(child.map_err(plain)?, true)?;
    let ours = OwnedFd::from(ours);
    // Threads of the runtime wait in these; the end of all processes wakes them.
    let file = |descriptor: OwnedFd| tokio::fs::File::from_std(descriptor.into());
    Ok(Process {
        group,
        stdin: Some(Box::new(file(ours.try_clone()?))),
        stdout: Some(Box::new(Screen(file(ours.try_clone()?)))),
        stderr: None,
        terminal: Some(Terminal(ours)),
    })
}

fn plain(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A process that leads a group of processes, and with a terminal a session. All of them end with it: by itself, killed,
/// or dropped.
pub struct Group {
    leader: Arc<Leader>,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

struct Leader {
    pid: Pid,
    /// It leads a session, too.
    session: bool,
    /// Whether it was waited for: then its number may belong to somebody else.
    gone: Mutex<bool>,
}

impl Group {
    fn new(mut child: Child, session: bool) -> io::Result<Self> {
        let leader = Arc::new(Leader {
            pid: Pid::from_child(&child),
            session,
            gone: Mutex::new(false),
        });
        let (tell, ended) = oneshot::channel();
        let group = Self {
            leader: leader.clone(),
            ended,
        };
        // A thread, since it outlives the runtime if it has to: what was killed must be waited for. If there is none, the
        // group's drop kills, and an unwaited process is the least of this machine's sorrows.
        let wait = move || {
            let status = leader.wait(&mut child);
            // The client may have gone.
            let _ = tell.send(status);
        };
        thread::Builder::new().name("mock-exec".to_owned()).spawn(wait)?;
        Ok(group)
    }

    /// Waits for the end of the process, and of what it has left running. Cancel safe.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        (&mut self.ended).await.map_err(io::Error::other).flatten()
    }

    /// Kills what is left of it.
    pub fn kill(&self) {
        let gone = self.leader.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if !*gone {
            self.leader.kill_all();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Leader {
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // Left in the process table, so that its number stays its own until the others are killed.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(self.pid), ended))?;
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        self.kill_all();
        let status = child.wait()?;
        *gone = true;
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Ok(ExitStatus {
            exit_code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX),
        })
    }

    /// Kills its group and its session. It must not have been waited for.
    fn kill_all(&self) {
        // Each of these fails where nothing is left.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let members = if self.session { members(self.pid) } else { Vec::new() };
        for pid in members {
            // The number may have gone to another process meanwhile, the descriptor can't.
            let Ok(descriptor) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if session_of(pid) == Some(self.pid) {
                let _ = rustix::process::pidfd_send_signal(descriptor, Signal::KILL);
            }
        }
    }
}

/// The processes of a session. A shell with a terminal gives each of its jobs a group of its own.
fn members(session: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pids = numbers.filter_map(Pid::from_raw);
    pids.filter(|pid| session_of(*pid) == Some(session)).collect()
}

/// See proc_pid_stat(5): the name in parentheses may hold anything; then come state, parent, group and session. That of
/// the kernel's threads is 0.
fn session_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    Pid::from_raw(fields.split_whitespace().nth(3)?.parse().ok()?)
}

/// A terminal's size.
pub struct Terminal(OwnedFd);

impl Terminal {
    /// Changes it; the processes in the foreground get SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(&self.0, size)?)
    }
}

/// What comes from a terminal. Ends when no process has it open any more.
struct Screen(tokio::fs::File);

impl AsyncRead for Screen {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}
