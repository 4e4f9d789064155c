//! Alarms about content: what a backup holds is compared with the good backups before it.
//!
//! An alarm is said and degrades nothing, for the backup is what the database was. But it holds the last good backup from
//! before: that one goes by hand only when somebody has acknowledged the alarm (`catalog::acknowledge`).

use serde::Deserialize as _;

use super::{ContentTerms, Deps, Plan, warnings};
use crate::{
    bytes::ByteSize,
    catalog::{self, Earlier, Manifest},
    execution::{Lease, Warning},
    id::ArtifactId,
    pg::inventory::{Inventory, Shrunk},
};

/// How many backups before it a backup is compared with.
const EARLIER: u32 = 5;

/// Fewer than these tell no usual size.
const FEWEST: usize = 3;

/// Below this a dump's size tells nothing.
const LEAST_BYTES: u64 = 64 * 1024;

/// As many tables and objects are named in a warning.
const MOST_NAMED: usize = 5;

/// What was noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alarms {
    pub warnings: Vec<Warning>,
    /// The backup that must not go before somebody has looked.
    pub holds: Option<ArtifactId>,
}

/// Compares with what the catalog knows. Without a catalog nothing is noticed: that is no reason to lose a backup.
pub(super) async fn look(
    plan: &Plan,
    deps: &Deps,
    content_bytes: u64,
    inventory: Option<&Inventory>,
    lease: &Lease,
) -> Alarms {
    let earlier = match catalog::earlier(&deps.history, &plan.subject, EARLIER).await {
        Ok(earlier) => earlier,
        Err(error) => {
            lease.log(format!("not compared with earlier backups: {error}"));
            return Alarms::default();
        }
    };
    let mut alarms = Alarms::default();
    if let (Some(now), Some((artifact, before))) = (inventory, newest_inventory(&earlier)) {
        alarms.of_inventories(&before, now, artifact, deps.content);
    }
    let same_content = earlier
        .iter()
        .filter(|earlier| earlier.content == plan.content.as_str());
    let sizes = same_content.map(|earlier| earlier.content_bytes).collect();
    if let Some(text) = small(sizes, content_bytes, deps.content.small_percent) {
        alarms.warnings.push(warnings::content("small", text));
    }
    for Warning { code, text, .. } in &alarms.warnings {
        tracing::warn!(%code, subject = %plan.subject, execution.id = %lease.execution(), "{text}");
    }
    alarms
}

/// The newest backup that says what it holds.
fn newest_inventory(earlier: &[Earlier]) -> Option<(ArtifactId, Inventory)> {
    earlier.iter().find_map(|earlier| {
        let manifest = Manifest::parse(earlier.manifest.as_bytes()).ok()?;
        let inventory = Inventory::deserialize(manifest.source.get("expectations")?).ok()?;
        Some((earlier.artifact, inventory))
    })
}

impl Alarms {
    fn of_inventories(
        &mut self,
        before: &Inventory,
        now: &Inventory,
        artifact: ArtifactId,
        terms: ContentTerms,
    ) {
        let since = artifact.short();
        if terms.shrunk_percent > 0 {
            let shrunk: Vec<_> = before.shrunk(now, terms.shrunk_percent);
            if !shrunk.is_empty() {
                let text = format!(
                    "since backup {since} {}",
                    named(shrunk.iter().map(lost).collect())
                );
                self.warnings.push(warnings::content("shrunk", text));
                self.holds = Some(artifact);
            }
        }
        let differences = before.differences(now).into_iter();
        let changes: Vec<_> = differences
            .filter(|difference| SCHEMA.contains(&difference.code))
            .map(|difference| difference.text)
            .collect();
        if !changes.is_empty() {
            let text = format!(
                "the schema has changed since backup {since}: {}",
                named(changes)
            );
            self.warnings
                .push(warnings::content("schema_changed", text));
        }
    }
}

/// Differences that are no rows.
const SCHEMA: [&str; 5] = [
    "content.object_missing",
    "content.object_differs",
    "content.object_unexpected",
    "content.extension_missing",
    "content.extension_version",
];

fn lost(Shrunk { table, before, now }: &Shrunk) -> String {
    match now {
        Some(now) => format!("table {table} shrank from {before} rows to {now}"),
        None => format!("table {table} with its {before} rows is gone"),
    }
}

/// A list that stays a sentence.
fn named(mut texts: Vec<String>) -> String {
    let more = texts.len().saturating_sub(MOST_NAMED);
    texts.truncate(MOST_NAMED);
    let list = texts.join("; ");
    match more {
        0 => list,
        more => format!("{list}; and {more} more"),
    }
}

/// Against the median: one odd backup doesn't make what is usual.
fn small(mut sizes: Vec<u64>, bytes: u64, percent: u64) -> Option<String> {
    if sizes.len() < FEWEST || percent == 0 {
        return None;
    }
    sizes.sort_unstable();
    let usual = sizes.get(sizes.len() / 2).copied()?;
    let least = u128::from(usual) * u128::from(percent);
    let is_small = usual >= LEAST_BYTES && u128::from(bytes) * 100 < least;
    is_small.then(|| {
        format!(
            "{} were read; usual are {}",
            ByteSize(bytes),
            ByteSize(usual)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_small_against_the_median_of_at_least_three() {
        let usual = 1024 * 1024;
        assert_eq!(small(vec![usual; 2], 1, 50), None);
        assert_eq!(small(vec![usual, 1, usual], usual / 2, 50), None);
        let text = small(vec![usual, usual, usual * 9], usual / 4, 50).unwrap();
        assert!(text.contains("usual are 1.0 MiB"), "{text}");
        assert_eq!(small(vec![usual; 5], 1, 0), None);
        assert_eq!(small(vec![LEAST_BYTES - 1; 5], 1, 50), None);
    }

    #[test]
    fn a_long_list_of_changes_is_cut_and_counted() {
        let texts = (1..=7).map(|n| format!("table t{n} is missing")).collect();
        let text = named(texts);
        assert!(text.ends_with("table t5 is missing; and 2 more"), "{text}");
    }
}
