use serde_json::{Value, json};

use super::*;

fn pod(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {"nodeName": node}})
}

fn draft(name: &str, node: &str) -> Draft {
    Draft::new(Kind::Pods, pod(name, node))
}

fn on_node(node: &str) -> Filter {
    Filter {
        fields: Fields::parse(&format!("spec.nodeName={node}"), |_| true).unwrap(),
        ..Filter::default()
    }
}

fn names(page: &Page) -> Vec<&str> {
    page.items.iter().map(|s| &*s.head.name).collect()
}

fn small() -> Store {
    Store::new(Config {
        history: 4,
        watch_queue: 2,
    })
}

#[test]
fn writes_are_conditional() {
    let store = small();
    let first = store.insert(Kind::Pods, draft("a", "")).unwrap();
    assert_eq!(store.insert(Kind::Pods, draft("a", "")).unwrap_err(), Refused::Exists);
    let second = store.replace(Kind::Pods, first.revision, draft("a", "n")).unwrap();
    assert!(second.revision > first.revision);
    assert_eq!(
        store.replace(Kind::Pods, first.revision, draft("a", "m")).unwrap_err(),
        Refused::Stale
    );
    assert_eq!(
        store.remove(Kind::Pods, "d/a", first.revision).unwrap_err(),
        Refused::Stale
    );
    let gone = store.remove(Kind::Pods, "d/a", second.revision).unwrap();
    assert!(gone.revision > second.revision);
    assert_eq!(
        store.remove(Kind::Pods, "d/a", second.revision).unwrap_err(),
        Refused::Missing
    );
}

#[test]
fn lists_are_paged_in_key_order_and_by_node() {
    let store = small();
    for (name, node) in [("c", "n1"), ("a", "n1"), ("b", "n2"), ("d", "n1")] {
        store.insert(Kind::Pods, draft(name, node)).unwrap();
    }
    let (page, _) = store.list(Kind::Pods, &Filter::default(), None, 3);
    assert_eq!(names(&page), ["a", "b", "c"]);
    assert_eq!((page.next.as_deref(), page.remaining), (Some("d/c"), Some(1)));
    let (rest, _) = store.list(Kind::Pods, &Filter::default(), page.next.as_deref(), 3);
    assert_eq!((names(&rest), rest.next.as_deref()), (vec!["d"], None));
    assert_eq!(
        names(&store.list(Kind::Pods, &on_node("n1"), None, 0).0),
        ["a", "c", "d"]
    );
    assert_eq!(names(&store.list(Kind::Pods, &on_node("n1"), Some("d/a"), 1).0), ["c"]);
    assert_eq!(names(&store.list(Kind::Pods, &on_node("n3"), None, 0).0), [""; 0]);
}

#[test]
fn a_watch_sees_objects_enter_and_leave_its_selection() {
    let store = Store::new(Config::default());
    let start = store.revision();
    let mut watch = store.watch_from(Kind::Pods, on_node("n1"), start).unwrap();
    let created = store.insert(Kind::Pods, draft("a", "")).unwrap();
    let bound = store.replace(Kind::Pods, created.revision, draft("a", "n1")).unwrap();
    store.remove(Kind::Pods, "d/a", bound.revision).unwrap();
    let seen = [watch.events.try_recv().unwrap(), watch.events.try_recv().unwrap()];
    assert_eq!(seen.each_ref().map(|d| d.change), [Change::Added, Change::Deleted]);
    assert!(watch.events.try_recv().is_err());

    let replay = store.watch_from(Kind::Pods, on_node("n1"), start).unwrap();
    assert_eq!(
        replay.backlog.iter().map(|d| d.change).collect::<Vec<_>>(),
        [Change::Added, Change::Deleted]
    );
    let later = store.watch_from(Kind::Pods, on_node("n1"), bound.revision).unwrap();
    assert_eq!(later.backlog.len(), 1);
}

#[test]
fn old_revisions_are_forgotten_and_slow_watchers_cut_off() {
    let store = small();
    let start = store.revision();
    let mut slow = store.watch_from(Kind::Pods, Filter::default(), start).unwrap();
    for i in 0..6 {
        store.insert(Kind::Pods, draft(&i.to_string(), "")).unwrap();
    }
    assert!(store.watch_from(Kind::Pods, Filter::default(), start).is_err());
    assert!(
        store
            .watch_from(Kind::Pods, Filter::default(), store.oldest(Kind::Pods))
            .is_ok()
    );
    assert_eq!(store.cut_off(), 1);
    assert!(slow.events.try_recv().is_ok() && slow.events.try_recv().is_ok());
    assert_eq!(
        slow.events.try_recv().unwrap_err(),
        tokio::sync::mpsc::error::TryRecvError::Disconnected
    );

    store.forget_history(Kind::Pods);
    assert_eq!(store.oldest(Kind::Pods), store.revision());
}

#[test]
fn frozen_lists_show_the_past_until_they_thaw() {
    let store = small();
    store.insert(Kind::Pods, draft("a", "n1")).unwrap();
    let then = store.revision();
    store.freeze(Kind::Pods, true);
    store.insert(Kind::Pods, draft("b", "n1")).unwrap();
    let (page, revision) = store.list(Kind::Pods, &on_node("n1"), None, 0);
    assert_eq!((names(&page), revision), (vec!["a"], then));
    store.freeze(Kind::Pods, false);
    assert_eq!(names(&store.list(Kind::Pods, &on_node("n1"), None, 0).0), ["a", "b"]);
}

#[test]
fn a_watch_that_begins_with_a_frozen_list_misses_nothing_behind_it() {
    let store = Store::new(Config {
        history: 4,
        watch_queue: 1,
    });
    let old = store.insert(Kind::Pods, draft("old", "n1")).unwrap();
    let then = store.revision();
    store.freeze(Kind::Pods, true);
    store.insert(Kind::Pods, draft("elsewhere", "n2")).unwrap();
    store.insert(Kind::Pods, draft("new", "n1")).unwrap();
    store.remove(Kind::Pods, "d/old", old.revision).unwrap();
    let (mut watch, revision) = store.watch_all(Kind::Pods, on_node("n1"));
    assert_eq!(revision, then);
    let seen = |delivery: &Delivery| (delivery.change, delivery.stored.head.name.to_string());
    let backlog: Vec<_> = watch.backlog.iter().map(seen).collect();
    assert_eq!(backlog, [(Change::Added, "old".to_owned())]);
    store.insert(Kind::Pods, draft("later", "n1")).unwrap();
    for expected in [
        (Change::Added, "new"),
        (Change::Deleted, "old"),
        (Change::Added, "later"),
    ] {
        let (change, name) = seen(&watch.events.try_recv().unwrap());
        assert_eq!((change, name.as_str()), expected);
    }

    // What lies behind the frozen list is forgotten: the watch ends, so that its client asks again.
    store.forget_history(Kind::Pods);
    let (mut lost, _) = store.watch_all(Kind::Pods, on_node("n1"));
    assert_eq!(lost.backlog.len(), 1);
    assert_eq!(
        lost.events.try_recv().unwrap_err(),
        tokio::sync::mpsc::error::TryRecvError::Disconnected
    );
    assert!(store.watch_from(Kind::Pods, on_node("n1"), then).is_err());
}

#[test]
fn owners_and_namespaces_are_indexed() {
    let store = small();
    let mut owned = pod("a", "");
    owned["metadata"]["ownerReferences"] = json!([{"uid": "rs"}]);
    let stored = store.insert(Kind::Pods, Draft::new(Kind::Pods, owned)).unwrap();
    assert_eq!(store.owned_by(Kind::Pods, "rs").len(), 1);
    assert!(store.any_in(Kind::Pods, "d") && !store.any_in(Kind::Pods, "c"));
    store.remove(Kind::Pods, "d/a", stored.revision).unwrap();
    assert!(store.owned_by(Kind::Pods, "rs").is_empty() && !store.any_in(Kind::Pods, "d"));
}
