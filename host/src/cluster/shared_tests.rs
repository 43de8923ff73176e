use super::*;
use crate::cluster::members::Owner;
use http::{Request, Response};
use http_body_util::Full;
use kube::client::Body;
use std::{collections::VecDeque, time::Duration};

const SOON: Duration = Duration::from_secs(30);

/// A pod on a node, or a Node of that name.
fn object(name: &str, node: &str, version: u32) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"spec":{{"nodeName":"{node}"}}}}"#)
}

fn list(version: u32, items: &[String]) -> String {
    format!(
        r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn line(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn gone() -> String {
    line("ERROR", r#"{"kind":"Status","code":410,"message":"too old"}"#)
}

/// An API server that gives these answers in this order, then hangs; what it was asked is kept.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = String>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            ..Self::default()
        }
    }

    fn watch(&self, owner: Owner, names: &[&str]) -> SharedWatch {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            script.asked.lock().unwrap().push(request.uri().to_string());
            let answer = script.answers.lock().unwrap().pop_front();
            async move {
                match answer {
                    Some(body) => Ok::<_, tower::BoxError>(Response::new(Full::new(Bytes::from(body)))),
                    None => std::future::pending().await,
                }
            }
        });
        let target = Target::new("things", "/things").fields("spec.nodeName!=");
        SharedWatch::new(Client::new(service), target, Members::new(owner, names.iter().copied()))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn take(watch: &mut SharedWatch, count: usize) -> Vec<(To, Event)> {
    let mut events = Vec::new();
    while events.len() < count {
        let next = tokio::time::timeout(SOON, watch.next()).await;
        events.push(next.unwrap_or_else(|_| panic!("no event after {events:?}")));
    }
    events
}

fn apply(member: Member, object: String) -> (To, Event) {
    (To::One(member), Event::Apply(Bytes::from(object)))
}

const RESTARTED: (To, Event) = (To::All, Event::Restarted);
const fn listed(version: u64) -> (To, Event) {
    let restored = false;
    (To::All, Event::Listed { version, restored })
}

const SYNCED: (To, Event) = (To::All, Event::Synced);

#[tokio::test]
async fn members_get_their_own_and_strangers_are_passed_over() {
    let (a, b, strange) = (object("p", "a", 1), object("p", "b", 2), object("p", "worker", 3));
    let stream = line("ADDED", &strange)
        + &line("DELETED", &object("p", "b", 12))
        + &line("ADDED", &object("q", "a", 13))
        + &line("MODIFIED", &object("p", "worker", 14));
    let script = Script::new([list(9, &[strange, b.clone(), a.clone()]), stream, list(14, &[])]);
    let mut watch = script.watch(Owner::Node, &["a", "b"]);
    let events = take(&mut watch, 7).await;
    let expected = [
        RESTARTED,
        listed(9),
        apply(1, b),
        apply(0, a),
        SYNCED,
        (To::One(1), Event::Delete(Bytes::from(object("p", "b", 12)))),
        apply(0, object("q", "a", 13)),
    ];
    assert_eq!(events, expected);
    // The stream has ended, and the next one begins behind the stranger.
    let _ = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
    let asked = script.asked();
    assert!(asked[0].contains("fieldSelector=spec.nodeName%21%3D"), "{asked:?}");
    assert!(asked[3].contains("resourceVersion=14"), "{asked:?}");
}

#[tokio::test]
async fn a_version_that_is_too_old_is_a_new_list_for_everybody() {
    let script = Script::new([
        list(5, &[object("p", "a", 1)]),
        gone(),
        list(6, &[object("p", "worker", 4)]),
    ]);
    let mut watch = script.watch(Owner::Node, &["a", "b"]);
    let first = [RESTARTED, listed(5), apply(0, object("p", "a", 1)), SYNCED];
    assert_eq!(take(&mut watch, 4).await, first);
    // What a had is gone, which a list of nothing between the two says.
    assert_eq!(take(&mut watch, 3).await, [RESTARTED, listed(6), SYNCED]);
}

#[tokio::test]
async fn every_member_is_told_of_lists_and_only_of_its_own_objects() {
    let script = Script::new([list(5, &[object("p", "b", 1)])]);
    let (tell, mut told) = mpsc::channel(64);
    let feed = tokio::spawn(script.watch(Owner::Node, &["a", "b"]).feed(tell));
    let mut events = Vec::new();
    while events.len() < 7 {
        events.push(tokio::time::timeout(SOON, told.recv()).await.unwrap().unwrap());
    }
    let expected = [
        (0, Event::Restarted),
        (1, Event::Restarted),
        (0, listed(5).1),
        (1, listed(5).1),
        (1, Event::Apply(Bytes::from(object("p", "b", 1)))),
        (0, Event::Synced),
        (1, Event::Synced),
    ];
    assert_eq!(events, expected);
    feed.abort();
}

#[tokio::test]
async fn nothing_is_asked_for_while_nobody_takes_what_there_is() {
    let first = list(5, &[object("p", "a", 1), object("q", "a", 2)]).replace(r#"5"}"#, r#"5","continue":"t"}"#);
    let script = Script::new([first, list(5, &[])]);
    let (tell, mut told) = mpsc::channel(1);
    let feed = tokio::spawn(script.watch(Owner::Node, &["a"]).feed(tell));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.asked().len(), 1, "the second page can wait");
    for expected in ["Restarted", "Listed", "Apply", "Apply", "Synced"] {
        let (_, event) = tokio::time::timeout(SOON, told.recv()).await.unwrap().unwrap();
        assert!(format!("{event:?}").starts_with(expected), "{event:?}");
    }
    assert!(script.asked()[1].contains("continue=t"), "{:?}", script.asked());
    drop(told);
    feed.abort();
}

fn present(seat: &Seat) -> Option<Sighting> {
    seat.0.take()
}

fn board(count: usize) -> (Board, Vec<Seat>) {
    let board = Board::new(count);
    let seats = board.cells.iter().cloned().map(Seat).collect();
    (board, seats)
}

#[test]
fn whoever_a_list_does_not_show_is_absent_and_only_once_it_is_complete() {
    let (mut board, seats) = board(2);
    let seen = Bytes::from_static(b"a");
    board.take_in(To::All, Event::Restarted);
    board.take_in(To::One(0), Event::Apply(seen.clone()));
    assert_eq!(present(&seats[0]), Some(Sighting::Present(seen.clone())));
    assert_eq!(present(&seats[1]), None, "the list is not complete");
    board.take_in(To::All, Event::Synced);
    assert_eq!(present(&seats[0]), None, "nothing new");
    assert_eq!(present(&seats[1]), Some(Sighting::Absent));
    // The next list shows the other one.
    board.take_in(To::All, Event::Restarted);
    board.take_in(To::One(1), Event::Apply(seen.clone()));
    board.take_in(To::All, Event::Synced);
    assert_eq!(present(&seats[0]), Some(Sighting::Absent));
    assert_eq!(present(&seats[1]), Some(Sighting::Present(seen)));
}

#[test]
fn only_the_newest_sighting_waits() {
    let (mut board, seats) = board(1);
    for text in ["1", "2", "3"] {
        board.take_in(To::One(0), Event::Apply(Bytes::from(text)));
    }
    assert_eq!(present(&seats[0]), Some(Sighting::Present(Bytes::from("3"))));
    board.take_in(To::One(0), Event::Apply(Bytes::from("4")));
    board.take_in(To::One(0), Event::Delete(Bytes::from("4")));
    assert_eq!(present(&seats[0]), Some(Sighting::Absent));
}

#[test]
fn whatever_was_known_before_a_store_was_restored_is_of_another_time() {
    let (mut board, seats) = board(2);
    let [old, new, newer] = ["old", "new", "newer"].map(Bytes::from);
    board.take_in(To::One(0), Event::Apply(old));
    board.take_in(To::All, Event::Restarted);
    let (version, restored) = (30, true);
    board.take_in(To::All, Event::Listed { version, restored });
    board.take_in(To::One(0), Event::Apply(new));
    board.take_in(To::All, Event::Synced);
    // It is not lost with the object that it came with.
    board.take_in(To::One(0), Event::Apply(newer.clone()));
    assert_eq!(present(&seats[0]), Some(Sighting::Restored(newer.clone())));
    assert_eq!(present(&seats[1]), Some(Sighting::Absent));
    board.take_in(To::One(0), Event::Apply(newer.clone()));
    assert_eq!(present(&seats[0]), Some(Sighting::Present(newer)), "it is known by now");
}

#[tokio::test]
async fn a_watch_of_ones_own_tells_of_a_restored_store_once() {
    let answers = [
        list(50, &[object("a", "", 40)]),
        gone(),
        list(30, &[object("a", "", 20)]),
        line("MODIFIED", &object("a", "", 31)),
    ];
    let SharedWatch { watch, .. } = Script::new(answers).watch(Owner::Name, &["a"]);
    let mut sight = Sight::own(watch);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(tokio::time::timeout(SOON, sight.next()).await.unwrap());
    }
    let object = |version| Bytes::from(object("a", "", version));
    let expected = [
        Sighting::Present(object(40)),
        Sighting::Restored(object(20)),
        Sighting::Present(object(31)),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn seats_see_what_a_watch_of_their_own_would() {
    let answers = || {
        [
            list(5, &[object("a", "", 1)]),
            line("DELETED", &object("a", "", 6)) + &line("ADDED", &object("a", "", 7)),
        ]
    };
    let (lookout, mut seats) = Lookout::new(Script::new(answers()).watch(Owner::Name, &["a", "b"]));
    let shutdown = CancellationToken::new();
    let looking = tokio::spawn(lookout.run(shutdown.clone()));
    let mut b = Sight::Shared(seats.pop().unwrap());
    let mut a = Sight::Shared(seats.pop().unwrap());
    assert_eq!(tokio::time::timeout(SOON, b.next()).await.unwrap(), Sighting::Absent);
    let last = Sighting::Present(Bytes::from(object("a", "", 7)));
    let newest = async { while a.next().await != last {} };
    tokio::time::timeout(SOON, newest).await.unwrap();
    shutdown.cancel();
    looking.await.unwrap();

    let SharedWatch { watch, .. } = Script::new(answers()).watch(Owner::Name, &["a"]);
    let mut own = Sight::own(watch);
    for expected in [
        Sighting::Present(Bytes::from(object("a", "", 1))),
        Sighting::Absent,
        last,
    ] {
        assert_eq!(tokio::time::timeout(SOON, own.next()).await.unwrap(), expected);
    }
    let SharedWatch { watch, .. } = Script::new([list(5, &[])]).watch(Owner::Name, &["a"]);
    let mut own = Sight::own(watch);
    assert_eq!(tokio::time::timeout(SOON, own.next()).await.unwrap(), Sighting::Absent);
}
