//! Which path is what.

use http::Method;

/// An endpoint, with what follows its name in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'p> {
    Healthz { check: &'p str },
    Pods,
    RunningPods,
    Logs { rest: &'p str },
    Exec { rest: &'p str },
    Attach { rest: &'p str },
    PortForward { rest: &'p str },
    Run { rest: &'p str },
    Checkpoint,
    Summary,
    Metrics,
    ResourceMetrics,
    ProbeMetrics,
    CadvisorMetrics,
    Configz,
}

impl<'p> Route<'p> {
    pub(super) fn of(path: &'p str) -> Option<Self> {
        let after = |name: &str| path.strip_prefix(name);
        Some(match path {
            "/healthz" => Self::Healthz { check: "" },
            "/pods" => Self::Pods,
            "/runningpods" | "/runningpods/" => Self::RunningPods,
            "/stats/summary" => Self::Summary,
            "/metrics" => Self::Metrics,
            "/metrics/resource" => Self::ResourceMetrics,
            "/metrics/probes" => Self::ProbeMetrics,
            "/metrics/cadvisor" => Self::CadvisorMetrics,
            "/configz" => Self::Configz,
            _ => {
                if let Some(check) = after("/healthz/").filter(|check| !check.is_empty()) {
                    Self::Healthz { check }
                } else if let Some(rest) = after("/containerLogs/") {
                    Self::Logs { rest }
                } else if let Some(rest) = after("/exec/") {
                    Self::Exec { rest }
                } else if let Some(rest) = after("/attach/") {
                    Self::Attach { rest }
                } else if let Some(rest) = after("/portForward/") {
                    Self::PortForward { rest }
                } else if let Some(rest) = after("/run/") {
                    Self::Run { rest }
                } else if after("/checkpoint/").is_some() {
                    Self::Checkpoint
                } else {
                    return None;
                }
            }
        })
    }

    /// The methods that it takes, as `Allow` lists them.
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::Exec { .. } | Self::Attach { .. } | Self::PortForward { .. } => "GET, POST",
            Self::Run { .. } | Self::Checkpoint => "POST",
            _ => "GET",
        }
    }

    pub(super) fn takes(self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Its name in metrics, as the kubelet's.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Healthz { .. } => "healthz",
            Self::Pods => "pods",
            Self::RunningPods => "runningpods",
            Self::Logs { .. } => "containerLogs",
            Self::Exec { .. } => "exec",
            Self::Attach { .. } => "attach",
            Self::PortForward { .. } => "portForward",
            Self::Run { .. } => "run",
            Self::Checkpoint => "checkpoint",
            Self::Summary => "stats/summary",
            Self::Metrics => "metrics",
            Self::ResourceMetrics => "metrics/resource",
            Self::ProbeMetrics => "metrics/probes",
            Self::CadvisorMetrics => "metrics/cadvisor",
            Self::Configz => "configz",
        }
    }

    /// Whether it lasts as long as the caller likes.
    pub(super) fn is_long(self) -> bool {
        matches!(
            self,
            Self::Exec { .. } | Self::Attach { .. } | Self::PortForward { .. } | Self::Logs { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_words() {
        for path in [
            "/",
            "",
            "/healthz/",
            "/healthzz",
            "/pods/",
            "/metrics/",
            "/metrics/other",
            "/stats",
            "/stats/summaryx",
            "/exec",
            "/containerLogs",
            "/checkpoint",
            "/nothing",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
        assert_eq!(Route::of("/healthz/ping"), Some(Route::Healthz { check: "ping" }));
        assert_eq!(Route::of("/exec/a/b/c"), Some(Route::Exec { rest: "a/b/c" }));
        assert_eq!(Route::of("/runningpods/"), Some(Route::RunningPods));
    }

    #[test]
    fn methods_are_told() {
        let exec = Route::of("/exec/a/b/c").unwrap();
        assert!(exec.takes(&Method::GET) && exec.takes(&Method::POST) && !exec.takes(&Method::PUT));
        let run = Route::of("/run/a/b/c").unwrap();
        assert!(run.takes(&Method::POST) && !run.takes(&Method::GET));
        assert!(!Route::Pods.takes(&Method::HEAD));
    }
}
