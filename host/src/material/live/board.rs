//! Where what is learnt of objects waits for the controller: the newest of each.

use super::{Found, ThingId};
use crate::material::{ConfigMapData, PodCertificate, SecretData, Token};
use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Notify;

/// What was learnt of one thing.
#[derive(Debug)]
pub enum News {
    ConfigMap(Found<Arc<ConfigMapData>>),
    Secret(Found<Arc<SecretData>>),
    Token(Found<Arc<Token>>),
    Certificate(Found<Arc<PodCertificate>>),
    /// The host may not watch that.
    Denied,
    /// A table, which is looked into where it is, has changed.
    Table,
}

/// Collects news. It never holds more of them than there are things, since a thing's newest takes the place of the one
/// before.
#[derive(Default)]
pub struct Board {
    news: Mutex<HashMap<ThingId, News>>,
    arrived: Arc<Notify>,
}

impl Board {
    /// A board that shares its bell with others.
    pub fn ringing(arrived: Arc<Notify>) -> Self {
        Self {
            news: Mutex::default(),
            arrived,
        }
    }

    /// Puts one up.
    pub fn tell(&self, id: ThingId, news: News) {
        self.news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, news);
        self.arrived.notify_one();
    }

    /// Waits for news. Cancel safe.
    #[cfg(test)]
    pub async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Takes all down.
    pub fn take(&self) -> HashMap<ThingId, News> {
        mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_of_each_thing_waits() {
        let board = Board::default();
        let (one, other) = (ThingId(1), ThingId(2));
        board.tell(one, News::Secret(Found::Missing));
        board.tell(one, News::Secret(Found::Unknown));
        board.tell(other, News::Table);
        board.wait().await;
        let news = board.take();
        assert!(matches!(news[&one], News::Secret(Found::Unknown)));
        assert!(matches!(news[&other], News::Table));
        assert!(board.take().is_empty());
    }
}
