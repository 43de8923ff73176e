use super::*;

fn pod(name: &str) -> PodRef {
    PodRef {
        namespace: "ns".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node: "vk".into(),
    }
}

fn key(name: &str, message: &str) -> Key {
    Key {
        object: Object::Pod(pod(name)),
        warning: true,
        reason: "BackOff".into(),
        message: message.into(),
    }
}

#[test]
fn repetitions_of_a_waiting_event_are_one_with_a_count() {
    let mut waiting = Waiting::default();
    for _ in 0..3 {
        assert!(waiting.push(key("a", "m"), Timestamp::now()));
    }
    assert!(waiting.push(key("a", "other"), Timestamp::now()));
    let (first, happened) = waiting.pop().unwrap();
    assert_eq!((first, happened.times), (Arc::new(key("a", "m")), 3));
    assert_eq!(waiting.pop().unwrap().1.times, 1);
    assert!(waiting.pop().is_none());
    assert!(waiting.happened.is_empty());
}

#[test]
fn the_queue_is_bounded() {
    let mut waiting = Waiting::default();
    for n in 0..QUEUE {
        assert!(waiting.push(key("a", &n.to_string()), Timestamp::now()));
    }
    assert!(!waiting.push(key("a", "one too many"), Timestamp::now()));
    assert!(
        waiting.push(key("a", "0"), Timestamp::now()),
        "a repetition takes no room"
    );
    assert!(!waiting.push(key("a", "and another"), Timestamp::now()));
    assert_eq!(waiting.overflow, Some(2), "what was refused is counted");
    waiting.pop();
    assert!(waiting.push(key("a", "room again"), Timestamp::now()));
    while waiting.warnings.len() >= QUEUE / 2 {
        waiting.pop();
    }
    assert_eq!(waiting.overflow, None, "it was told, and the next time is counted anew");
}

#[test]
fn warnings_come_first_and_have_room_of_their_own() {
    let normal = |n: usize| Key {
        warning: false,
        ..key("a", &n.to_string())
    };
    let mut waiting = Waiting::default();
    assert_eq!(waiting.quiet(), None);
    for n in 0..QUEUE {
        assert!(waiting.push(normal(n), Timestamp::now()));
    }
    assert!(!waiting.push(normal(QUEUE), Timestamp::now()));
    assert_eq!(waiting.quiet(), Some(QUIET));
    assert!(waiting.push(key("a", "m"), Timestamp::now()));
    assert_eq!(waiting.quiet(), Some(Duration::ZERO));
    assert_eq!(*waiting.pop().unwrap().0, key("a", "m"));
    assert_eq!(*waiting.pop().unwrap().0, normal(0));
    for n in 0..2 * WARNINGS {
        assert!(waiting.push(key("a", &format!("warning {n}")), Timestamp::now()));
    }
    let taken = |waiting: &mut Waiting| waiting.pop().unwrap().0.warning;
    let warnings = (0..=WARNINGS).filter(|_| taken(&mut waiting)).count();
    assert_eq!(warnings, WARNINGS as usize, "then what is normal has a turn");
    assert!(taken(&mut waiting));
}

#[tokio::test(start_paused = true)]
async fn a_warning_overtakes_what_gives_way() {
    let pressure = Pressure::new();
    let shared = Shared {
        enabled: true,
        waiting: Mutex::default(),
        wake: Notify::new(),
        dropped: AtomicU64::new(0),
    };
    let record = |warning| {
        assert!(shared.waiting().push(
            Key {
                warning,
                ..key("a", "m")
            },
            Timestamp::now()
        ));
        shared.wake.notify_one();
    };
    drop(pressure.enter());
    record(false);
    let next = shared.next(&pressure);
    let mut next = std::pin::pin!(next);
    assert!(futures::poll!(next.as_mut()).is_pending(), "there was a write just now");
    record(true);
    let began = Instant::now();
    assert!(next.await.0.warning);
    assert_eq!(began.elapsed(), Duration::ZERO);
    // Writes without a pause: it goes when it has waited for long enough.
    let _write = pressure.enter();
    assert!(!shared.next(&pressure).await.0.warning);
    assert_eq!(began.elapsed(), YIELD);
}

#[test]
fn the_budget_gives_a_burst_and_then_fifty_a_second() {
    let start = Instant::now();
    let mut budget = Budget::full(start);
    for n in 0..100 {
        assert_eq!(budget.take(start), Duration::ZERO, "{n}");
    }
    assert_eq!(budget.take(start), Duration::from_millis(20));
    assert_eq!(budget.take(start), Duration::from_millis(40));
    // Two tokens were taken on credit; after a second there are 48.
    let later = start + Duration::from_secs(1);
    for n in 0..48 {
        assert_eq!(budget.take(later), Duration::ZERO, "{n}");
    }
    assert!(budget.take(later) > Duration::ZERO);
    let much_later = later + Duration::from_secs(3600);
    assert_eq!(budget.take(much_later), Duration::ZERO);
    assert!(budget.tokens <= BURST - 1.0);
}

#[test]
fn what_is_remembered_is_bounded_and_the_newest_stay() {
    let mut remembered = Remembered::default();
    let start = Instant::now();
    for n in 0..REMEMBERED * 2 {
        let at = start + Duration::from_millis(n as u64);
        let sent = Sent {
            name: n.to_string().into(),
            count: 1,
            at,
        };
        remembered.remember(&key("a", &n.to_string()), sent);
        assert!(remembered.sent.len() <= REMEMBERED);
    }
    let newest = key("a", &(REMEMBERED * 2 - 1).to_string());
    assert!(remembered.known(&newest, start).is_some());
    assert!(remembered.known(&key("a", "0"), start).is_none());
    let expired = start + REMEMBERED_FOR * 2;
    assert!(remembered.known(&newest, expired).is_none());
}

#[test]
fn names_of_the_greatest_length_stay_names() {
    let mut remembered = Remembered::default();
    let long = format!("{}.{}", "a".repeat(235), "b".repeat(17));
    let name = remembered.name(&key(&long, "m"));
    assert!(name.len() <= MAX_NAME, "{}", name.len());
    assert!(!name.contains(".."), "{name}");
    assert_ne!(name, remembered.name(&key(&long, "m")));
}

#[test]
fn the_body_is_a_kubelets_event() {
    let at: Timestamp = "2026-11-23T06:00:00.5Z".parse().unwrap();
    let body = key("a", "Back-off restarting").body(
        "a.1",
        Happened {
            times: 2,
            first: at,
            last: at,
        },
    );
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["metadata"], json!({ "name": "a.1", "namespace": "ns" }));
    assert_eq!(body["involvedObject"]["uid"], "uid-a");
    assert_eq!(body["type"], "Warning");
    assert_eq!(body["source"], json!({ "component": "kubelet", "host": "vk" }));
    assert_eq!(body["count"], 2);
    assert_eq!(body["firstTimestamp"], "2026-11-23T06:00:00Z");
}
