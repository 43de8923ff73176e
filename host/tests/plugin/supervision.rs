//! Plugins that panic or hang: their calls fail, they are rebuilt or given up, and nobody else notices.

use crate::fixture::*;
use outrigger::plugin::State;
use outrigger::plugin::Tuning;
use outrigger_plugin::ErrorCode;
use serde_json::json;
use std::time::Duration;
use std::time::Instant;

#[tokio::test]
async fn a_panic_fails_its_call_and_the_instance_is_rebuilt() {
    let (panicky, _) = launch(&provider("panicky", "panic", json!({ "at": "ping" })))
        .await
        .unwrap();
    let (other, _) = launch(&provider("other", "panic", json!({ "at": "create" })))
        .await
        .unwrap();
    let error = panicky.ping(LONG).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Panicked, "ping of the fixture")
    );
    reaches(&panicky, |state| *state == State::Ready { epoch: 2 }).await;
    panicky.create_pod(request("u1"), LONG).await.unwrap();
    // The other provider of the same image has lived on: its first instance still answers.
    assert_eq!(*other.state().borrow(), State::Ready { epoch: 1 });
    other.ping(LONG).await.unwrap();
}

#[tokio::test]
async fn a_payload_that_panics_in_its_drop_is_contained() {
    let (panicky, _) = launch(&provider("bomb", "panic", json!({ "at": "create" })))
        .await
        .unwrap();
    let error = panicky.create_pod(request("u1"), LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Panicked);
    reaches(&panicky, |state| matches!(state, State::Ready { epoch: 2 })).await;
}

#[tokio::test]
async fn so_is_a_panic_in_what_a_span_is_to_hold() {
    let (panicky, _) = launch(&provider("record", "panic", json!({ "at": "record" })))
        .await
        .unwrap();
    let error = panicky.create_pod(request("u1"), LONG).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Panicked, "text of the fixture")
    );
    reaches(&panicky, |state| matches!(state, State::Ready { epoch: 2 })).await;
}

#[tokio::test]
async fn calls_in_flight_fail_when_their_instance_is_given_up() {
    let (panicky, _) = launch(&provider("flight", "panic", json!({ "at": "cancel" })))
        .await
        .unwrap();
    let (hanging, _) = launch(&provider("quiet", "hang", json!({ "at": "ping" })))
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let panicky = panicky.clone();
        async move { panicky.get_pod(&pod("u1"), Duration::MAX).await }
    });
    eventually("the call is under way", || panicky.in_flight() == 1).await;
    panicky.shutdown(LONG).await.unwrap();
    // The future is dropped with a panic in the plugin; here it is a call that fails.
    assert_eq!(waiting.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);

    let waiting = tokio::spawn({
        let hanging = hanging.clone();
        async move { hanging.ping(Duration::MAX).await }
    });
    eventually("the ping is under way", || hanging.in_flight() == 1).await;
    for _ in 0..3 {
        let error = hanging.ping(Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Timeout);
    }
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(
        error.message.contains("3 pings in a row got no answer within 10ms"),
        "{}",
        error.message
    );
    reaches(&hanging, |state| *state == State::Ready { epoch: 2 }).await;
}

#[tokio::test]
async fn pings_of_many_nodes_at_once_are_one() {
    let (hanging, _) = launch(&provider("nodes", "hang", json!({ "at": "ping" })))
        .await
        .unwrap();
    let pings: Vec<_> = (0..10)
        .map(|_| {
            let hanging = hanging.clone();
            tokio::spawn(async move { hanging.ping(Duration::from_millis(50)).await })
        })
        .collect();
    for ping in pings {
        assert_eq!(ping.await.unwrap().unwrap_err().code, ErrorCode::Timeout);
    }
    assert_eq!(*hanging.state().borrow(), State::Ready { epoch: 1 });
}

#[tokio::test]
async fn panics_outside_of_calls_stay_where_they_are() {
    for place in ["task", "thread"] {
        let (panicky, _) = launch(&provider(place, "panic", json!({ "at": place }))).await.unwrap();
        panicky.create_pod(request("u1"), LONG).await.unwrap();
        panicky.ping(LONG).await.unwrap();
        assert_eq!(*panicky.state().borrow(), State::Ready { epoch: 1 });
    }
}

#[tokio::test]
async fn too_many_failures_quarantine_with_the_reason() {
    let (panicky, _) = launch(&provider("worst", "panic", json!({ "at": "ping" })))
        .await
        .unwrap();
    for epoch in 1..=5 {
        reaches(&panicky, |state| *state == State::Ready { epoch }).await;
        assert_eq!(panicky.ping(LONG).await.unwrap_err().code, ErrorCode::Panicked);
        if epoch < 5 {
            reaches(&panicky, |state| *state != State::Ready { epoch }).await;
        }
    }
    let state = reaches(&panicky, |state| matches!(state, State::Quarantined { .. })).await;
    let State::Quarantined { reason } = state else {
        unreachable!()
    };
    assert_eq!(reason, "the plugin panicked: ping of the fixture");
    let error = panicky.ping(LONG).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(
        error.message.contains("quarantined") && error.message.contains(&reason),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_quarantined_provider_gets_another_try_after_its_rest() {
    let tuning = Tuning {
        max_failures: 1,
        quarantine: Duration::from_millis(50),
        ..tuning()
    };
    let config = provider("rested", "panic", json!({ "at": "ping" }));
    let (panicky, _) = launch_with(&config, tuning).await.unwrap();
    let mut states = panicky.state();
    panicky.ping(LONG).await.unwrap_err();
    let next = states
        .wait_for(|state| *state != State::Ready { epoch: 1 })
        .await
        .unwrap()
        .clone();
    assert!(matches!(next, State::Quarantined { .. }), "{next:?}");
    reaches(&panicky, |state| *state == State::Ready { epoch: 2 }).await;
}

#[tokio::test]
async fn a_start_that_panics_or_hangs_costs_only_its_provider() {
    let (other, _) = launch(&provider("sound", "slow", json!({}))).await.unwrap();
    let line = refusal(&provider("p", "panic", json!({ "at": "start" }))).await;
    assert!(line.contains("its start panicked: start of the fixture"), "{line}");
    assert!(line.contains("provider \"p\"") && line.contains(".so"), "{line}");
    // One that does not end may end another time: a network may come only after the host. One that is required may not.
    let tuning = Tuning {
        start_timeout: Duration::from_millis(100),
        ..tuning()
    };
    for block in [false, true] {
        let mut required = provider("p", "hang", json!({ "at": "start", "block": block }));
        required.required = true;
        let line = refusal_with(&required, &Default::default(), tuning.clone()).await;
        assert!(line.contains("did not start within 100ms"), "{line}");
    }
    let slow = provider("p", "slow", json!({ "startMs": 60_000 }));
    let hangs = [false, true].map(|block| provider("p", "hang", json!({ "at": "start", "block": block })));
    for config in hangs.iter().chain([&slow]) {
        let (hanging, _) = launch_with(config, tuning.clone()).await.unwrap();
        let state = hanging.state().borrow().clone();
        let reason = state.reason().unwrap_or_default();
        assert!(reason.contains("did not start within 100ms"), "{state:?}");
        reaches(
            &hanging,
            |state| matches!(state, State::Poisoned { attempts, .. } if *attempts > 1),
        )
        .await;
        let error = hanging.ping(LONG).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        hanging.shutdown(LONG).await.unwrap();
    }
    other.ping(LONG).await.unwrap();
}

#[tokio::test]
async fn a_start_that_takes_long_is_not_waited_for_unless_it_is_required() {
    let tuning = Tuning {
        first_patience: Duration::from_millis(20),
        ..tuning()
    };
    let mut config = provider("late", "slow", json!({ "startMs": 500 }));
    let (late, _) = launch_with(&config, tuning.clone()).await.unwrap();
    assert_eq!(*late.state().borrow(), State::Starting);
    let error = late.ping(LONG).await.unwrap_err();
    assert_eq!(
        (error.code, &*error.message),
        (ErrorCode::Unavailable, "the provider is starting")
    );
    reaches(&late, |state| *state == State::Ready { epoch: 1 }).await;
    late.ping(LONG).await.unwrap();

    config.required = true;
    let (required, _) = launch_with(&config, tuning.clone()).await.unwrap();
    assert_eq!(*required.state().borrow(), State::Ready { epoch: 1 });

    let hanging = provider("p", "hang", json!({ "at": "start" }));
    let tuning = Tuning {
        start_timeout: Duration::from_millis(200),
        ..tuning
    };
    let (hanging, _) = launch_with(&hanging, tuning).await.unwrap();
    assert_eq!(*hanging.state().borrow(), State::Starting);
    reaches(&hanging, |state| matches!(state, State::Poisoned { .. })).await;
    // Told to end while its first start is under way.
    let (ending, _) = launch_with(
        &provider("p", "slow", json!({ "startMs": 500 })),
        Tuning {
            first_patience: Duration::from_millis(20),
            ..crate::fixture::tuning()
        },
    )
    .await
    .unwrap();
    ending.shutdown(LONG).await.unwrap();
    assert_eq!(*ending.state().borrow(), State::Stopped);
}

#[tokio::test]
async fn a_provider_whose_backend_is_away_is_tried_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backend");
    let config = provider("away", "slow", json!({ "needsFile": file }));
    let (provider, _) = launch(&config).await.unwrap();
    // More failures than quarantine a provider that is broken.
    let state = reaches(
        &provider,
        |state| matches!(state, State::Poisoned { attempts, .. } if *attempts > 6),
    )
    .await;
    assert!(state.reason().unwrap().contains("the backend is away"), "{state:?}");
    let error = provider.ping(LONG).await.unwrap_err();
    assert!(error.message.contains("the backend is away"), "{}", error.message);
    // Conditions and clients' errors are the cluster's users' to read.
    for text in [state.reason().unwrap(), error.to_string()] {
        assert!(!text.contains("operator"), "{text}");
        assert!(!text.contains(&*file.to_string_lossy()), "{text}");
    }
    std::fs::write(&file, b"").unwrap();
    reaches(&provider, |state| matches!(state, State::Ready { .. })).await;
    provider.ping(LONG).await.unwrap();
}

#[tokio::test]
async fn a_drop_that_panics_or_hangs_does_not_hold_the_host() {
    let (panicky, _) = launch(&provider("drop", "panic", json!({ "at": "drop" })))
        .await
        .unwrap();
    // Made last, and of the same image: what the first one says in its end is not this one's.
    let (later, _) = launch(&provider("drops-later", "panic", json!({ "at": "ping" })))
        .await
        .unwrap();
    panicky.shutdown(LONG).await.unwrap();
    let lines = |provider| crate::logs::found(provider, "drop of the fixture").len();
    assert_eq!((lines("drop"), lines("drops-later")), (1, 0));
    drop(later);
    let (hanging, _) = launch(&provider("stuck", "hang", json!({ "at": "drop" })))
        .await
        .unwrap();
    hanging.shutdown(LONG).await.unwrap();
    drop(hanging);
    let (hanging, _) = launch(&provider("late", "hang", json!({ "at": "shutdown", "block": true })))
        .await
        .unwrap();
    let error = hanging.shutdown(Duration::from_millis(30)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert_eq!(*hanging.state().borrow(), State::Stopped);
}

#[tokio::test]
async fn a_start_that_asks_for_time_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backend");
    // Many times the pause that the host makes by itself.
    let asked = Duration::from_millis(800);
    let config = json!({ "needsFile": file, "retryAfterMs": 800 });
    let begun = Instant::now();
    let (provider, _) = launch(&provider("busy", "slow", config)).await.unwrap();
    assert!(matches!(
        *provider.state().borrow(),
        State::Poisoned { attempts: 1, .. }
    ));
    std::fs::write(&file, b"").unwrap();
    reaches(&provider, |state| matches!(state, State::Ready { .. })).await;
    assert!(begun.elapsed() >= asked, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_instance_that_is_made_while_the_host_ends_knows_it() {
    let (panicky, _) = launch(&provider("ending", "panic", json!({ "at": "ping" })))
        .await
        .unwrap();
    let told = async || panicky.describe_node("n", LONG).await.unwrap().container_runtime;
    assert_eq!(told().await, "panic://shutting-down-false");
    panicky.announce_shutdown();
    assert_eq!(told().await, "panic://shutting-down-true");
    panicky.ping(LONG).await.unwrap_err();
    reaches(&panicky, |state| *state == State::Ready { epoch: 2 }).await;
    assert_eq!(told().await, "panic://shutting-down-true");
}
