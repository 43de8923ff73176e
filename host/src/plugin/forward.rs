//! Plugins' log records, written to the host's log by a thread of its own: a plugin's thread must never wait for the
//! host's standard error. What finds the queue full is dropped and counted.

use outrigger_plugin::request::LogRecord;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;
use tracing::Level;

/// Records that may wait.
const QUEUE: usize = 4096;
/// The largest record that is taken.
const MAX_RECORD: usize = 64 << 10;

static SENDER: OnceLock<Option<SyncSender<Entry>>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Entry {
    Record {
        provider: Arc<str>,
        level: u32,
        record: Vec<u8>,
    },
    /// Everything before it has been written.
    Barrier(mpsc::Sender<()>),
}

/// Queues a record as it came over the boundary; whether there was room.
pub fn push(provider: &Arc<str>, level: u32, record: &[u8]) -> bool {
    let entry = Entry::Record {
        provider: provider.clone(),
        level,
        record: record.to_vec(),
    };
    let taken = record.len() <= MAX_RECORD && sender().is_some_and(|sender| sender.try_send(entry).is_ok());
    if !taken {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
    taken
}

/// Records that were dropped since the process began.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until everything queued so far has been written, at most so long. Blocks.
pub fn flush(limit: Duration) {
    let (done, written) = mpsc::channel();
    if sender().is_some_and(|sender| sender.try_send(Entry::Barrier(done)).is_ok()) {
        // A time-out means that standard error is stuck: nothing more can be done about it here.
        let _ = written.recv_timeout(limit);
    }
}

/// The level from which the host wants plugins' records: 0 (off) to 5 (trace).
pub fn level() -> u32 {
    if tracing::enabled!(target: "plugin", Level::TRACE) {
        5
    } else if tracing::enabled!(target: "plugin", Level::DEBUG) {
        4
    } else if tracing::enabled!(target: "plugin", Level::INFO) {
        3
    } else if tracing::enabled!(target: "plugin", Level::WARN) {
        2
    } else {
        u32::from(tracing::enabled!(target: "plugin", Level::ERROR))
    }
}

fn sender() -> Option<&'static SyncSender<Entry>> {
    SENDER
        .get_or_init(|| {
            let (sender, receiver) = mpsc::sync_channel(QUEUE);
            let thread = thread::Builder::new()
                .name("plugin-logs".to_owned())
                .spawn(move || write_all(&receiver));
            thread.is_ok().then_some(sender)
        })
        .as_ref()
}

fn write_all(receiver: &Receiver<Entry>) {
    let mut reported = 0;
    for entry in receiver {
        match entry {
            Entry::Record {
                provider,
                level,
                record,
            } => write(&provider, level, &record),
            Entry::Barrier(done) => drop(done.send(())),
        }
        let dropped = dropped();
        if dropped > reported {
            tracing::warn!(target: "plugin", dropped = dropped - reported, "plugins log faster than the host can write");
            reported = dropped;
        }
    }
}

/// One call site per level, since a call site's level is fixed when it is compiled.
fn write(provider: &str, level: u32, record: &[u8]) {
    let record: LogRecord = serde_json::from_slice(record).unwrap_or_else(|_| LogRecord {
        target: String::new(),
        message: String::from_utf8_lossy(record).into_owned(),
        fields: Default::default(),
    });
    let fields = fields(&record);
    let fields = (!fields.is_empty()).then_some(fields);
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                Level::$level,
                provider,
                plugin_target = %record.target,
                fields,
                "{}",
                record.message
            )
        };
    }
    match level {
        0 | 1 => emit!(ERROR),
        2 => emit!(WARN),
        3 => emit!(INFO),
        4 => emit!(DEBUG),
        _ => emit!(TRACE),
    }
}

/// `name=value name="value with spaces"`.
fn fields(record: &LogRecord) -> String {
    let mut text = String::new();
    for (name, value) in &record.fields {
        let space = if text.is_empty() { "" } else { " " };
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
        // Writing to a string can't fail.
        let _ = if plain {
            write!(text, "{space}{name}={value}")
        } else {
            write!(text, "{space}{name}={value:?}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let record = LogRecord {
            target: "t".to_owned(),
            message: "m".to_owned(),
            fields: [("b", "two words"), ("a", "1"), ("c", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        assert_eq!(fields(&record), "a=1 b=\"two words\" c=\"\"");
    }

    #[test]
    fn a_record_that_is_too_large_is_counted() {
        let before = dropped();
        assert!(!push(&Arc::from("p"), 3, &vec![b'x'; MAX_RECORD + 1]));
        assert!(dropped() > before);
    }
}
