//! Forwards `tracing` to the host's log.
//!
//! The `tracing` that a plugin links is its own copy, without a subscriber; this installs one. An event becomes one
//! call of the host's log service, with the fields of the enclosing spans.

use super::link::HostLink;
use crate::request::LogRecord;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Once, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Registry},
};

static LEVEL: AtomicU32 = AtomicU32::new(3);
/// For threads that belong to no instance: the host of the instance made last.
static FALLBACK: RwLock<Option<HostLink>> = RwLock::new(None);

/// Installs the forwarding once per image; later calls only renew the fallback.
pub(super) fn install(link: HostLink) {
    if let Ok(mut fallback) = FALLBACK.write() {
        *fallback = Some(link);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A plugin that has installed a subscriber of its own keeps it.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(Forward));
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{panic}");
        }));
    });
}

/// 0 (off) to 5 (trace), for the whole image.
pub(super) fn set_level(level: u32) {
    LEVEL.store(level, Ordering::Relaxed);
    tracing_core::callsite::rebuild_interest_cache();
}

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

struct Forward;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        number(metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Before the span is locked: a value's Debug is a plugin's code, and what it says, or panics with, comes this way.
        let mut fresh = Fields::default();
        values.record(&mut fresh);
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.values.extend(fresh.values);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(link) = HostLink::of_thread().or_else(|| FALLBACK.read().ok().and_then(|link| *link)) else {
            return;
        };
        let mut own = Fields::default();
        event.record(&mut own);
        let mut all = BTreeMap::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                for (name, value) in &fields.values {
                    all.entry(format!("{}.{name}", span.name()))
                        .or_insert_with(|| value.clone());
                }
            }
        }
        all.extend(own.values);
        let metadata = event.metadata();
        let record = LogRecord {
            target: metadata.target().to_owned(),
            message: own.message,
            fields: all,
        };
        if let Ok(body) = serde_json::to_vec(&record) {
            link.log(number(metadata.level()), &body);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.values.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
