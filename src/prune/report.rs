//! What a prune did, for its execution's row, its log and its outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Planned;
use crate::{
    catalog::PendingDeletion,
    execution::{Effects, Lease, Warning},
    fault::{Failure, Fault},
    id::ArtifactId,
    storage::StorageName,
};

/// Backups that a warning names; of more, only the number is told.
const MOST_NAMED: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Report {
    plans: Vec<Value>,
    held: Vec<String>,
    deleted: BTreeSet<ArtifactId>,
    spared: u64,
    /// Copies that are still there, with the last reason.
    pending: BTreeMap<(ArtifactId, StorageName), Failure>,
    objects: u64,
}

impl Report {
    pub(super) fn planned(&mut self, planned: &Planned, lease: &Lease) {
        let (kept, expired) = (planned.plan.kept.len(), planned.plan.expired.len());
        let whose = match &planned.schedule {
            Some(name) => format!("schedule {name}"),
            None => format!("{} backups", planned.class),
        };
        lease.log(format!("{whose}: {kept} are kept, {expired} expire"));
        if let Some(hold) = &planned.plan.held {
            self.held.push(format!("{whose}: {hold}"));
        }
        self.plans.push(json!({
            "class": planned.class.as_str(),
            "schedule": planned.schedule,
            "kept": kept,
            "expired": expired,
            "held": planned.plan.held,
        }));
    }

    pub(super) fn spared(&mut self, id: ArtifactId, why: &str, lease: &Lease) {
        lease.log(format!("{} stays after all: {why}", id.short()));
        self.spared += 1;
    }

    pub(super) fn deleted(&mut self, deletion: &PendingDeletion, objects: u64, lease: &Lease) {
        let (id, storage) = (deletion.artifact, &deletion.storage);
        lease.log(format!("{} is gone from {storage}", id.short()));
        self.pending.remove(&(id, storage.clone()));
        self.deleted.insert(id);
        self.objects += objects;
    }

    pub(super) fn failed(&mut self, deletion: &PendingDeletion, failure: Failure, lease: &Lease) {
        let (id, storage) = (deletion.artifact, deletion.storage.clone());
        lease.log(format!("{} is still on {storage}: {failure}", id.short()));
        self.pending.insert((id, storage), failure);
    }

    /// A copy that can't be deleted degrades the run, which the next one mends; if none could be, it has failed.
    pub(super) fn effects(self) -> Effects {
        let pending: BTreeSet<ArtifactId> = self.pending.keys().map(|(id, _)| *id).collect();
        let gone: BTreeSet<_> = self.deleted.difference(&pending).collect();
        let result = json!({
            "plans": self.plans,
            "deleted": gone.len(),
            "spared": self.spared,
            "pending": pending.len(),
            "objects": self.objects,
        });
        let held = self.held.iter().map(|text| Warning {
            code: "prune.held".to_owned(),
            text: text.clone(),
            degrades: false,
        });
        let failed = (self.deleted.is_empty() && !self.pending.is_empty())
            .then(|| Failure::new(Fault::Transient, "prune.failed", self.remains()));
        let incomplete = (!self.pending.is_empty()).then(|| Warning {
            code: "prune.incomplete".to_owned(),
            text: self.remains(),
            degrades: true,
        });
        Effects {
            warnings: held.chain(incomplete).collect(),
            failed,
            result,
            ..Effects::default()
        }
    }

    fn remains(&self) -> String {
        let named = self.pending.iter().take(MOST_NAMED);
        let named: Vec<_> = named
            .map(|((id, storage), failure)| format!("{} on {storage} ({failure})", id.short()))
            .collect();
        let more = self.pending.len() - named.len();
        let more = match more {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("not deleted yet: {}{more}", named.join(", "))
    }
}
