//! Which copies a verification looks at. A value made from rows, before anything is read.

use super::VerifyError;
use crate::{
    catalog::{CopyState, Standing},
    id::ArtifactId,
    job::{Verify, VerifyLevel},
    storage::StorageName,
};

/// Refuses what nobody would read: a proof is of one backup and mends nothing, and only a proof has checks.
pub(super) fn require_fit(request: &Verify) -> Result<(), VerifyError> {
    let is_of_a_look = request.repair || request.sample.is_some() || request.older_than.is_some();
    let is_of_a_proof = !request.checks.is_empty() || request.keep;
    let is_strange = match request.level {
        VerifyLevel::Proven => is_of_a_look,
        VerifyLevel::Quick | VerifyLevel::Checked => is_of_a_proof,
    };
    if is_strange {
        return Err(VerifyError::Options);
    }
    Ok(())
}

/// One backup, and the copies of it to look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub artifact: ArtifactId,
    pub stored_bytes: u64,
    /// Copies that are as good as anybody knows, and whose turn it is.
    due: Vec<StorageName>,
    /// Copies that nobody could restore from.
    ailing: Vec<StorageName>,
    /// A storage that should have a copy has none.
    must_be_made: bool,
    /// Since the copy that waited longest was looked at; infinite if it never was.
    age_seconds: f64,
}

impl Chosen {
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageName> {
        self.due.iter().chain(&self.ailing)
    }

    fn is_in_need(&self) -> bool {
        self.must_be_made || !self.ailing.is_empty()
    }
}

/// The copies that are due, the longest unread first, and before them all that is known to be bad. `standings` come backup
/// by backup; `required` are the storages that every backup is to be on, of interest where copies are to be mended.
pub(super) fn choose(
    standings: &[Standing],
    request: &Verify,
    required: &[StorageName],
) -> Vec<Chosen> {
    let groups = || standings.chunk_by(|one, other| one.artifact == other.artifact);
    let mut chosen: Vec<_> = groups()
        .filter_map(|copies| chosen(copies, request, required))
        .collect();
    chosen.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
    if let Some(percent) = request.sample {
        let stored = |copy: &Standing| copy.state == CopyState::Stored;
        let all = groups().filter(|copies| copies.iter().any(stored));
        keep_sample(&mut chosen, percent.of(all.count()));
    }
    chosen.retain(|backup| backup.is_in_need() || !backup.due.is_empty());
    chosen.sort_by_key(|backup| !backup.is_in_need());
    chosen
}

/// Only the first `size` that are due stay so. What is known to be bad stays whatever its place.
fn keep_sample(chosen: &mut [Chosen], size: usize) {
    let due = chosen.iter_mut().filter(|backup| !backup.due.is_empty());
    for backup in due.skip(size) {
        backup.due.clear();
    }
}

fn chosen(copies: &[Standing], request: &Verify, required: &[StorageName]) -> Option<Chosen> {
    let first = copies.first()?;
    let due: Vec<_> = copies.iter().filter(|copy| is_due(copy, request)).collect();
    let is_absent = |name: &StorageName| !copies.iter().any(|copy| copy.storage == *name);
    let age = |copy: &&Standing| copy.age_seconds.unwrap_or(f64::INFINITY);
    let ailing = copies.iter().filter(|copy| is_ailing(copy));
    Some(Chosen {
        artifact: first.artifact,
        stored_bytes: first.stored_bytes,
        age_seconds: due.iter().map(age).fold(0.0, f64::max),
        due: due.iter().map(|copy| copy.storage.clone()).collect(),
        ailing: ailing.map(|copy| copy.storage.clone()).collect(),
        must_be_made: request.repair && required.iter().any(is_absent),
    })
}

/// Nobody could restore from it. One that is being deleted is nobody's promise any more.
fn is_ailing(copy: &Standing) -> bool {
    copy.state.is_bad() || copy.state == CopyState::Pending
}

fn is_due(copy: &Standing, request: &Verify) -> bool {
    let old_enough = match (request.older_than, copy.age_seconds) {
        (Some(seconds), Some(age)) => age >= f64::from(seconds),
        (None, _) | (_, None) => true,
    };
    copy.state == CopyState::Stored && old_enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Percent;

    fn copy(
        artifact: ArtifactId,
        storage: &str,
        state: CopyState,
        age_seconds: Option<f64>,
    ) -> Standing {
        Standing {
            artifact,
            stored_bytes: 10,
            storage: storage.parse().unwrap(),
            state,
            age_seconds,
        }
    }

    fn request() -> Verify {
        Verify::of("database:kanbu".parse().unwrap())
    }

    /// The backups that were chosen, with the storages to look at.
    fn told(standings: &[Standing], request: &Verify) -> Vec<(ArtifactId, String)> {
        let required = ["one".parse().unwrap(), "two".parse().unwrap()];
        choose(standings, request, &required)
            .into_iter()
            .map(|chosen| {
                let names: Vec<_> = chosen.storages().map(ToString::to_string).collect();
                (chosen.artifact, names.join("+"))
            })
            .collect()
    }

    #[test]
    fn a_sample_takes_the_longest_unread_first_and_always_what_is_bad() {
        let [new, old, never, sick] = [(); 4].map(|()| ArtifactId::new());
        let standings = [
            copy(new, "one", CopyState::Stored, Some(10.0)),
            copy(new, "two", CopyState::Stored, Some(20.0)),
            copy(old, "one", CopyState::Stored, Some(5.0)),
            copy(old, "two", CopyState::Stored, Some(900.0)),
            copy(never, "one", CopyState::Stored, Some(1.0)),
            copy(never, "two", CopyState::Stored, None),
            copy(sick, "one", CopyState::Stored, Some(1.0)),
            copy(sick, "two", CopyState::Damaged, Some(2.0)),
        ];
        let half = Verify {
            sample: Some(Percent::try_from(50).unwrap()),
            ..request()
        };
        let all = "one+two".to_owned();
        assert_eq!(
            told(&standings, &half),
            [
                (sick, "two".to_owned()),
                (never, all.clone()),
                (old, all.clone())
            ]
        );
        let everything = told(&standings, &request());
        assert_eq!(
            everything,
            [
                (sick, all.clone()),
                (never, all.clone()),
                (old, all.clone()),
                (new, all)
            ]
        );
    }

    #[test]
    fn what_was_read_lately_is_left_alone() {
        let (new, old) = (ArtifactId::new(), ArtifactId::new());
        let standings = [
            copy(new, "one", CopyState::Stored, Some(10.0)),
            copy(new, "two", CopyState::Stored, Some(11.0)),
            copy(old, "one", CopyState::Stored, Some(9.0)),
            copy(old, "two", CopyState::Stored, Some(100.0)),
        ];
        let aged = Verify {
            older_than: Some(60),
            ..request()
        };
        assert_eq!(told(&standings, &aged), [(old, "two".to_owned())]);
    }

    #[test]
    fn a_backup_that_is_not_on_a_required_storage_is_taken_for_repair_alone() {
        let artifact = ArtifactId::new();
        let standings = [copy(artifact, "one", CopyState::Stored, Some(10.0))];
        let looking = Verify {
            older_than: Some(60),
            ..request()
        };
        assert_eq!(told(&standings, &looking), []);
        let mending = Verify {
            repair: true,
            ..looking
        };
        assert_eq!(told(&standings, &mending), [(artifact, String::new())]);
        // Somebody deleted that copy on purpose.
        let deleted = copy(artifact, "two", CopyState::Deleted, None);
        let standings = [standings[0].clone(), deleted];
        assert_eq!(told(&standings, &mending), []);
    }
}
