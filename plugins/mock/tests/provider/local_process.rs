//! `exec: local-process`: commands are processes of this machine, with all that belongs to one.

use crate::{PATIENCE, exec_of, external::Process, identity, pod, start, until};
use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    ErrorCode, Exec, ExitStatus, Provider,
    testing::{self, Client, Streams, call},
};
use serde_json::{Value, json};
use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

/// A provider with a running pod `web`, and where its folders are.
struct World {
    mock: Arc<Mock>,
    scratch: TempDir,
}

/// What became of a command.
struct Ran {
    exit_code: u8,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

const ALL: Streams = Streams {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};
const TERMINAL: Streams = Streams { tty: true, ..ALL };

type Running = JoinHandle<outrigger_plugin::Result<ExitStatus>>;

impl World {
    async fn new() -> Self {
        Self::with(json!({})).await
    }

    async fn with(mut config: Value) -> Self {
        let scratch = TempDir::new().unwrap();
        config["exec"] = "local-process".into();
        config["scratch"] = json!(scratch.path().join("base"));
        let (mock, _) = start(config).await;
        mock.create(call(), pod("web", &[])).await.unwrap();
        Self {
            mock: Arc::new(mock),
            scratch,
        }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.scratch.path().join("base/uid-of-web/app")
    }

    fn begin(&self, command: &[&str], streams: Streams) -> (Running, Client) {
        let (session, client) = testing::session(streams).unwrap();
        let mut request = exec_of("web", command);
        request.tty = streams.tty;
        let mock = self.mock.clone();
        let running = tokio::spawn(async move { mock.exec(call(), request, session).await });
        (running, client)
    }

    async fn run(&self, command: &[&str], input: &[u8]) -> Ran {
        let (running, mut client) = self.begin(command, ALL);
        let mut stdin = client.stdin.take().unwrap();
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        let all = async {
            tokio::join!(
                async {
                    // It need not read all of it.
                    let _ = stdin.write_all(input).await;
                    drop(stdin);
                },
                client.stdout.as_mut().unwrap().read_to_end(&mut stdout),
                client.stderr.as_mut().unwrap().read_to_string(&mut stderr),
                running
            )
        };
        let (.., ended) = timeout(PATIENCE, all).await.unwrap();
        Ran {
            exit_code: ended.unwrap().unwrap().exit_code,
            stdout,
            stderr,
        }
    }

    async fn sh(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script], b"").await
    }
}

#[tokio::test]
async fn output_errors_and_exit_code_are_its_own() {
    let world = World::new().await;
    let ran = world.sh("echo out; echo err >&2; exit 3").await;
    assert_eq!((ran.exit_code, ran.text(), &*ran.stderr), (3, "out\n", "err\n"));
    for code in [0, 1, 255] {
        assert_eq!(world.sh(&format!("exit {code}")).await.exit_code, code);
    }
    assert_eq!(world.sh("kill -KILL $$").await.exit_code, 137);
    assert_eq!(world.sh("kill -TERM $$").await.exit_code, 143);
}

#[tokio::test]
async fn the_end_of_input_is_passed_on_and_the_output_goes_on() {
    let world = World::new().await;
    let ran = world.run(&["sh", "-c", "wc -c; echo after"], &[b'x'; 300_000]).await;
    assert_eq!(ran.text().split_whitespace().collect::<Vec<_>>(), ["300000", "after"]);
    // And a process that does not read what it is sent ends all the same.
    assert_eq!(world.run(&["true"], &[b'x'; 3_000_000]).await.exit_code, 0);
}

#[tokio::test]
async fn files_stay_from_one_command_to_the_next_until_the_pod_is_removed() {
    let world = World::new().await;
    let here = world.sh("pwd; cd; pwd; echo kept > file").await;
    let folder = world.folder().canonicalize().unwrap();
    let lines: Vec<_> = here.text().lines().map(Path::new).collect();
    assert_eq!(lines, [&folder, &folder]);
    assert_eq!(world.sh("cat file").await.text(), "kept\n");
    let base = world.scratch.path().join("base");
    assert_eq!(base.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    world.mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
    assert!(folder.join("file").exists());
    world.mock.remove(call(), identity("web")).await.unwrap();
    assert!(!base.join("uid-of-web").exists());
    world.mock.remove(call(), identity("web")).await.unwrap();
}

#[tokio::test]
async fn the_files_of_a_pod_that_is_gone_go_as_well_and_those_of_others_stay() {
    let process = Process::start();
    let backend = json!({"kind": "external", "socket": process.socket()});
    let world = World::with(json!({ "backend": backend })).await;
    world.sh("echo kept > file").await;
    // Another host's, of a pod that is in another backend.
    let other = world.scratch.path().join("base/uid-of-other/app");
    std::fs::create_dir_all(&other).unwrap();
    // This one is not asked to remove it.
    let (second, _pushed) = start(json!({ "backend": backend })).await;
    second.remove(call(), identity("web")).await.unwrap();

    for _ in 0..2 {
        world.mock.sync(call(), vec![identity("web")]).await.unwrap();
        assert!(world.folder().join("file").exists());
    }
    for left in [true, false] {
        world.mock.sync(call(), vec![]).await.unwrap();
        assert_eq!(world.folder().join("file").exists(), left);
    }
    assert!(other.exists());
}

#[tokio::test]
async fn an_archive_goes_in_and_comes_out_as_it_was() {
    let world = World::new().await;
    let noise: Vec<u8> = (0..2_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let source = TempDir::new().unwrap();
    std::fs::write(source.path().join("noise"), &noise).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-cf", "-", "noise"])
        .current_dir(source.path())
        .output()
        .unwrap();
    assert!(tar.status.success());
    // What `kubectl cp` runs, each way.
    let there = world.run(&["tar", "-xmf", "-", "-C", "."], &tar.stdout).await;
    assert_eq!((there.exit_code, &*there.stderr), (0, ""));
    assert_eq!(std::fs::read(world.folder().join("noise")).unwrap(), noise);
    let back = world.run(&["tar", "cf", "-", "noise"], b"").await;
    assert_eq!(back.exit_code, 0);
    let target = TempDir::new().unwrap();
    std::fs::write(target.path().join("back.tar"), &back.stdout).unwrap();
    let unpacked = std::process::Command::new("tar")
        .args(["-xf", "back.tar"])
        .current_dir(target.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    assert_eq!(std::fs::read(target.path().join("noise")).unwrap(), noise);
}

#[tokio::test]
async fn large_output_arrives_whole_however_slowly_it_is_read() {
    let world = World::new().await;
    let (running, mut client) = world.begin(&["head", "-c", "33554432", "/dev/zero"], ALL);
    let mut stdout = client.stdout.take().unwrap();
    let (mut bytes, mut buffer) = (0, vec![0; 10_000]);
    loop {
        let read = timeout(PATIENCE, stdout.read(&mut buffer)).await.unwrap().unwrap();
        if read == 0 {
            break;
        }
        bytes += read;
        tokio::task::yield_now().await;
    }
    assert_eq!(bytes, 32 << 20);
    assert_eq!(running.await.unwrap().unwrap(), ExitStatus { exit_code: 0 });
}

/// Reads up to a line that ends with the text.
async fn line_with(lines: &mut BufReader<UnixStream>, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let read = timeout(PATIENCE, lines.read_line(&mut line)).await;
        assert!(read.is_ok_and(|read| read.unwrap() > 0), "no {text:?} in {seen:?}");
        seen.push_str(&line);
        if line.trim_end().ends_with(text) {
            return line;
        }
    }
}

#[tokio::test]
async fn a_terminal_is_one_and_has_the_clients_size() {
    let world = World::new().await;
    let script = "test -t 0 && test -t 1 && test -t 2 && echo $TERM is a terminal; trap 'echo winch' WINCH; \
                  until [ \"$line\" = quit ]; do read line; stty size; done; exit 7";
    let (running, mut client) = world.begin(&["sh", "-c", script], TERMINAL);
    assert!(client.stderr.is_none());
    let mut stdin = client.stdin.take().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    let first = line_with(&mut lines, "is a terminal").await;
    assert_eq!(first, "xterm is a terminal\r\n");
    stdin.write_all(b"one\r").await.unwrap();
    line_with(&mut lines, "0 0").await;
    client.resize(132, 43).await.unwrap();
    line_with(&mut lines, "winch").await;
    stdin.write_all(b"two\r").await.unwrap();
    line_with(&mut lines, "43 132").await;
    stdin.write_all(b"quit\r").await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, lines.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(running.await.unwrap().unwrap(), ExitStatus { exit_code: 7 });
}

#[tokio::test]
async fn the_end_of_input_is_a_key_to_a_terminal() {
    let world = World::new().await;
    let (running, mut client) = world.begin(&["cat"], TERMINAL);
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"typed\r").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    timeout(PATIENCE, client.stdout.as_mut().unwrap().read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    // Once by the terminal, once by the program.
    assert_eq!(text, "typed\r\ntyped\r\n");
    assert_eq!(running.await.unwrap().unwrap(), ExitStatus { exit_code: 0 });
}

#[tokio::test]
async fn keys_send_signals_to_the_foreground() {
    let world = World::new().await;
    let (running, mut client) = world.begin(&["sh", "-c", "echo ready; exec sleep 1000"], TERMINAL);
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    line_with(&mut lines, "ready").await;
    client.stdin.as_mut().unwrap().write_all(b"\x03").await.unwrap();
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, ExitStatus { exit_code: 130 });
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Begins a command that leaves a process in the background; the numbers of both, once they run.
async fn two_processes(world: &World, streams: Streams) -> (Running, Client, [String; 2]) {
    // With a terminal and `set -m`, the one in the background is in a process group of its own.
    let mode = if streams.tty { "set -m; " } else { "" };
    let script = format!("{mode}sleep 1000 & echo pids $! $$; wait");
    let (running, mut client) = world.begin(&["sh", "-c", &script], streams);
    let mut lines = BufReader::new(client.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("pids ") {
        line.clear();
        assert!(timeout(PATIENCE, lines.read_line(&mut line)).await.unwrap().unwrap() > 0);
    }
    let mut pids = line.split_whitespace().skip(1).map(str::to_owned);
    let pids = [pids.next().unwrap(), pids.next().unwrap()];
    client.stdout = Some(lines.into_inner());
    (running, client, pids)
}

async fn are_gone(pids: &[String]) {
    until("the processes are gone", async || {
        pids.iter().all(|pid| !exists(pid)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn all_processes_end_when_the_client_goes() {
    let world = World::new().await;
    for streams in [ALL, TERMINAL] {
        let (running, _client, pids) = two_processes(&world, streams).await;
        assert!(pids.iter().all(|pid| exists(pid)));
        // What the host does for a client that has gone.
        running.abort();
        are_gone(&pids).await;
    }
}

#[tokio::test]
async fn all_processes_end_when_the_container_does() {
    for streams in [ALL, TERMINAL] {
        let world = World::new().await;
        let (running, _client, pids) = two_processes(&world, streams).await;
        world.mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
        let ended = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
        assert_eq!(ended, ExitStatus { exit_code: 137 });
        are_gone(&pids).await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_running_ends_with_it() {
    let world = World::new().await;
    let ran = world.sh("sleep 1000 & echo $!").await;
    assert_eq!(ran.exit_code, 0);
    are_gone(&[ran.text().trim().to_owned()]).await;
}

#[tokio::test]
async fn nothing_of_the_hosts_environment_gets_in() {
    let world = World::new().await;
    assert!(std::env::vars_os().count() > 3, "there is nothing to leak");
    let names = world.sh("env | sed 's/=.*//' | sort").await;
    let names: Vec<_> = names
        .text()
        .lines()
        .filter(|name| !matches!(*name, "_" | "PWD" | "SHLVL" | "OLDPWD"))
        .collect();
    assert_eq!(names, ["HOME", "HOSTNAME", "PATH"]);
    assert_eq!(world.sh("echo $HOSTNAME").await.text(), "web\n");
}

#[tokio::test]
async fn a_command_that_can_not_be_started_is_an_error_without_its_arguments() {
    let world = World::new().await;
    let (running, _client) = world.begin(&["no-such-program", "hunter2"], ALL);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    assert!(error.message.starts_with("unable to start the command: "), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let (running, _client) = world.begin(&[], ALL);
    assert_eq!(running.await.unwrap().unwrap_err().code, ErrorCode::Invalid);
}

#[tokio::test]
async fn many_at_once_are_apart() {
    let world = Arc::new(World::new().await);
    let runs: Vec<_> = (0..30_u8)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let ran = world.sh(&format!("echo {number}; exit {number}")).await;
                assert_eq!((ran.exit_code, ran.text()), (number, &*format!("{number}\n")));
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn it_works_on_pods_of_a_process_and_outlasts_its_absence() {
    let mut process = Process::start();
    let world = World::with(json!({"backend": {"kind": "external", "socket": process.socket()}})).await;
    let (running, mut client, pids) = two_processes(&world, ALL).await;
    process.restart();
    until("the connection is there again", async || {
        world.mock.ping(call()).await.ok()
    })
    .await;
    assert!(
        pids.iter().all(|pid| exists(pid)),
        "a backend that is away ends no command"
    );
    assert_eq!(world.sh("echo here").await.text(), "here\n");
    world.mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
    let ended = timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(ended, ExitStatus { exit_code: 137 });
    client.stdin.take();
    are_gone(&pids).await;
}
