//! Tries a plugin out in a child process before it gets into this one. A file that crashes, aborts or hangs while it
//! is loaded then costs a child and becomes a line of text; here it would have been the host.

use super::Error;
use super::image::Capability;
use super::image::Image;
use super::load;
use super::verify;
use super::verify::PluginFile;
use crate::config::AllowedPlugin;
use crate::config::PluginLoad;
use crate::config::Sha256Digest;
use outrigger_plugin::PluginInfo;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The hidden subcommand of the host's binary that ends in [`child_main`].
pub const SUBCOMMAND: &str = "__probe";

/// How a plugin is tried out.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The host's binary; tests name it, since they are another program.
    pub executable: PathBuf,
    /// How long a child may take.
    pub timeout: Duration,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            executable: PathBuf::from("/proc/self/exe"),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a plugin could not be tried out, or did not survive it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No child.
    #[error("no child process could be started to try it out: {0}; look for limits on processes or memory")]
    Spawn(io::Error),
    /// It hangs.
    #[error("it did not load within {0:?} in a child process: its constructor hangs; report it to the plugin's author")]
    Hung(Duration),
    /// It died.
    #[error("a child process that loaded it {how}{said}; {advice}")]
    Died {
        /// How it died.
        how: String,
        /// The last thing it wrote, with a separator, or nothing.
        said: String,
        /// What to do.
        advice: &'static str,
    },
    /// The file changed meanwhile.
    #[error("the file changed while it was being loaded; start again")]
    Changed,
}

/// What is known of a plugin file without running a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// The ABI that it was built for.
    pub abi: String,
    /// From opening to a usable table, in microseconds.
    pub load_micros: u64,
    /// What it says of itself.
    pub info: PluginInfo,
    /// What this host makes of its capabilities.
    pub capabilities: Vec<Capability>,
}

/// The child's only line, after [`MARK`].
#[derive(Serialize, Deserialize)]
enum Report {
    Loaded(Box<Inspection>),
    Refused(String),
    /// It is not the file that was to be tried out, and was not loaded.
    Changed,
}

/// Tells the report from whatever a plugin's constructor may print.
const MARK: &str = "outrigger-probe ";
/// What is read of a child's output.
const MAX_OUTPUT: u64 = 4 << 20;

/// Which files may be tried out: none of their code runs before they were found to be among them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admits<'a> {
    /// The plugin's name, by which the list of those that are allowed has it; a file that has none may be any of them.
    pub plugin: Option<&'a str>,
    /// The provider's `sha256`.
    pub sha256: Option<Sha256Digest>,
    /// `plugins.allow`; without it everything is.
    pub allow: Option<&'a [AllowedPlugin]>,
}

impl Admits<'_> {
    fn name(&self, path: &Path, sha256: Sha256Digest) -> String {
        let listed = || self.allow?.iter().find(|entry| entry.sha256 == sha256);
        let name = self.plugin.or_else(|| Some(listed()?.name.as_str()));
        name.map_or_else(|| path.display().to_string(), str::to_owned)
    }
}

/// Looks at a plugin file in a child process, with the host's own binary, if it is admitted.
pub async fn inspect(path: &Path, admits: Admits<'_>) -> Result<Inspection, Error> {
    inspect_with(path, admits, &Probe::default()).await
}

/// Looks at a plugin file in a child process, if it is admitted.
pub async fn inspect_with(path: &Path, admits: Admits<'_>, probe: &Probe) -> Result<Inspection, Error> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || verify::read(&owned)).await;
    let file = read.map_err(|_| Error::Ending { path: path.to_owned() })?;
    let admitted = file.and_then(|file| {
        let name = admits.name(path, file.sha256);
        file.admit(&name, admits.sha256, admits.allow).map(|()| file)
    });
    let file = admitted.map_err(|fault| Error::File {
        path: path.to_owned(),
        fault,
    })?;
    agree(&file, probe).await
}

/// Tries out a file that was read before; it must be the same one still.
pub(super) async fn agree(file: &PluginFile, probe: &Probe) -> Result<Inspection, Error> {
    let path = &file.path;
    let fault = |fault| Error::Probe {
        path: path.to_owned(),
        fault,
    };
    let mut child = Command::new(&probe.executable)
        .arg(SUBCOMMAND)
        .arg(path)
        .arg(file.sha256.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fault(Fault::Spawn(error)))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(probe.timeout, async {
        let (out, err) = tokio::join!(read(stdout), read(stderr));
        (child.wait().await, out, err)
    })
    .await;
    let Ok((status, out, err)) = ended else {
        return Err(fault(Fault::Hung(probe.timeout)));
    };
    let status = status.map_err(|error| fault(Fault::Spawn(error)))?;
    let report = out.lines().rev().find_map(|line| line.strip_prefix(MARK));
    match report.and_then(|report| serde_json::from_str(report).ok()) {
        Some(Report::Loaded(inspection)) if status.success() => Ok(*inspection),
        Some(Report::Refused(text)) => Err(Error::Load {
            path: path.to_owned(),
            fault: load::Fault::Reported(text),
        }),
        Some(Report::Changed) => Err(fault(Fault::Changed)),
        _ => Err(fault(died(status, &err))),
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // A pipe of a child that dies ends; what came before is what there is.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn died(status: ExitStatus, stderr: &str) -> Fault {
    const DAMAGED: &str = "copy or build the file again";
    const REPORT: &str = "report it to the plugin's author";
    let (how, advice) = match status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::BUS) => (
            "read past the end of the file (SIGBUS): it is truncated".to_owned(),
            DAMAGED,
        ),
        Some(Signal::ABORT) => ("aborted".to_owned(), REPORT),
        Some(Signal::SEGV) => ("crashed (SIGSEGV)".to_owned(), REPORT),
        Some(Signal::ILL) => (
            "met an instruction that this CPU does not know (SIGILL)".to_owned(),
            "use a build for this CPU",
        ),
        Some(Signal::KILL) => ("was killed from outside".to_owned(), "look for limits on memory"),
        Some(other) => (format!("died of signal {}", other.as_raw()), REPORT),
        None => (
            format!("ended with exit code {}", status.code().unwrap_or_default()),
            REPORT,
        ),
    };
    let said = last_words(stderr).map_or_else(String::new, |line| {
        format!(": {}", line.chars().take(200).collect::<String>())
    });
    Fault::Died { how, said, advice }
}

/// A panic's message, which stands in the line below its place; else the last line.
fn last_words(stderr: &str) -> Option<&str> {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let panic = lines.clone().skip_while(|line| !line.contains("panicked at")).nth(1);
    panic.or_else(|| lines.next_back())
}

/// The child: loads the plugin with that hash, prints one line and ends. Nothing else happens in it.
pub fn child_main(path: &Path, sha256: &str) -> ExitCode {
    harden();
    let report = look(path, sha256).unwrap_or_else(Report::Refused);
    let refused = !matches!(report, Report::Loaded(_));
    let line = serde_json::to_string(&report).unwrap_or_default();
    let written = writeln!(io::stdout(), "\n{MARK}{line}").and_then(|()| io::stdout().flush());
    if refused || written.is_err() {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

/// A crash is expected here: no core file for it, and no life without the host.
fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Without these the probe still works; a crash just leaves more behind.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

fn look(path: &Path, sha256: &str) -> Result<Report, String> {
    let file = verify::read(path).map_err(|fault| fault.to_string())?;
    if file.sha256.to_string() != sha256 {
        return Ok(Report::Changed);
    }
    let image = match load::load(&file, PluginLoad::Memory) {
        // Where copies in memory are forbidden the host is told so by its own attempt; the file may be good.
        Err(load::Fault::Memory(_)) => load::load(&file, PluginLoad::Path),
        loaded => loaded,
    };
    let image = image.map_err(|fault| fault.to_string())?;
    Ok(Report::Loaded(Box::new(inspection(&file, image))))
}

fn inspection(file: &PluginFile, image: &Image) -> Inspection {
    Inspection {
        path: file.path.clone(),
        size_bytes: file.size,
        sha256: file.sha256.to_string(),
        abi: image.abi.to_string(),
        load_micros: u64::try_from(image.load_time.as_micros()).unwrap_or(u64::MAX),
        info: image.info.clone(),
        capabilities: image.capabilities.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_told_with_its_cause_and_the_last_words() {
        let bus = died(ExitStatus::from_raw(7), "");
        assert_eq!(
            bus.to_string(),
            "a child process that loaded it read past the end of the file (SIGBUS): it is truncated; \
             copy or build the file again"
        );
        let abort = died(ExitStatus::from_raw(6), "first\nmemory allocation failed\n\n");
        assert_eq!(
            abort.to_string(),
            "a child process that loaded it aborted: memory allocation failed; report it to the plugin's author"
        );
        let panic = died(
            ExitStatus::from_raw(6),
            "\nthread 'main' panicked at a.rs:1:1:\nthe cause\nnote: x\naborting.\n",
        );
        assert!(panic.to_string().contains("aborted: the cause; "), "{panic}");
        let exit = died(ExitStatus::from_raw(5 << 8), "");
        assert!(exit.to_string().contains("ended with exit code 5"), "{exit}");
        assert!(
            died(ExitStatus::from_raw(9), "")
                .to_string()
                .contains("killed from outside")
        );
    }
}
