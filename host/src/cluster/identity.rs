//! Who this process is, and which cluster it talks to.

use super::Clients;
use super::process;
use super::raw;
use super::raw::ApiError;
use crate::config::ClusterConfig;
use serde::Deserialize;
use std::fmt;
use std::str::FromStr;

/// Names one life of one host process, as the holder of node leases.
///
/// Two hosts with equal ids can't be running: boot id, pid namespace, pid and start time name a process for good, and
/// the nonce tells hosts inside one process apart. Its text is
/// `hostname/boot id/pid namespace/pid/start time/nonce`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceId {
    hostname: String,
    boot_id: String,
    pid_namespace: u64,
    pid: u32,
    start_time: u64,
    nonce: u32,
}

/// Why this process can't be named.
#[derive(Debug, thiserror::Error)]
#[error("unable to read {what}: {source}; mount /proc")]
pub struct IdentityError {
    what: &'static str,
    source: std::io::Error,
}

impl InstanceId {
    /// A new id for this process.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn current() -> Result<Self, IdentityError> {
        let failed = |what| move |source| IdentityError { what, source };
        let pid = std::process::id();
        Ok(Self {
            hostname: process::hostname().map_err(failed("the host's name"))?,
            boot_id: process::boot_id().map_err(failed("the boot id"))?,
            pid_namespace: process::pid_namespace().map_err(failed("the pid namespace"))?,
            pid,
            start_time: process::start_time(pid)
                .map_err(failed("the start time of this process"))?
                .unwrap_or_default(),
            nonce: fastrand::u32(..),
        })
    }

    /// Whether the process that `holder` names ran where we run and has ended, so that nobody will renew in its name.
    /// False for a text that names no host of ours, for other machines and containers, and when in doubt.
    pub fn same_machine_and_gone(&self, holder: &str) -> bool {
        holder
            .parse::<Self>()
            .is_ok_and(|holder| self.sees(&holder) && holder.is_gone())
    }

    /// The pid to wait for when the holder is a process of this machine that lives.
    pub fn neighbour(&self, holder: &str) -> Option<u32> {
        let holder: Self = holder.parse().ok()?;
        (self.sees(&holder) && holder.pid != self.pid && !holder.is_gone()).then_some(holder.pid)
    }

    /// Whether pids mean the same to both.
    fn sees(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.hostname == other.hostname && self.pid_namespace == other.pid_namespace
    }

    fn is_gone(&self) -> bool {
        process::start_time(self.pid).is_ok_and(|started| started != Some(self.start_time))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}/{}/{:08x}",
            self.hostname, self.boot_id, self.pid_namespace, self.pid, self.start_time, self.nonce
        )
    }
}

/// A text that is no [`InstanceId`]: the holder is something else, a kubelet for example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an instance id")]
pub struct NotAnInstance;

impl FromStr for InstanceId {
    type Err = NotAnInstance;

    fn from_str(text: &str) -> Result<Self, NotAnInstance> {
        let mut parts = text.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(NotAnInstance);
        let id = Self {
            hostname: part()?.to_owned(),
            boot_id: part()?.to_owned(),
            pid_namespace: part()?.parse().map_err(|_| NotAnInstance)?,
            pid: part()?.parse().map_err(|_| NotAnInstance)?,
            start_time: part()?.parse().map_err(|_| NotAnInstance)?,
            nonce: u32::from_str_radix(part()?, 16).map_err(|_| NotAnInstance)?,
        };
        if parts.next().is_some() {
            Err(NotAnInstance)
        } else {
            Ok(id)
        }
    }
}

/// Which cluster this is, for the mark on what a host creates in a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterId {
    /// The UID of the namespace kube-system.
    Read(String),
    /// The configured one, because that UID can't be read.
    Configured(String),
    /// The UID is another than the configured id: a wrong kubeconfig or a copied config. The mark is the UID, and
    /// nothing may be swept.
    Mismatch {
        /// The UID of kube-system.
        uid: String,
        /// What the configuration says.
        configured: String,
    },
    /// The UID can't be read and none is configured.
    Unknown {
        /// Why it can't be read.
        reason: String,
    },
}

impl ClusterId {
    /// The id to mark with, if there is one.
    pub fn mark(&self) -> Option<&str> {
        match self {
            Self::Read(id) | Self::Configured(id) | Self::Mismatch { uid: id, .. } => Some(id),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether the cluster is certain enough to delete what it does not know.
    pub fn may_sweep(&self) -> bool {
        matches!(self, Self::Read(_) | Self::Configured(_))
    }

    fn decide(read: Result<String, String>, configured: Option<&str>) -> Self {
        match (read, configured.map(str::to_owned)) {
            (Ok(uid), Some(configured)) if configured != uid => Self::Mismatch { uid, configured },
            (Ok(uid), _) => Self::Read(uid),
            (Err(_), Some(configured)) => Self::Configured(configured),
            (Err(reason), None) => Self::Unknown { reason },
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(id) => write!(f, "{id}"),
            Self::Configured(id) => write!(f, "{id} (configured)"),
            Self::Mismatch { uid, configured } => write!(
                f,
                "{uid}, but cluster.id is {configured}: check the kubeconfig, then correct or remove cluster.id"
            ),
            Self::Unknown { reason } => write!(
                f,
                "unknown ({reason}): set cluster.id, or allow `get` of the namespace kube-system"
            ),
        }
    }
}

/// Asks the API server which cluster it is.
///
/// # Errors
/// Only failures that a later try may not see. That kube-system may not be read or does not exist is an answer; so is,
/// where nodes act for themselves, that the host's own credentials have served their time.
pub async fn cluster_id(clients: &Clients, config: &ClusterConfig) -> Result<ClusterId, ApiError> {
    #[derive(Deserialize)]
    struct Namespace {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        uid: String,
    }
    let request = raw::get("/api/v1/namespaces/kube-system")?;
    let read = match raw::send(&clients.status, request, raw::DEFAULT_TIMEOUT).await {
        Ok(reply) => Ok(reply.decode::<Namespace>()?.metadata.uid),
        Err(error @ (ApiError::Forbidden(_) | ApiError::NotFound(_))) => Err(error.to_string()),
        Err(error @ ApiError::Unauthorized(_)) if config.node_certificates.is_some() => Err(error.to_string()),
        Err(error) => return Err(error),
    };
    Ok(ClusterId::decide(read, config.id.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_leads_back_to_the_id() {
        let id = InstanceId::current().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_holders_are_no_instances() {
        for holder in [
            "",
            "vk-0",
            "a/b",
            "a/b/c/d/e/f",
            "a/b/1/2/3/zz",
            "a//1/2/3/ff",
            "a/b/1/2/3/ff/g",
        ] {
            assert_eq!(holder.parse::<InstanceId>(), Err(NotAnInstance), "{holder}");
        }
    }

    #[test]
    fn two_hosts_in_one_process_differ_and_neither_is_gone() {
        let (one, two) = (InstanceId::current().unwrap(), InstanceId::current().unwrap());
        assert_ne!(one, two);
        assert!(!one.same_machine_and_gone(&two.to_string()));
        assert_eq!(one.neighbour(&two.to_string()), None);
    }

    #[test]
    fn a_process_of_this_machine_that_ended_is_gone() {
        let me = InstanceId::current().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let holder = InstanceId {
            pid,
            start_time: process::start_time(pid).unwrap().unwrap(),
            ..me.clone()
        };
        assert!(!me.same_machine_and_gone(&holder.to_string()));
        assert_eq!(me.neighbour(&holder.to_string()), Some(pid));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !me.same_machine_and_gone(&holder.to_string()) {
            assert!(
                std::time::Instant::now() < deadline,
                "not gone though killed, and not yet collected"
            );
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(me.same_machine_and_gone(&holder.to_string()));
        assert_eq!(me.neighbour(&holder.to_string()), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = InstanceId::current().unwrap();
        let earlier = InstanceId {
            start_time: me.start_time - 1,
            ..me.clone()
        };
        assert!(me.same_machine_and_gone(&earlier.to_string()));
    }

    #[test]
    fn pids_elsewhere_say_nothing() {
        let me = InstanceId::current().unwrap();
        for elsewhere in [
            InstanceId {
                boot_id: "other".into(),
                start_time: 1,
                ..me.clone()
            },
            InstanceId {
                hostname: "other".into(),
                start_time: 1,
                ..me.clone()
            },
            InstanceId {
                pid_namespace: 1,
                start_time: 1,
                ..me.clone()
            },
        ] {
            assert!(!me.same_machine_and_gone(&elsewhere.to_string()), "{elsewhere}");
        }
    }

    #[test]
    fn a_configured_id_replaces_only_what_can_not_be_read() {
        let read = || Ok("uid".to_owned());
        let denied = || Err("forbidden".to_owned());
        assert_eq!(ClusterId::decide(read(), None), ClusterId::Read("uid".into()));
        assert_eq!(ClusterId::decide(read(), Some("uid")), ClusterId::Read("uid".into()));
        assert_eq!(
            ClusterId::decide(denied(), Some("mine")),
            ClusterId::Configured("mine".into())
        );
        let mismatch = ClusterId::decide(read(), Some("mine"));
        assert!(!mismatch.may_sweep());
        assert_eq!(mismatch.mark(), Some("uid"));
        let unknown = ClusterId::decide(denied(), None);
        assert!(!unknown.may_sweep());
        assert_eq!(unknown.mark(), None);
    }
}
