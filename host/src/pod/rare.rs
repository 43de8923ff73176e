//! What few pods have: kept in place, it would make the entries of all of them larger by a quarter.

use super::{backoff::Remakes, entry::Retry};
use crate::material::Notice;
use bytes::Bytes;
use outrigger_plugin::PodReport;
use std::time::Instant;

/// What few pods have.
#[derive(Debug, Default)]
pub struct Rare {
    /// Its object as a store that was restored has it, when it is on its way out: it begins anew once this end has come.
    pub comes_back: Option<Bytes>,
    /// When it was first seen, while the host was acting: a pod that has run already, as after a store was restored. Whether
    /// its provider has it the next list tells.
    pub strange_since: Option<Instant>,
    /// How often it has vanished of late, and when it may be made again.
    pub remakes: Remakes,
    /// The last report before it vanished, if containers had ended by then: their ends may not be recorded yet.
    pub lost_ends: Option<Box<PodReport>>,
    /// When a resize that was deferred is asked for again.
    pub resize_retry: Retry,
    /// What is said when an image can't be pulled.
    pub if_pull_fails: Option<Notice>,
    /// When `activeDeadlineSeconds` will have passed.
    pub overdue_at: Option<Instant>,
}

/// Room for it, once there is something to keep.
#[derive(Debug, Default)]
pub struct Rarely(Option<Box<Rare>>);

static NOTHING: Rare = Rare {
    comes_back: None,
    strange_since: None,
    remakes: Remakes::NONE,
    lost_ends: None,
    resize_retry: Retry::NONE,
    if_pull_fails: None,
    overdue_at: None,
};

impl Rarely {
    /// What there is.
    pub fn get(&self) -> &Rare {
        self.0.as_deref().unwrap_or(&NOTHING)
    }

    /// To keep something there.
    pub fn make(&mut self) -> &mut Rare {
        self.0.get_or_insert_default()
    }

    /// To change what there is, or to take it away: takes no room where there is nothing.
    pub fn known(&mut self) -> Option<&mut Rare> {
        self.0.as_deref_mut()
    }
}
