//! Jobs: pods until enough of them succeeded, or too many failed.
//!
//! Pods carry the tracking finalizer, as with the real controller: a pod that its node has deleted stays until it is counted.

use std::sync::Arc;

use serde_json::{Value, json};

use super::record;
use super::workloads::{create_pod, current, remove, set_status};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::ops::{self, Scope, Update, member, metadata, set_condition};
use crate::resources::Kind;
use crate::store::Stored;
use crate::time;

const NAME: &str = "job-controller";
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Whether a job is complete or failed.
pub fn is_finished(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| (c["type"] == "Complete" || c["type"] == "Failed") && c["status"] == "True")
}

#[derive(Debug, Default)]
struct Pods {
    /// Neither ended nor being deleted.
    active: Vec<Arc<Stored>>,
    /// Being deleted and not ended.
    terminating: usize,
    /// Ended, not counted yet, and whether well.
    ended: Vec<(Arc<Stored>, bool)>,
    ready: usize,
}

fn sort(owned: Vec<Arc<Stored>>) -> Pods {
    let mut pods = Pods::default();
    for pod in owned {
        let object = pod.value();
        let tracked = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|l| l.iter().any(|f| f == FINALIZER));
        // Its node has let go of it, without a last word.
        let removed = pod.head.deleting && object["metadata"]["deletionGracePeriodSeconds"] == 0;
        match pod.head.field("status.phase") {
            phase @ ("Succeeded" | "Failed") => {
                if tracked {
                    let well = phase == "Succeeded";
                    pods.ended.push((pod, well));
                }
            }
            _ if removed && tracked => pods.ended.push((pod, false)),
            _ if pod.head.deleting => pods.terminating += 1,
            _ => {
                pods.ready += usize::from(pod.head.ready);
                pods.active.push(pod);
            }
        }
    }
    pods
}

/// Moves the job one step on.
pub fn reconcile(cluster: &Arc<Cluster>, stored: &Stored) -> Result<()> {
    if stored.head.deleting {
        return Ok(());
    }
    let job = stored.value();
    let mut pods = sort(cluster.store.owned_by(Kind::Pods, &stored.head.uid));
    let count = |field: &str| job["status"][field].as_i64().unwrap_or(0);
    let newly = |well: bool| pods.ended.iter().filter(|(_, w)| *w == well).count() as i64;
    let (succeeded, failed) = (count("succeeded") + newly(true), count("failed") + newly(false));
    let spec = &job["spec"];
    let number = |field: &str| spec[field].as_i64();
    let verdict = if is_finished(&job) {
        None
    } else {
        verdict(&job, succeeded, failed, pods.active.len() as i64)
    };
    let stop = verdict.is_some() || is_finished(&job) || spec["suspend"] == true;
    if stop {
        for pod in pods.active.drain(..) {
            remove(cluster, Kind::Pods, &pod)?;
            pods.terminating += 1;
        }
    } else {
        let missing = number("completions").map_or(i64::MAX, |c| c - succeeded);
        // Without a number of completions, a first success means that no more are started.
        let missing = if number("completions").is_none() && succeeded > 0 {
            0
        } else {
            missing
        };
        let mut wanted = number("parallelism").unwrap_or(1).min(missing) - pods.active.len() as i64;
        if spec["podReplacementPolicy"] == "Failed" {
            wanted -= pods.terminating as i64;
        }
        for _ in 0..wanted.clamp(0, 500) {
            let pod = create_pod(cluster, Kind::Jobs, stored, &spec["template"], Some(FINALIZER))?;
            record::event(
                cluster,
                Kind::Jobs.resource(),
                &stored.head,
                NAME,
                "SuccessfulCreate",
                &format!("Created pod: {}", pod.head.name),
            );
            pods.active.push(pod);
        }
        let surplus = usize::try_from(-wanted).unwrap_or(0).min(pods.active.len());
        for pod in pods.active.drain(..surplus) {
            remove(cluster, Kind::Pods, &pod)?;
            pods.terminating += 1;
        }
    }
    let verdict = verdict.as_ref();
    set_status(cluster, Kind::Jobs, stored, |job| {
        report(job, &pods, succeeded, failed, verdict)
    })?;
    if let Some(Verdict {
        kind, reason, message, ..
    }) = verdict
    {
        let reason = if *kind == "Complete" { "Completed" } else { reason };
        record::event(cluster, Kind::Jobs.resource(), &stored.head, NAME, reason, message);
    }
    // Counted first, let go afterwards.
    pods.ended.iter().try_for_each(|(pod, _)| let_go(cluster, pod))
}

struct Verdict {
    kind: &'static str,
    first: &'static str,
    reason: &'static str,
    message: String,
}

fn verdict(job: &Value, succeeded: i64, failed: i64, active: i64) -> Option<Verdict> {
    let spec = &job["spec"];
    let failure = |reason, message: String| {
        Some(Verdict {
            kind: "Failed",
            first: "FailureTarget",
            reason,
            message,
        })
    };
    let complete = match spec["completions"].as_i64() {
        Some(wanted) => succeeded >= wanted,
        None => succeeded > 0 && active == 0,
    };
    if complete {
        let message = "Job completed".to_owned();
        return Some(Verdict {
            kind: "Complete",
            first: "SuccessCriteriaMet",
            reason: "CompletionsReached",
            message,
        });
    }
    if failed > spec["backoffLimit"].as_i64().unwrap_or(6) {
        return failure(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit".into(),
        );
    }
    let started = job["status"]["startTime"].as_str();
    if let (Some(limit), Some(started)) = (spec["activeDeadlineSeconds"].as_i64(), started)
        && time::age_seconds(started) >= limit as f64
    {
        return failure(
            "DeadlineExceeded",
            "Job was active longer than specified deadline".into(),
        );
    }
    None
}

fn report(job: &mut Value, pods: &Pods, succeeded: i64, failed: i64, verdict: Option<&Verdict>) {
    let suspended = job["spec"]["suspend"] == true;
    let status = member(job, "status");
    if !suspended {
        status.entry("startTime").or_insert_with(|| time::now().into());
    }
    for (field, count) in [
        ("active", pods.active.len() as i64),
        ("succeeded", succeeded),
        ("failed", failed),
    ] {
        if count > 0 {
            status.insert(field.into(), count.into());
        } else {
            status.remove(field);
        }
    }
    status.insert("ready".into(), pods.ready.into());
    status.insert("terminating".into(), pods.terminating.into());
    status.entry("uncountedTerminatedPods").or_insert_with(|| json!({}));
    if suspended {
        let message = "Job suspended";
        set_condition(
            job,
            json!({"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": message}),
        );
        return;
    }
    let Some(Verdict {
        kind,
        first,
        reason,
        message,
    }) = verdict
    else {
        return;
    };
    if *kind == "Complete" {
        member(job, "status").insert("completionTime".into(), time::now().into());
    }
    for kind in [first, kind] {
        set_condition(
            job,
            json!({"type": kind, "status": "True", "reason": reason, "message": message}),
        );
    }
}

fn let_go(cluster: &Arc<Cluster>, pod: &Stored) -> Result<()> {
    if current(cluster, Kind::Pods, pod).is_none() {
        return Ok(());
    }
    let head = &pod.head;
    let resource = Kind::Pods.resource();
    let what = Update {
        resource,
        namespace: &head.namespace,
        name: &head.name,
        scope: Scope::Whole,
        dry_run: false,
        narrow: false,
    };
    let written = ops::update(cluster, &what, |object| {
        if let Some(list) = metadata(object).get_mut("finalizers").and_then(Value::as_array_mut) {
            list.retain(|f| f != FINALIZER);
            if list.is_empty() {
                metadata(object).remove("finalizers");
            }
        }
        Ok(())
    });
    match written {
        Err(error) if error.code != 404 => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(spec: Value, succeeded: i64, failed: i64, active: i64) -> Option<&'static str> {
        verdict(
            &json!({"spec": spec, "status": {"startTime": time::in_seconds(-100)}}),
            succeeded,
            failed,
            active,
        )
        .map(|v| v.reason)
    }

    #[test]
    fn a_job_ends_by_success_failures_or_deadline() {
        assert_eq!(kind(json!({"completions": 2}), 2, 0, 0), Some("CompletionsReached"));
        assert_eq!(kind(json!({"completions": 2}), 1, 6, 0), None);
        assert_eq!(kind(json!({"completions": 2}), 1, 7, 0), Some("BackoffLimitExceeded"));
        assert_eq!(kind(json!({}), 1, 0, 1), None);
        assert_eq!(kind(json!({}), 1, 0, 0), Some("CompletionsReached"));
        assert_eq!(
            kind(json!({"completions": 1, "activeDeadlineSeconds": 50}), 0, 0, 1),
            Some("DeadlineExceeded")
        );
    }
}
