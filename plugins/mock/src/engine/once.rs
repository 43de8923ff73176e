//! Keeps once what is equal: pods come by the thousand from one template.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::VecDeque, sync::Arc};

/// So many values are remembered: more templates than these are rarely in use at a time.
const REMEMBERED: usize = 32;

/// The newest values.
#[derive(Debug)]
pub struct Once<T>(VecDeque<Arc<T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: PartialEq> Once<T> {
    /// Puts an equal one that is kept already in its place.
    pub fn share(&mut self, value: &mut Arc<T>) {
        let same = |kept: &&Arc<T>| Arc::ptr_eq(kept, value) || ***kept == **value;
        if let Some(kept) = self.0.iter().find(same) {
            *value = kept.clone();
            return;
        }
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front(value.clone());
    }
}

/// Writes a shared value out.
pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
    T::serialize(value, serializer)
}

/// Reads a value that can be shared.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<T>, D::Error> {
    T::deserialize(deserializer).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_the_oldest_forgotten() {
        let mut once = Once::default();
        let mut share = |number: usize| {
            let mut value = Arc::new(number);
            once.share(&mut value);
            value
        };
        let first = share(0);
        for number in 1..REMEMBERED {
            assert!(Arc::ptr_eq(&share(number), &share(number)));
        }
        assert!(Arc::ptr_eq(&first, &share(0)));
        share(REMEMBERED);
        assert!(!Arc::ptr_eq(&first, &share(0)));
    }
}
