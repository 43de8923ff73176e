use super::*;
use crate::pod::record::Press;

fn entry() -> Entry {
    Entry::new(
        PodIdentity {
            uid: "u".to_owned(),
            ..nobody()
        },
        0,
    )
}

fn apply(entry: &mut Entry, version: u64, generation: i64, more: &str) -> bool {
    let raw = format!(
        r#"{{"metadata":{{"uid":"u","resourceVersion":"{version}","generation":{generation}{more}}},"spec":{{}}}}"#
    );
    entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now())
}

#[test]
fn an_older_state_counts_only_since_the_store_was_restored() {
    let deleting = r#","deletionTimestamp":"2026-11-30T00:00:00Z","deletionGracePeriodSeconds":7"#;
    let mut entry = entry();
    assert!(apply(&mut entry, 50, 3, deleting));
    entry.taken_generation = Some(3);
    (entry.standing, entry.end_recorded, entry.object) = (Standing::Accepted, true, Object::Gone);
    assert!(entry.is_leaving());
    assert!(!apply(&mut entry, 30, 2, ""));
    assert!(entry.deletion.is_some() && entry.standing == Standing::Accepted);

    entry.compare_listed("30", 40);
    assert!(!entry.restored, "an answer may have overtaken the list");
    entry.compare_listed("50", 60);
    assert!(!entry.restored, "it is as it was");
    entry.compare_listed("30", 60);
    assert!(entry.restored);
    assert!(
        apply(&mut entry, 30, 3, ""),
        "even if its generation has the same number"
    );
    assert_eq!((entry.version, entry.object, entry.deletion), (30, Object::There, None));
    assert!(!entry.end_recorded && entry.standing == Standing::Unjudged);
    assert!(entry.wants_update(Instant::now()), "the provider has another manifest");
    assert!(!apply(&mut entry, 30, 3, ""), "that was once");
    assert!(!apply(&mut entry, 29, 2, ""));
    assert!(apply(&mut entry, 31, 3, deleting) && entry.deletion.is_some());
}

#[test]
fn what_is_deleted_without_grace_goes_by_force_unless_finalizers_keep_it() {
    let deleting = |grace: u64, more: &str| {
        format!(r#","deletionTimestamp":"2026-11-30T00:00:00Z","deletionGracePeriodSeconds":{grace}{more}"#)
    };
    let kept = r#","finalizers":["batch.kubernetes.io/job-tracking"]"#;
    let mut entry = entry();
    let steps = [(7, "", false), (7, kept, false), (0, kept, false), (0, "", true)];
    for (version, (grace, more, forced)) in (1..).zip(steps) {
        apply(&mut entry, version, 1, &deleting(grace, more));
        assert_eq!(entry.facts(Instant::now(), false).forced, forced, "{grace} {more}");
        let left_alone = entry.goes_by_itself_until().is_some_and(|at| at > Instant::now());
        assert_eq!(left_alone, forced, "{grace} {more}");
    }
}

#[test]
fn what_a_create_that_failed_has_left_is_stopped_before_its_object_goes() {
    let deleting = r#","deletionTimestamp":"2026-11-30T00:00:00Z","deletionGracePeriodSeconds":7"#;
    let mut entry = entry();
    apply(&mut entry, 1, 1, "");
    entry.trouble = Some("unable to create pod: Timeout".into());
    assert_eq!(entry.facts(Instant::now(), false).backend, Backend::Absent);
    apply(&mut entry, 2, 1, deleting);
    assert_eq!(entry.facts(Instant::now(), false).backend, Backend::Present);
    entry.object = Object::Gone;
    assert_eq!(entry.facts(Instant::now(), false).backend, Backend::Present);
    entry.backend = Backend::Removed;
    assert_eq!(entry.facts(Instant::now(), false).backend, Backend::Removed);
}

#[test]
fn how_a_pod_has_ended_holds_though_the_backend_loses_it_before_that_is_recorded() {
    let rule = r#","restartPolicy":"Never","restartPolicyRules":[{"action":"Restart","exitCodes":{"operator":"In","values":[3]}}]"#;
    for (policy, container, exit_code, holds) in [
        ("Never", "", 1, true),
        ("Never", rule, 1, true),
        ("Never", rule, 3, false),
        ("OnFailure", "", 0, true),
        ("OnFailure", "", 1, false),
        ("Always", "", 0, false),
        ("Always", r#","restartPolicy":"Never""#, 1, true),
    ] {
        let case = format!("{policy}{container} {exit_code}");
        let mut entry = entry();
        let raw = format!(
            r#"{{"metadata":{{"uid":"u","resourceVersion":"1","generation":1}},"spec":{{"restartPolicy":"{policy}","containers":[{{"name":"app"{container}}}]}}}}"#
        );
        assert!(entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now()));
        let ended: ContainerReport = serde_json::from_value(serde_json::json!({
            "name": "app", "ready": false, "started": false, "restart_count": 0, "image": "", "image_id": "", "container_id": "",
            "state": { "is": "terminated", "exit_code": exit_code, "reason": "Done", "message": "", "finished_at": 1 },
        }))
        .unwrap();
        let gone = PodReport {
            sequence: 2,
            ..PodReport::gone(PodIdentity::clone(&entry.identity))
        };
        entry.ingest(PodReport {
            sequence: 1,
            gone: false,
            containers: vec![ended],
            ..gone.clone()
        });
        let known = entry.ingest(gone);
        let expected = if holds { Backend::Removed } else { Backend::Vanished };
        assert_eq!(entry.backend, expected, "{case}");
        assert_eq!(matches!(known, Ingested::Same), holds, "{case}");
        assert_eq!(entry.record.report().is_some(), holds, "{case}");
    }
}

#[test]
fn a_report_that_says_nothing_new_leaves_the_record_as_it_is() {
    let identity = PodIdentity {
        uid: "u".to_owned(),
        ..nobody()
    };
    let said = |sequence: u64, address: &str| PodReport {
        sequence,
        gone: false,
        ips: vec![address.parse().unwrap()],
        ..PodReport::gone(identity.clone())
    };
    let mut entry = Entry::new(identity.clone(), 0);
    assert!(matches!(
        entry.ingest(said(1, "10.0.0.1")),
        Ingested::New { before: None }
    ));
    let mut press = Press::default();
    let mut alike = Entry::new(identity.clone(), 0);
    alike.ingest(said(1, "10.0.0.1"));
    press.pack(&mut alike.record);
    press.pack(&mut entry.record);
    let rests = |entry: &Entry| format!("{:?}", entry.record).contains("Resting");
    assert!(rests(&entry));
    entry.status_stale = false;
    assert!(matches!(entry.ingest(said(2, "10.0.0.1")), Ingested::Same));
    assert!(rests(&entry), "it was not unpacked for this");
    assert_eq!((entry.reported, entry.status_stale), (Some(2), true));
    assert!(matches!(entry.ingest(said(2, "10.0.0.1")), Ingested::Old));
    assert!(matches!(entry.ingest(said(1, "10.0.0.2")), Ingested::Old));
    assert!(
        matches!(entry.ingest(said(2, "10.0.0.2")), Ingested::Unrenewed),
        "nobody would see it, and that must be said"
    );
    // What it said holds, but a call has failed since.
    entry.trouble = Some("it failed".into());
    assert!(matches!(
        entry.ingest(said(3, "10.0.0.1")),
        Ingested::New { before: Some(_) }
    ));
    assert_eq!(entry.trouble, None);
    assert!(matches!(
        entry.ingest(said(4, "10.0.0.2")),
        Ingested::New { before: Some(_) }
    ));
    assert!(matches!(
        entry.ingest(PodReport {
            sequence: 5,
            ..PodReport::gone(identity.clone())
        }),
        Ingested::New { before: Some(_) }
    ));
    assert_eq!((entry.reported, entry.backend), (Some(4), Backend::Vanished));
    assert!(
        matches!(entry.ingest(said(4, "10.0.0.2")), Ingested::Old),
        "it was gone after that"
    );
}

fn said(entry: &Entry, sequence: u64, state: serde_json::Value) -> PodReport {
    let container = serde_json::json!({
        "name": "app", "ready": false, "started": false, "restart_count": 0, "image": "", "image_id": "", "container_id": "",
        "state": state,
    });
    PodReport {
        sequence,
        gone: false,
        containers: vec![serde_json::from_value(container).unwrap()],
        ..PodReport::gone(PodIdentity::clone(&entry.identity))
    }
}

fn never(version: u64, status: &str) -> String {
    format!(
        r#"{{"metadata":{{"uid":"u","resourceVersion":"{version}","generation":1}},"spec":{{"restartPolicy":"Never","activeDeadlineSeconds":60,"containers":[{{"name":"app"}}]}},"status":{{{status}}}}}"#
    )
}

#[test]
fn what_ended_before_its_deadline_is_not_late_though_that_is_recorded_later() {
    let ended = || serde_json::json!({ "is": "terminated", "exit_code": 0, "reason": "Completed", "message": "", "finished_at": 1 });
    let started = format!(
        r#""startTime":"{}""#,
        super::super::status::time::rfc3339(outrigger_plugin::Timestamp::now())
    );
    let take = |entry: &mut Entry, raw: &str| {
        entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now())
    };
    let later = Instant::now() + Duration::from_secs(3600);
    let mut entry = entry();
    assert!(take(&mut entry, &never(1, &started)));
    assert!(entry.overdue_at().is_some());
    let report = said(&entry, 1, ended());
    entry.ingest(report);
    assert_eq!(entry.situation(later), Situation::Normal);
    assert!(!entry.facts(later, false).overdue);
    assert!(take(&mut entry, &never(2, &started)));
    assert_eq!(
        entry.situation(later),
        Situation::Normal,
        "what is read again changes nothing"
    );

    // It ends because it is late, or after that.
    let mut late = self::entry();
    assert!(take(&mut late, &never(1, r#""startTime":"2020-01-01T00:00:00Z""#)));
    let report = said(&late, 1, ended());
    late.ingest(report);
    assert_eq!(late.situation(Instant::now()), Situation::DeadlineExceeded);
}

#[test]
fn what_has_finished_runs_no_more_whoever_deletes_it() {
    let ended = serde_json::json!({ "is": "terminated", "exit_code": 0, "reason": "Completed", "message": "", "finished_at": 1 });
    let mut entry = entry();
    let raw = never(1, "");
    entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now());
    let report = said(&entry, 1, serde_json::json!({ "is": "running", "started_at": 1 }));
    entry.ingest(report);
    assert!(entry.runs_unasked());
    let report = said(&entry, 2, ended);
    entry.ingest(report);
    assert!(entry.runs_unasked(), "how it ended is not recorded yet");
    let raw = never(2, r#""phase":"Succeeded""#);
    entry.apply(raw.as_bytes(), &view::head(raw.as_bytes()).unwrap(), Instant::now());
    assert!(!entry.runs_unasked());
}

#[test]
fn an_end_whose_write_has_failed_is_written_to_the_version_that_is_known() {
    let mut entry = entry();
    assert!(apply(&mut entry, 50, 3, ""));
    assert_eq!(entry.version_for_end(), None);
    entry.write_retry.fail(Instant::now(), None);
    assert_eq!(entry.version_for_end(), Some(50));
    assert!(apply(&mut entry, 51, 3, ""));
    assert_eq!(entry.version_for_end(), Some(51));
    entry.write_retry.clear();
    assert_eq!(entry.version_for_end(), None);
}

#[test]
fn what_an_answer_has_shown_of_others_is_compared_when_the_watch_tells_it() {
    let mut entry = entry();
    apply(&mut entry, 10, 1, "");
    // Another's write was 11, and the answer to ours came before the watch had told of it.
    apply(&mut entry, 12, 1, "");
    entry.status_stale = false;
    assert!(entry.was_overtaken("11") && entry.status_stale);
    entry.status_stale = false;
    assert!(
        !entry.was_overtaken("12") && !entry.status_stale,
        "our own echo is no news"
    );
}

#[test]
fn a_pod_that_vanishes_again_waits_before_it_is_made_again() {
    let mut entry = entry();
    apply(&mut entry, 1, 1, "");
    let gone = |sequence| PodReport {
        sequence,
        ..PodReport::gone((*Entry::new(nobody(), 0).identity).clone())
    };
    entry.ingest(said(&entry, 1, serde_json::json!({ "is": "running", "started_at": 1 })));
    entry.ingest(gone(2));
    entry.ingest(gone(3));
    let facts = entry.facts(Instant::now(), false);
    assert_eq!((facts.backend, facts.pausing), (Backend::Vanished, false));
    entry.ingest(said(&entry, 4, serde_json::json!({ "is": "running", "started_at": 1 })));
    entry.ingest(gone(5));
    let now = Instant::now();
    assert!(entry.facts(now, false).pausing);
    assert!(!entry.facts(now + Duration::from_secs(11), false).pausing);
}

#[test]
fn a_stop_waits_for_no_other_failure() {
    let (mut entry, now) = (entry(), Instant::now());
    let stop = CallKind::Stop { ends: now };
    entry.call_retry.fail(now, Some(Duration::from_secs(3600)));
    assert!(entry.keeps_waiting(CallKind::Update, now) && !entry.keeps_waiting(stop, now));
    entry.stop_failed = true;
    assert!(entry.keeps_waiting(stop, now));
    entry.call_retry.clear();
    assert!(!entry.keeps_waiting(stop, now));
}

#[test]
fn a_refusal_that_is_not_recorded_is_judged_again_after_another_host_held_the_node() {
    let refusal = || {
        Standing::Rejected(Box::new(Refusal {
            reason: "OutOfcpu".into(),
            message: String::new(),
        }))
    };
    let mut entry = entry();
    entry.standing = refusal();
    entry.writing = true;
    entry.judge_again();
    assert_eq!(entry.standing, refusal(), "it is about to be recorded");
    entry.writing = false;
    entry.judge_again();
    assert_eq!(entry.standing, Standing::Unjudged);
    (entry.standing, entry.phase) = (refusal(), Phase::Failed);
    entry.judge_again();
    assert_eq!(entry.standing, refusal());
}

#[test]
fn of_each_family_one_address_is_kept() {
    let ips = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let mut entry = entry();
    apply(&mut entry, 1, 1, "");
    let report = PodReport {
        ips: ips(&["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]),
        ..said(&entry, 1, serde_json::json!({ "is": "running", "started_at": 1 }))
    };
    entry.ingest(report);
    assert_eq!(entry.record.report().unwrap().ips, ips(&["10.0.0.1", "fd00::1"]));
}

/// There may be a hundred thousand of them, and 448 bytes is what the allocator gives next.
#[test]
fn an_entry_is_small() {
    let size = size_of::<Entry>();
    assert!(
        size <= 384,
        "{size} bytes; is there something in it that few pods have?"
    );
}
