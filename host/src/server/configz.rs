//! `/configz`: the host's settings in the words of a `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1), for tools
//! that look there. Only what means the same here is named.

use super::answer::Answer;
use super::answer::json;
use super::service::Service;
use crate::config::Intervals;
use crate::config::KubeletConfig;
use crate::config::ServingCert;
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

/// What all nodes of a host have in common.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The kubelet API.
    pub kubelet: KubeletConfig,
    /// Rhythms.
    pub intervals: Intervals,
}

/// As the kubelet's, and as long as a session may be idle here.
const SESSION_IDLE: Duration = Duration::from_secs(4 * 3600);

pub(super) fn answer(service: &Service) -> Answer {
    let Settings { kubelet, intervals } = &*service.settings;
    let (who, what) = (&kubelet.authentication, &kubelet.authorization);
    let open = !kubelet.verify_clients;
    json(&json!({
        "kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "enableServer": true,
            "address": kubelet.listen,
            "port": service.port,
            "healthzPort": 0,
            "authentication": {
                "x509": { "clientCAFile": kubelet.client_ca_file },
                "webhook": { "enabled": who.tokens, "cacheTTL": go(who.cache) },
                "anonymous": { "enabled": who.anonymous || open },
            },
            "authorization": {
                "mode": if open { "AlwaysAllow" } else { "Webhook" },
                "webhook": {
                    "cacheAuthorizedTTL": go(what.cache_allowed),
                    "cacheUnauthorizedTTL": go(what.cache_denied),
                },
            },
            "serverTLSBootstrap": kubelet.serving_cert == ServingCert::Requested,
            "registerNode": true,
            "nodeStatusUpdateFrequency": go(intervals.status_report),
            "nodeStatusReportFrequency": go(intervals.status_resend),
            "nodeLeaseDurationSeconds": 40,
            "clusterDNS": kubelet.cluster_dns,
            "clusterDomain": kubelet.cluster_domain,
            "resolvConf": kubelet.resolv_conf,
            "streamingConnectionIdleTimeout": go(SESSION_IDLE),
            "enableDebuggingHandlers": true,
            "enableProfilingHandler": false,
            "enableDebugFlagsHandler": false,
            "enableSystemLogHandler": false,
            "featureGates": { "ExtendWebSocketsToKubelet": kubelet.extend_web_sockets },
        },
    }))
}

/// As Go writes a duration: 4h0m0s, 5m0s, 10s, 500ms.
fn go(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 && millis > 0 {
        return format!("{millis}ms");
    }
    let mut text = String::new();
    if seconds >= 3600 {
        // Into a String, which can't fail.
        let _ = write!(text, "{}h", seconds / 3600);
    }
    if seconds >= 60 {
        let _ = write!(text, "{}m", seconds / 60 % 60);
    }
    let fraction = match millis {
        0 => String::new(),
        millis => format!(".{millis:03}").trim_end_matches('0').to_owned(),
    };
    let _ = write!(text, "{}{fraction}s", seconds % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_writes_them() {
        for (millis, text) in [
            (4 * 3_600_000, "4h0m0s"),
            (300_000, "5m0s"),
            (10_000, "10s"),
            (500, "500ms"),
            (1_500, "1.5s"),
            (61_020, "1m1.02s"),
            (0, "0s"),
        ] {
            assert_eq!(go(Duration::from_millis(millis)), text);
        }
    }
}
