//! What an execution saw of the storages that it worked with. It stands in `result.storages`, from which the end of the
//! execution (`record_storages` in SQL) tells trouble and recovery, each once.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::storage::StorageName;

/// By storage; `None`: nothing was wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Sightings(BTreeMap<StorageName, Option<Trouble>>);

/// What is wrong with a storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "trouble", content = "text", rename_all = "snake_case")]
pub enum Trouble {
    /// It has copies that are missing or aren't what was written.
    Damaged(String),
    /// The way there.
    Unreachable(String),
}

impl Sightings {
    /// Notes one look; of several at one storage the worst counts.
    pub fn note(&mut self, storage: &StorageName, trouble: Option<Trouble>) {
        let worst = self.0.entry(storage.clone()).or_default();
        if trouble > *worst {
            *worst = trouble;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_looks_at_a_storage_the_worst_counts() {
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let mut seen = Sightings::default();
        seen.note(&one, Some(Trouble::Damaged("x".into())));
        seen.note(&one, None);
        seen.note(&two, None);
        assert_eq!(
            serde_json::to_value(seen).unwrap(),
            json!({"one": {"trouble": "damaged", "text": "x"}, "two": null})
        );
    }
}
