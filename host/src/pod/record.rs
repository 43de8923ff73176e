//! What is kept of a pod for as long as it lives, its API object and its provider's last report: as they are, and packed when
//! the pod has come to rest.
//!
//! A pod is two or three kilobytes of JSON, most of which it shares word for word with the other pods of its template, and a
//! report says little that its status does not say. At rest both are kept as what distinguishes them from one of a few
//! models, a tenth of that. Packing and reading cost a few microseconds each, so a pod that changes, or of which
//! something is under way, is left as it is: only one that waits long for what it refers to is packed before it is Ready.

use super::entry::Uid;
use crate::packing::{Likeness, Models, Packed};
use bytes::Bytes;
use outrigger_plugin::PodReport;
use std::{
    borrow::Cow,
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

/// What has not changed for so long is packed.
const REST: Duration = Duration::from_secs(1);
/// The same of a pod that goes. Where many go at once each waits for its turn between two of its steps, and to be packed there
/// would cost it more than all of them; it is gone soon anyway.
const LAST_REST: Duration = Duration::from_secs(15);
/// Pods of a template leave a tenth.
const LIKENESS: Likeness = Likeness { close: 15, like: 33 };

/// The API object of a pod, without managed fields, and its last report.
#[derive(Debug)]
pub struct Record(State);

#[derive(Debug)]
enum State {
    /// The bytes as they came, none before any have come; the report, if there is one.
    Awake {
        object: Bytes,
        report: Option<Box<PodReport>>,
    },
    /// Both, one behind the other, by what they differ from a model.
    Resting { packed: Packed, object: usize },
}

/// What is known of a pod.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The API object; empty before any has come.
    pub object: Bytes,
    /// The last report.
    pub report: Option<Cow<'a, PodReport>>,
}

impl Default for Record {
    fn default() -> Self {
        Self(State::Awake {
            object: Bytes::new(),
            report: None,
        })
    }
}

impl Record {
    /// The API object; empty before any has come.
    pub fn object(&self) -> Bytes {
        match &self.0 {
            State::Awake { object, .. } => object.clone(),
            State::Resting { packed, object } => halves(packed, *object).0,
        }
    }

    /// The last report.
    pub fn report(&self) -> Option<Cow<'_, PodReport>> {
        self.read().report
    }

    /// Both at once.
    pub fn read(&self) -> Reading<'_> {
        match &self.0 {
            State::Awake { object, report } => Reading {
                object: object.clone(),
                report: report.as_deref().map(Cow::Borrowed),
            },
            State::Resting { packed, object } => {
                let (object, report) = halves(packed, *object);
                Reading {
                    object,
                    report: parse(&report).map(Cow::Owned),
                }
            }
        }
    }

    /// Takes another state of the API object.
    pub fn set_object(&mut self, object: Bytes) {
        let (_, report) = self.take();
        self.0 = State::Awake { object, report };
    }

    /// Takes another report; returns the one before it.
    pub fn set_report(&mut self, report: Option<Box<PodReport>>) -> Option<Box<PodReport>> {
        let (object, before) = self.take();
        self.0 = State::Awake { object, report };
        before
    }

    fn take(&mut self) -> (Bytes, Option<Box<PodReport>>) {
        match mem::take(self).0 {
            State::Awake { object, report } => (object, report),
            State::Resting { packed, object } => {
                let (object, report) = halves(&packed, object);
                (object, parse(&report).map(Box::new))
            }
        }
    }
}

/// The API object, and the report as JSON.
fn halves(packed: &Packed, object: usize) -> (Bytes, Bytes) {
    let mut bytes = Bytes::from(packed.read());
    let report = bytes.split_off(object.min(bytes.len()));
    (bytes, report)
}

/// An empty one is none.
fn parse(report: &[u8]) -> Option<PodReport> {
    if report.is_empty() {
        return None;
    }
    serde_json::from_slice(report)
        .inspect_err(|error| tracing::error!(%error, "unable to read a report that was packed here"))
        .ok()
}

/// The version of a pod's object, and the place of its last report: another one is another record.
pub type Mark = (u64, Option<u64>);

/// Packs the records of pods at rest.
pub struct Press {
    models: Models,
    line: Line,
    /// Pods that go.
    leaving: Line,
}

/// Pods in the order of their time, and how they were.
type Line = VecDeque<(Instant, Uid, Mark)>;

impl Default for Press {
    fn default() -> Self {
        Self {
            models: Models::new(LIKENESS),
            line: VecDeque::new(),
            leaving: VecDeque::new(),
        }
    }
}

impl Press {
    /// Has a pod's record packed if it is still this one later.
    pub fn line_up(&mut self, uid: Uid, mark: Mark, leaving: bool, now: Instant) {
        match leaving {
            true => self.leaving.push_back((now + LAST_REST, uid, mark)),
            false => self.line.push_back((now + REST, uid, mark)),
        }
    }

    /// When there is something to do.
    pub fn due_at(&self) -> Option<Instant> {
        let first = |line: &Line| line.front().map(|(at, _, _)| *at);
        first(&self.line).into_iter().chain(first(&self.leaving)).min()
    }

    /// The next pod whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<(Uid, Mark)> {
        [&mut self.line, &mut self.leaving].into_iter().find_map(|line| {
            let (_, uid, mark) = line.pop_front_if(|(at, _, _)| *at <= now)?;
            if line.is_empty() {
                *line = VecDeque::new();
            }
            Some((uid, mark))
        })
    }

    /// Packs a record, if it is not.
    pub fn pack(&mut self, record: &mut Record) {
        let State::Awake { object, report } = &record.0 else {
            return;
        };
        let mut bytes = object.to_vec();
        if let Some(report) = report
            && let Err(error) = serde_json::to_writer(&mut bytes, report)
        {
            return tracing::error!(%error, "unable to write a report down");
        }
        if let Some(packed) = self.models.pack(&bytes) {
            let object = object.len();
            record.0 = State::Resting { packed, object };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_plugin::{ContainerReport, PodIdentity};
    use serde_json::json;

    fn pod(template: &str, name: &str) -> Bytes {
        let image = "registry.example/of-some-team/with-a-long-name".repeat(20);
        Bytes::from(format!(
            r#"{{"metadata":{{"name":"{name}","uid":"uid-of-{name}"}},"spec":{{"{template}":"{template}-{image}"}}}}"#
        ))
    }

    fn report(name: &str) -> PodReport {
        let container: ContainerReport = serde_json::from_value(json!({
            "name": "app",
            "state": {"is": "running", "started_at": 1_764_444_000_000_i64},
            "last_termination": {"exit_code": 3, "reason": "Error", "message": "\"it\"", "finished_at": 1_764_443_000_000_i64},
            "restart_count": 2,
            "ready": true,
            "started": true,
            "image": "registry.example/app:1",
            "image_id": "registry.example/app@sha256:0123",
            "container_id": format!("mock://of-{name}"),
        }))
        .expect("a report of a container");
        PodReport {
            identity: PodIdentity {
                cluster: String::new(),
                node: String::new(),
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
            },
            sequence: 7,
            gone: false,
            ips: vec!["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()],
            containers: vec![container.clone()],
            init_containers: vec![container],
            ephemeral_containers: Vec::new(),
        }
    }

    fn is_resting(record: &Record) -> bool {
        matches!(record.0, State::Resting { .. })
    }

    /// Packed behind one that is like it.
    fn resting(object: &Bytes, report: Option<PodReport>) -> Record {
        let mut press = Press::default();
        let [_, record] = [(), ()].map(|()| {
            let mut record = Record::default();
            record.set_object(object.clone());
            record.set_report(report.clone().map(Box::new));
            press.pack(&mut record);
            record
        });
        assert!(is_resting(&record));
        record
    }

    #[test]
    fn pods_of_a_template_are_kept_as_what_distinguishes_them() {
        let mut press = Press::default();
        for template in ["a", "b"] {
            for number in 0..10 {
                let name = format!("web-{number}");
                let mut record = Record::default();
                record.set_object(pod(template, &name));
                record.set_report(Some(Box::new(report(&name))));
                press.pack(&mut record);
                if let State::Resting { packed, object } = &record.0 {
                    assert!(packed.len() * 10 < *object, "{} of {object}", packed.len());
                } else {
                    assert_eq!(number, 0, "the first is the model of the others");
                }
                for _ in 0..2 {
                    assert_eq!(record.object(), pod(template, &name));
                    assert_eq!(record.report().as_deref(), Some(&report(&name)));
                    press.pack(&mut record);
                }
            }
        }
        assert_eq!(Record::default().object(), Bytes::new());
    }

    #[test]
    fn what_changes_wakes_it_and_leaves_the_other_half() {
        let (one, two) = (pod("a", "one"), pod("a", "two"));
        let mut record = resting(&one, Some(report("one")));
        record.set_object(two.clone());
        assert!(!is_resting(&record));
        assert_eq!(
            (record.object(), record.report().as_deref()),
            (two, Some(&report("one")))
        );

        let mut record = resting(&one, Some(report("one")));
        let before = record.set_report(Some(Box::new(report("two"))));
        assert_eq!(before.as_deref(), Some(&report("one")));
        assert_eq!(
            (record.object(), record.report().as_deref()),
            (one.clone(), Some(&report("two")))
        );
        assert_eq!(record.set_report(None).as_deref(), Some(&report("two")));
        assert!(record.report().is_none());

        let mut record = resting(&one, None);
        assert!(record.report().is_none());
        assert_eq!(record.set_report(Some(Box::new(report("one")))), None);
        assert_eq!(record.object(), one);
    }

    #[test]
    fn nothing_is_due_before_it_has_rested() {
        let (mut press, now) = (Press::default(), Instant::now());
        assert_eq!(press.due_at(), None);
        press.line_up("a".into(), (7, Some(1)), false, now);
        assert_eq!(press.due(now), None);
        assert_eq!(press.due_at(), Some(now + REST));
        assert_eq!(press.due(now + REST), Some(("a".into(), (7, Some(1)))));
        assert_eq!(press.due(now + REST), None);
    }

    #[test]
    fn what_goes_rests_for_longer() {
        let (mut press, now) = (Press::default(), Instant::now());
        press.line_up("goes".into(), (1, None), true, now);
        press.line_up("stays".into(), (2, None), false, now);
        assert_eq!(press.due(now + REST), Some(("stays".into(), (2, None))));
        assert_eq!(press.due(now + REST), None);
        assert_eq!(press.due_at(), Some(now + LAST_REST));
        assert_eq!(press.due(now + LAST_REST), Some(("goes".into(), (1, None))));
    }
}
