//! `/healthz`: the kubelet's checks by its names, as `k8s.io/apiserver/pkg/server/healthz` answers them.

use super::answer::Answer;
use super::answer::not_found;
use super::answer::text;
use super::backend::Backend;
use http::StatusCode;
use std::time::Duration;

/// How long the node's pods may be unavailable before the node counts as ill.
const PATIENCE: Duration = Duration::from_secs(2);

/// `ping` and `log` fail only with the process; `syncloop` with whoever brings pods where they should be.
const CHECKS: [&str; 3] = ["ping", "log", "syncloop"];

/// Answers for one check, or for all where the path names none.
pub(super) async fn answer(backend: &dyn Backend, check: &str, query: Option<&str>) -> Answer {
    if !check.is_empty() && !CHECKS.contains(&check) {
        return not_found();
    }
    let checked = CHECKS.iter().filter(|name| check.is_empty() || **name == check);
    let (mut report, mut healthy) = (String::new(), true);
    for name in checked {
        let passes = *name != "syncloop" || is_synced(backend).await;
        healthy &= passes;
        report.push_str(&match passes {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: the pods of this node are not available\n"),
        });
    }
    let verbose = query.is_some_and(|query| query.split('&').any(|word| word.split('=').next() == Some("verbose")));
    match (healthy, verbose) {
        (true, false) => text(StatusCode::OK, "ok"),
        (true, true) => text(StatusCode::OK, format!("{report}healthz check passed\n")),
        (false, _) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{report}healthz check failed\n"),
        ),
    }
}

async fn is_synced(backend: &dyn Backend) -> bool {
    tokio::time::timeout(PATIENCE, backend.is_alive())
        .await
        .unwrap_or_default()
}
