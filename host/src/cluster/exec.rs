//! Credentials that a program gives: the `exec` of a kubeconfig, as most clouds have one (client.authentication.k8s.io,
//! KEP-541).
//!
//! It is run once for all clients, aside from the host's own work and not for longer than [`LIMIT`]. kube's layers would run it
//! for each of them, on the thread that renews leases, however long it takes.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, ExecAuthCluster, ExecConfig};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::{io, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// Nobody is asked anything, so this is for slow networks.
const LIMIT: Duration = Duration::from_secs(60);
/// The program is run again so long before its credentials are over; a quarter of their life, where that is short.
const EARLY: SignedDuration = SignedDuration::from_secs(60);

/// Why a program gave no credentials. What it was given and what it printed is not told: either may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An `exec` without a command.
    #[error("the kubeconfig's credential plugin (exec) names no command; name one")]
    NoCommand,
    /// It needs the cluster, and the kubeconfig does not say enough of that.
    #[error("unable to describe the cluster to the kubeconfig's credential plugin; check it by hand")]
    Describe(#[source] serde_json::Error),
    /// It can't be run.
    #[error("unable to run the kubeconfig's credential plugin {command:?}; install it, or correct its path")]
    Start {
        /// As the kubeconfig names it.
        command: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("no credentials within {LIMIT:?} from the kubeconfig's credential plugin {0:?}; run it by hand")]
    Timeout(String),
    /// It failed.
    #[error("the kubeconfig's credential plugin {command:?} failed with {status}; run it by hand")]
    Failed {
        /// As the kubeconfig names it.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It printed something else.
    #[error("no credentials in what the kubeconfig's credential plugin {0:?} prints; run it by hand")]
    Unreadable(String),
}

/// What a program said of what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// When others are to be had; `None` if they do not say how long they are good.
    pub renew_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    api_version: Option<&'a str>,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    interactive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a ExecAuthCluster>,
}

/// Puts what the program of these credentials gives in its place. `None` where they name none.
///
/// # Errors
/// It gave none, see [`Error`].
pub async fn fill(auth: &mut AuthInfo) -> Result<Option<Given>, Error> {
    let Some(exec) = auth.exec.take() else {
        return Ok(None);
    };
    let command = exec.command.clone().ok_or(Error::NoCommand)?;
    let printed = run(&exec, &command).await?;
    let unreadable = || Error::Unreadable(command.clone());
    // Some print YAML, which Go's clients read as well.
    let answer: Answer = serde_yaml::from_slice(&printed).map_err(|_| unreadable())?;
    let status = answer.status.ok_or_else(unreadable)?;
    let expires = status.expiration_timestamp.as_deref().map(str::parse).transpose();
    let expires = expires.map_err(|_| unreadable())?;
    match (status.client_certificate_data, status.client_key_data) {
        (Some(certificate), Some(key)) => {
            auth.client_certificate_data = Some(STANDARD.encode(certificate));
            auth.client_key_data = Some(STANDARD.encode(key).into());
        }
        (None, None) if status.token.is_some() => {}
        _ => return Err(unreadable()),
    }
    if status.token.as_deref().is_some_and(|token| !fits_a_header(token)) {
        return Err(unreadable());
    }
    auth.token = status.token.map(Into::into);
    Ok(Some(Given {
        renew_at: expires.map(|at| renew_at(at, Timestamp::now())),
    }))
}

/// Whether a token can be sent: kube's layers take one with a line break in it for impossible.
pub(super) fn fits_a_header(token: &str) -> bool {
    HeaderValue::try_from(format!("Bearer {token}")).is_ok()
}

fn renew_at(expires: Timestamp, now: Timestamp) -> Timestamp {
    let life = expires.duration_since(now);
    expires.saturating_sub(EARLY.min(life / 4)).unwrap_or(now)
}

async fn run(exec: &ExecConfig, command: &str) -> Result<Vec<u8>, Error> {
    let request = Request {
        api_version: exec.api_version.as_deref(),
        kind: "ExecCredential",
        spec: Spec {
            interactive: false,
            cluster: exec.cluster.as_ref().filter(|_| exec.provide_cluster_info),
        },
    };
    let request = serde_json::to_string(&request).map_err(Error::Describe)?;
    let variables = exec.env.iter().flatten();
    let variables = variables.filter_map(|variable| Some((variable.get("name")?, variable.get("value")?)));
    let unable = |source| Error::Start {
        command: command.to_owned(),
        source,
    };
    let child = Command::new(command)
        .args(exec.args.iter().flatten())
        .envs(variables)
        .env("KUBERNETES_EXEC_INFO", request)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it says to a person is not for the host's log.
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(unable)?;
    let group = Group::of(&child);
    let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = ended.map_err(|_| Error::Timeout(command.to_owned()))?.map_err(unable)?;
    group.has_ended();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Failed {
            command: command.to_owned(),
            status: output.status,
        })
    }
}

/// A program with those that it has started, such as a script is with what it runs; killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Self {
        let id = leader.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// What is left of it goes on: some start an agent which they ask the next time.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may just have ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(script: &str) -> AuthInfo {
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "env": [{ "name": "KEY", "value": "hunter2" }],
        });
        AuthInfo {
            exec: serde_json::from_value(exec).unwrap(),
            ..AuthInfo::default()
        }
    }

    #[tokio::test]
    async fn what_it_gives_takes_its_place() {
        let mut auth = of(r#"echo "{status: {token: $KEY, expirationTimestamp: 2999-01-01T00:00:00Z}}""#);
        let lent = fill(&mut auth).await.unwrap().unwrap();
        assert!(lent.renew_at > Some(Timestamp::now()));
        let kept = serde_json::to_value(&auth).unwrap();
        assert_eq!(kept["token"], "hunter2");
        assert!(kept.get("exec").is_none(), "it has been asked");

        let mut auth = of(r#"echo '{"status": {"clientCertificateData": "PEM", "clientKeyData": "KEY"}}'"#);
        assert_eq!(fill(&mut auth).await.unwrap(), Some(Given { renew_at: None }));
        assert_eq!(auth.client_certificate_data.as_deref(), Some("UEVN"));
        assert!(auth.token.is_none());
        assert_eq!(fill(&mut auth).await.unwrap(), None, "there is no program any more");
    }

    #[test]
    fn it_is_run_again_before_they_are_over() {
        let now = Timestamp::UNIX_EPOCH;
        let after = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(renew_at(after(900), now), after(840));
        assert_eq!(renew_at(after(40), now), after(30));
        assert!(renew_at(after(-40), now) < now);
    }

    #[tokio::test]
    async fn it_is_told_that_nobody_can_be_asked() {
        let mut auth =
            of(r#"case $KUBERNETES_EXEC_INFO in *'"interactive":false'*) echo '{"status": {"token": "t"}}';; esac"#);
        assert!(fill(&mut auth).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_it_was_given_and_printed_is_not_told() {
        let scripts = [
            "echo hunter2; echo hunter2 >&2; exit 3",
            "echo hunter2",
            "echo '{}'",
            r#"echo '{"status": {"clientCertificateData": "hunter2"}}'"#,
            r#"echo '{"status": {"token": "t", "expirationTimestamp": "hunter2"}}'"#,
        ];
        for script in scripts {
            let error = fill(&mut of(script)).await.unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("credential plugin"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_token_that_no_header_can_have_is_none() {
        let error = fill(&mut of(r#"printf '{"status": {"token": "hunter2\\n"}}'"#)).await;
        assert!(matches!(error, Err(Error::Unreadable(_))), "{error:?}");
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut auth = of(&format!(
            r#"sleep 300 >/dev/null & echo $! > {}; echo '{{"status": {{"token": "t"}}}}'"#,
            file.path().display()
        ));
        let given = tokio::time::timeout(LIMIT / 2, fill(&mut auth)).await;
        assert!(given.expect("an answer at once").is_ok());
        let pid = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).expect("it goes on");
    }

    #[tokio::test]
    async fn one_that_is_given_up_ends_with_what_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 300 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let filling = tokio::spawn(async move { fill(&mut of(&script)).await });
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let wait = async |what: &str, holds: &dyn Fn() -> bool| {
            while !holds() {
                assert!(std::time::Instant::now() < deadline, "never: {what}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        wait("it runs something", &|| file.exists()).await;
        filling.abort();
        let pid = std::fs::read_to_string(&file).unwrap();
        // Who has ended and was not asked how is a zombie.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        wait("it has ended", &|| state().is_empty() || state().contains(") Z")).await;
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_named() {
        let mut auth = of("");
        if let Some(exec) = &mut auth.exec {
            exec.command = Some("/nowhere/plugin".to_owned());
        }
        let error = fill(&mut auth).await.unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/plugin") && error.contains("install it"),
            "{error}"
        );
    }
}
