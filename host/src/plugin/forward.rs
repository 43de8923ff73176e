//! Plugins' log records, written to the host's log by a thread of its own: a plugin's thread must never wait for the
//! host's standard error. What finds the queue full is dropped, counted, and told with the name of its provider.

use outrigger_plugin::request::LogRecord;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt::Write;
use std::mem;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tracing::Level;

/// Records that may wait.
const QUEUE: usize = 4096;
/// The bytes of those records in all: standard error may be stuck for long.
const QUEUE_BYTES: usize = 8 << 20;
/// The largest record that is taken.
const MAX_RECORD: usize = 64 << 10;
/// Losses are told at most so often: where there are some there is too much in the log already.
const TELL_EVERY: Duration = Duration::from_secs(1);

static LINE: Queue = Queue::new(QUEUE);
static FULL: AtomicU64 = AtomicU64::new(0);
static TOO_LARGE: AtomicU64 = AtomicU64::new(0);

/// Why a record was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The queue was full, of records or of their bytes.
    Full,
    /// It was larger than [`MAX_RECORD`].
    TooLarge,
}

/// A record as it came over the boundary.
struct Record {
    provider: Arc<str>,
    level: u32,
    body: Vec<u8>,
}

/// How many records of a provider were dropped for that reason.
type Losses = BTreeMap<(Arc<str>, Loss), u64>;

/// What the thread that writes has to do next.
enum Work {
    Write(Record),
    Tell(Losses),
}

/// Records that wait for that thread.
struct Queue {
    capacity: usize,
    state: Mutex<Waiting>,
    /// There is work.
    arrived: Condvar,
    /// Some of it has been done.
    done: Condvar,
}

struct Waiting {
    records: VecDeque<Record>,
    /// Bytes of their bodies.
    held: usize,
    lost: Losses,
    /// Records taken and written, losses counted and told, since the process began.
    taken: u64,
    written: u64,
    counted: u64,
    told: u64,
    /// When losses were told last.
    told_at: Option<Instant>,
    /// Somebody waits for all of it: losses are told as soon as no record waits.
    flushing: usize,
}

impl Queue {
    const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::new(Waiting {
                records: VecDeque::new(),
                held: 0,
                lost: BTreeMap::new(),
                taken: 0,
                written: 0,
                counted: 0,
                told: 0,
                told_at: None,
                flushing: 0,
            }),
            arrived: Condvar::new(),
            done: Condvar::new(),
        }
    }

    fn push(&self, provider: &Arc<str>, level: u32, body: &[u8]) -> Result<(), Loss> {
        let provider = provider.clone();
        // Copied before the lock is held, unless it is too large to be copied at all.
        let record = (body.len() <= MAX_RECORD).then(|| body.to_vec());
        let mut state = self.lock();
        let pushed = match record {
            None => Err(Loss::TooLarge),
            Some(body) if !state.has_room(self.capacity, body.len()) => Err(Loss::Full),
            Some(body) => {
                state.taken += 1;
                state.held += body.len();
                state.records.push_back(Record {
                    provider: provider.clone(),
                    level,
                    body,
                });
                Ok(())
            }
        };
        if let Err(loss) = pushed {
            state.counted += 1;
            *state.lost.entry((provider, loss)).or_default() += 1;
        }
        drop(state);
        self.arrived.notify_one();
        pushed
    }

    /// Waits for work.
    fn next(&self) -> Work {
        let mut state = self.lock();
        loop {
            let rest = state.rest(Instant::now());
            if rest == Some(Duration::ZERO) {
                state.told_at = Some(Instant::now());
                return Work::Tell(mem::take(&mut state.lost));
            }
            if let Some(record) = state.records.pop_front() {
                state.held -= record.body.len();
                return Work::Write(record);
            }
            state = match rest {
                Some(rest) => self
                    .arrived
                    .wait_timeout(state, rest)
                    .map_or_else(|error| error.into_inner().0, |(state, _)| state),
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Notes what has been done.
    fn finish(&self, written: u64, told: u64) {
        let mut state = self.lock();
        state.written += written;
        state.told += told;
        drop(state);
        self.done.notify_all();
    }

    /// Waits until all that came so far has been written, at most so long; whether it has.
    fn flush(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        let (taken, counted) = (state.taken, state.counted);
        state.flushing += 1;
        self.arrived.notify_one();
        let left = |state: &mut Waiting| state.written < taken || state.told < counted;
        let waited = self.done.wait_timeout_while(state, limit, left);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushing -= 1;
        !left(&mut state)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn has_room(&self, records: usize, bytes: usize) -> bool {
        self.records.len() < records && self.held + bytes <= QUEUE_BYTES
    }

    /// How long losses are not to be told yet; `None` without any.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let waits = |at: Instant| (at + TELL_EVERY).saturating_duration_since(now);
        // Each line about losses takes the time of a record, in which more are lost: what waits goes first.
        let hurry = self.flushing > 0 && self.records.is_empty();
        let rest = self.told_at.filter(|_| !hurry).map(waits);
        (!self.lost.is_empty()).then_some(rest.unwrap_or_default())
    }
}

/// Queues a record as it came over the boundary; whether there was room.
pub fn push(provider: &Arc<str>, level: u32, record: &[u8]) -> bool {
    let pushed = match is_written() {
        true => LINE.push(provider, level, record),
        false => Err(Loss::Full),
    };
    if let Err(loss) = pushed {
        counter(loss).fetch_add(1, Ordering::Relaxed);
    }
    pushed.is_ok()
}

/// Records that were dropped for that reason since the process began.
pub fn dropped(loss: Loss) -> u64 {
    counter(loss).load(Ordering::Relaxed)
}

fn counter(loss: Loss) -> &'static AtomicU64 {
    match loss {
        Loss::Full => &FULL,
        Loss::TooLarge => &TOO_LARGE,
    }
}

/// Waits until everything queued so far has been written, at most so long. Blocks.
pub fn flush(limit: Duration) {
    // If it takes longer, standard error is stuck: nothing more can be done about it here.
    let _ = is_written() && LINE.flush(limit);
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

/// Whether there is a thread that writes; starts it.
fn is_written() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let thread = thread::Builder::new().name("plugin-logs".to_owned());
        thread.spawn(write_all).is_ok()
    })
}

fn write_all() {
    loop {
        match LINE.next() {
            Work::Write(record) => {
                write(&record.provider, record.level, &record.body);
                LINE.finish(1, 0);
            }
            Work::Tell(lost) => {
                lost.iter()
                    .for_each(|((provider, loss), dropped)| tell(provider, *loss, *dropped));
                LINE.finish(0, lost.values().sum());
            }
        }
    }
}

fn tell(provider: &str, loss: Loss, dropped: u64) {
    match loss {
        Loss::Full => tracing::warn!(target: "plugin", provider, dropped,
            "log records of the plugin dropped: plugins log faster than the host can write; log less, or at a higher level"),
        Loss::TooLarge => tracing::warn!(target: "plugin", provider, dropped, largest = MAX_RECORD,
            "log records of the plugin dropped: they are too large; report it to the plugin's author"),
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

    fn push_of(queue: &Queue, provider: &str, size: usize) -> Result<(), Loss> {
        queue.push(&Arc::from(provider), 3, &vec![b'x'; size])
    }

    #[test]
    fn what_is_dropped_is_counted_by_provider_and_reason() {
        let queue = Queue::new(2);
        let sizes = [("a", 1), ("b", MAX_RECORD), ("b", 1), ("b", 2), ("a", MAX_RECORD + 1)];
        let pushed = sizes.map(|(provider, size)| push_of(&queue, provider, size));
        assert_eq!(
            pushed,
            [Ok(()), Ok(()), Err(Loss::Full), Err(Loss::Full), Err(Loss::TooLarge)]
        );
        let Work::Tell(lost) = queue.next() else {
            panic!("losses come first")
        };
        let lost: Vec<_> = lost
            .iter()
            .map(|((name, loss), count)| (&**name, *loss, *count))
            .collect();
        assert_eq!(lost, [("a", Loss::TooLarge, 1), ("b", Loss::Full, 2)]);
    }

    #[test]
    fn large_records_fill_the_queue_by_their_bytes() {
        let queue = Queue::new(QUEUE);
        let taken = (0..QUEUE).take_while(|_| push_of(&queue, "a", MAX_RECORD).is_ok());
        assert_eq!(taken.count() * MAX_RECORD, QUEUE_BYTES);
        assert_eq!(queue.lock().lost.keys().next().unwrap().1, Loss::Full);
        let held = |queue: &Queue| {
            let state = queue.lock();
            let bodies: usize = state.records.iter().map(|record| record.body.len()).sum();
            assert_eq!(state.held, bodies);
            bodies
        };
        assert_eq!(held(&queue), QUEUE_BYTES);
        assert!(matches!(queue.next(), Work::Tell(_)));
        assert!(matches!(queue.next(), Work::Write(_)));
        assert_eq!(held(&queue), QUEUE_BYTES - MAX_RECORD);
        push_of(&queue, "a", MAX_RECORD).unwrap();
        push_of(&queue, "a", 1).unwrap_err();
    }

    #[test]
    fn losses_are_told_now_and_then_and_before_a_flush_ends() {
        let (now, queue) = (Instant::now(), Queue::new(1));
        assert_eq!(queue.lock().rest(now), None);
        push_of(&queue, "a", MAX_RECORD + 1).unwrap_err();
        assert_eq!(queue.lock().rest(now), Some(Duration::ZERO));
        let mut state = queue.lock();
        state.told_at = Some(now);
        assert_eq!(state.rest(now), Some(TELL_EVERY));
        assert_eq!(state.rest(now + TELL_EVERY), Some(Duration::ZERO));
        state.flushing = 1;
        assert_eq!(state.rest(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_flush_is_not_spent_on_losses() {
        let queue = Queue::new(4);
        for _ in 0..4 {
            push_of(&queue, "a", 1).unwrap();
        }
        queue.lock().flushing = 1;
        let mut written = 0;
        // More than it takes, should a second pass in between.
        for _ in 0..20 {
            push_of(&queue, "a", MAX_RECORD + 1).unwrap_err();
            match queue.next() {
                Work::Write(_) => written += 1,
                Work::Tell(lost) => assert!(!lost.is_empty()),
            }
        }
        assert_eq!(written, 4);
        assert!(queue.lock().lost.is_empty(), "told at once when nothing else is left");
    }

    #[test]
    fn a_flush_waits_for_a_queue_that_is_full() {
        let queue = Queue::new(1);
        push_of(&queue, "a", 1).unwrap();
        push_of(&queue, "a", 1).unwrap_err();
        assert!(!queue.flush(Duration::ZERO));
        thread::scope(|scope| {
            let flush = scope.spawn(|| queue.flush(Duration::from_secs(60)));
            for _ in 0..2 {
                match queue.next() {
                    Work::Write(_) => queue.finish(1, 0),
                    Work::Tell(lost) => queue.finish(0, lost.values().sum()),
                }
            }
            assert!(flush.join().unwrap());
        });
    }

    #[test]
    fn a_record_that_is_too_large_is_not_taken() {
        let before = dropped(Loss::TooLarge);
        assert!(!push(&Arc::from("p"), 3, &vec![b'x'; MAX_RECORD + 1]));
        assert!(dropped(Loss::TooLarge) > before);
    }
}
