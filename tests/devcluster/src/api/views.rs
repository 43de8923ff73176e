//! Other forms of the same objects: metadata alone, and events in the events.k8s.io form.

use serde_json::{Value, json};

use crate::ops::as_map;

/// The object's metadata under the kind that metadata clients expect.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Fields of core/v1 events and what events.k8s.io/v1 calls them.
const RENAMED: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// And one more, whose name changed as well.
const CONTROLLER: (&str, &str) = ("reportingComponent", "reportingController");

/// A stored (core) event in its events.k8s.io form.
pub fn event_to_new(mut event: Value) -> Value {
    rename(&mut event, RENAMED.iter().chain([&CONTROLLER]).copied());
    as_map(&mut event).insert("apiVersion".into(), "events.k8s.io/v1".into());
    event
}

/// An events.k8s.io event as it is stored. Patches are read in the same way: a field has one meaning in both forms.
pub fn event_to_core(mut event: Value) -> Value {
    rename(
        &mut event,
        RENAMED.iter().chain([&CONTROLLER]).map(|(core, new)| (*new, *core)),
    );
    as_map(&mut event).insert("apiVersion".into(), "v1".into());
    event
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let map = as_map(object);
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_way_there_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"name": "p"}, "message": "m",
            "source": {"component": "c"}, "count": 2, "reportingComponent": "r", "eventTime": null});
        let new = event_to_new(core.clone());
        assert_eq!(new["regarding"]["name"], "p");
        assert_eq!(new["note"], "m");
        assert_eq!(new["reportingController"], "r");
        assert_eq!(event_to_core(new), core);
    }
}
