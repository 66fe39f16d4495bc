//! A map that remembers which of its entries may have changed.
//!
//! What follows from a change (a deadline, a message, a new cost) is looked for at the touched entries alone, so
//! an input costs what it changes, not what there is. Handing an entry out for change counts as a change: nobody
//! has to remember to say so.

use std::collections::{BTreeMap, BTreeSet};

/// The map; see the [module](self).
#[derive(Debug)]
pub(crate) struct Touched<K, V> {
    entries: BTreeMap<K, V>,
    touched: BTreeSet<K>,
}

impl<K: Ord + Copy, V> Touched<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        self.touched.insert(*key);
        Some(entry)
    }

    /// For a change of which nothing follows.
    pub(crate) fn get_untouched(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.touched.insert(key);
        self.entries.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.touched.insert(*key);
        Some(entry)
    }

    /// All entries for change, which touches them all.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.touched.extend(self.entries.keys());
        self.entries.values_mut()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    /// Keys touched since they were last taken, those of removed entries too, in order.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<K> {
        std::mem::take(&mut self.touched)
    }
}
