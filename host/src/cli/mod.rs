//! The command line: one file for each subcommand.

mod check_config;
mod plugins;
mod run;
mod version;

use crate::config::Fault;
use crate::config::Flags;
use crate::config::HostConfig;
use crate::config::Overlay;
use crate::config::Resolved;
use crate::plugin;
use crate::plugin::probe;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// The command line or the configuration is wrong (sysexits EX_USAGE).
pub const USAGE: u8 = 64;
/// Nothing can run: no plugin starts, a required one fails, or a kubelet port can't be opened (sysexits EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// The host itself failed (sysexits EX_SOFTWARE).
pub const INTERNAL: u8 = 70;

/// A virtual kubelet host whose providers are plugins.
#[derive(Debug, Parser)]
#[command(
    name = "outrigger",
    version = version::line(),
    after_help = "Flags come before environment variables, those before the file, the file before the defaults.\n\
                  Exit codes: 0 ok; 64 wrong command line or configuration; 69 no plugin could start, a required one \
                  failed, or a kubelet port could not be opened; 70 internal error."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: ConfigFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host (the default)
    Run,
    /// Check the configuration and say everything that is wrong with it
    CheckConfig {
        /// Print the effective configuration with the origin of each value
        #[arg(long)]
        effective: bool,
    },
    /// Look at the plugins that are installed
    #[command(subcommand)]
    Plugins(plugins::Command),
    /// Print the version
    Version,
    /// Load a plugin and say what it is: the child process in which the host tries plugins out
    #[command(name = probe::SUBCOMMAND, hide = true)]
    Probe {
        /// The plugin's file
        path: PathBuf,
        /// Its hash; another file is not loaded
        sha256: String,
    },
}

/// The flags that are part of the configuration; they may stand before or behind the subcommand.
#[derive(Debug, Clone, Default, Args)]
struct ConfigFlags {
    /// Configuration file [env: OUTRIGGER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A provider of the file, whose nodes alone run; or a plugin, with an empty config and one node [env: OUTRIGGER_PROVIDER]
    #[arg(long, global = true, value_name = "NAME")]
    provider: Option<String>,
    /// Name of the node, where there is one [env: OUTRIGGER_NODENAME]
    #[arg(long, global = true, value_name = "NAME")]
    nodename: Option<String>,
    /// Kubeconfig; without one the host uses its pod's service account [env: OUTRIGGER_KUBECONFIG, then the file, then KUBECONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Directory to search for plugins, instead of those of the file; may be repeated [env: OUTRIGGER_PLUGIN_DIR, a list with colons]
    #[arg(long = "plugin-dir", global = true, value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,
    /// off, error, warn, info, debug, trace, or directives like warn,outrigger::pod=debug [env: OUTRIGGER_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [env: OUTRIGGER_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Let everybody who reaches a kubelet port read pods and logs and run commands, unasked [env: OUTRIGGER_NO_VERIFY_CLIENTS, true or false]
    #[arg(long, global = true)]
    no_verify_clients: bool,
}

impl ConfigFlags {
    fn overlay(self) -> Overlay {
        let flags = Flags {
            config: self.config,
            provider: self.provider,
            nodename: self.nodename,
            kubeconfig: self.kubeconfig,
            plugin_dirs: self.plugin_dirs,
            log_level: self.log_level,
            log_format: self.log_format,
            no_verify_clients: self.no_verify_clients,
        };
        Overlay::new(flags, |name| std::env::var_os(name))
    }
}

/// Does what the command line asks for, and says how the process should end; `host` runs a host until it is told to
/// stop.
pub fn dispatch(args: impl IntoIterator<Item = OsString>, host: impl FnOnce(HostConfig) -> ExitCode) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too; those go to stdout and are no failure. A closed pipe is neither.
            let _ = error.print();
            return if error.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let overlay = cli.flags.overlay();
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(&overlay, host),
        Command::CheckConfig { effective } => check_config::run(&overlay, effective),
        Command::Plugins(command) => plugins::run(&overlay, &command),
        Command::Version => version::run(),
        Command::Probe { path, sha256 } => probe::child_main(&path, &sha256),
    }
}

/// What is wrong with a `--provider` that is none of the file's: a word that names no plugin either is a slip, and not a
/// plugin that is missing for the moment.
fn missing_plugin(resolved: &Resolved) -> Option<Fault> {
    let source = resolved.origins.of("providers[0].plugin").outside_the_file()?;
    let only = resolved.config.providers.first()?;
    let error = plugin::find(&only.plugin, &resolved.config.plugins.directories).err()?;
    Some(Fault {
        source: source.to_owned(),
        at: None,
        path: String::new(),
        message: error.to_string(),
    })
}

/// Prints a page on stdout. Somebody who closes the pipe has read enough: that is no failure.
fn show(page: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(page.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("unable to write to stdout: {error}");
            INTERNAL.into()
        }
        _ => ExitCode::SUCCESS,
    }
}

/// A runtime for the commands that run plugins in child processes and end.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("outrigger").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_subcommand_and_run_is_the_default() {
        for line in ["--config x.yaml", "run --config x.yaml", "--config x.yaml run"] {
            let cli = parse(line);
            assert!(matches!(cli.command, None | Some(Command::Run)), "{line}");
            assert_eq!(cli.flags.config, Some("x.yaml".into()), "{line}");
        }
        let cli = parse("check-config --effective --plugin-dir a --plugin-dir b");
        assert!(matches!(cli.command, Some(Command::CheckConfig { effective: true })));
        assert_eq!(cli.flags.plugin_dirs, [PathBuf::from("a"), "b".into()]);
    }

    #[test]
    fn a_wrong_command_line_is_64_and_help_is_none() {
        for (line, code) in [
            ("outrigger --nope", USAGE),
            ("outrigger fly", USAGE),
            ("outrigger --version", 0),
        ] {
            let args = line.split_whitespace().map(OsString::from);
            assert_eq!(
                format!("{:?}", dispatch(args, |_| ExitCode::from(1))),
                format!("{:?}", ExitCode::from(code)),
                "{line}"
            );
        }
    }

    #[test]
    fn a_provider_that_is_neither_of_the_file_nor_a_plugin_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        let text = "apiVersion: outrigger.dev/v1alpha1\nkind: HostConfig\nproviders: [{plugin: away}]\n\
                    nodes: [{name: vk, provider: away}]\n";
        std::fs::write(&file, text).unwrap();
        std::fs::write(directory.path().join("liboutrigger_here.so"), "").unwrap();
        let fault = |provider: &str| {
            let flags = Flags {
                config: Some(file.clone()),
                provider: Some(provider.to_owned()),
                plugin_dirs: vec![directory.path().to_owned()],
                ..Flags::default()
            };
            let resolved = crate::config::load(&Overlay::new(flags, |_| None)).unwrap();
            missing_plugin(&resolved).map(|fault| fault.to_string())
        };
        let slip = fault("hree").unwrap();
        assert!(slip.starts_with("--provider: unable to find plugin \"hree\""), "{slip}");
        assert_eq!(fault("here"), None);
        // That its file is missing is found out when it starts, as without the flag.
        assert_eq!(fault("away"), None);

        for (command, provider, code) in [
            ("check-config", "hree", USAGE),
            ("run", "hree", USAGE),
            ("check-config", "away", 0),
        ] {
            let mut args: Vec<OsString> = ["outrigger", command, "--provider", provider].map(Into::into).to_vec();
            args.extend(["--config".into(), file.clone().into()]);
            args.extend(["--plugin-dir".into(), directory.path().into()]);
            let ended = dispatch(args, |_| panic!("a host was started"));
            let (ended, code) = (format!("{ended:?}"), format!("{:?}", ExitCode::from(code)));
            assert_eq!(ended, code, "{command} --provider {provider}");
        }
    }

    #[test]
    fn a_wrong_configuration_is_64_and_no_host_is_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.yaml");
        std::fs::write(&file, "kind: HostConfg\n").unwrap();
        for command in ["run", "check-config", "plugins"] {
            let mut args: Vec<OsString> = vec!["outrigger".into(), command.into()];
            args.extend((command == "plugins").then(|| "list".into()));
            args.extend(["--config".into(), file.clone().into()]);
            let code = dispatch(args, |_| panic!("a host was started"));
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(USAGE)), "{command}");
        }
    }
}
