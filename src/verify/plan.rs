//! Which copies a verification looks at. A value made from rows, before anything is read.

use crate::{
    catalog::{CopyState, Standing},
    id::ArtifactId,
    job::Verify,
    storage::StorageName,
};

/// One backup, and the copies of it to look at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub artifact: ArtifactId,
    pub stored_bytes: u64,
    pub storages: Vec<StorageName>,
    /// It is due for its own sake, not only for that of a copy that is known to be bad.
    is_due: bool,
    /// Since the copy that waited longest was looked at; infinite if it never was.
    age_seconds: f64,
}

/// The copies that are due, the longest unread first, and before them all that is known to be bad. `standings` come backup
/// by backup; `required` are the storages that every backup is to be on, of interest where copies are to be mended.
pub(super) fn choose(
    standings: &[Standing],
    request: &Verify,
    required: &[StorageName],
) -> Vec<Chosen> {
    let groups = standings.chunk_by(|one, other| one.artifact == other.artifact);
    let mut chosen: Vec<_> = groups
        .filter_map(|copies| chosen(copies, request, required))
        .collect();
    chosen.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
    if let Some(percent) = request.sample {
        let mut left = percent.of(backups_with_copies(standings));
        chosen.retain_mut(|backup| backup.kept_in_sample(&mut left, standings, request));
    }
    chosen.sort_by_key(|backup| backup.is_due);
    chosen
}

fn chosen(copies: &[Standing], request: &Verify, required: &[StorageName]) -> Option<Chosen> {
    let first = copies.first()?;
    let due: Vec<_> = copies.iter().filter(|copy| is_due(copy, request)).collect();
    let is_absent = |name: &StorageName| !copies.iter().any(|copy| copy.storage == *name);
    let must_be_made = request.repair && required.iter().any(is_absent);
    let storages = copies
        .iter()
        .filter(|copy| is_ailing(copy) || is_due(copy, request));
    let storages: Vec<_> = storages.map(|copy| copy.storage.clone()).collect();
    (!storages.is_empty() || must_be_made).then(|| Chosen {
        artifact: first.artifact,
        stored_bytes: first.stored_bytes,
        storages,
        is_due: !copies.iter().any(is_ailing) && !must_be_made,
        age_seconds: due
            .iter()
            .map(|copy| copy.age_seconds.unwrap_or(f64::INFINITY))
            .fold(0.0, f64::max),
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

fn backups_with_copies(standings: &[Standing]) -> usize {
    standings
        .chunk_by(|one, other| one.artifact == other.artifact)
        .filter(|copies| copies.iter().any(|copy| copy.state == CopyState::Stored))
        .count()
}

impl Chosen {
    /// Takes one of the places that are left. Without one only the copies stay that are known to be bad.
    fn kept_in_sample(
        &mut self,
        left: &mut usize,
        standings: &[Standing],
        request: &Verify,
    ) -> bool {
        let own = |copy: &&Standing| copy.artifact == self.artifact;
        let copies = standings.iter().filter(own);
        if copies.clone().any(|copy| is_due(copy, request)) {
            if let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                return true;
            }
        }
        let ailing = copies.filter(|copy| is_ailing(copy));
        self.storages = ailing.map(|copy| copy.storage.clone()).collect();
        !self.is_due
    }
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
                let names: Vec<_> = chosen.storages.iter().map(ToString::to_string).collect();
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
