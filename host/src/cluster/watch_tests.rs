use super::*;
use futures::StreamExt;
use http::Response;
use http_body_util::Full;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

fn page(body: &str) -> Page {
    let reply = Reply {
        status: http::StatusCode::OK,
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Page::read(&reply, None).unwrap()
}

#[test]
fn a_page_keeps_the_bytes_of_its_objects() {
    let page = page(r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"a": 1},{"b":"\u00e9"}]}"#);
    assert_eq!(
        page.items.iter().map(|item| &*item.object).collect::<Vec<_>>(),
        [&br#"{"a": 1}"#[..], br#"{"b":"\u00e9"}"#]
    );
    assert!(matches!(page.then, AfterPage::Complete { version } if version == "7"));
}

#[test]
fn a_page_with_a_token_is_not_the_last() {
    let page = page(r#"{"metadata":{"resourceVersion":"7","continue":"next"},"items":null}"#);
    assert!(page.items.is_empty());
    assert!(matches!(page.then, AfterPage::NextPage { token } if token == "next"));
}

#[test]
fn a_stream_that_is_too_old_is_gone() {
    let line = br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}}"#;
    assert!(matches!(parse_line(line, None), Err(ApiError::Gone(message)) if message == "too old"));
}

#[test]
fn changes_and_bookmarks_are_told_apart() {
    let object = r#"{"metadata":{"resourceVersion":"12"}}"#;
    let line = |kind: &str| parse_line(format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes(), None);
    assert!(matches!(line("ADDED"), Ok(Line::Apply(item)) if item.object == object));
    assert!(matches!(line("MODIFIED"), Ok(Line::Apply(_))));
    assert!(matches!(line("DELETED"), Ok(Line::Delete(_))));
    assert!(matches!(line("BOOKMARK"), Ok(Line::Bookmark(bytes)) if resource_version(&bytes).as_deref() == Some("12")));
    assert!(matches!(line("NEWS"), Err(ApiError::Malformed(_))));
}

#[test]
fn selectors_are_part_of_every_request() {
    let target = Target::new("pods", "/api/v1/pods").fields("spec.nodeName=vk");
    let request = target.request(&[("limit", PAGE)]).unwrap();
    assert_eq!(
        request.uri().to_string(),
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dvk&limit=500"
    );
}

/// An API server that gives these answers in this order, then hangs; what it was asked is kept.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(answers: &[(u16, &str)]) -> Self {
        let answers = answers.iter().map(|(code, body)| (*code, (*body).to_owned())).collect();
        Self {
            answers: Arc::new(Mutex::new(answers)),
            ..Self::default()
        }
    }

    fn watch(&self) -> Watch {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move {
                script.asked.lock().unwrap().push(request.uri().to_string());
                let answer = script.answers.lock().unwrap().pop_front();
                let Some((code, body)) = answer else {
                    return std::future::pending().await;
                };
                // Answers take a while, so that a test can lose patience.
                tokio::task::yield_now().await;
                let answer = Response::builder().status(code).body(Full::new(Bytes::from(body)))?;
                Ok::<_, tower::BoxError>(answer)
            }
        });
        Watch::new(Client::new(service), Target::new("things", "/things"))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn object(name: &str, version: u32) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#)
}

fn listed(version: u64) -> Event {
    Event::Listed {
        version,
        restored: false,
    }
}

fn list(version: u32, items: &str) -> String {
    format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#)
}

fn line(kind: &str, name: &str, version: u32) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", object(name, version))
}

async fn take(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
        events.push(next.unwrap_or_else(|_| panic!("no event after {events:?}")));
    }
    events
}

fn apply(name: &str, version: u32) -> Event {
    Event::Apply(Bytes::from(object(name, version)))
}

#[tokio::test]
async fn pages_become_one_list_and_the_watch_goes_on_from_it() {
    let script = Script::new(&[
        (
            200,
            &format!(
                r#"{{"metadata":{{"resourceVersion":"5","continue":"t"}},"items":[{}]}}"#,
                object("a", 1)
            ),
        ),
        (
            200,
            &format!(
                r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
                object("b", 2)
            ),
        ),
        (
            200,
            &(line("ADDED", "c", 6) + &line("BOOKMARK", "", 9) + &line("DELETED", "a", 10)),
        ),
        (200, &list(10, "")),
        (200, ""),
    ]);
    let mut watch = script.watch();
    let events = take(&mut watch, 7).await;
    assert_eq!(
        events[..5],
        [Event::Restarted, listed(5), apply("a", 1), apply("b", 2), Event::Synced]
    );
    assert_eq!(events[5], apply("c", 6));
    assert_eq!(events[6], Event::Delete(Bytes::from(object("a", 10))));
    // The stream ended: it goes on from the last version seen.
    let _ = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
    let asked = script.asked();
    assert_eq!(asked[..2], ["/things?limit=500", "/things?limit=500&continue=t"]);
    assert!(
        asked[2].contains("resourceVersion=5") && asked[2].contains("allowWatchBookmarks=true"),
        "{asked:?}"
    );
    assert_eq!(asked[3], "/things?limit=1", "it broke off");
    assert!(asked[4].contains("resourceVersion=10"), "{asked:?}");
}

#[tokio::test]
async fn a_bookmark_moves_the_place_to_go_on_from() {
    let script = Script::new(&[
        (200, r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#),
        (200, &line("BOOKMARK", "", 77)),
        (200, &list(77, "")),
        (200, &line("ADDED", "a", 78)),
    ]);
    let mut watch = script.watch();
    assert_eq!(
        take(&mut watch, 4).await,
        [Event::Restarted, listed(5), Event::Synced, apply("a", 78)]
    );
    assert!(script.asked()[3].contains("resourceVersion=77"), "{:?}", script.asked());
}

#[tokio::test]
async fn what_is_too_old_is_listed_again() {
    let gone = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n";
    let list = |name| {
        format!(
            r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
            object(name, 1)
        )
    };
    let script = Script::new(&[
        (200, &list("a")),
        (200, gone),
        (200, &list("b")),
        (410, "{}"),
        (200, &list("c")),
    ]);
    let mut watch = script.watch();
    let round = |name| [Event::Restarted, listed(5), apply(name, 1), Event::Synced];
    assert_eq!(take(&mut watch, 4).await, round("a"));
    assert_eq!(take(&mut watch, 4).await, round("b"));
    assert_eq!(take(&mut watch, 4).await, round("c"));
    assert!(!watch.in_trouble(), "an old version is no trouble");
}

/// API servers take a version that is yet to come, and send nothing before it is there.
#[tokio::test]
async fn a_store_that_was_restored_is_listed_again() {
    let script = Script::new(&[
        (200, &list(50, &object("a", 40))),
        (200, &line("ADDED", "b", 60)),
        (500, "{}"),
        (200, &list(30, &object("a", 20))),
        (200, &list(30, &object("a", 20))),
        (200, &line("ADDED", "c", 31)),
        (200, &list(31, "")),
    ]);
    let mut watch = script.watch();
    assert_eq!(
        take(&mut watch, 10).await,
        [
            Event::Restarted,
            listed(50),
            apply("a", 40),
            Event::Synced,
            apply("b", 60),
            Event::Restarted,
            Event::Listed {
                version: 30,
                restored: true
            },
            apply("a", 20),
            Event::Synced,
            apply("c", 31),
        ]
    );
    let resumed = async {
        while script.asked().len() < 8 {
            tokio::task::yield_now().await;
        }
    };
    let resumed = tokio::time::timeout(Duration::from_secs(30), resumed);
    tokio::select! {
        event = watch.next() => panic!("{event:?}"),
        resumed = resumed => resumed.expect("it goes on"),
    }
    let asked = script.asked();
    assert_eq!(asked[2..5], ["/things?limit=1", "/things?limit=1", "/things?limit=500"]);
    assert!(asked[5].contains("resourceVersion=30"), "{asked:?}");
    assert!(
        asked[7].contains("resourceVersion=31"),
        "it is the same store: {asked:?}"
    );
}

#[tokio::test]
async fn a_list_that_is_older_than_the_one_before_is_of_a_restored_store() {
    let script = Script::new(&[(200, &list(50, "")), (410, "{}"), (200, &list(30, ""))]);
    let mut watch = script.watch();
    let events = take(&mut watch, 6).await;
    let restored = Event::Listed {
        version: 30,
        restored: true,
    };
    assert_eq!(events[3..], [Event::Restarted, restored, Event::Synced]);
}

/// The token names a version, too, which may be one that is yet to come.
#[tokio::test]
async fn a_page_that_fails_twice_is_of_a_list_that_is_started_over() {
    let first = format!(r#"{{"metadata":{{"continue":"t"}},"items":[{}]}}"#, object("a", 1));
    let script = Script::new(&[
        (200, &first),
        (500, "{}"),
        (500, "{}"),
        (200, &list(5, &object("b", 2))),
    ]);
    let mut watch = script.watch();
    assert_eq!(
        take(&mut watch, 6).await,
        [
            Event::Restarted,
            apply("a", 1),
            Event::Restarted,
            listed(5),
            apply("b", 2),
            Event::Synced
        ]
    );
}

#[tokio::test]
async fn a_page_that_fails_is_asked_for_again_and_the_list_goes_on() {
    let script = Script::new(&[
        (
            200,
            &format!(r#"{{"metadata":{{"continue":"t"}},"items":[{}]}}"#, object("a", 1)),
        ),
        (500, "{}"),
        (
            200,
            &format!(
                r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
                object("b", 2)
            ),
        ),
    ]);
    let mut watch = script.watch();
    assert_eq!(
        take(&mut watch, 4).await,
        [Event::Restarted, apply("a", 1), apply("b", 2), Event::Synced]
    );
    assert_eq!(script.asked()[1], script.asked()[2]);
}

#[tokio::test]
async fn a_token_that_is_too_old_starts_the_list_over() {
    let script = Script::new(&[
        (
            200,
            &format!(r#"{{"metadata":{{"continue":"t"}},"items":[{}]}}"#, object("a", 1)),
        ),
        (410, "{}"),
        (
            200,
            &format!(
                r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
                object("b", 2)
            ),
        ),
    ]);
    let mut watch = script.watch();
    assert_eq!(
        take(&mut watch, 6).await,
        [
            Event::Restarted,
            apply("a", 1),
            Event::Restarted,
            listed(5),
            apply("b", 2),
            Event::Synced
        ]
    );
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_is_not_trusted() {
    let list = r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#;
    let script = Script::new(&[(200, list), (200, "{\"type\":\"ADDED\",\n"), (200, list)]);
    let mut watch = script.watch();
    let synced = [Event::Restarted, listed(5), Event::Synced];
    assert_eq!(take(&mut watch, 3).await, synced);
    assert_eq!(take(&mut watch, 3).await, synced);
}

#[tokio::test]
async fn losing_patience_loses_nothing() {
    let script = Script::new(&[
        (
            200,
            &format!(
                r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
                object("a", 1)
            ),
        ),
        (500, "{}"),
        (200, &(line("ADDED", "b", 6) + &line("ADDED", "c", 7))),
    ]);
    let mut watch = script.watch();
    let mut events = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while events.len() < 6 {
        assert!(Instant::now() < deadline, "{events:?}");
        tokio::select! {
            biased;
            event = watch.next() => events.push(event),
            () = tokio::task::yield_now() => {}
        }
    }
    let expected = [
        Event::Restarted,
        listed(5),
        apply("a", 1),
        Event::Synced,
        apply("b", 6),
        apply("c", 7),
    ];
    assert_eq!(events, expected);
    assert_eq!(script.asked().len(), 3, "{:?}", script.asked());
}

/// Streams that say this and then nothing, and how long a watch waits for each.
async fn patience_with(said: &'static str) -> Vec<Duration> {
    let service = tower::service_fn(move |request: Request<Body>| async move {
        let rest = futures::stream::pending().boxed();
        let (text, rest) = match request.uri().to_string().contains("watch=true") {
            true => (said.to_owned(), rest),
            false => (list(7, ""), futures::stream::empty().boxed()),
        };
        let first = futures::stream::iter([Ok::<_, tower::BoxError>(hyper::body::Frame::data(Bytes::from(text)))]);
        Ok::<_, tower::BoxError>(Response::new(http_body_util::StreamBody::new(first.chain(rest))))
    });
    let mut watch = Watch::new(Client::new(service), Target::new("things", "/things"));
    let mut waits = Vec::new();
    let mut began = Instant::now();
    while waits.len() < 2 {
        // As who has other things to do.
        let Ok(next) = tokio::time::timeout(Duration::from_secs(10), watch.try_next()).await else {
            continue;
        };
        match next {
            Ok(_) => began = Instant::now(),
            Err(ApiError::Timeout(_)) => {
                waits.push(began.elapsed());
                began = Instant::now();
            }
            Err(error) => panic!("{error}"),
        }
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn where_bookmarks_come_a_stream_without_them_is_dead() {
    let bookmark = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"8\"}}}\n";
    let pause = BACKOFF_CAP;
    let waits = patience_with(bookmark).await;
    assert!(waits.iter().all(|wait| *wait < BETWEEN_BOOKMARKS + pause), "{waits:?}");
    // Of a server that sends none nothing else can be said.
    let waits = patience_with("\n").await;
    assert_eq!(waits[0], BETWEEN_BOOKMARKS);
    assert!((SILENCE..SILENCE + pause).contains(&waits[1]), "{waits:?}");
}
