use super::*;

const FORTY: Duration = Duration::from_secs(40);
const ME: Claimant<'static> = Claimant {
    node: "vk",
    node_uid: None,
    holder: "me",
    duration: FORTY,
};

fn lease(holder: &str, renewed: &str) -> Lease {
    Lease::read(json!({
        "metadata": { "name": "vk", "resourceVersion": "5", "labels": { "theirs": "x" } },
        "spec": { "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 40, "leaseTransitions": 2 },
    }))
}

fn seen(holder: &str, since: Instant) -> Seen {
    Seen {
        lease: lease(holder, "t1"),
        since,
    }
}

fn alive(_: &str) -> bool {
    false
}

#[test]
fn what_does_not_exist_is_created_and_what_is_ours_renewed() {
    let now = Instant::now();
    assert_eq!(decide(None, "me", FORTY, now, alive), Action::Create);
    assert_eq!(decide(Some(&seen("me", now)), "me", FORTY, now, alive), Action::Renew);
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let now = Instant::now();
    let taken = Action::Take {
        because: Vacancy::Released,
    };
    assert_eq!(decide(Some(&seen("", now)), "me", FORTY, now, alive), taken);
    let without = Seen {
        lease: Lease::read(json!({ "metadata": {} })),
        since: now,
    };
    assert_eq!(decide(Some(&without), "me", FORTY, now, alive), taken);
}

#[test]
fn another_holder_is_waited_for_until_it_expires() {
    let start = Instant::now();
    for holder in ["other-host/boot/1/2/3/ff", "vk"] {
        let seen = seen(holder, start);
        let just_before = start + FORTY - Duration::from_millis(1);
        let wait = Action::Wait {
            holder: holder.into(),
            until: start + FORTY,
        };
        assert_eq!(decide(Some(&seen), "me", FORTY, just_before, alive), wait);
        let taken = Action::Take {
            because: Vacancy::Expired,
        };
        assert_eq!(decide(Some(&seen), "me", FORTY, start + FORTY, alive), taken);
    }
}

#[test]
fn a_holder_that_is_gone_from_this_machine_is_replaced_at_once() {
    let now = Instant::now();
    let gone = |holder: &str| holder == "dead";
    let taken = Action::Take {
        because: Vacancy::HolderGone,
    };
    assert_eq!(decide(Some(&seen("dead", now)), "me", FORTY, now, gone), taken);
}

#[test]
fn only_a_new_renewal_starts_the_clock_again() {
    let start = Instant::now();
    let later = start + Duration::from_secs(7);
    let first = Seen::update(None, lease("other", "t1"), start);
    let same = Seen::update(Some(first.clone()), lease("other", "t1"), later);
    assert_eq!(same.since, start);
    let renewed = Seen::update(Some(same.clone()), lease("other", "t2"), later);
    assert_eq!(renewed.since, later);
    let third_party = Seen::update(Some(same), lease("third", "t1"), later);
    assert_eq!(third_party.since, later);
}

#[test]
fn the_holders_own_duration_counts_within_limits() {
    let start = Instant::now();
    let mut object = lease("vk", "t1");
    Arc::make_mut(&mut object.object)["spec"]["leaseDurationSeconds"] = json!(60);
    let wait = |lease: Lease| match decide(Some(&Seen { lease, since: start }), "me", FORTY, start, alive) {
        Action::Wait { until, .. } => until - start,
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(object.clone()), Duration::from_secs(60));
    Arc::make_mut(&mut object.object)["spec"]["leaseDurationSeconds"] = json!(1_000_000);
    assert_eq!(wait(object.clone()), LONGEST);
    Arc::make_mut(&mut object.object)["spec"]["leaseDurationSeconds"] = json!(null);
    assert_eq!(wait(object), FORTY);
}

#[test]
fn taking_counts_a_transition_and_renewing_none() {
    let taken = lease("other", "t1").claimed(&ME);
    assert_eq!(taken["spec"]["holderIdentity"], "me");
    assert_eq!(taken["spec"]["leaseTransitions"], 3);
    assert_eq!(taken["spec"]["acquireTime"], taken["spec"]["renewTime"]);
    assert_eq!(
        taken["metadata"]["resourceVersion"], "5",
        "a PUT without it would overwrite another contender"
    );
    assert_eq!(taken["metadata"]["labels"]["theirs"], "x");
    let renewed = lease("me", "t1").claimed(&ME);
    assert_eq!(renewed["spec"]["leaseTransitions"], 2);
    assert_ne!(renewed["spec"]["renewTime"], "t1");
}

#[test]
fn a_release_is_a_renewal_without_a_holder() {
    let released = lease("me", "t1").released();
    assert_eq!(released["spec"]["holderIdentity"], "");
    assert_ne!(
        released["spec"]["renewTime"], "t1",
        "the node would stay Ready for ever"
    );
    assert_eq!(released["metadata"]["resourceVersion"], "5");
}

#[test]
fn the_lease_follows_its_node() {
    let named = Claimant {
        node_uid: Some("uid-2"),
        ..ME
    };
    let mut object = lease("me", "t1");
    Arc::make_mut(&mut object.object)["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "v1", "kind": "Node", "name": "vk", "uid": "uid-1" },
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "u" },
    ]);
    let claimed = object.claimed(&named);
    let owners = claimed["metadata"]["ownerReferences"].as_array().unwrap();
    let uids: Vec<_> = owners.iter().map(|owner| owner["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, ["u", "uid-2"]);
    assert!(ME.new_lease()["metadata"].get("ownerReferences").is_none());
}

#[test]
fn a_renewal_is_later_than_the_last_one_whatever_the_clock_says() {
    let now: Timestamp = "2026-11-23T06:00:00.5Z".parse().unwrap();
    let next = |last: &str| lease("me", last).next_renewal(now);
    assert_eq!(next("2026-11-23T05:59:50.000000Z"), "2026-11-23T06:00:00.500000Z");
    assert_eq!(next("2026-11-23T06:00:00.500000Z"), "2026-11-23T06:00:00.500001Z");
    assert_eq!(next("2026-11-23T09:00:00.000000Z"), "2026-11-23T09:00:00.000001Z");
    assert_eq!(next("no time"), "2026-11-23T06:00:00.500000Z");
    let ahead = "2126-11-23T09:00:00.000000Z";
    let renewed = lease("other", ahead).claimed(&ME);
    assert_eq!(renewed["spec"]["renewTime"], "2126-11-23T09:00:00.000001Z");
    assert_eq!(
        lease("me", ahead).released()["spec"]["renewTime"],
        "2126-11-23T09:00:00.000001Z"
    );
}

#[test]
fn times_have_microseconds() {
    let at: Timestamp = "2026-11-23T06:00:00.5Z".parse().unwrap();
    assert_eq!(micros(at), "2026-11-23T06:00:00.500000Z");
}

#[test]
fn renewals_spread_by_four_percent() {
    let interval = Duration::from_secs(10);
    for _ in 0..1_000 {
        let delay = renewal_delay(interval);
        assert!(
            delay >= Duration::from_millis(9_600) && delay <= Duration::from_millis(10_400),
            "{delay:?}"
        );
    }
}
