//! What the command line and the environment say; both come before the file.

use super::fault::Fault;
use super::origin::Given;
use super::origin::Origin;
use std::ffi::OsString;
use std::path::PathBuf;

/// The flags that are part of the configuration, as they were typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--provider`
    pub provider: Option<String>,
    /// `--nodename`
    pub nodename: Option<String>,
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--plugin-dir`, once for each directory; empty if not given.
    pub plugin_dirs: Vec<PathBuf>,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
    /// `--no-verify-clients`
    pub no_verify_clients: bool,
}

/// Flags, and the environment where there is no flag, each value with its origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The configuration file.
    pub config: Option<Given<PathBuf>>,
    /// A provider of the file, or a plugin.
    pub provider: Option<Given<String>>,
    /// The name of the one node.
    pub nodename: Option<Given<String>>,
    /// The kubeconfig.
    pub kubeconfig: Option<Given<PathBuf>>,
    /// The plugin directories, instead of those of the file.
    pub plugin_dirs: Option<Given<Vec<PathBuf>>>,
    /// The log level.
    pub log_level: Option<Given<String>>,
    /// The log format.
    pub log_format: Option<Given<String>>,
    /// Whether everybody may use the kubelet API.
    pub no_verify_clients: Option<Given<bool>>,
    /// The list in KUBECONFIG, which everybody's shell may have set: it counts only where the file says nothing.
    pub ambient_kubeconfig: Vec<PathBuf>,
    /// What is wrong with the variables themselves.
    pub(super) faults: Vec<Fault>,
}

impl Overlay {
    /// Puts `flags` over the environment; `env` answers for a variable's name. A variable that is set to nothing
    /// counts as not set.
    pub fn new(flags: Flags, env: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut faults = Vec::new();
        let variable = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut text = |flag: Option<String>, flag_name: &'static str, name: &'static str| {
            if let Some(value) = flag {
                return Some(Given {
                    value,
                    from: Origin::Flag(flag_name),
                });
            }
            match variable(name)?.into_string() {
                Ok(value) => Some(Given {
                    value,
                    from: Origin::Env(name),
                }),
                Err(_) => {
                    let message = "expected UTF-8 text".to_owned();
                    faults.push(Fault {
                        source: name.to_owned(),
                        at: None,
                        path: String::new(),
                        message,
                    });
                    None
                }
            }
        };
        let provider = text(flags.provider, "--provider", "OUTRIGGER_PROVIDER");
        let nodename = text(flags.nodename, "--nodename", "OUTRIGGER_NODENAME");
        let log_level = text(flags.log_level, "--log-level", "OUTRIGGER_LOG_LEVEL");
        let log_format = text(flags.log_format, "--log-format", "OUTRIGGER_LOG_FORMAT");
        let no_verify_clients = {
            const NAME: &str = "OUTRIGGER_NO_VERIFY_CLIENTS";
            let variable = text(None, "", NAME);
            let given = flags
                .no_verify_clients
                .then_some((true, Origin::Flag("--no-verify-clients")));
            given
                .or_else(|| match variable?.value.as_str() {
                    "true" => Some((true, Origin::Env(NAME))),
                    "false" => Some((false, Origin::Env(NAME))),
                    other => {
                        faults.push(Fault {
                            source: NAME.to_owned(),
                            at: None,
                            path: String::new(),
                            message: format!("expected true or false, found {other:?}"),
                        });
                        None
                    }
                })
                .map(|(value, from)| Given { value, from })
        };

        let path = |flag: Option<PathBuf>, flag_name: &'static str, name: &'static str| match flag {
            Some(value) => Some(Given {
                value,
                from: Origin::Flag(flag_name),
            }),
            None => variable(name).map(|value| Given {
                value: value.into(),
                from: Origin::Env(name),
            }),
        };
        let list = |value: OsString| {
            std::env::split_paths(&value)
                .filter(|path| !path.as_os_str().is_empty())
                .collect()
        };
        let plugin_dirs = if flags.plugin_dirs.is_empty() {
            const NAME: &str = "OUTRIGGER_PLUGIN_DIR";
            variable(NAME).map(|value| Given {
                value: list(value),
                from: Origin::Env(NAME),
            })
        } else {
            Some(Given {
                value: flags.plugin_dirs,
                from: Origin::Flag("--plugin-dir"),
            })
        };
        Self {
            config: path(flags.config, "--config", "OUTRIGGER_CONFIG"),
            provider,
            nodename,
            kubeconfig: path(flags.kubeconfig, "--kubeconfig", "OUTRIGGER_KUBECONFIG"),
            plugin_dirs,
            log_level,
            log_format,
            no_verify_clients,
            ambient_kubeconfig: variable("KUBECONFIG").map(list).unwrap_or_default(),
            faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_flag_comes_before_its_variable() {
        let env = |name: &str| match name {
            "OUTRIGGER_PROVIDER" => Some("from-env".into()),
            "OUTRIGGER_NODENAME" => Some("vk".into()),
            "OUTRIGGER_LOG_LEVEL" => Some("".into()),
            "OUTRIGGER_PLUGIN_DIR" => Some("/a::/b".into()),
            "KUBECONFIG" => Some("/k1:/k2".into()),
            _ => None,
        };
        let flags = Flags {
            provider: Some("from-flag".into()),
            ..Flags::default()
        };
        let overlay = Overlay::new(flags, env);
        let given = |value: &str, from| {
            Some(Given {
                value: value.to_owned(),
                from,
            })
        };
        assert_eq!(overlay.provider, given("from-flag", Origin::Flag("--provider")));
        assert_eq!(overlay.nodename, given("vk", Origin::Env("OUTRIGGER_NODENAME")));
        assert_eq!(overlay.log_level, None);
        assert_eq!(overlay.plugin_dirs.unwrap().value, [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(overlay.ambient_kubeconfig, [PathBuf::from("/k1"), "/k2".into()]);
        assert_eq!(overlay.faults, []);
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_fault() {
        let env = |name: &str| (name == "OUTRIGGER_NODENAME").then(|| OsString::from_vec(vec![0xff]));
        let overlay = Overlay::new(Flags::default(), env);
        assert_eq!(overlay.faults[0].to_string(), "OUTRIGGER_NODENAME: expected UTF-8 text");
    }

    #[test]
    fn opening_the_kubelet_api_takes_a_clear_word() {
        let given = |flag, variable: &'static str| {
            let flags = Flags {
                no_verify_clients: flag,
                ..Flags::default()
            };
            Overlay::new(flags, |name| {
                (name == "OUTRIGGER_NO_VERIFY_CLIENTS").then(|| variable.into())
            })
        };
        let value = |overlay: Overlay| {
            overlay
                .no_verify_clients
                .map(|given| (given.value, given.from.to_string()))
        };
        assert_eq!(value(given(false, "")), None);
        assert_eq!(
            value(given(true, "false")),
            Some((true, "from flag --no-verify-clients".to_owned()))
        );
        assert_eq!(
            value(given(false, "true")),
            Some((true, "from env OUTRIGGER_NO_VERIFY_CLIENTS".to_owned()))
        );
        let unclear = given(false, "1");
        assert_eq!(
            unclear.faults[0].to_string(),
            "OUTRIGGER_NO_VERIFY_CLIENTS: expected true or false, found \"1\""
        );
        assert_eq!(value(unclear), None);
    }
}
