//! Ids that were seen, by path: a memory that may be stale, and that may forget.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use object_store::path::Path;

/// Ids that are remembered before all are forgotten.
const MEMORY: usize = 4096;

/// Ids by path, as many as are useful.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<HashMap<Path, String>>);

impl Ids {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Path, String>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn get(&self, path: &Path) -> Option<String> {
        self.with(|ids| ids.get(path).cloned())
    }

    pub(super) fn put(&self, path: &Path, id: &str) {
        self.with(|ids| {
            if ids.len() >= MEMORY {
                ids.clear();
            }
            ids.insert(path.clone(), id.to_owned());
        });
    }

    pub(super) fn forget(&self, path: &Path) {
        self.with(|ids| ids.remove(path));
    }

    pub(super) fn forget_all(&self) {
        self.with(HashMap::clear);
    }
}
