//! The process environment as a value: captured once in `main`, so that nothing else asks the process and tests need not
//! change it. Holds secrets, hence says only how many names it has.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
};

/// A snapshot of the environment, and of the flags that stand above it.
#[derive(Clone, Default)]
pub struct Env {
    values: BTreeMap<String, OsString>,
    flags: BTreeMap<String, String>,
}

impl Env {
    /// The environment of this process. Names that are no text can't be settings and are left out.
    pub fn capture() -> Self {
        let values = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            values,
            flags: BTreeMap::new(),
        }
    }

    /// A flag of the command line that stands for the setting `name` and wins over every other origin.
    #[must_use]
    pub fn with_flag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.flags.insert(name.to_owned(), value.into());
        self
    }

    /// A variable, if it is set and text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.to_str()
    }

    /// A variable as the operating system has it (`PATH`).
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.values.get(name).map(OsString::as_os_str)
    }

    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            values,
            flags: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("names", &self.values.len())
            .finish_non_exhaustive()
    }
}
